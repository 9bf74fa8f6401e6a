//! A repository that differs from this machine's records: swapped, rolled back, emptied, or with missing
//! snapshots.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Sandbox, copy_tree};

fn sandbox() -> Sandbox {
    Sandbox::with_tree(&[("a", "1"), ("d/b", "2")])
}

fn assert_told(sandbox: &Sandbox, args: &[&str], code: i32, what: &str) {
    let outcome = sandbox.snap(args).expect(code);
    assert!(outcome.stderr.contains(what), "{args:?} does not say '{what}': {}", outcome.all());
    assert!(outcome.stderr.contains("snap repair known"), "{args:?}: {}", outcome.stderr);
}

#[test]
fn missing_snapshots_stop_gc_and_are_reported_by_check() {
    let sandbox = sandbox();
    sandbox.backup(&[]);
    let packs = sandbox.objects("packs");
    fs::rename(sandbox.path("repo/snapshots"), sandbox.path("away")).unwrap();
    // Anybody who may add objects can create trash entries, but not with a manifest.
    let planted = plant_trash(&sandbox, &sandbox.path("away"));
    for args in [&["gc"][..], &["gc", "--empty-trash", "--max-unused", "0"], &["gc", "-n"]] {
        assert_told(&sandbox, args, 20, "was made by this machine and is gone");
    }
    assert_eq!(sandbox.objects("packs"), packs);
    for _ in 0..2 {
        assert_told(&sandbox, &["check"], 20, "was made by this machine and is gone");
    }
    let status = sandbox.snap(&["status"]).expect(20).text();
    assert!(status.contains("NOT AS IT WAS"), "{status}");
    // A new snapshot of the same files does not replace the old one.
    sandbox.write(&[("a", "another")]);
    assert_told(&sandbox, &["backup", "src"], 3, "is gone");
    assert_told(&sandbox, &["check"], 20, "is gone");
    for entry in fs::read_dir(sandbox.path("away")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), sandbox.path("repo/snapshots").join(entry.file_name())).unwrap();
    }
    planted.iter().for_each(|file| fs::remove_file(file).unwrap());
    sandbox.assert_clean();
    sandbox.ok(&["gc"]);
    sandbox.ok(&["status"]);
}

#[test]
fn planted_trash_entries_explain_no_missing_snapshots() {
    let sandbox = sandbox();
    for content in ["one", "another"] {
        sandbox.write(&[("a", content)]);
        sandbox.backup(&[]);
    }
    sandbox.ok(&["forget", "latest~1"]);
    sandbox.ok(&["gc", "--empty-trash", "--max-unused", "0"]);
    let packs = sandbox.objects("packs");
    fs::rename(sandbox.path("repo/snapshots"), sandbox.path("away")).unwrap();
    plant_trash(&sandbox, &sandbox.path("away"));
    let mut elsewhere = sandbox.command(&["gc", "--empty-trash", "--max-unused", "0"]);
    elsewhere.env("HOME", sandbox.path("another"));
    let outcome = crate::support::finish(elsewhere, b"").expect(20);
    assert!(outcome.stderr.contains("there are no snapshots"), "{}", outcome.all());
    assert_eq!(sandbox.objects("packs"), packs);
}

/// Creates an empty entry and one with other bytes for each snapshot. Returns their files.
fn plant_trash(sandbox: &Sandbox, snapshots: &Path) -> Vec<PathBuf> {
    let trash = sandbox.path("repo/trash");
    fs::create_dir_all(&trash).unwrap();
    let ids = fs::read_dir(snapshots).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut files = Vec::new();
    for id in ids {
        for (by, bytes) in [("0", Vec::new()), ("1", vec![7; 300])] {
            let file = trash.join(format!("{id}.{}", by.repeat(32)));
            fs::write(&file, bytes).unwrap();
            files.push(file);
        }
    }
    files
}

/// Trash entries do not explain what was lost with `snapshots/`, whichever machine runs gc.
#[test]
fn gc_deletes_nothing_if_only_the_trash_is_left() {
    let sandbox = sandbox();
    for content in ["one", "another", "a third"] {
        sandbox.write(&[("a", content)]);
        sandbox.backup(&[]);
    }
    sandbox.ok(&["forget", "latest~2"]);
    sandbox.ok(&["gc", "--empty-trash", "--max-unused", "0"]);
    sandbox.ok(&["forget", "latest~1"]);
    let kept = |area| sandbox.objects(area);
    let before = (kept("packs"), kept("trash"));
    assert_eq!(before.1.len(), 1);
    fs::rename(sandbox.path("repo/snapshots"), sandbox.path("away")).unwrap();
    assert_told(&sandbox, &["gc", "--empty-trash", "--max-unused", "0"], 20, "and is gone");
    let mut elsewhere = sandbox.command(&["gc", "--empty-trash", "--max-unused", "0"]);
    elsewhere.env("HOME", sandbox.path("another"));
    let outcome = crate::support::finish(elsewhere, b"").expect(20);
    assert!(outcome.stderr.contains("there are no snapshots"), "{}", outcome.all());
    assert_eq!((kept("packs"), kept("trash")), before);
    fs::rename(sandbox.path("away"), sandbox.path("repo/snapshots")).unwrap();
    sandbox.ok(&["gc", "--empty-trash"]);
    sandbox.assert_clean();
    sandbox.ok(&["forget", "latest", "--allow-remove-all"]);
    sandbox.ok(&["gc"]);
    sandbox.ok(&["gc", "--empty-trash", "--max-unused", "0"]);
}

