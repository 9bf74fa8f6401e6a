//! Targets that do not support everything in a snapshot: names that they do not distinguish, no hard links,
//! attributes that do not fit. These tests use real file systems on loop devices, so only root can run all of
//! them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use super::{restore, summary};
use crate::support::{Outcome, Sandbox};

/// A file system in a file, mounted for the lifetime of this value.
struct Mounted {
    at: PathBuf,
    device: String,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.at).output();
        let _ = Command::new("losetup").args(["-d", &self.device]).output();
    }
}

fn ran(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|done| done.status.success())
}

/// Creates and mounts one, or says loudly that this is not possible here.
fn mounted(sandbox: &Sandbox, name: &str, make: &[&str], megabytes: u64) -> Option<Mounted> {
    let (image, at) = (sandbox.path(&format!("{name}.img")), sandbox.path(name));
    fs::File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
    fs::create_dir(&at).unwrap();
    let (shown, place) = (image.to_str().unwrap(), at.to_str().unwrap());
    if make.split_first().is_some_and(|(program, args)| ran(program, &[args, &[shown]].concat())) {
        let device = Command::new("losetup").args(["-f", "--show", shown]).output();
        let device =
            device.map(|done| String::from_utf8_lossy(&done.stdout).trim().to_owned()).unwrap_or_default();
        let mounted = Mounted { at: at.clone(), device: device.clone() };
        if ran("mount", &[&device, place]) || name == "exfat" && ran("mount.exfat-fuse", &[&device, place]) {
            return Some(mounted);
        }
    }
    crate::support::skipped(&format!("this machine cannot make or mount {name}"));
    None
}

/// Two pairs of names that differ only in case, and other names.
fn with_case() -> Sandbox {
    let names = [("README", "upper"), ("readme", "lower"), ("Dir/x", "1"), ("dir/y", "2"), ("other", "3")];
    let sandbox = Sandbox::with_tree(&names);
    sandbox.backup(&[]);
    sandbox
}

/// Each name of a pair exists, or is reported as not restored.
fn told(outcome: &Outcome) {
    for name in ["src/readme: ", "src/dir: "] {
        assert!(outcome.stderr.contains(name), "{name} in {}", outcome.all());
    }
}

fn names_meet(sandbox: &Sandbox, target: &Path) {
    told(&restore(sandbox, target, &["-n"]).expect(3));
    told(&restore(sandbox, target, &[]).expect(3));
    let read = |name: &str| fs::read_to_string(target.join("src").join(name)).unwrap_or_default();
    assert_eq!((read("README"), read("Dir/x"), read("other")), ("upper".into(), "1".into(), "3".into()));
    assert!(!target.join("src/Dir/y").exists(), "two directories became one");
    for args in [&[][..], &["-n"], &["--delete"], &["--overwrite", "if-changed"]] {
        told(&restore(sandbox, target, args).expect(3));
        assert_eq!((read("README"), read("Dir/x"), read("other")), ("upper".into(), "1".into(), "3".into()));
    }
    // One of each pair can be restored alone, and then nothing of it is deleted.
    let args = ["-i", "README", "-i", "x", "-i", "other", "--delete"];
    restore(sandbox, target, &args).expect(0);
    fs::rename(target.join("src/README"), target.join("src/ReadMe")).unwrap();
    restore(sandbox, target, &args).expect(0);
    assert_eq!(read("README"), "upper", "by another spelling it is the same file, and no surplus");
}

#[test]
fn names_equal_on_a_case_insensitive_target_are_reported() {
    let sandbox = with_case();
    for (name, make) in [("fat", "mkfs.vfat"), ("exfat", "mkfs.exfat")] {
        if let Some(mounted) = mounted(&sandbox, name, &[make], 40) {
            // So that -n can see which names are equal: for an empty file system in user space this is
            // unknown.
            fs::write(mounted.at.join("name"), "").unwrap();
            names_meet(&sandbox, &mounted.at.join("out"));
        }
    }
    if let Some(ext4) = mounted(&sandbox, "folding", &["mkfs.ext4", "-q", "-O", "casefold"], 40) {
        let target = ext4.at.join("out");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("name"), "").unwrap();
        if ran("chattr", &["+F", target.to_str().unwrap()]) {
            names_meet(&sandbox, &target)
        } else {
            crate::support::skipped("chattr +F makes no directory case-insensitive here")
        }
    }
}

