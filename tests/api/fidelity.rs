//! Completeness: every property of a file is stored and restored, also through archives in both directions.
#![allow(clippy::unwrap_used)]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use crate::support::library::Library;
use crate::support::torture::{self, Unlocked};
use rustix::fs::{Mode, OFlags};
use snap_backup::Control;
use snap_backup::model::entry::{Entry, Time};
use snap_backup::model::id::SnapshotId;
use snap_backup::model::manifest::SnapshotKind;
use snap_backup::ops::{backup, export, gc, ls, restore};
use snap_backup::storage::memory::MemoryStorage;

fn library() -> Library {
    Library::on(Arc::new(MemoryStorage::default()), None)
}

fn back_up(library: &Library, source: &Path) -> SnapshotId {
    let options = backup::Options {
        sources: vec![source.to_path_buf()],
        store_as: Some(b"it".to_vec()),
        ..backup::Options::default()
    };
    let made = backup::Backup::begin(options, None, &Control::default())
        .unwrap()
        .run(&library.open(), &Control::default())
        .unwrap();
    assert_eq!(made.problems, []);
    made.snapshot.or(made.newest).unwrap()
}

/// Backs up a directory and restores it next to the original.
fn round_trip(library: &Library, source: &Path, target: &Path) -> restore::Report {
    let made = back_up(library, source);
    let options = restore::Options {
        selector: format!("{}:it", made.hex()),
        target: target.to_path_buf(),
        ..restore::Options::default()
    };
    let summary = restore::run(&library.open(), &options, &Control::default()).unwrap();
    assert_eq!(summary.problems, []);
    summary
}

#[test]
fn a_tree_with_everything_comes_back_with_everything() {
    if !torture::can_torture("a_tree_with_everything_comes_back_with_everything") {
        return;
    }
    let home = Unlocked(tempfile::tempdir().unwrap());
    let (source, target) = (home.path().join("source"), home.path().join("target"));
    torture::torture(&source);
    let library = library();
    fs::create_dir(&target).unwrap();
    let summary = round_trip(&library, &source, &target.join("it"));
    assert_eq!(summary.left_out, 0);
    // The root of the restored tree is the target, whose attributes belong to the caller.
    for name in fs::read_dir(&source).unwrap().map(|entry| entry.unwrap().file_name()) {
        let (left, right) = (source.join(&name), target.join("it").join(&name));
        if left.is_dir() {
            let differences = torture::differences(&left, &right);
            assert!(differences.is_empty(), "{}:\n{}", name.display(), differences.join("\n"));
        } else {
            assert_eq!(fs::read(left).unwrap(), fs::read(right).unwrap());
        }
    }
    // Restores once more over the result: locked files must not be an obstacle.
    let again = round_trip(&library, &source, &target.join("it"));
    assert_eq!((again.problems.len(), again.left_out), (0, 0));
    let differences = torture::differences(&source.join("locks"), &target.join("it/locks"));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_eq!(library.errors(), Vec::<String>::new());
}

