//! What counts as unchanged, and so is not read again: nothing that may have changed.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use crate::support::Random;
use crate::support::library::Library;
use crate::support::torture::set_times;
use snap_backup::Control;
use snap_backup::model::entry::Time;
use snap_backup::model::id::SnapshotId;
use snap_backup::ops::backup::{Backup, Report};
use snap_backup::ops::{backup, repair};
use snap_backup::progress::Event;
use snap_backup::repo::snapshots;
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{ObjectKind, Storage};

const OLD: i64 = 1_000_000_000;

fn library() -> (Library, Arc<MemoryStorage>) {
    let storage = Arc::new(MemoryStorage::default());
    (Library::on(storage.clone(), None), storage)
}

/// A file with an old mtime. Its ctime is recent, and irrelevant here.
fn options() -> backup::Options {
    backup::Options { ignore_ctime: true, ..backup::Options::default() }
}

fn read(library: &Library) -> u64 {
    library.backup("src", options()).counts.bytes_read
}

#[test]
fn a_nanosecond_of_the_mtime_is_a_change() {
    let (library, _) = library();
    library.write("src", &[("f", b"one")]);
    let path = library.path("src/f");
    set_times(&path, OLD, 1);
    assert_eq!((read(&library), read(&library)), (3, 0));
    library.write("src", &[("f", b"two")]);
    set_times(&path, OLD, 2);
    assert_eq!(read(&library), 3);
    library.assert_restores(library.snapshots().last().copied(), "src");
}

/// Commits a snapshot once more as if it had begun at another time, in place of the one before.
fn begin_at(library: &Library, storage: &MemoryStorage, id: SnapshotId, started: Time) -> SnapshotId {
    let repo = library.open();
    let mut manifest = snapshots::load(&repo, &id.hex()).unwrap().unwrap().manifest;
    (manifest.started, manifest.ended) = (started, started);
    let other = SnapshotId::new([3; 16]);
    assert!(snapshots::commit(&repo, other, &manifest).unwrap());
    storage.remove(ObjectKind::Snapshots, &id.hex()).unwrap();
    other
}

/// A file that is written in the two seconds before a run may be written again with the same time, because
/// the clocks of many file systems are that coarse.
#[test]
fn file_modified_just_before_its_parent_is_read_again() {
    for (age, again) in [(-1, 3), (0, 3), (1, 3), (2, 3), (3, 0), (60, 0)] {
        let (library, storage) = library();
        library.write("src", &[("f", b"one")]);
        set_times(&library.path("src/f"), OLD, 0);
        let made = library.backup("src", options()).snapshot.unwrap();
        begin_at(&library, &storage, made, Time { sec: OLD + age, nanos: 0 });
        assert_eq!(read(&library), again, "{age} s old when the parent began");
    }
}

/// A file that changed each time it was read, and has the size and mtime of the stored version, may have any
/// content.
#[test]
fn a_file_that_is_marked_is_read_again_whatever_its_times_say() {
    let (library, _) = library();
    library.write("src", &[("f", &Random::new(1).bytes(24 << 20))]);
    let path = library.path("src/f");
    set_times(&path, OLD, 0);
    let run = |change: &(dyn Fn(&Path) + Sync)| -> Report {
        let observer = |event: Event<'_>| {
            if let Event::Done { files: 0, bytes: 1.. } = event {
                change(&path);
            }
        };
        let options = backup::Options { sources: vec![library.path("src")], ..options() };
        Backup::begin(options, None, &Control::default())
            .unwrap()
            .run(&library.open(), &Control::new(&observer))
            .unwrap()
    };
    // Only its ctime shows it.
    assert_eq!(run(&|path| set_times(path, OLD, 0)).changing, 1);
    let again = run(&|_| ());
    assert_eq!((again.changing, again.counts.bytes_read), (0, 24 << 20));
    assert_eq!(run(&|_| ()).counts.bytes_read, 0, "the mark has gone");
}

/// The system reports a page of bytes for such a file, and returns fewer. Nothing else shows that the content
/// is incomplete.
#[test]
fn a_file_that_gives_fewer_bytes_than_it_has_is_marked() {
    let file = Path::new("/sys/kernel/uevent_seqnum");
    let (Ok(bytes), Ok(found)) = (fs::read(file), fs::metadata(file)) else {
        return crate::support::skipped("no /sys: a file that is shorter than it says");
    };
    if bytes.len() as u64 == found.len() {
        return crate::support::skipped("a file of /sys is as long as it says");
    }
    let (library, _) = library();
    let options = backup::Options { sources: vec![file.to_path_buf()], ..options() };
    let made = Backup::begin(options, None, &Control::default())
        .unwrap()
        .run(&library.open(), &Control::default())
        .unwrap();
    assert_eq!((made.changing, made.problems.len()), (1, 0));
}