/// Runs the program on a machine without records of the repository.
fn elsewhere(sandbox: &Sandbox, args: &[&str], code: i32) -> String {
    let mut command = sandbox.command(args);
    command.env("HOME", sandbox.path("another"));
    crate::support::finish(command, b"").expect(code).all()
}

const ALL: [&str; 4] = ["gc", "--empty-trash", "--max-unused", "0"];

#[test]
fn lost_snapshots_are_missed_before_the_first_gc() {
    let sandbox = sandbox();
    for content in ["one", "another"] {
        sandbox.write(&[("a", content)]);
        sandbox.backup(&[]);
    }
    let packs = sandbox.objects("packs");
    fs::rename(sandbox.path("repo/snapshots"), sandbox.path("away")).unwrap();
    for args in [&ALL[..], &["gc", "-n"]] {
        let told = elsewhere(&sandbox, args, 20);
        assert!(told.contains("the repository has packs of 2 sessions but no snapshot"), "{told}");
    }
    // A forgotten snapshot explains its own packs and no others.
    fs::rename(sandbox.path("away"), sandbox.path("repo/snapshots")).unwrap();
    elsewhere(&sandbox, &["forget", "latest~1"], 0);
    fs::rename(sandbox.path("repo/snapshots"), sandbox.path("away")).unwrap();
    let told = elsewhere(&sandbox, &ALL, 20);
    assert!(told.contains("the repository has packs of one session but no snapshot"), "{told}");
    assert_eq!(sandbox.objects("packs"), packs);
    let told = elsewhere(&sandbox, &["repair", "known", "-n"], 0);
    assert!(told.contains("would accept: the repository has packs of one session"), "{told}");
    elsewhere(&sandbox, &ALL, 20);
    elsewhere(&sandbox, &["repair", "known"], 0);
    elsewhere(&sandbox, &ALL, 0);
    assert_eq!(sandbox.objects("packs"), Vec::<PathBuf>::new());
}

#[test]
fn machines_miss_snapshots_that_the_last_gc_kept() {
    let sandbox = sandbox();
    for content in ["one", "another", "a third"] {
        sandbox.write(&[("a", content)]);
        sandbox.backup(&[]);
    }
    sandbox.ok(&["forget", "latest~2"]);
    sandbox.ok(&ALL);
    let packs = sandbox.objects("packs");
    let lost = sandbox.objects("snapshots").swap_remove(0);
    let lost = lost.file_name().unwrap().to_str().unwrap().to_owned();
    fs::rename(sandbox.path("repo/snapshots").join(&lost), sandbox.path("away")).unwrap();
    let told = elsewhere(&sandbox, &ALL, 20);
    assert!(told.contains(&format!("the last garbage collection kept snapshot {}", &lost[..8])), "{told}");
    assert_eq!(sandbox.objects("packs"), packs);
    elsewhere(&sandbox, &["repair", "known"], 0);
    elsewhere(&sandbox, &ALL, 0);
    assert!(sandbox.objects("packs").len() < packs.len());
}

#[test]
fn machine_that_forgot_all_snapshots_can_delete_all_packs() {
    let sandbox = sandbox();
    for content in ["one", "another"] {
        sandbox.write(&[("a", content)]);
        sandbox.backup(&[]);
    }
    let second = sandbox.path("second");
    let second = second.to_str().unwrap();
    sandbox.ok(&["copy", "--init", "--to", second]);
    for repository in ["repo", "second"] {
        fs::rename(sandbox.path(repository), sandbox.path("other")).unwrap();
        fs::rename(sandbox.path("other"), sandbox.path("repo")).unwrap();
        elsewhere(&sandbox, &["forget", "latest", "latest~1", "--allow-remove-all"], 0);
        elsewhere(&sandbox, &ALL, 0);
        assert_eq!(sandbox.objects("packs"), Vec::<PathBuf>::new());
        fs::remove_dir_all(sandbox.path("repo")).unwrap();
        fs::remove_dir_all(sandbox.path("another")).unwrap();
    }
}