#[test]
fn hard_links_become_files_of_their_own_where_there_are_none() {
    let sandbox = Sandbox::with_tree(&[("a", "linked"), ("d/z", "alone")]);
    for name in ["b", "d/c"] {
        fs::hard_link(sandbox.src().join("a"), sandbox.src().join(name)).unwrap();
    }
    sandbox.backup(&[]);
    let Some(exfat) = mounted(&sandbox, "exfat", &["mkfs.exfat"], 40) else { return };
    let target = exfat.at.join("out");
    for round in 0..2 {
        let outcome = restore(&sandbox, &target, &[]).expect(0);
        assert!(
            outcome.stderr.contains("2 hard links were restored as separate files"),
            "{}",
            outcome.stderr
        );
        for (name, text) in [("a", "linked"), ("b", "linked"), ("d/c", "linked"), ("d/z", "alone")] {
            assert_eq!(fs::read_to_string(target.join("src").join(name)).unwrap(), text, "{round} {name}");
        }
    }
    fs::write(target.join("src/b"), "changed").unwrap();
    let done = summary(&sandbox, &target, &[]);
    assert_eq!(done["hard_links_copied"], 2);
    assert_eq!(fs::read_to_string(target.join("src/b")).unwrap(), "linked");
}

#[test]
fn an_attribute_that_does_not_fit_is_named() {
    let sandbox = Sandbox::with_tree(&[("other", "1")]);
    let Some(xfs) = mounted(&sandbox, "xfs", &["mkfs.xfs", "-q"], 300) else { return };
    let (from, big) = (xfs.at.join("f"), "a".repeat(30_000));
    fs::write(&from, "text").unwrap();
    assert!(ran("setfattr", &["-n", "user.big", "-v", &big, from.to_str().unwrap()]));
    assert!(ran("setfattr", &["-n", "user.small", "-v", "1", from.to_str().unwrap()]));
    sandbox.ok(&["backup", "xfs"]);
    let Some(ext4) = mounted(&sandbox, "small", &["mkfs.ext4", "-q", "-b", "1024"], 40) else { return };
    let target = ext4.at.join("out");
    for args in [&[][..], &["--delete"]] {
        let outcome = restore(&sandbox, &target, args).expect(3);
        assert!(
            outcome.stderr.contains("xfs/f: ") && outcome.stderr.contains("user.big"),
            "{}",
            outcome.stderr
        );
        assert!(!outcome.text().contains("left out"), "{}", outcome.text());
        assert_eq!(fs::read_to_string(target.join("xfs/f")).unwrap(), "text");
        let found =
            Command::new("getfattr").args(["-n", "user.small"]).arg(target.join("xfs/f")).output().unwrap();
        assert!(found.status.success(), "the others are there");
    }
}

/// The file system stores the nearest time that it supports, without an error.
#[test]
fn time_out_of_range_is_named() {
    let sandbox = Sandbox::with_tree(&[("future", "1"), ("now", "2")]);
    let future = fs::File::options().write(true).open(sandbox.src().join("future")).unwrap();
    future.set_modified(UNIX_EPOCH + Duration::from_secs(4_102_444_800)).unwrap();
    sandbox.backup(&[]);
    let Some(old) = mounted(&sandbox, "old", &["mkfs.ext4", "-q", "-I", "128"], 20) else { return };
    let told = restore(&sandbox, &old.at.join("out"), &[]).expect(3).stderr;
    assert!(
        told.contains("src/future: this file system cannot store its mtime 2100")
            && told.contains("2038-01-19"),
        "{told}"
    );
    assert!(!told.contains("src/now"), "{told}");
}

#[test]
fn hard_links_of_files_that_are_separate_are_split() {
    let sandbox = Sandbox::open();
    let half =
        |seed: u8| (0..1_500_000_u32).map(move |at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed);
    let put = |name: &str, bytes: Vec<u8>| fs::write(sandbox.src().join(name), bytes).unwrap();
    put("big", half(1).chain(half(2)).collect());
    for number in 0..4 {
        fs::hard_link(sandbox.src().join("big"), sandbox.src().join(format!("a{number}"))).unwrap();
    }
    sandbox.backup(&[]);
    for number in 0..4 {
        fs::remove_file(sandbox.src().join(format!("a{number}"))).unwrap();
        put(&format!("a{number}"), format!("small{number}").into_bytes());
    }
    put("big", half(1).chain(half(3)).collect());
    sandbox.backup(&[]);
    for _ in 0..if crate::support::is_long() { 40 } else { 8 } {
        let target = sandbox.restore("latest~1", &[]);
        restore(&sandbox, &target, &["--delete"]).expect(0);
        crate::support::assert_same(&sandbox.src(), &target.join("src"));
        fs::remove_dir_all(&target).unwrap();
        fs::create_dir(&target).unwrap();
    }
}
