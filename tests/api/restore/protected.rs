//! What a restore, and every other command that writes to a given path, never touches: the repository, its
//! mirrors, and local state.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::is_root;
use crate::support::Sandbox;

/// The source is the sandbox's own directory, with `repo/`, `cache/` and `state/` in it; `-t .` restores it
/// in place.
fn own() -> Sandbox {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.ok(&["backup", "."]);
    sandbox
}

fn is_whole(sandbox: &Sandbox) {
    for name in ["cache", "state"] {
        assert!(fs::read_dir(sandbox.path(name)).unwrap().next().is_some(), "{name} was emptied");
    }
    sandbox.assert_clean();
}

#[test]
fn delete_keeps_the_repository_the_cache_and_the_state() {
    let sandbox = own();
    fs::write(sandbox.path("src/new"), "").unwrap();
    for args in [&["-n"][..], &[], &["--overwrite", "never"]] {
        let outcome = sandbox.snap(&[&["restore", "latest", "-t", ".", "--delete"], args].concat()).expect(0);
        for name in ["repo", "home/.cache/snap", "home/.local/state/snap"] {
            assert!(
                outcome.stderr.contains(&format!("{name} is ")),
                "{args:?} says nothing of {name}: {}",
                outcome.all()
            );
        }
        is_whole(&sandbox);
    }
    assert!(!sandbox.path("src/new").exists(), "the rest is restored as ever");
}

#[test]
fn repository_below_a_deleted_directory_stays_with_its_path() {
    let sandbox = own();
    fs::create_dir_all(sandbox.path("gone/deep")).unwrap();
    fs::write(sandbox.path("gone/file"), "").unwrap();
    fs::rename(sandbox.path("repo"), sandbox.path("gone/deep/repo")).unwrap();
    let mut command = sandbox.bin();
    command.args(["-r", "gone/deep/repo", "restore", "latest", "-t", ".", "--delete"]);
    crate::support::finish(command, b"").expect(0);
    assert!(!sandbox.path("gone/file").exists());
    fs::rename(sandbox.path("gone/deep/repo"), sandbox.path("repo")).unwrap();
    sandbox.assert_clean();
}

#[test]
fn a_repository_that_is_not_the_open_one_stays_as_well() {
    let sandbox = own();
    let copy = |to: &str| {
        assert!(
            Command::new("cp")
                .args(["-r", "repo", to])
                .current_dir(sandbox.path(""))
                .status()
                .unwrap()
                .success()
        );
    };
    fs::create_dir_all(sandbox.path("gone/deep")).unwrap();
    fs::write(sandbox.path("gone/file"), "").unwrap();
    copy("gone/deep/second");
    // Of a damaged repository most can be saved.
    copy("gone/cut");
    fs::write(sandbox.path("gone/cut/config/1"), "x").unwrap();
    // A directory with such a name is not necessarily a repository.
    fs::create_dir_all(sandbox.path("gone/program/config")).unwrap();
    for args in [&["-n"][..], &[]] {
        let args = [&["restore", "latest", "-t", ".", "--delete"], args].concat();
        let told = sandbox.snap(&args).expect(0).stderr;
        for name in ["gone/deep/second", "gone/cut"] {
            assert!(
                told.contains(&format!("{name} is a snap repository: it was not deleted")),
                "{args:?}: {told}"
            );
        }
    }
    assert!(!sandbox.path("gone/file").exists() && !sandbox.path("gone/program").exists());
    for args in [
        &["restore", "latest", "-t", "gone/deep/second/new"][..],
        &["export", "latest", "-o", "gone/deep/second/config/1", "--force"],
        &["history", "src/a", "--restore-as", "gone/cut/x"],
        &["status", "--prometheus", "gone/cut/x.prom"],
    ] {
        let outcome = sandbox.snap(args);
        assert!(outcome.code == 1 && outcome.stderr.contains(" is inside "), "{args:?}: {}", outcome.all());
    }
    let mut check = sandbox.bin();
    check.args(["-r", "./gone/deep/second", "check", "--read-data"]);
    crate::support::finish(check, b"").expect(0);
}

/// Everything that would write into this directory.
fn refused(sandbox: &Sandbox, dir: &Path) {
    let at = dir.to_str().unwrap();
    let (file, deep) = (format!("{at}/x.tar"), format!("{at}/new/deep"));
    let cases: [&[&str]; 15] = [
        &["restore", "latest", "-t", at],
        &["restore", "latest", "-t", at, "-n"],
        &["restore", "latest", "-t", at, "--delete", "--include", "src"],
        &["restore", "latest", "-t", &deep],
        &["restore", "latest", "-t", &deep, "-n"],
        &["export", "latest", "-o", &file],
        &["export", "latest", "-o", &file, "--force"],
        &["drill", "--scratch", at],
        &["history", "src/a", "--restore-as", &file],
        &["status", "--prometheus", &file],
        &["man", at],
        &["man", &deep],
        &["config", "init", "-o", &file],
        &["sync", "--init", "--to", &deep],
        &["copy", "--init", "--to", &deep],
    ];
    let before = sandbox.listing();
    let mut init = sandbox.bin();
    init.args(["-r", &deep, "init"]);
    let made = crate::support::finish(init, b"");
    assert!(made.code == 1 && made.stderr.contains(" is inside "), "{}", made.all());
    for args in cases {
        let outcome = sandbox.snap(args);
        assert!(outcome.code != 0 && outcome.stderr.contains(" is inside "), "{args:?}: {}", outcome.all());
        assert_eq!(sandbox.listing(), before, "{args:?} wrote into the repository");
    }
}

