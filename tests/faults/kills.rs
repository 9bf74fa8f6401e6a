//! `kill -9` at any moment loses at most the current operation. `SNAP_TEST_ROUNDS` sets the number of
//! moments.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::support::{Random, Sandbox};

const FILES: u64 = 60;
const FILE_LEN: usize = 100_000;

#[test]
fn a_killed_backup_harms_nothing_that_was_acknowledged() {
    let sandbox = Sandbox::open();
    let mut random = Random::new(8);
    let mut acknowledged = BTreeMap::new();
    write_tree(&sandbox, 0);
    let began = Instant::now();
    acknowledged.insert(sandbox.backup(&[]), 0);
    let whole = u64::try_from(began.elapsed().as_micros()).unwrap();

    for round in 1..=rounds() {
        write_tree(&sandbox, round);
        let moment = Duration::from_micros(random.below(whole));
        let before = sandbox.snapshot_names();
        let finished = kill_after(&sandbox, &["backup", "src"], moment);
        // Killed after the commit but before the report: the snapshot exists, so it must restore.
        let committed = sandbox.snapshot_names().difference(&before).cloned().collect::<Vec<_>>();
        assert!(!finished || committed.len() == 1, "round {round}: success without a snapshot");
        acknowledged.extend(committed.into_iter().map(|id| (id, round)));
        acknowledged.extend(sandbox.try_backup(&[]).map(|id| (id, round)));
        assert_eq!(acknowledged.values().filter(|of| **of == round).count(), 1, "round {round} is not saved");
        sandbox.assert_clean();
    }

    let names = sandbox.snapshot_names();
    assert!(acknowledged.keys().eq(names.iter()), "snapshots appeared or vanished: {names:?}");
    for (id, round) in &acknowledged {
        let target = sandbox.restore(id, &[]);
        assert_is_tree(&target.join("src"), *round);
        fs::remove_dir_all(target.join("src")).unwrap();
    }
}

