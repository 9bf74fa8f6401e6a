//! `--delete`: what it removes, and above all what it keeps.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::craft::listing;
use super::{craft, is_root, restore, summary};
use crate::support::{Sandbox, assert_same, chmod};

fn put(root: &Path, names: &[&str]) {
    for name in names {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "mine").unwrap();
    }
}

/// A restored snapshot of `src/a` and `src/d/b`.
fn restored() -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::with_tree(&[("a", "1"), ("d/b", "2")]);
    sandbox.backup(&[]);
    let target = sandbox.restore("latest", &[]);
    (sandbox, target)
}

#[test]
fn delete_removes_only_extra_files_in_the_target() {
    let (sandbox, target) = restored();
    put(&target, &["src/x", "src/d/e/f/g", "src/d/z", "src/other/y"]);
    put(&sandbox.path(""), &["out/beside", "elsewhere/kept"]);
    symlink(sandbox.path("elsewhere"), target.join("src/d/out")).unwrap();
    symlink(sandbox.path("elsewhere"), target.join("src/link")).unwrap();
    chmod(&target.join("src/d/e/f"), 0o500);
    let done = summary(&sandbox, &target, &[]);
    assert_eq!(done["files_deleted"], 0, "nobody asked for it");
    let done = summary(&sandbox, &target, &["--delete"]);
    assert_eq!(listing(&target), ["", "src", "src/a", "src/d", "src/d/b"]);
    assert_eq!(done["files_deleted"], 9);
    assert_same(&sandbox.src(), &target.join("src"));
    assert!(sandbox.path("out/beside").exists(), "above the target");
    assert!(sandbox.path("elsewhere/kept").exists(), "through a link");
}

#[test]
fn only_what_is_selected_goes() {
    let cases: [(&str, &[&str], &[&str], &[&str]); 4] = [
        ("latest", &["--include", "/src/d"], &["src/d/x", "src/d/n/x"], &["src/x", "y"]),
        ("latest", &["--exclude", "*.keep"], &["src/x", "src/n/x"], &["src/a.keep", "src/n/b.keep", "y"]),
        (
            "latest",
            &["--include", "*.txt", "--include", "b"],
            &["src/x.txt", "src/n/x.txt"],
            &["src/x", "src/n/x"],
        ),
        ("latest:src/d", &[], &["x", "n/x"], &[]),
    ];
    let (sandbox, _) = restored();
    for (selector, args, gone, stay) in cases {
        let target = sandbox.restore(selector, &[]);
        put(&target, gone);
        put(&target, stay);
        sandbox
            .ok(&[&["restore", selector, "--delete", "--target", target.to_str().unwrap()], args].concat());
        for name in gone {
            assert!(!target.join(name).exists(), "{args:?}: {name} is there");
        }
        for name in stay {
            assert!(target.join(name).exists(), "{args:?}: {name} is gone");
        }
    }
}

#[test]
fn a_selection_of_nothing_deletes_nothing() {
    let (sandbox, target) = restored();
    put(&target, &["src/typo/x"]);
    restore(&sandbox, &target, &["--delete", "--include", "/src/typo"]).expect(3);
    assert!(target.join("src/typo/x").exists());
}

#[test]
fn delete_never_applies_to_the_whole_machine() {
    let (sandbox, target) = restored();
    symlink("/", sandbox.path("root")).unwrap();
    for path in [Path::new("/"), &target.join("../../../../../../../../.."), &sandbox.path("root")] {
        // With -n, in case the result should ever be wrong.
        let outcome = restore(&sandbox, path, &["--delete", "-n"]).expect(2);
        assert!(outcome.stderr.contains("--include"), "{}", outcome.stderr);
    }
}

#[test]
fn damage_deletes_nothing() {
    let sandbox = Sandbox::open();
    craft::snapshot(&craft::open(&sandbox), craft::counts(1, 1, 4), |craft| {
        let file = craft::file("f", &[craft.data(b"good")]);
        let lost = craft::dir("lost", snap_backup::model::id::ChunkId::new([9; 32]));
        craft.dir(&[file, lost])
    });
    let target = sandbox.new_target();
    put(&target, &["x", "lost/kept"]);
    let outcome = restore(&sandbox, &target, &["--delete"]).expect(20);
    assert!(outcome.stderr.contains("nothing was deleted"), "{}", outcome.stderr);
    assert!(target.join("x").exists() && target.join("lost/kept").exists());
}

#[test]
fn directory_is_replaced_by_a_file_only_with_delete() {
    for (full, args, code) in [(false, &[][..], 0), (true, &[], 3), (true, &["--delete"], 0)] {
        let (sandbox, target) = restored();
        let place = target.join("src/a");
        fs::remove_file(&place).unwrap();
        fs::create_dir(&place).unwrap();
        if full {
            put(&place, &["deep/kept"]);
        }
        restore(&sandbox, &target, &[args, &["-n"]].concat()).expect(code);
        let outcome = restore(&sandbox, &target, args).expect(code);
        assert_eq!(place.is_file(), code == 0, "{args:?}");
        if code != 0 {
            assert!(place.join("deep/kept").exists() && outcome.stderr.contains("--delete"));
        }
    }
}

#[test]
fn another_file_system_stays() {
    if !is_root("mount a file system into the target") {
        return;
    }
    let (sandbox, target) = restored();
    for (name, args) in [("tmpfs", &["-t", "tmpfs", "none"][..]), ("bind", &["--bind", "elsewhere"])] {
        let place = target.join("src/d").join(name);
        fs::create_dir_all(&place).unwrap();
        put(&sandbox.path(""), &["elsewhere/kept"]);
        let mounted =
            Command::new("mount").current_dir(sandbox.path("")).args(args).arg(&place).status().unwrap();
        if !mounted.success() {
            eprintln!("SKIPPED, this machine mounts nothing: {name}");
            continue;
        }
        put(&place, &["kept"]);
        let outcome = restore(&sandbox, &target, &["--delete"]);
        let stayed = place.join("kept").exists();
        assert!(Command::new("umount").arg(&place).status().unwrap().success());
        assert!(stayed, "{name}: another file system was emptied");
        outcome.expect(3);
        fs::remove_dir(&place).unwrap();
    }
}
