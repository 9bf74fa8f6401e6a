//! Interrupted restores: the next restore ends at the snapshot, repeats nothing and leaves nothing behind.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::craft::listing;
use super::summary;
use crate::support::{Random, Sandbox, assert_same};

fn rounds() -> u64 {
    std::env::var("SNAP_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

fn inodes(root: &Path) -> BTreeMap<String, u64> {
    let files = listing(root).into_iter().filter(|name| root.join(name).is_file());
    files.map(|name| (name.clone(), fs::metadata(root.join(name)).unwrap().ino())).collect()
}

/// Kills a restore after a while. Returns whether it had ended by itself.
fn kill_after(sandbox: &Sandbox, moment: Duration) -> bool {
    let mut command = sandbox.command(&["restore", "latest", "--target", "out/0"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(moment);
    let _ = child.kill();
    child.wait().unwrap().success()
}

#[test]
fn killed_restore_is_finished_without_repeating_work() {
    let sandbox = Sandbox::open();
    let mut random = Random::new(4);
    for number in 0..300 {
        let dir = sandbox.src().join(format!("d{}", number % 20));
        fs::create_dir_all(&dir).unwrap();
        let len = random.below(60_000) as usize;
        fs::write(dir.join(number.to_string()), random.bytes(len)).unwrap();
    }
    fs::write(sandbox.src().join("big"), random.bytes(8 << 20)).unwrap();
    fs::hard_link(sandbox.src().join("big"), sandbox.src().join("big2")).unwrap();
    sandbox.backup(&[]);
    let target = sandbox.new_target();
    let began = Instant::now();
    summary(&sandbox, &target, &[]);
    let whole = u64::try_from(began.elapsed().as_micros()).unwrap();
    let mut cut_short = 0;
    for round in 0..rounds() {
        // Restores to an empty target, or over a tree in which the large file has to be updated.
        if round % 2 == 0 {
            fs::remove_dir_all(target.join("src")).unwrap();
        } else {
            let big = fs::File::options().write(true).open(target.join("src/big")).unwrap();
            for at in 0..50 {
                std::os::unix::fs::FileExt::write_all_at(&big, b"wrong", at * 160_000).unwrap();
            }
        }
        cut_short += u64::from(!kill_after(&sandbox, Duration::from_micros(random.below(whole))));
        let before = inodes(&target);
        let done = summary(&sandbox, &target, &[]);
        assert_same(&sandbox.src(), &target.join("src"));
        let temps = listing(&target).into_iter().filter(|name| name.contains(".snap-tmp")).count();
        assert_eq!(temps, 0, "round {round}");
        // Every file under its final name had its bytes and attributes, except the one being updated.
        let after = inodes(&target);
        let finished = |name: &&String| !name.contains(".snap-tmp") && !name.contains("big");
        for name in before.keys().filter(finished) {
            assert_eq!(before[name], after[name], "round {round}: {name} was made twice");
        }
        assert_eq!(done["problems"], 0);
    }
    assert!(cut_short > 0 || rounds() < 5, "no moment was early enough");
}

#[test]
fn temporary_names_in_a_snapshot_are_ordinary_files() {
    // A killed restore left a temporary file, which was then backed up.
    let sandbox = Sandbox::with_tree(&[]);
    fs::write(sandbox.src().join("f"), Random::new(2).bytes(9 << 20)).unwrap();
    sandbox.backup(&[]);
    let target = sandbox.new_target();
    // The file's own temporary name: a restore that begins uses other names to test how the target treats
    // names.
    let temp = |root: &Path| listing(root).into_iter().find(|name| name.starts_with("src/.snap-tmp"));
    let mut moment = 200;
    let name = loop {
        kill_after(&sandbox, Duration::from_micros(moment));
        if let Some(name) = temp(&target) {
            break name;
        }
        fs::remove_dir_all(target.join("src")).ok();
        moment = if moment > 1_000_000 { 200 } else { moment * 11 / 10 };
    };
    let left = target.join(&name);
    fs::write(sandbox.path(&name), "precious").unwrap_or_else(|err| panic!("{name}: {err}"));
    fs::write(target.join("src/.snap-tmp-mine"), "mine").unwrap();
    sandbox.backup(&[]);
    for _ in 0..2 {
        summary(&sandbox, &target, &[]);
        assert_eq!(fs::read_to_string(&left).unwrap(), "precious");
    }
    assert!(target.join("src/.snap-tmp-mine").exists(), "no run of snap made that name");
    // The same name is a leftover if the snapshot does not contain it.
    sandbox.ok(&["restore", "latest~1", "--target", target.to_str().unwrap()]);
    assert!(!left.exists(), "a leftover was left");
}