fn rounds() -> u64 {
    std::env::var("SNAP_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(50)
}

#[test]
fn killed_forget_or_gc_needs_no_help() {
    let sandbox = Sandbox::open();
    let mut random = Random::new(9);
    write_tree(&sandbox, 0);
    let mut kept = sandbox.backup(&[]);
    for round in 1..=rounds() {
        write_tree(&sandbox, round);
        let newest = sandbox.backup(&[]);
        kill_after(&sandbox, &["forget", &kept], Duration::from_micros(random.below(15_000)));
        let collect = ["gc", "--empty-trash", "--max-unused", "0"];
        kill_after(&sandbox, &collect, Duration::from_micros(random.below(60_000)));
        if sandbox.snapshot_names().contains(&kept) {
            sandbox.ok(&["forget", &kept]);
        }
        sandbox.ok(&collect);
        sandbox.assert_clean();
        let packs = bytes_below(&sandbox.path("repo").join("packs"));
        assert!(packs < 13 * FILES * FILE_LEN as u64 / 10, "round {round}: {packs} bytes did not come back");
        kept = newest;
    }
    let target = sandbox.restore(&kept, &[]);
    assert_is_tree(&target.join("src"), rounds());
}

#[test]
fn a_killed_cleanup_needs_no_help() {
    let sandbox = Sandbox::open();
    let mut random = Random::new(10);
    let cleanup = ["cleanup", "--keep-last", "1", "--empty-trash", "--max-unused", "0"];
    for round in 1..=rounds() {
        write_tree(&sandbox, round);
        let newest = sandbox.backup(&[]);
        kill_after(&sandbox, &cleanup, Duration::from_micros(random.below(80_000)));
        sandbox.ok(&cleanup);
        let list = sandbox.ok(&["snapshots", "--json"]).json();
        let left: Vec<_> = list.as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
        assert_eq!(left, [newest], "round {round}");
        sandbox.assert_clean();
        let packs = bytes_below(&sandbox.path("repo").join("packs"));
        assert!(packs < 13 * FILES * FILE_LEN as u64 / 10, "round {round}: {packs} bytes did not come back");
    }
    let target = sandbox.restore("latest", &[]);
    assert_is_tree(&target.join("src"), rounds());
}

/// Passwords: at every moment one of the two opens the repository, and the change can be repeated.
#[test]
fn a_killed_change_of_passwords_locks_nobody_out() {
    let mut sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    let mut random = Random::new(11);
    let mut password = crate::support::PASSWORD.to_owned();
    let whole = {
        let began = Instant::now();
        sandbox.ok(&["snapshots"]);
        2 * u64::try_from(began.elapsed().as_micros()).unwrap()
    };
    for round in 1..=rounds() / 5 + 1 {
        let next = format!("password {round}");
        fs::write(sandbox.path("next"), &next).unwrap();
        let change = ["key", "passwd", "--new-password-file", "next"];
        let done = kill_after(&sandbox, &change, Duration::from_micros(random.below(whole)));
        sandbox.set_password(Some(&next));
        let opens = sandbox.snap(&["snapshots"]).expect_one_of(&[0, 12]).code == 0;
        assert!(opens || !done, "round {round}: the new password was acknowledged and does not open it");
        if !opens {
            sandbox.set_password(Some(&password));
            sandbox.ok(&["snapshots"]);
            sandbox.ok(&change);
            sandbox.set_password(Some(&next));
        }
        sandbox.assert_clean();
        password = next;
    }
    sandbox.assert_restores("latest", &sandbox.src());
}

/// All writing commands, killed at any moment, one after the other, on one repository.
#[test]
fn kills_in_any_mixture_need_no_help() {
    let sandbox = Sandbox::open();
    let mut random = Random::new(12);
    let mut stand: BTreeMap<String, u64> = BTreeMap::new();
    let (mut whole, mut ends) = (60_000, 0);
    let rounds = if crate::support::is_long() { 500 } else { 30 };
    for round in 0..rounds {
        let before = sandbox.snapshot_names();
        let forgotten = stand.keys().nth(usize::try_from(random.below(8)).unwrap()).cloned();
        let args: Vec<&str> = match (random.below(6), &forgotten) {
            (0, Some(id)) if stand.len() > 3 => vec!["forget", id],
            (1, _) => vec!["gc", "--empty-trash", "--max-unused", "0"],
            (2, _) => vec!["cleanup", "--keep-last", "100"],
            _ => {
                write_some(&sandbox, round);
                vec!["backup", "src"]
            }
        };
        let done = kill_after(&sandbox, &args, Duration::from_micros(random.below(whole)));
        // As many kills after the end as before it, on any machine.
        whole = if done { whole * 9 / 10 } else { whole * 11 / 10 }.clamp(5_000, 2_000_000);
        ends += u64::from(done);
        let after = sandbox.snapshot_names();
        if args[0] == "backup" {
            let made: Vec<String> = after.difference(&before).cloned().collect();
            assert!(!done || made.len() == 1, "round {round}: {args:?} made {made:?}");
            // Killed after the commit but before the report: the snapshot exists, so it must restore.
            stand.extend(made.into_iter().filter(|id| is_manifest(&sandbox, id)).map(|id| (id, round)));
        } else if args[0] == "forget" {
            let id = forgotten.as_ref().unwrap();
            assert!(!done || !after.contains(id), "round {round}: {id} was forgotten and stands");
            if !after.contains(id) {
                stand.remove(id);
            }
        }
        let gone: Vec<_> = stand.keys().filter(|id| !after.contains(*id)).collect();
        assert!(gone.is_empty(), "round {round}: {args:?} lost {gone:?}");
        if round % 10 == 9 {
            sandbox.assert_clean();
            for (id, of) in &stand {
                let target = sandbox.restore(id, &[]);
                assert_is_some(&target.join("src"), *of);
                fs::remove_dir_all(&target).unwrap();
                fs::create_dir(&target).unwrap();
            }
        }
    }
    sandbox.ok(&["gc", "--empty-trash", "--max-unused", "0"]);
    let last = sandbox.ok(&["gc", "--json", "--empty-trash", "--max-unused", "0"]).summary();
    assert_eq!(last["waiting_for"], serde_json::json!([]), "nobody is left");
    sandbox.assert_clean();
    println!("{rounds} kills, {ends} after the end of the run, {} snapshots stand", stand.len());
}

fn is_manifest(sandbox: &Sandbox, id: &str) -> bool {
    fs::read(sandbox.path("repo/snapshots").join(id)).unwrap().starts_with(b"SNAPMF")
}

/// A source of which a few files change in each round.
fn write_some(sandbox: &Sandbox, round: u64) {
    for number in 0..6 {
        fs::write(sandbox.src().join(number.to_string()), content(round / (number + 1), number)).unwrap();
    }
}

fn assert_is_some(folder: &Path, round: u64) {
    for number in 0..6 {
        let same =
            fs::read(folder.join(number.to_string())).unwrap() == content(round / (number + 1), number);
        assert!(same, "file {number} is not that of round {round}");
    }
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { bytes_below(&path) } else { path.metadata().unwrap().len() }).sum()
}

/// Returns whether it had ended successfully before it could be killed.
fn kill_after(sandbox: &Sandbox, args: &[&str], moment: Duration) -> bool {
    let mut command = sandbox.command(args);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    thread::sleep(moment);
    // It may have ended: the status shows it.
    let _ = child.kill();
    child.wait().unwrap().success()
}

/// The source in a round: every file of it is new.
fn write_tree(sandbox: &Sandbox, round: u64) {
    for number in 0..FILES {
        fs::write(sandbox.src().join(number.to_string()), content(round, number)).unwrap();
    }
}

fn assert_is_tree(folder: &Path, round: u64) {
    assert_eq!(fs::read_dir(folder).unwrap().count() as u64, FILES);
    for number in 0..FILES {
        let same = fs::read(folder.join(number.to_string())).unwrap() == content(round, number);
        assert!(same, "file {number} is not that of round {round}");
    }
}

fn content(round: u64, number: u64) -> Vec<u8> {
    Random::new(1000 * round + number + 1).bytes(FILE_LEN)
}
