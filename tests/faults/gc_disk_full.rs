//! Garbage collection on a full disk, within a budget, and as predicted by a dry run.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::Value;

use snap_backup::model::records::SessionKind;
use snap_backup::repo::options::OpenOptions;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::sessions::session::Session;
use snap_backup::storage::local::LocalStorage;

use crate::support::{Random, Sandbox};

/// A small disk of its own.
struct Disk(PathBuf);

impl Disk {
    /// Returns `None`, loudly, if mounting is not allowed.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let options = format!("size={size}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "snap-test"]).arg(at).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(at.to_path_buf()));
        }
        eprintln!("SKIPPED: only root can mount the small disk that this test fills");
        None
    }

    /// Fills the disk.
    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filler")).unwrap();
        for len in [1 << 20, 4096] {
            while file.write_all(&vec![1; len]).is_ok() {}
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn write(sandbox: &Sandbox, files: &[(&str, u64)], len: usize) {
    for (name, seed) in files {
        fs::write(sandbox.src().join(name), Random::new(*seed).bytes(len)).unwrap();
    }
}

fn packs(sandbox: &Sandbox) -> u64 {
    sandbox.objects("packs").iter().map(|path| path.metadata().unwrap().len()).sum()
}

fn gc(sandbox: &Sandbox, args: &[&str]) -> Value {
    sandbox.ok(&[&["gc", "--json"], args].concat()).summary()
}

const ALL: [&str; 3] = ["--empty-trash", "--max-unused", "0"];
const MIB: usize = 1 << 20;

#[test]
fn forgetting_and_collecting_make_room_on_a_full_disk() {
    let mut sandbox = Sandbox::bare();
    sandbox.set_password(None);
    let Some(disk) = Disk::mount(&sandbox.path("repo"), "32m") else { return };
    sandbox.ok(&["init", "--no-encryption"]);
    // The first gc run creates the reserve.
    gc(&sandbox, &[]);
    assert!(sandbox.path("repo/reserve").exists());
    write(&sandbox, &[("a", 1), ("b", 2), ("c", 3)], 3 * MIB);
    let old = sandbox.backup(&[]);
    fs::remove_file(sandbox.src().join("a")).unwrap();
    fs::remove_file(sandbox.src().join("b")).unwrap();
    let kept = sandbox.backup(&[]);
    disk.fill();
    write(&sandbox, &[("d", 4), ("e", 5)], MIB);
    let refused = sandbox.snap(&["backup", "src"]).expect(21);
    assert!(refused.stderr.contains("space"), "{}", refused.stderr);

    sandbox.ok(&["forget", &old]);
    let first = gc(&sandbox, &ALL);
    // If the first run had no space to move anything, it freed some.
    let again = gc(&sandbox, &ALL);
    assert_eq!(again["bytes_unused"], 0, "{first} {again}");
    assert!(packs(&sandbox) < 4 * MIB as u64, "{} bytes of packs are left", packs(&sandbox));
    sandbox.assert_clean();
    let made = sandbox.backup(&[]);
    sandbox.assert_restores(&made, &sandbox.src());
    fs::remove_file(sandbox.src().join("d")).unwrap();
    fs::remove_file(sandbox.src().join("e")).unwrap();
    let target = sandbox.restore(&kept, &[]);
    assert_eq!(fs::read(target.join("src/c")).unwrap(), Random::new(3).bytes(3 * MIB));
    sandbox.assert_clean();
}

/// Three data packs of which half is needed.
fn half_dead() -> Sandbox {
    let sandbox = Sandbox::open();
    let mut old = Vec::new();
    for pair in [[("a", 1), ("b", 2)], [("c", 3), ("d", 4)], [("e", 5), ("f", 6)]] {
        write(&sandbox, &pair, 400_000);
        old.push(sandbox.backup(&[]));
    }
    ["b", "d", "f"].iter().for_each(|name| fs::remove_file(sandbox.src().join(name)).unwrap());
    sandbox.backup(&[]);
    sandbox.ok(&[&["forget"], old.iter().map(String::as_str).collect::<Vec<_>>().as_slice()].concat());
    sandbox
}

#[test]
fn no_more_is_moved_than_the_budget_allows() {
    let sandbox = half_dead();
    let before = packs(&sandbox);
    let none = gc(&sandbox, &[&ALL[..], &["--max-repack", "0"]].concat());
    assert_eq!((&none["packs_rewritten"], &none["bytes_written"]), (&0.into(), &0.into()));
    assert!(none["bytes_unused"].as_u64().unwrap() > 1_150_000, "{none}");
    // Space for one of them.
    let one = gc(&sandbox, &[&ALL[..], &["--max-repack", "1000000"]].concat());
    assert!(
        one["packs_rewritten"].as_u64().unwrap() >= 1 && one["bytes_deleted"].as_u64().unwrap() <= 1_000_000
    );
    assert!((390_000..420_000).contains(&one["bytes_written"].as_u64().unwrap()), "{one}");
    assert!((790_000..820_000).contains(&one["bytes_unused"].as_u64().unwrap()), "{one}");
    let rest = gc(&sandbox, &ALL);
    assert_eq!(rest["bytes_unused"], 0);
    assert!(packs(&sandbox) < before / 2 + 20_000);
    sandbox.assert_clean();
    sandbox.assert_restores("latest", &sandbox.src());
}

/// Compares a dry run with the run that follows. The dry run must change nothing.
fn agree(sandbox: &Sandbox, args: &[&str]) -> Value {
    let before = sandbox.listing();
    let dry = gc(sandbox, &[&["-n"], args].concat());
    assert_eq!(sandbox.listing(), before, "a dry run changed something");
    let (bytes, real) = (packs(sandbox), gc(sandbox, args));
    for figure in [
        "bytes_before",
        "packs_deleted",
        "bytes_deleted",
        "packs_rewritten",
        "packs_rescued",
        "snapshots_purged",
        "bytes_unused",
        "snapshots_in_trash",
        "trash_plain_bytes",
        "packs_later",
        "bytes_later",
        "waiting_for",
    ] {
        assert_eq!(dry[figure], real[figure], "{figure} with {args:?}:\n{dry}\n{real}");
    }
    let figure = |of: &Value, name: &str| of[name].as_u64().unwrap();
    let (foreseen, written) = (figure(&dry, "bytes_written"), figure(&real, "bytes_written"));
    assert!(foreseen.abs_diff(written) <= written / 20 + 4096, "{foreseen} foreseen, {written} written");
    let left = bytes + written - figure(&real, "bytes_deleted");
    assert_eq!(packs(sandbox), left, "the run did not do what it said: {real}");
    real
}

#[test]
fn dry_run_predicts_the_run() {
    let sandbox = half_dead();
    let kept = agree(&sandbox, &[]);
    assert!(kept["snapshots_in_trash"] == 3 && kept["packs_deleted"] == 0, "{kept}");
    let budget = agree(&sandbox, &["--empty-trash", "--max-unused", "0", "--max-repack", "1000000"]);
    assert!(budget["snapshots_purged"] == 3 && budget["packs_rewritten"] != 0, "{budget}");

    let storage = Arc::new(LocalStorage::new(sandbox.path("repo")));
    let repo = Repository::open(storage, &OpenOptions::default()).unwrap();
    let (session, _) = Session::open(&repo, SessionKind::Reader).unwrap();
    gc_beside(&sandbox);
    // And once more, when all it can do is wait.
    let waits = gc_beside(&sandbox);
    assert!(waits["packs_later"] != 0 && waits["packs_deleted"] == 0, "{waits}");
    session.close().unwrap();
    let then = agree(&sandbox, &ALL);
    assert!(then["packs_deleted"].as_u64() >= waits["packs_later"].as_u64(), "{then}");
    let nothing = agree(&sandbox, &ALL);
    assert!(nothing["packs_deleted"] == 0 && nothing["packs_rewritten"] == 0, "{nothing}");
    sandbox.assert_clean();
}

/// While another session blocks the sweep, what happens now and what happens later must be predicted
/// correctly.
fn gc_beside(sandbox: &Sandbox) -> Value {
    let (dry, real) = (gc(sandbox, &[&["-n"], &ALL[..]].concat()), gc(sandbox, &ALL));
    for figure in
        ["bytes_before", "packs_deleted", "bytes_deleted", "packs_later", "bytes_later", "waiting_for"]
    {
        assert_eq!(dry[figure], real[figure], "{figure}:\n{dry}\n{real}");
    }
    real
}
