//! Kinds.

use std::fs;

use super::snapshots;
use crate::support::{Sandbox, copy_tree};

#[test]
fn an_incremental_of_nothing_new_writes_nothing_and_says_so() {
    let sandbox = Sandbox::with_tree(&[("a", "1"), ("d/b", "2")]);
    let id = sandbox.backup(&[]);
    let before = sandbox.listing();
    let outcome = sandbox.ok(&["backup", "src"]);
    assert_eq!(sandbox.listing(), before);
    let sentence = format!("nothing changed since snapshot {}: nothing written", &id[..8]);
    assert!(outcome.text().contains(&sentence), "{}", outcome.all());
}

#[test]
fn allow_empty_writes_a_snapshot_of_nothing_new() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    sandbox.backup(&["--allow-empty"]);
}

#[test]
fn first_incremental_or_differential_becomes_a_full() {
    for kind in ["--incremental", "--differential"] {
        let sandbox = Sandbox::with_tree(&[("a", "1")]);
        let outcome = sandbox.ok(&["backup", kind, "src"]);
        assert!(outcome.all().contains("becomes a full"), "{kind}: {}", outcome.all());
        assert_eq!(snapshots(&sandbox)[0]["kind"], "full", "{kind}");
    }
}

#[test]
fn differential_equal_to_the_full_is_still_a_new_state() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    copy_tree(&sandbox.src(), &sandbox.path("kept"));
    sandbox.backup(&["--full"]);
    sandbox.write(&[("a", "another")]);
    sandbox.backup(&["--differential"]);
    fs::remove_dir_all(sandbox.src()).unwrap();
    copy_tree(&sandbox.path("kept"), &sandbox.src());
    sandbox.backup(&["--differential"]);
    sandbox.assert_restores("latest", &sandbox.src());
    assert_eq!(sandbox.try_backup(&["--differential"]), None);
}

#[test]
fn a_full_always_writes_a_snapshot_and_no_data_twice() {
    let sandbox = Sandbox::with_tree(&[("a", "1"), ("b", "2")]);
    sandbox.backup(&["--full"]);
    let packs = sandbox.objects("packs");
    sandbox.backup(&["--full"]);
    assert_eq!(sandbox.objects("packs"), packs);
    sandbox.assert_restores("latest~1", &sandbox.src());
}

#[test]
fn full_backup_finds_changes_without_new_timestamps() {
    let sandbox = Sandbox::with_tree(&[("a", "one")]);
    let kept = fs::metadata(sandbox.path("src/a")).unwrap().modified().unwrap();
    sandbox.backup(&[]);
    sandbox.write(&[("a", "two")]);
    let file = fs::File::options().write(true).open(sandbox.path("src/a")).unwrap();
    file.set_modified(kept).unwrap();
    sandbox.backup(&["--full"]);
    sandbox.assert_restores("latest", &sandbox.src());
}

#[test]
fn a_dry_run_writes_nothing() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    let before = sandbox.listing();
    sandbox.ok(&["backup", "--dry-run", "src"]);
    assert_eq!(sandbox.listing(), before);
}
