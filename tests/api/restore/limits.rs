//! Few open files, and users with few permissions.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::is_root;
use crate::support::{Random, Sandbox, assert_same, chmod};

/// Files whose parts are in blocks far apart, so that a restore by block has all of them open at once.
#[test]
fn sixty_four_open_files_are_enough() {
    let sandbox = Sandbox::open();
    let mut random = Random::new(1);
    for round in 0..3 {
        for number in 0..200 {
            let path = sandbox.src().join(format!("d{number}/e/f"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut bytes = if round == 0 { Vec::new() } else { fs::read(&path).unwrap() };
            bytes.extend(random.bytes(20_000));
            fs::write(&path, bytes).unwrap();
        }
        // Depth must need no open files either.
        let deep = sandbox.src().join(["deep"; 80].join("/"));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("f"), "deep").unwrap();
        sandbox.backup(&[]);
    }
    let target = sandbox.new_target();
    let few = |args: &[&str]| {
        let snap = sandbox.command(&[&["restore", "latest", "--target", "out/0"], args].concat());
        let mut limited = Command::new("sh");
        limited.arg("-c").arg("ulimit -n 64 && exec \"$0\" \"$@\"").arg(snap.get_program());
        limited.args(snap.get_args()).current_dir(snap.get_current_dir().unwrap()).env_clear();
        limited.envs(snap.get_envs().filter_map(|(name, value)| Some((name, value?))));
        crate::support::finish(limited, b"").expect(0);
    };
    few(&[]);
    assert_same(&sandbox.src(), &target.join("src"));
    for number in 0..200 {
        let path = target.join(format!("src/d{number}/e/f"));
        fs::File::options().write(true).open(path).unwrap().set_len(30_000).unwrap();
    }
    let extra = target.join("src").join(["extra"; 80].join("/"));
    fs::create_dir_all(extra).unwrap();
    few(&["--delete", "--verify"]);
    assert_same(&sandbox.src(), &target.join("src"));
}

#[test]
fn ordinary_user_restores_what_is_allowed_with_one_message() {
    if !is_root("become somebody else") {
        return;
    }
    let sandbox = Sandbox::open();
    sandbox.write(&[("a", "1"), ("mine", "2"), ("d/b", "3")]);
    chmod(&sandbox.src().join("a"), 0o4755);
    std::os::unix::fs::chown(sandbox.src().join("mine"), Some(65534), Some(65534)).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        sandbox.src().join("null"),
        rustix::fs::FileType::CharacterDevice,
        0o666.into(),
        rustix::fs::makedev(1, 3),
    )
    .unwrap();
    fs::hard_link(sandbox.src().join("null"), sandbox.src().join("null2")).unwrap();
    sandbox.backup(&[]);
    let target = sandbox.new_target();
    chmod(&sandbox.path(""), 0o755);
    let mut open = Command::new("chmod");
    open.args(["-R", "a+rwX", "repo", "out", "home"]).current_dir(sandbox.path(""));
    assert!(open.status().unwrap().success());
    let mut command = sandbox.command(&["restore", "latest", "-t", "out/0"]);
    command.uid(65534).gid(65534);
    let outcome = crate::support::finish(command, b"").expect(0);
    let told = outcome.text();
    assert_eq!(told.matches("not restored: this user").count(), 1, "{told}");
    let found = |name: &str| fs::symlink_metadata(target.join("src").join(name));
    let a = found("a").unwrap();
    assert_eq!((a.uid(), a.mode() & 0o7777), (65534, 0o755), "setuid for somebody else");
    assert_eq!(found("mine").unwrap().uid(), 65534);
    assert!(found("null").is_err() && found("null2").is_err(), "devices are root's to make");
    assert_eq!(fs::read(target.join("src/d/b")).unwrap(), b"3");
    assert!(!outcome.stderr.contains("null"), "{}", outcome.stderr);
}

/// A directory that its owner may not list or enter gets this mode last, after everything else in it.
#[test]
fn unreadable_modes_are_set_last() {
    if !is_root("become somebody else") {
        return;
    }
    let sandbox = Sandbox::open();
    sandbox.write(&[("shut/in/f", "1"), ("shut/in/g", "2"), ("still/f", "3"), ("z", "4")]);
    fs::hard_link(sandbox.src().join("shut/in/f"), sandbox.src().join("y")).unwrap();
    for (name, mode) in [("shut/in", 0o300), ("shut", 0o000), ("still", 0o500)] {
        chmod(&sandbox.src().join(name), mode);
    }
    sandbox.backup(&[]);
    let target = sandbox.new_target();
    let as_nobody = |args: &[&str]| {
        let mut all = Command::new("chown");
        all.args(["-R", "nobody", "repo", "out", "home"]).current_dir(sandbox.path(""));
        assert!(all.status().unwrap().success());
        chmod(&sandbox.path(""), 0o755);
        let mut command = sandbox.command(&[&["restore", "latest", "-t", "out/0"], args].concat());
        command.uid(65534).gid(65534);
        crate::support::finish(command, b"").expect(0)
    };
    as_nobody(&[]);
    let times = |name: &str| fs::metadata(target.join("src").join(name)).unwrap().mtime_nsec();
    for name in ["shut/in/more", "still/more", "shut/more"] {
        fs::write(target.join("src").join(name), "mine").unwrap();
    }
    as_nobody(&["--delete"]);
    for name in ["shut/in/more", "still/more", "shut/more"] {
        assert!(!target.join("src").join(name).exists(), "{name} is there");
    }
    for (name, mode) in [("shut/in", 0o300), ("shut", 0o000), ("still", 0o500)] {
        let (found, wanted) =
            (target.join("src").join(name), fs::metadata(sandbox.src().join(name)).unwrap());
        assert_eq!(fs::metadata(found).unwrap().mode() & 0o7777, mode, "{name}");
        assert_eq!(times(name), wanted.mtime_nsec(), "{name}");
    }
}
