//! Foreign files in the repository: they affect nothing, stay, and are reported once.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::support::Sandbox;

const AREAS: [&str; 11] = [
    "config",
    "keys",
    "packs",
    "packs/00",
    "parity",
    "index",
    "snapshots",
    "trash",
    "sessions",
    "gc",
    "damage",
];
const FILES: [&str; 4] =
    ["Thumbs.db", "desktop.ini", "1 (conflicted copy)", "a.sync-conflict-20261129-010203-ABC"];

fn strew(sandbox: &Sandbox) -> usize {
    for area in AREAS {
        let folder = sandbox.path("repo").join(area);
        fs::create_dir_all(folder.join("@eaDir/inner")).unwrap();
        FILES.iter().for_each(|name| fs::write(folder.join(name), "x").unwrap());
    }
    AREAS.len() * (FILES.len() + 1)
}

#[test]
fn foreign_files_stop_no_command_and_are_reported_once() {
    let sandbox = Sandbox::with_tree(&[("a", "hello"), ("d/b", "deep")]);
    let first = sandbox.backup(&[]);
    sandbox.write(&[("a", "changed")]);
    sandbox.backup(&[]);
    let strays = strew(&sandbox);
    let before = sandbox.listing();
    for verb in ["gc", "check"] {
        let said = sandbox.ok(&[verb]).all();
        assert_eq!(said.matches("not snap's").count(), 1, "{verb}: {said}");
        assert!(said.contains(&format!("and {} more", strays - 5)), "{verb}: {said}");
    }
    for args in [
        vec!["snapshots"],
        vec!["ls", "latest"],
        vec!["status"],
        vec!["key", "list"],
        vec!["forget", &first],
        vec!["undelete"],
        vec!["repair", "gc"],
        vec!["repair", "index"],
        vec!["repair", "packs"],
        vec!["repair", "snapshots"],
        vec!["repair", "parity"],
        vec!["config", "set", "parity", "10%"],
    ] {
        let said = sandbox.ok(&args).all();
        assert!(!said.contains("Thumbs.db"), "{args:?}: {said}");
    }
    sandbox.assert_restores("latest", &sandbox.src());
    sandbox.ok(&["gc", "--empty-trash"]);
    let after = sandbox.listing();
    for (name, len) in before.iter().filter(|(name, _)| !name.to_string_lossy().is_empty()) {
        let stray = FILES.iter().any(|stray| name.ends_with(stray));
        assert!(!stray || after.get(name) == Some(len), "{} is gone", name.display());
    }
}

/// A file to remove is named by its path, even if it looks like the name of a pack.
#[test]
fn a_pack_in_the_wrong_folder_is_named_by_its_path() {
    let sandbox = Sandbox::with_tree(&[("a", "hello")]);
    sandbox.backup(&[]);
    let misplaced = format!("packs/11/{}", "00".repeat(32));
    fs::create_dir_all(sandbox.path("repo/packs/11")).unwrap();
    fs::write(sandbox.path("repo").join(&misplaced), "x").unwrap();
    let said = sandbox.ok(&["check"]).all();
    assert!(said.contains(&format!("{misplaced}; they can be removed")), "{said}");
}

#[test]
fn a_file_in_the_place_of_a_configuration_makes_no_repository() {
    let sandbox = Sandbox::bare();
    fs::create_dir_all(sandbox.path("repo/config")).unwrap();
    fs::write(sandbox.path("repo/config/Thumbs.db"), "x").unwrap();
    sandbox.snap(&["snapshots"]).expect(10);
    sandbox.ok(&["init"]);
}

/// The highest number that a name can contain, the highest that snap counts to, and one close to it.
#[test]
fn implausible_number_is_ignored_and_removed_by_repair() {
    for (name, stops) in [
        ("gc/ffffffffffffffff", false),
        ("gc/ffffffffffffffff.done", false),
        ("gc/0001000000000000", true),
        ("gc/0000ffffffffffff", true),
        ("config/4294967295", false),
        ("config/1073741824", false),
        ("config/1073741823", false),
    ] {
        // Many runs: without a password, which costs each of them a key derivation.
        let sandbox = Sandbox::open();
        sandbox.write(&[("a", "hello")]);
        sandbox.backup(&[]);
        let path = sandbox.path("repo").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "any bytes").unwrap();
        sandbox.snap(&["gc"]).expect(if stops { 20 } else { 0 });
        let said = sandbox.ok(&["repair", "gc"]).all();
        assert!(said.contains(name) && !path.exists(), "{name}: {said}");
        sandbox.ok(&["config", "set", "parity", "10%"]);
        sandbox.ok(&["gc"]);
        sandbox.ok(&["check"]);
        assert!(sandbox.path("repo/config/2").exists(), "{name}: numbers go on where they were");
    }
}

/// Without a reserve, forgetting and gc fail on a full disk. A sparse reserve does not count.
#[test]
fn the_reserve_is_there_from_the_beginning_and_holds_room() {
    use std::os::unix::fs::MetadataExt;
    let sandbox = Sandbox::open();
    let path = sandbox.path("repo/reserve");
    let capacity = || fs::metadata(&path).map_or(0, |found| found.blocks() * 512);
    if capacity() == 0 {
        return crate::support::skipped("this file system gives no blocks ahead");
    }
    assert!(capacity() >= 8 << 20, "after init");
    fs::File::create(&path).unwrap().set_len(8 << 20).unwrap();
    assert!(capacity() < 8 << 20);
    sandbox.ok(&["gc"]);
    assert!(capacity() >= 8 << 20, "after a copy that left holes out");
}

/// A machine whose clock is two days ahead does not treat a writer's file as a leftover, and one that is two
/// days behind still removes leftovers: the clock that dates the files counts.
#[test]
fn leftovers_of_dead_writers_are_aged_by_the_storage_clock() {
    if Command::new("faketime").arg("--version").output().is_err() {
        return crate::support::skipped("no faketime: no clock is wrong");
    }
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    let temp = sandbox.path("repo/snapshots/.tmp-1-1-0");
    for (clock, age, stays) in [("+2d", 0, true), ("-2d", 25, false)] {
        let file = fs::File::create(&temp).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age * 3600)).unwrap();
        let inner = sandbox.command(&["gc"]);
        let mut command = Command::new("faketime");
        command.args(["-f", clock]).arg(inner.get_program()).args(inner.get_args());
        command.env_clear().current_dir(sandbox.path(""));
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        // The clock of the files is right, and nothing waits by the wrong one.
        command.env("NO_FAKE_STAT", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        crate::support::finish(command, b"").expect(0);
        assert_eq!(temp.exists(), stays, "{clock}");
    }
}