#[test]
fn snapshots_that_are_missing_can_be_accepted() {
    let sandbox = sandbox();
    sandbox.backup(&[]);
    fs::remove_dir_all(sandbox.path("repo/snapshots")).unwrap();
    sandbox.snap(&["check", "-v"]).expect(20);
    let told = sandbox.ok(&["repair", "known", "-n"]).text();
    assert!(told.contains("would accept"), "{told}");
    sandbox.snap(&["check", "-v"]).expect(20);
    sandbox.ok(&["repair", "known"]);
    sandbox.ok(&["check"]);
    sandbox.ok(&["gc"]);
}

#[test]
fn forgotten_snapshots_are_not_missing() {
    let sandbox = sandbox();
    sandbox.backup(&[]);
    sandbox.write(&[("a", "2")]);
    sandbox.backup(&[]);
    sandbox.ok(&["forget", "latest", "--allow-remove-all"]);
    sandbox.ok(&["check"]);
    sandbox.ok(&["gc", "--empty-trash"]);
    sandbox.ok(&["check"]);
    // Another machine forgets, which this one does not know.
    sandbox.write(&[("a", "3")]);
    sandbox.backup(&[]);
    let mut elsewhere = sandbox.command(&["forget", "latest", "--allow-remove-all"]);
    elsewhere.env("HOME", sandbox.path("another"));
    crate::support::finish(elsewhere, b"").expect(0);
    sandbox.ok(&["check"]);
    sandbox.ok(&["gc"]);
}

#[test]
fn older_copy_of_the_repository_is_reported() {
    let sandbox = sandbox();
    sandbox.backup(&[]);
    copy_tree(&sandbox.path("repo"), &sandbox.path("yesterday"));
    sandbox.write(&[("a", "2")]);
    sandbox.backup(&[]);
    sandbox.ok(&["config", "set", "parity", "10%"]);
    fs::remove_dir_all(sandbox.path("repo")).unwrap();
    copy_tree(&sandbox.path("yesterday"), &sandbox.path("repo"));
    assert_told(&sandbox, &["check"], 20, "is gone");
    assert_told(&sandbox, &["check"], 20, "this machine last saw config/2");
    assert_told(&sandbox, &["backup", "src"], 3, "is gone");
    sandbox.ok(&["repair", "known"]);
    sandbox.ok(&["check"]);
    sandbox.ok(&["backup", "src"]);
}

#[test]
fn other_repository_at_a_location_is_refused_until_known() {
    let sandbox = sandbox();
    sandbox.backup(&[]);
    fs::rename(sandbox.path("repo"), sandbox.path("first")).unwrap();
    let mut elsewhere = sandbox.command(&["init"]);
    elsewhere.env("HOME", sandbox.path("another"));
    crate::support::finish(elsewhere, b"").expect(0);
    for args in [&["backup", "src"][..], &["ls", "latest"], &["check"], &["gc"], &["snapshots"]] {
        assert_told(&sandbox, args, 20, "this machine last found repository");
    }
    sandbox.snap(&["status"]).expect(20);
    sandbox.ok(&["repair", "known"]);
    sandbox.ok(&["backup", "src"]);
    // Disks that are used in turn at one location.
    fs::rename(sandbox.path("repo"), sandbox.path("second")).unwrap();
    fs::rename(sandbox.path("first"), sandbox.path("repo")).unwrap();
    sandbox.ok(&["check"]);
    sandbox.ok(&["backup", "src"]);
}

#[test]
fn flipped_byte_in_the_configuration_is_no_new_repository() {
    let sandbox = sandbox();
    sandbox.backup(&[]);
    sandbox.ok(&["config", "set", "parity", "10%"]);
    let file = sandbox.path("repo/config/2");
    let whole = fs::read(&file).unwrap();
    for at in [6, 13, 20, 27] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        crate::support::chmod(&file, 0o600);
        fs::write(&file, bytes).unwrap();
        let outcome = sandbox.ok(&["ls", "latest"]);
        assert!(outcome.stderr.contains("config/2 is damaged"), "byte {at}: {}", outcome.stderr);
        sandbox.snap(&["check", "-v"]).expect(20);
    }
}

#[test]
fn no_repository_is_created_where_one_was() {
    let sandbox = sandbox();
    sandbox.backup(&[]);
    fs::rename(sandbox.path("repo"), sandbox.path("away")).unwrap();
    fs::create_dir(sandbox.path("repo")).unwrap();
    assert_told(&sandbox, &["backup", "--init", "src"], 20, "there is none now");
    assert_eq!(sandbox.objects("config").len(), 0);
    // The default requires nothing.
    sandbox.ok(&["init"]);
    sandbox.ok(&["backup", "src"]);
    sandbox.ok(&["check"]);
}