/// More entries than the walk may be ahead of the comparer: it is stopped long before its end.
const FAR: usize = 40_000;

#[test]
fn files_not_reached_by_an_interrupted_walk_are_kept() {
    let (library, _) = library();
    library.write("src", &[("a", b"one"), ("b", b"one"), ("z", b"last")]);
    fs::create_dir(library.path("src/d")).unwrap();
    for file in 0..FAR {
        let path = library.path(&format!("src/d/{file}"));
        fs::write(&path, "").unwrap();
        set_times(&path, OLD, 0);
    }
    set_times(&library.path("src/z"), OLD, 0);
    let whole = library.backup("src", options()).snapshot.unwrap();
    library.write("src", &[("a", b"two!"), ("b", b"three")]);
    let stop = Arc::new(AtomicBool::new(false));
    let stored = (Mutex::new(false), Condvar::new());
    let observer = |event: Event<'_>| match event {
        Event::Done { files: 0, bytes: 4 } => {
            *stored.0.lock().unwrap() = true;
            stored.1.notify_all();
        }
        // The comparer continues if there is something to save, and everything ends.
        Event::Working { path: b"src/b" } => {
            drop(stored.1.wait_while(stored.0.lock().unwrap(), |stored| !*stored).unwrap());
            stop.store(true, Ordering::Relaxed);
        }
        _ => {}
    };
    let store_as = Some(b"src".to_vec());
    let options = backup::Options { sources: vec![library.path("src")], store_as, ..options() };
    let made = Backup::begin(options, None, &Control::default().with_cancel(&stop))
        .unwrap()
        .run(&library.open(), &Control::new(&observer).with_cancel(&stop));
    let made = made.unwrap_or_else(|err| panic!("{}", err.chain()));
    assert!(made.partial);
    assert_eq!((made.counts.files_removed, made.vanished), (0, 0));
    let repo = library.open();
    let files = |id: SnapshotId| {
        let counts = snapshots::load(&repo, &id.hex()).unwrap().unwrap().manifest.counts;
        counts.files_new + counts.files_changed + counts.files_unchanged
    };
    assert_eq!(files(made.snapshot.unwrap()) + 1, files(whole), "all but the one that was about to be read");
    assert_eq!(library.errors(), Vec::<String>::new());
}

/// A file whose lost parts a repair replaced with zeros has the size and the times of the whole file.
#[test]
fn files_with_lost_parts_are_read_again() {
    let (library, storage) = library();
    let bytes = Random::new(1).bytes(9 << 20);
    library.write("src", &[("f", &bytes)]);
    set_times(&library.path("src/f"), OLD, 0);
    library.backup("src", options());
    let largest =
        storage.list(ObjectKind::Packs).unwrap().into_iter().max_by_key(|found| found.len).unwrap().name;
    let mut pack = storage.get(ObjectKind::Packs, &largest).unwrap();
    let middle = pack.len() / 2;
    pack[middle] ^= 1;
    storage.put(ObjectKind::Packs, &largest, pack);
    let ids = vec![largest.clone()];
    let packs = repair::packs::Options { ids, ..repair::packs::Options::default() };
    assert!(repair::packs::run(&library.open(), &packs, &Control::default()).unwrap().has_lost());
    assert_eq!(
        storage.list(ObjectKind::Damage).unwrap().iter().map(|found| found.name.as_str()).collect::<Vec<_>>(),
        [largest.as_str()],
        "something is lost, and nothing says so any more"
    );
    let repaired =
        repair::snapshots::run(&library.open(), &repair::snapshots::Options::default(), &Control::default());
    assert_eq!(repaired.unwrap().items.len(), 1);
    // The damage record is gone, and the parent is trusted.
    storage
        .list(ObjectKind::Damage)
        .unwrap()
        .iter()
        .for_each(|found| storage.remove(ObjectKind::Damage, &found.name).unwrap());
    assert_eq!(read(&library), 9 << 20);
    library.assert_restores(library.snapshots().last().copied(), "src");
    assert_eq!(read(&library), 0);
}