/// Extracts an archive as the documentation describes, with all metadata.
fn untar(tar: &str, args: &[&str], archive: &Path, target: &Path) -> bool {
    let output = Command::new(tar).args(args).arg("-xpf").arg(archive).arg("-C").arg(target).output();
    let Ok(output) = output else {
        crate::support::skipped(&format!("there is no {tar}"));
        return false;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    let mut wrong = said.lines().filter(|line| !FORGIVEN.iter().any(|text| line.contains(text)));
    assert_eq!(wrong.next(), None);
    true
}

/// GNU tar warns about times before 1970 and after tomorrow, and sets them; it does not know inode flags.
/// bsdtar follows any path, but cannot set the time of a link there.
const FORGIVEN: [&str; 5] = [
    "implausibly old",
    "in the future",
    "SCHILY.fflags",
    "/link: Can't restore time",
    "delayed from previous",
];

const GNU: [&str; 4] = ["--numeric-owner", "--acls", "--xattrs", "--xattrs-include=*"];

/// Backs up a directory and exports its content.
fn archive(library: &Library, source: &Path) -> PathBuf {
    let made = back_up(library, source);
    let archive = library.path("it.tar");
    let options = export::Options {
        selector: format!("{}:it", made.hex()).into_bytes(),
        format: export::Format::Tar,
        ..export::Options::default()
    };
    let mut out = fs::File::create(&archive).unwrap();
    export::run(&library.open(), &options, &mut out, &Control::default()).unwrap();
    archive
}

/// Returns the differences without what archives cannot hold: sockets, and inode flags, which tar does not
/// set.
#[test]
fn archive_preserves_all_metadata_of_a_tree() {
    if !torture::can_torture("archive_preserves_all_metadata_of_a_tree") {
        return;
    }
    let home = Unlocked(tempfile::tempdir().unwrap());
    let (source, target) = (home.path().join("source"), home.path().join("target"));
    torture::torture(&source);
    let library = library();
    let archive = archive(&library, &source);
    fs::create_dir(&target).unwrap();
    assert!(untar("tar", &GNU, &archive, &target));
    let mut differences = torture::differences_but_flags(&source, &target);
    let sockets = differences.iter().filter(|line| line.contains("socket")).count();
    // The time of the root itself belongs to its creator.
    differences.retain(|line| !line.contains("socket") && !line.ends_with("t...... ./"));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_eq!(sockets, 1, "one was left out");
}

/// Uses tmpfs, which supports times and attributes that ext4 does not.
#[test]
fn distant_times_and_large_attributes_are_restored() {
    let Ok(home) = tempfile::tempdir_in("/dev/shm") else {
        crate::support::skipped("no tmpfs at /dev/shm");
        return;
    };
    let (source, target) = (home.path().join("source"), home.path().join("target"));
    fs::create_dir_all(source.join("dir")).unwrap();
    let large = crate::support::Random::new(1).bytes(60_000);
    for name in ["file", "dir"] {
        let path = source.join(name);
        if !path.is_dir() {
            fs::write(&path, "x").unwrap();
        }
        let set = rustix::fs::lsetxattr(&path, "user.large", &large, rustix::fs::XattrFlags::empty());
        if set.is_err() {
            crate::support::skipped("tmpfs takes no user attributes here");
            return;
        }
        torture::set_xattr(&path, "user.small", b"1");
        torture::set_times(&path, 253_402_300_800, 5);
    }
    let library = library();
    round_trip(&library, &source, &target);
    let extracted = home.path().join("extracted");
    fs::create_dir(&extracted).unwrap();
    let all = if untar("tar", &GNU, &archive(&library, &source), &extracted) {
        vec![target, extracted]
    } else {
        vec![target]
    };
    for path in all.iter().flat_map(|dir| [dir.join("file"), dir.join("dir")]) {
        let mut buffer = vec![0; 64 << 10];
        let len = rustix::fs::lgetxattr(&path, "user.large", &mut buffer[..]).unwrap();
        assert_eq!(buffer[..len], large);
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.mtime(), found.mtime_nsec()), (253_402_300_800, 5));
    }
    assert_eq!(library.errors(), Vec::<String>::new());
}

fn user_attribute(path: &Path, name: &str, value: &[u8]) -> bool {
    let set = rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty());
    if let Err(err) = set {
        crate::support::skipped(&format!("no user attributes of {} bytes here: {err}", value.len()));
    }
    set.is_ok()
}

#[test]
fn a_collector_keeps_what_only_an_attribute_needs() {
    let library = library();
    library.write("src", &[("file", b"content")]);
    if !user_attribute(&library.path("src/file"), "user.large", &crate::support::Random::new(2).bytes(3000)) {
        return;
    }
    let first = library.backup("src", backup::Options::default()).snapshot;
    // Data that is not needed is deleted.
    let collect = gc::Options { max_unused: gc::MaxUnused::Share(0.0), ..gc::Options::default() };
    for _ in 0..3 {
        gc::run(&library.open(), &collect, &Control::default()).unwrap();
    }
    assert_eq!(library.errors(), Vec::<String>::new());
    let target = library.path("back");
    let options = restore::Options {
        selector: first.unwrap().hex(),
        target: target.clone(),
        ..restore::Options::default()
    };
    let summary = restore::run(&library.open(), &options, &Control::default()).unwrap();
    assert_eq!((summary.problems.len(), summary.left_out), (0, 0));
    let mut buffer = vec![0; 4096];
    let len = rustix::fs::lgetxattr(target.join("src/file"), "user.large", &mut buffer[..]).unwrap();
    assert_eq!(buffer[..len], crate::support::Random::new(2).bytes(3000));
}

