//! A tree with every property that a file can have, as root: through archives of three programs into a
//! snapshot and back.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::has;
use crate::support::torture::Unlocked;
use crate::support::{Sandbox, torture};

/// The tree without its sockets, which archives cannot hold, and a sandbox to import into.
fn scene(test: &str) -> Option<(Unlocked, Sandbox)> {
    if !torture::can_torture(test) {
        return None;
    }
    let home = Unlocked(tempfile::tempdir().unwrap());
    torture::torture(&home.path().join("it"));
    fs::remove_file(home.path().join("it/nodes/socket")).unwrap();
    torture::set_times(&home.path().join("it/nodes"), 1_000_000, 5);
    Some((home, Sandbox::new()))
}

/// Returns how the restored newest snapshot differs from the tree.
fn differences(home: &Unlocked, sandbox: &Sandbox) -> Vec<String> {
    let target = Unlocked(tempfile::tempdir().unwrap());
    sandbox.ok(&["restore", "latest", "--target", target.path().to_str().unwrap()]);
    torture::differences(&home.path().join("it"), &target.path().join("it"))
}

fn tar(program: &str, args: &[&str], home: &Path, archive: &Path) {
    let mut command = Command::new(program);
    let output = command.args(args).arg("-cf").arg(archive).arg("it").current_dir(home).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_tree_with_everything_comes_back_through_export_and_import() {
    let Some((home, sandbox)) = scene("a_tree_with_everything_comes_back_through_export_and_import") else {
        return;
    };
    let mut command = sandbox.command(&["backup", "it"]);
    command.args(["-r", sandbox.path("repo").to_str().unwrap()]).current_dir(home.path());
    crate::support::finish(command, b"").expect(0);
    sandbox.ok(&["export", "latest", "-o", "it.tar.zst"]);
    sandbox.ok(&["import", "it.tar.zst"]);
    let found = differences(&home, &sandbox);
    assert!(found.is_empty(), "{}", found.join("\n"));
    // The archive exported from the import equals that of the backup.
    let again = sandbox.ok(&["export", "latest", "--format", "tar.zst"]).stdout;
    assert!(again == fs::read(sandbox.path("it.tar.zst")).unwrap());
    sandbox.assert_clean();
}

#[test]
fn a_tree_with_everything_comes_back_from_gnu_tar() {
    let Some((home, sandbox)) = scene("a_tree_with_everything_comes_back_from_gnu_tar") else { return };
    let args = ["--format=pax", "--sparse", "--acls", "--xattrs", "--xattrs-include=*"];
    let archive = sandbox.path("it.tar");
    for numeric in [&["--numeric-owner"][..], &[]] {
        tar("tar", &[&args, numeric].concat(), home.path(), &archive);
        sandbox.ok(&["import", "it.tar"]);
        let found = differences(&home, &sandbox);
        // It does not know inode flags, makes a second pipe of a hard-linked one, and detects holes by the
        // number of blocks.
        let known = ["flags:", "rsync: hS ", "holes of holes/hidden", "holes of holes/less-than-a-block"];
        let found: Vec<&String> =
            found.iter().filter(|text| !known.iter().any(|known| text.starts_with(known))).collect();
        assert!(found.is_empty(), "{numeric:?}: {found:#?}");
    }
    sandbox.assert_clean();
}

#[test]
fn a_tree_with_everything_comes_back_from_bsdtar() {
    let Some((home, sandbox)) = scene("a_tree_with_everything_comes_back_from_bsdtar") else { return };
    if !has("bsdtar") {
        return;
    }
    let archive = sandbox.path("it.tar");
    tar(
        "bsdtar",
        &["--format", "pax", "--acls", "--xattrs", "--fflags", "--numeric-owner"],
        home.path(),
        &archive,
    );
    sandbox.ok(&["import", "it.tar"]);
    // It writes -1.5 seconds as -2.5.
    let known = ["f0", "f3", "d0/", "d3/"].map(|name| format!("t...... times/{name}"));
    let found = differences(&home, &sandbox);
    let found: Vec<&String> =
        found.iter().filter(|text| !known.iter().any(|known| text.ends_with(known))).collect();
    assert!(found.is_empty(), "{found:#?}");
}
