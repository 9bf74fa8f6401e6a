//! Disks of every size, up to a sufficient one: a run that finds no space reports it, loses nothing, and
//! continues once there is some.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::verdict::Promises;
use crate::support::{Random, Sandbox, copy_tree};

/// A tmpfs.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, kib: u64) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let options = format!("size={kib}k");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "snap-test"]).arg(at).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(at.to_path_buf()));
        }
        crate::support::skipped("only root can mount the small disks that this test fills");
        None
    }

    fn resize(&self, kib: u64) {
        let options = format!("remount,size={kib}k");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

const STEP: u64 = 64;

/// Bytes of a source file, about the size of a step, that cannot be compressed.
fn write(sandbox: &Sandbox, seeds: &[u64]) {
    let _ = fs::remove_dir_all(sandbox.src());
    fs::create_dir(sandbox.src()).unwrap();
    for seed in seeds {
        fs::write(sandbox.src().join(format!("f{seed}")), Random::new(*seed).bytes(100_000)).unwrap();
    }
}

#[test]
fn disk_of_any_size_holds_a_backup_or_is_reported_full() {
    let mut sandbox = Sandbox::bare();
    sandbox.set_password(None);
    write(&sandbox, &[1, 2, 3, 4]);
    let (mut refused, mut held) = (0, 0);
    for size in (STEP..).step_by(STEP as usize) {
        let Some(disk) = Disk::mount(&sandbox.path("repo"), size) else { return };
        let args = ["backup", "--init", "--no-encryption", "src"];
        let outcome = sandbox.snap(&args).expect_one_of(&[0, 21]);
        if outcome.code == 0 {
            held += 1;
        } else {
            refused += 1;
            assert!(outcome.stderr.contains("No space left") && outcome.stderr.contains("free some space"));
            assert!(sandbox.snapshot_names().is_empty());
            disk.resize(64 << 10);
            sandbox.ok(&args);
        }
        sandbox.assert_restores("latest", &sandbox.src());
        sandbox.assert_clean();
        sandbox.ok(&["gc", "--empty-trash", "--max-unused", "0"]);
        sandbox.assert_clean();
        drop(disk);
        // The next disk is another one, and this machine would report the previous repository as missing.
        fs::remove_dir_all(sandbox.state().join("known")).unwrap();
        if held >= 2 {
            break;
        }
    }
    assert!(refused >= 5, "{refused}");
}

#[test]
fn disk_that_fills_at_any_point_keeps_existing_data() {
    let mut sandbox = Sandbox::bare();
    sandbox.set_password(None);
    for run in
        [&["backup", "src"][..], &["gc", "--empty-trash", "--max-unused", "0"], &["forget", "latest~1"]]
    {
        let mut outcomes = Vec::new();
        for free in (0..20).map(|step| step * STEP) {
            let Some(disk) = Disk::mount(&sandbox.path("repo"), 256 << 10) else { return };
            let _ = fs::remove_dir_all(sandbox.cache());
            sandbox.ok(&["init", "--no-encryption"]);
            write(&sandbox, &[1, 2]);
            let first = sandbox.backup(&[]);
            let _ = fs::remove_dir_all(sandbox.path("first"));
            copy_tree(&sandbox.src(), &sandbox.path("first"));
            write(&sandbox, &[2, 3, 4, 5]);
            let second = sandbox.backup(&[]);
            let _ = fs::remove_dir_all(sandbox.path("second"));
            copy_tree(&sandbox.src(), &sandbox.path("second"));
            let mut promises = Promises {
                stand: [(second, sandbox.path("second"))].into(),
                may_stand: [(first.clone(), sandbox.path("first"))].into(),
                source: sandbox.src(),
                name: "src".to_owned(),
                made: None,
            };
            match run[0] {
                "gc" => drop(sandbox.ok(&["forget", &first])),
                "backup" => promises.stand.append(&mut promises.may_stand),
                _ => {}
            }
            write(&sandbox, &[5, 6, 7, 8]);
            disk.resize(used(&sandbox.path("repo")) + free);
            let outcome = sandbox.snap(run).expect_one_of(&[0, 21]);
            assert!(outcome.code == 0 || outcome.stderr.contains("No space left"), "{}", outcome.stderr);
            outcomes.push(outcome.code);
            disk.resize(256 << 10);
            let broken = promises.broken(&sandbox.path("repo"), &sandbox.path("out"));
            assert!(broken.is_empty(), "{run:?} with {free} KiB free: {broken:#?}");
        }
        println!("{run:?}: {outcomes:?}");
        // A forget and a gc run make space for themselves.
        assert!(run[0] != "backup" || outcomes.contains(&21) && outcomes.contains(&0), "{outcomes:?}");
    }
}

#[test]
fn a_restore_to_a_full_disk_says_so_once() {
    let mut sandbox = Sandbox::bare();
    sandbox.set_password(None);
    sandbox.ok(&["init", "--no-encryption"]);
    let seeds: Vec<u64> = (0..60).collect();
    write(&sandbox, &seeds);
    sandbox.backup(&[]);
    let target = sandbox.path("out");
    for kib in [16, 64, 1 << 10, 3 << 10] {
        let Some(disk) = Disk::mount(&target, kib) else { return };
        let outcome = sandbox.snap(&["restore", "latest", "--target", "out"]).expect(21);
        let complaints: Vec<&str> =
            outcome.stderr.lines().filter(|line| line.starts_with("snap: ")).collect();
        assert_eq!(complaints.len(), 2, "{kib}: an error and a hint: {}", outcome.stderr);
        assert!(complaints[0].contains("No space left") && complaints[1].contains("free some space"));
        disk.resize(64 << 10);
        sandbox.ok(&["restore", "latest", "--target", "out"]);
        assert_eq!(crate::support::compare_trees(&sandbox.src(), &target.join("src")), Vec::<String>::new());
    }
}

/// Returns the KiB in use on a tmpfs.
fn used(at: &Path) -> u64 {
    let found = rustix::fs::statvfs(at).unwrap();
    (found.f_blocks - found.f_bfree) * found.f_frsize / 1024
}