#[test]
fn changed_attribute_makes_a_snapshot_unchanged_does_not() {
    let library = library();
    library.write("src", &[("dir/file", b"content")]);
    if !user_attribute(&library.path("src/dir/file"), "user.a", b"1") {
        return;
    }
    let ids = |summary: backup::Report| summary.snapshot;
    assert!(ids(library.backup("src", backup::Options::default())).is_some());
    assert_eq!(ids(library.backup("src", backup::Options::default())), None);
    assert!(user_attribute(&library.path("src/dir"), "user.b", b"2"));
    assert!(ids(library.backup("src", backup::Options::default())).is_some());
    // Even if ctime is ignored, attributes are read where it differs.
    assert!(user_attribute(&library.path("src/dir/file"), "user.a", b"3"));
    let careless = backup::Options { ignore_ctime: true, ..backup::Options::default() };
    let summary = library.backup("src", careless);
    assert!(summary.snapshot.is_some());
    let full = backup::Options { kind: SnapshotKind::Full, ..backup::Options::default() };
    let full = library.backup("src", full);
    assert_eq!(full.counts.bytes_added, 0, "the full says the same");
}

#[test]
fn birth_times_are_recorded() {
    let library = library();
    library.write("src", &[("file", b"content")]);
    let Ok(born) = fs::metadata(library.path("src/file")).and_then(|found| found.created()) else {
        return crate::support::skipped("nobody knows of birth times here");
    };
    library.backup("src", backup::Options::default());
    let mut seen = None;
    let mut look = |_: &[u8], entry: &Entry| {
        seen = entry.meta.born;
        Ok(())
    };
    ls::run(&library.open(), "latest:src/file", ls::Levels::All, &mut look).unwrap();
    let since = born.duration_since(UNIX_EPOCH).unwrap();
    let wanted = Time { sec: since.as_secs().try_into().unwrap(), nanos: since.subsec_nanos() };
    assert_eq!(seen, Some(wanted));
}

/// Creates a chain of directories so deep that no single path reaches its end.
fn deep(root: &Path, name: &[u8], depth: usize) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = rustix::fs::open(root, flags, Mode::empty()).unwrap();
    for _ in 0..depth {
        rustix::fs::mkdirat(&dir, name, Mode::RWXU).unwrap();
        dir = rustix::fs::openat(&dir, name, flags, Mode::empty()).unwrap();
    }
    let create = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&dir, "bottom", create, Mode::RUSR | Mode::WUSR).unwrap();
    rustix::io::write(file, b"deep down").unwrap();
    rustix::fs::symlinkat("to", &dir, "link").unwrap();
}

/// Returns the bytes of the file at the end, and the number of directories above it.
fn bottom(root: &Path, name: &[u8]) -> (Vec<u8>, usize) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = rustix::fs::open(root, flags, Mode::empty()).unwrap();
    let mut depth = 0;
    while let Ok(next) = rustix::fs::openat(&dir, name, flags, Mode::empty()) {
        (dir, depth) = (next, depth + 1);
    }
    let Ok(file) = rustix::fs::openat(&dir, "bottom", OFlags::RDONLY, Mode::empty()) else {
        return (Vec::new(), depth);
    };
    assert_eq!(rustix::fs::readlinkat(&dir, "link", Vec::new()).unwrap().to_bytes(), b"to");
    let mut buffer = [0; 100];
    let len = rustix::io::read(file, &mut buffer).unwrap();
    (buffer[..len].to_vec(), depth)
}

#[test]
fn paths_beyond_path_max_are_restored() {
    let library = library();
    for (number, (name, depth)) in [(&[b'n'; 200][..], 60), (b"d", 5000)].into_iter().enumerate() {
        let source = library.path(&format!("src{number}"));
        let target = library.path(&format!("out{number}"));
        fs::create_dir(&source).unwrap();
        deep(&source, name, depth);
        round_trip(&library, &source, &target);
        assert_eq!(bottom(&target, name), (b"deep down".to_vec(), depth));
        // GNU tar accepts no path that the system rejects. This program descends step by step, from the start
        // each time.
        if depth > 100 {
            continue;
        }
        let extracted = library.path(&format!("tar{number}"));
        fs::create_dir(&extracted).unwrap();
        if untar("bsdtar", &[], &archive(&library, &source), &extracted) {
            assert_eq!(bottom(&extracted, name), (b"deep down".to_vec(), depth));
        }
        assert_eq!(library.errors(), Vec::<String>::new());
    }
}

#[test]
fn a_tree_deeper_than_any_restore_goes_is_named_and_left_out() {
    let library = library();
    let source = library.path("src");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "saved").unwrap();
    deep(&source, b"d", 8200);
    let summary = library.try_backup("src", backup::Options::default()).unwrap();
    assert_eq!(summary.problems.len(), 1);
    assert!(summary.problems[0].message.contains("nested too deeply"), "{}", summary.problems[0].message);
    assert_eq!(library.errors(), Vec::<String>::new());
    assert!(Path::new(OsStr::from_bytes(&summary.problems[0].path)).starts_with(&source));
}
