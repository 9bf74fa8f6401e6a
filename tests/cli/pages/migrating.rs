//! The page on migrating: directories of other programs become snapshots as shown.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{REPOSITORY, block, transcribe};
use crate::support::Sandbox;

/// Two states of two files, of which the second has one changed. Both have the mtimes that the page shows.
fn two_states(first: &Path, second: &Path, dated: [&Path; 2]) {
    fs::create_dir_all(first).unwrap();
    fs::write(first.join("kept"), "kept ").unwrap();
    fs::write(first.join("notes"), "1 notes").unwrap();
    fs::create_dir_all(second.parent().unwrap()).unwrap();
    let copied = Command::new("cp").arg("-al").arg(first).arg(second).status().unwrap();
    assert!(copied.success());
    fs::remove_file(second.join("notes")).unwrap();
    fs::write(second.join("notes"), "2 news").unwrap();
    for (place, day) in dated.into_iter().zip([1, 2]) {
        let time = format!("2026-03-0{day}T03:00:00");
        assert!(Command::new("touch").args(["-d", &time]).arg(place).status().unwrap().success());
    }
}

/// Returns the real path of a directory of the sandbox, which is printed.
fn real(sandbox: &Sandbox, name: &str) -> PathBuf {
    fs::create_dir_all(sandbox.path(name)).unwrap();
    sandbox.path(name).canonicalize().unwrap()
}

#[test]
fn the_states_of_rsnapshot_are_imported_as_shown() {
    let sandbox = Sandbox::new();
    let root = real(&sandbox, "rsnapshot");
    let (older, newer) = (root.join("daily.1"), root.join("daily.0"));
    two_states(&older.join("localhost/home"), &newer.join("localhost/home"), [&older, &newer]);
    let places = [("/var/cache/rsnapshot", root.to_str().unwrap())];
    transcribe(&sandbox, REPOSITORY, &block("migrating.md", 0), &places);
}

#[test]
fn directories_of_rsync_are_imported_as_shown() {
    let sandbox = Sandbox::new();
    let root = real(&sandbox, "backup");
    let (older, newer) = (root.join("2026-03-01-030000"), root.join("2026-03-02-030000"));
    two_states(&older, &newer, [&older, &newer]);
    let places = [("/mnt/backup", root.to_str().unwrap())];
    transcribe(&sandbox, REPOSITORY, &block("migrating.md", 1), &places);
}

#[test]
fn snapshots_of_snapper_are_imported_as_shown() {
    let sandbox = Sandbox::new();
    let root = real(&sandbox, "volume/.snapshots");
    let (older, newer) = (root.join("1/snapshot"), root.join("2/snapshot"));
    two_states(&older, &newer, [&older, &newer]);
    for number in [1, 2] {
        let info = format!("<date>2026-03-0{number} 03:00:00</date>");
        fs::write(root.join(number.to_string()).join("info.xml"), info).unwrap();
    }
    let places = [("/home/.snapshots", root.to_str().unwrap())];
    transcribe(&sandbox, REPOSITORY, &block("migrating.md", 2), &places);
}

/// The stand-in for restic only lists: the tests of the import use the real one.
const RESTIC: &str = r#"#!/bin/sh
one() {
    printf '{"time":"%s","paths":["/home"],"hostname":"%s","username":"me","tags":null,"id":"%s"}' "$1" "$2" "$3$3$3$3$3$3$3$3"
}
case $1 in
    version) echo 'restic 0.19.1 compiled with go1.26.4 on linux/amd64' ;;
    snapshots) printf '[%s,%s]' "$(one 2024-01-01T02:04:05Z one 11111111)" "$(one 2024-01-02T02:04:05Z two 22222222)" ;;
    stats) echo '{"total_size":1048576}' ;;
esac
"#;

#[test]
fn snapshots_of_restic_are_listed_as_shown() {
    let sandbox = Sandbox::new();
    let program = real(&sandbox, "bin").join("restic");
    fs::write(&program, RESTIC).unwrap();
    assert!(Command::new("chmod").arg("755").arg(&program).status().unwrap().success());
    let before = format!("{REPOSITORY} PATH=$HOME/../bin:$PATH");
    transcribe(&sandbox, &before, &block("migrating.md", 3), &[]);
}

#[test]
fn every_snapshot_becomes_an_archive_as_shown() {
    let sandbox = Sandbox::with_tree(&[("a", "a")]);
    sandbox.backup(&["src"]);
    sandbox.write(&[("b", "b")]);
    sandbox.backup(&["src"]);
    let leave = real(&sandbox, "leave");
    transcribe(&sandbox, REPOSITORY, &block("migrating.md", 4), &[("/srv/leave", leave.to_str().unwrap())]);
}
