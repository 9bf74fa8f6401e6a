//! Selection: patterns, types and attributes, and patterns that match nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use super::craft::listing;
use super::{is_root, restore};
use crate::support::{Sandbox, chmod};

#[test]
fn only_directories_that_are_needed_are_made() {
    let sandbox = Sandbox::with_tree(&[("a/b/x.txt", "1"), ("a/c/y", "2"), ("d/e/f", "3"), ("g/", "")]);
    sandbox.backup(&[]);
    let cases: [(&[&str], &[&str]); 4] = [
        (&["-i", "*.txt"], &["", "src", "src/a", "src/a/b", "src/a/b/x.txt"]),
        (
            &["-i", "f", "-i", "y"],
            &["", "src", "src/a", "src/a/c", "src/a/c/y", "src/d", "src/d/e", "src/d/e/f"],
        ),
        (&["-i", "g"], &["", "src", "src/g"]),
        (&["-e", "a", "-e", "!x.txt", "-e", "g"], &["", "src", "src/d", "src/d/e", "src/d/e/f"]),
    ];
    for (args, wanted) in cases {
        let target = sandbox.restore("latest", args);
        let found = listing(&target);
        let missing: Vec<_> = wanted.iter().filter(|name| !found.contains(&(**name).to_owned())).collect();
        assert!(missing.is_empty(), "{args:?} lacks {missing:?}");
        let empty = |name: &&String| {
            let path = target.join(name);
            path.is_dir() && fs::read_dir(path).unwrap().next().is_none() && !name.ends_with('g')
        };
        assert_eq!(found.iter().find(empty), None, "{args:?} made a directory for nothing");
    }
}

#[test]
fn include_without_a_match_is_reported_with_exit_3() {
    let sandbox = Sandbox::with_tree(&[("[dir]", "1"), ("a", "2"), ("*", "3")]);
    sandbox.backup(&[]);
    let target = sandbox.new_target();
    let cases: [(&[&str], &str); 5] = [
        (&["-i", "nosuch"], "nosuch: "),
        (&["-i", "src/[dir]"], "backslash"),
        (&["-i", "a", "-i", "/src/b"], "/src/b: "),
        (&["-i", "a", "-e", "a"], "a: "),
        (&["-e", "src"], "excludes everything"),
    ];
    for (args, told) in cases {
        for more in [&["-q"][..], &["-q", "-n"]] {
            let outcome = restore(&sandbox, &target, &[args, more].concat()).expect(3);
            assert!(outcome.stderr.contains(told), "{args:?}: {}", outcome.all());
        }
    }
    for args in
        [&["-i", r"src/\[dir\]"][..], &["-i", r"src/\*"], &["-i", "src"], &["-i", "a", "-i", "[[]dir]"]]
    {
        restore(&sandbox, &target, args).expect(0);
    }
    assert!(target.join("src/[dir]").exists());
}

#[test]
fn setuid_devices_owners_and_attributes_are_left_out_on_demand() {
    let sandbox = Sandbox::with_tree(&[("suid", "1"), ("named", "2"), ("d/x", "3")]);
    for (name, mode) in [("suid", 0o6755), ("d", 0o2775)] {
        chmod(&sandbox.src().join(name), mode);
    }
    let with_xattrs = Command::new("setfattr")
        .args(["-n", "user.note", "-v", "theirs"])
        .arg(sandbox.src().join("named"))
        .status()
        .is_ok_and(|done| done.success());
    let root = is_root("make devices and give files away");
    if root {
        let null = sandbox.src().join("null");
        let device = rustix::fs::makedev(1, 3);
        let kind = rustix::fs::FileType::CharacterDevice;
        rustix::fs::mknodat(rustix::fs::CWD, &null, kind, 0o666.into(), device).unwrap();
        fs::hard_link(&null, sandbox.src().join("null2")).unwrap();
        std::os::unix::fs::chown(sandbox.src().join("named"), Some(65534), Some(65534)).unwrap();
    }
    sandbox.backup(&[]);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().mode() & 0o7777;
    let whole = sandbox.restore("latest", &[]).join("src");
    assert_eq!((mode(&whole.join("suid")), mode(&whole.join("d"))), (0o6755, 0o2775));
    let target = sandbox.new_target();
    for round in 0..2 {
        let args = ["--no-setuid", "--no-devices", "--no-owner", "--no-xattrs"];
        let outcome = restore(&sandbox, &target, &args).expect(0);
        assert!(!outcome.text().contains("left out"), "{}", outcome.text());
        assert_eq!((mode(&target.join("src/suid")), mode(&target.join("src/d"))), (0o755, 0o775), "{round}");
        assert!(!target.join("src/null").exists() && !target.join("src/null2").exists());
        assert_eq!(
            fs::metadata(target.join("src/named")).unwrap().uid(),
            rustix::process::geteuid().as_raw()
        );
    }
    if with_xattrs {
        let note = |path: &std::path::Path| {
            let done = Command::new("getfattr").args(["--only-values", "-n", "user.note"]).arg(path).output();
            String::from_utf8(done.unwrap().stdout).unwrap()
        };
        assert_eq!(
            (note(&whole.join("named")), note(&target.join("src/named"))),
            ("theirs".into(), String::new())
        );
        let mine = target.join("src/named");
        assert!(
            Command::new("setfattr")
                .args(["-n", "user.note", "-v", "mine"])
                .arg(&mine)
                .status()
                .unwrap()
                .success()
        );
        restore(&sandbox, &target, &["--no-xattrs"]).expect(0);
        assert_eq!(note(&mine), "mine", "attributes are left alone");
    }
    if root {
        assert!(whole.join("null").exists() && whole.join("null2").exists());
    }
}