#[test]
fn paths_in_protected_directories_are_refused_by_any_name() {
    let sandbox = own();
    symlink("repo", sandbox.path("link")).unwrap();
    symlink(sandbox.path("repo/packs"), sandbox.path("inner")).unwrap();
    for name in ["repo", "repo/packs", "link", "inner", "src/../repo", "cache", "state"] {
        refused(&sandbox, &sandbox.path(name));
    }
    symlink(sandbox.path("repo/new"), sandbox.path("dangling")).unwrap();
    sandbox.snap(&["restore", "latest", "-t", "dangling"]).expect_one_of(&[1]);
    fs::create_dir_all(sandbox.path("repo/empty")).unwrap();
    let outcome = sandbox.snap(&["mount", "repo/empty"]);
    assert!(outcome.code != 0 && outcome.stderr.contains(" is inside "), "{}", outcome.all());
    fs::remove_dir(sandbox.path("repo/empty")).unwrap();
    let outcome = sandbox.snap(&["sync", "--init", "--to", "./repo/second"]).expect(1);
    assert!(outcome.stderr.contains(" is inside "), "{}", outcome.stderr);
    is_whole(&sandbox);
}

/// A repository that nothing names is recognized by its folders.
#[test]
fn no_file_is_created_inside_another_repository() {
    let sandbox = own();
    fs::rename(sandbox.path("repo"), sandbox.path("other")).unwrap();
    let run = |args: &[&str]| {
        let mut command = sandbox.bin();
        command.args(args);
        crate::support::finish(command, b"")
    };
    for args in [
        &["man", "other/packs"][..],
        &["config", "init", "-o", "other/snap.toml"],
        &["-r", "./other/second", "init"],
        &["-r", "./other/second", "backup", "--init", "src"],
    ] {
        let outcome = run(args);
        assert!(outcome.code == 1 && outcome.stderr.contains(" is inside "), "{args:?}: {}", outcome.all());
    }
    fs::rename(sandbox.path("other"), sandbox.path("repo")).unwrap();
    for args in
        [&["man", "pages"][..], &["config", "init", "-o", "new/snap.toml"], &["-r", "./new/repo", "init"]]
    {
        run(args).expect(0);
    }
    let outcome = sandbox.snap(&["backup", "--mirror", "./new/repo/second", "--init", "src"]).expect(3);
    assert!(outcome.stderr.contains(" is inside "), "{}", outcome.all());
    is_whole(&sandbox);
}

#[test]
fn a_mirror_of_the_configuration_is_protected_too() {
    let sandbox = own();
    let text = "[repositories.main]\nlocation = \"./repo\"\n[sets.s]\nsources = [\"src\"]\nrepository = \"main\"\nmirror = [\"./second\"]\n";
    fs::write(sandbox.path("snap.toml"), text).unwrap();
    sandbox.ok(&["sync", "--init", "--to", "./second"]);
    let file = sandbox.path("snap.toml");
    let run = |args: &[&str]| {
        let mut command = sandbox.bin();
        command.args(["--config", file.to_str().unwrap(), "-r", "main"]).args(args);
        crate::support::finish(command, b"")
    };
    let outcome = run(&["restore", "latest", "-t", "second/x"]).expect(1);
    assert!(outcome.stderr.contains("a mirror"), "{}", outcome.stderr);
    let outcome = run(&["restore", "latest", "-t", ".", "--delete"]).expect(0);
    assert!(outcome.stderr.contains("second is a mirror"), "{}", outcome.stderr);
    assert!(sandbox.path("second/packs").exists());
}

#[test]
fn a_bind_mount_of_the_repository_is_the_repository() {
    if !is_root("mount a directory a second time") {
        return;
    }
    let sandbox = own();
    for part in ["repo", "repo/packs", "repo/packs/00"] {
        fs::create_dir_all(sandbox.path(part)).unwrap();
        let at = sandbox.path("bound");
        fs::create_dir_all(&at).unwrap();
        let mounted = Command::new("mount").arg("--bind").arg(sandbox.path(part)).arg(&at).status().unwrap();
        if !mounted.success() {
            return crate::support::skipped("this machine mounts nothing");
        }
        let outcome = sandbox.snap(&["restore", "latest", "-t", at.join("x").to_str().unwrap()]);
        let deleted = sandbox.snap(&["restore", "latest", "-t", ".", "--delete"]);
        assert!(Command::new("umount").arg(&at).status().unwrap().success());
        assert!(outcome.code == 1 && outcome.stderr.contains(" is inside "), "{part}: {}", outcome.all());
        assert!(deleted.stderr.contains("bound is the repository"), "{part}: {}", deleted.all());
        sandbox.assert_clean();
    }
}

#[test]
fn an_exported_archive_is_for_its_owner_alone() {
    let sandbox = own();
    fs::write(sandbox.path("old.tar"), "").unwrap();
    for args in [&["-o", "new.tar"][..], &["-o", "old.tar", "--force"]] {
        sandbox.ok(&[&["export", "latest"], args].concat());
        let mode = fs::metadata(sandbox.path(args[1])).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{args:?}");
    }
}
