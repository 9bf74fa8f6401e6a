//! The restored tree.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use crate::support::{Random, Sandbox, assert_same, chmod, copy_tree};

#[test]
fn a_tree_of_everything_comes_back_as_it_was() {
    let sandbox =
        Sandbox::with_tree(&[("a.txt", "hello"), ("empty", ""), ("empty dir/", ""), ("d/e/f", "deep")]);
    let src = sandbox.src();
    fs::write(src.join("big"), Random::new(1).bytes(3 << 20)).unwrap();
    fs::write(src.join(OsStr::from_bytes(b"caf\xe9\n")), "not UTF-8").unwrap();
    symlink("nowhere/at all", src.join("dangling")).unwrap();
    symlink("a.txt", src.join("to a")).unwrap();
    fs::hard_link(src.join("a.txt"), src.join("d/the same as a")).unwrap();
    fs::hard_link(src.join("big"), src.join("d/e/the same as big")).unwrap();
    fs::create_dir(src.join("many")).unwrap();
    for number in 0..5000 {
        fs::write(src.join(format!("many/{number}")), number.to_string()).unwrap();
    }
    for (name, mode) in [("empty dir", 0o1777), ("d/e", 0o555), ("a.txt", 0o4750), ("empty", 0o600)] {
        chmod(&src.join(name), mode);
    }
    sandbox.backup(&[]);
    sandbox.assert_restores("latest", &src);
    sandbox.assert_clean();
}

#[test]
fn an_unencrypted_repository_gives_the_tree_back_too() {
    let sandbox = Sandbox::open();
    sandbox.write(&[("a", "1"), ("d/b", "2")]);
    sandbox.backup(&[]);
    sandbox.assert_restores("latest", &sandbox.src());
    sandbox.assert_clean();
}

#[test]
fn a_deleted_file_stays_deleted() {
    let sandbox = Sandbox::with_tree(&[("stays", "1"), ("goes", "2")]);
    sandbox.backup(&[]);
    fs::remove_file(sandbox.path("src/goes")).unwrap();
    sandbox.backup(&[]);
    sandbox.assert_restores("latest", &sandbox.src());
    assert!(sandbox.restore("latest~1", &[]).join("src/goes").exists());
}

#[test]
fn a_file_may_become_a_directory_and_a_file_again() {
    let sandbox = Sandbox::with_tree(&[("x", "a file")]);
    sandbox.backup(&[]);
    fs::remove_file(sandbox.path("src/x")).unwrap();
    sandbox.write(&[("x/inside", "in a directory")]);
    sandbox.backup(&[]);
    sandbox.assert_restores("latest", &sandbox.src());
    fs::remove_dir_all(sandbox.path("src/x")).unwrap();
    sandbox.write(&[("x", "a file again")]);
    sandbox.backup(&[]);
    sandbox.assert_restores("latest", &sandbox.src());
}

#[test]
fn a_renamed_directory_is_stored_once() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("src/old")).unwrap();
    fs::write(sandbox.path("src/old/big"), Random::new(2).bytes(1 << 20)).unwrap();
    sandbox.backup(&[]);
    let before = sandbox.listing().values().sum::<u64>();
    fs::rename(sandbox.path("src/old"), sandbox.path("src/new")).unwrap();
    sandbox.backup(&[]);
    sandbox.assert_restores("latest", &sandbox.src());
    let grown = sandbox.listing().values().sum::<u64>() - before;
    assert!(grown < 64 << 10, "a rename cost {grown} bytes");
}

#[test]
fn several_sources_come_back_side_by_side() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    copy_tree(&sandbox.src(), &sandbox.path("other"));
    sandbox.ok(&["backup", "src", "other"]);
    let target = sandbox.restore("latest", &[]);
    for name in ["src", "other"] {
        assert_same(&sandbox.path(name), &target.join(name));
    }
}
