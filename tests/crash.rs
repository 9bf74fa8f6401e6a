//! `kill -9` at any moment of a backup costs at most that backup. `SNAP_TEST_ROUNDS` sets how many moments.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use support::Random;
use support::Sandbox;

const FILES: u64 = 60;
const FILE_LEN: usize = 500_000;

#[test]
fn a_killed_backup_harms_nothing_that_was_acknowledged() {
    let rounds = std::env::var("SNAP_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let sandbox = Sandbox::new();
    let mut random = Random::new(8);
    let mut acknowledged = BTreeMap::new();
    write_tree(&sandbox, 0);
    let began = Instant::now();
    acknowledged.insert(sandbox.backup(&[]), 0);
    let whole = u64::try_from(began.elapsed().as_micros()).unwrap();

    for round in 1..=rounds {
        write_tree(&sandbox, round);
        let moment = Duration::from_micros(random.below(whole));
        let before = sandbox.snapshot_names();
        let finished = kill_a_backup_after(&sandbox, moment);
        // Killed after the commit but before its last word: the snapshot stands, so it must restore.
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

/// Whether it had ended well before it could be killed.
fn kill_a_backup_after(sandbox: &Sandbox, moment: Duration) -> bool {
    let mut command = sandbox.command(&["backup", "src"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    thread::sleep(moment);
    // It may have ended; the status tells.
    let _ = child.kill();
    child.wait().unwrap().success()
}

/// The source as it is in a round: every file of it is new.
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
