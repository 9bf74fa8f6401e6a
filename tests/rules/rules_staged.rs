//! Rules of docs/concurrency.md that back each other up. If one is removed, nothing is lost at once, so each
//! is tested by what it alone prevents.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use snap_backup::Control;
use snap_backup::codec::crypto::sealed_object;
use snap_backup::model::entry::Time;
use snap_backup::model::id::SnapshotId;
use snap_backup::model::manifest::SnapshotKind;
use snap_backup::model::records::{Fence, GcRecord, SessionKind};
use snap_backup::ops::repair::{index, snapshots};
use snap_backup::ops::{backup, forget};
use snap_backup::repo::objects;
use snap_backup::repo::sessions::session::Session;
use snap_backup::storage::{ObjectKind, Storage};

use crate::support::hooked::Act;
use crate::support::stage::Stage;

const NOBODY: SnapshotId = SnapshotId::new([7; 16]);

/// At the n-th call of a kind from now on.
fn at(
    stage: &Arc<Stage>,
    nth: usize,
    act: Act,
    area: ObjectKind,
    work: impl FnOnce(&Stage) + Send + 'static,
) {
    (1..nth).for_each(|_| stage.storage.before(act, area, |_, _| ()));
    let weak = Arc::downgrade(stage);
    stage.storage.before(act, area, move |_, _| work(&weak.upgrade().unwrap()));
}

/// Listings of one area that a gc run makes before its record, if nothing is unfinished.
fn listings(area: ObjectKind) -> usize {
    let stage = Stage::new();
    stage.write("a", &[1]);
    stage.backup("a");
    stage.write("old", &[9]);
    stage.forget(stage.backup("old"));
    stage.storage.calls();
    stage.gc();
    let calls = stage.storage.calls();
    let record = calls.iter().position(|call| (call.0, call.1) == (Act::Create, ObjectKind::Gc)).unwrap();
    calls[..record].iter().filter(|call| (call.0, call.1) == (Act::List, area)).count()
}

/// C1: at whichever listing a snapshot is forgotten, it is marked: nothing has to be rescued.
#[test]
fn a_snapshot_forgotten_at_any_listing_is_marked() {
    for area in [ObjectKind::Snapshots, ObjectKind::Trash, ObjectKind::Packs, ObjectKind::Sessions] {
        for nth in 1..=listings(area) {
            let stage = Stage::new();
            stage.write("src", &[1, 2]);
            let id = stage.backup("src");
            stage.write("other", &[3]);
            stage.backup("other");
            at(&stage, nth, Act::List, area, move |stage| stage.forget(id));
            let report = stage.gc_without_purge();
            assert_eq!((report.rescued, report.packs_deleted), (0, 0), "{area:?} {nth}");
            assert_eq!(
                stage.names(ObjectKind::Gc),
                Vec::<String>::new(),
                "{area:?} {nth}: it condemned something"
            );
            stage.assert_sound();
        }
    }
}

/// C1: the same for one that is undeleted, and whose entry disappears, at any listing.
#[test]
fn a_snapshot_brought_back_at_any_listing_is_marked() {
    for area in [ObjectKind::Snapshots, ObjectKind::Trash, ObjectKind::Packs, ObjectKind::Sessions] {
        for nth in 1..=listings(area) {
            let stage = Stage::new();
            stage.write("src", &[1, 2]);
            let id = stage.backup("src");
            stage.forget(id);
            at(&stage, nth, Act::List, area, move |stage| {
                forget::undelete(&stage.library.open(), &[id.hex()]).unwrap();
                let inner = &stage.storage.inner;
                stage
                    .names(ObjectKind::Trash)
                    .iter()
                    .for_each(|name| inner.remove(ObjectKind::Trash, name).unwrap());
            });
            let report = stage.gc_without_purge();
            assert_eq!((report.rescued, report.packs_deleted), (0, 0), "{area:?} {nth}");
            assert_eq!(
                stage.names(ObjectKind::Gc),
                Vec::<String>::new(),
                "{area:?} {nth}: it condemned something"
            );
            stage.library.assert_restores(Some(id), "src");
            stage.assert_sound();
        }
    }
}

/// C1: packs, then sessions, then roots, then packs again: whenever a backup begins and ends, its packs are
/// left alone.
#[test]
fn a_backup_at_any_listing_has_none_of_its_packs_condemned() {
    for area in [ObjectKind::Snapshots, ObjectKind::Trash, ObjectKind::Packs, ObjectKind::Sessions] {
        for nth in 1..=listings(area) {
            let stage = Stage::new();
            stage.write("src", &[1, 2]);
            let made = Arc::new(Mutex::new(None));
            let note = Arc::clone(&made);
            at(&stage, nth, Act::List, area, move |stage| *note.lock().unwrap() = Some(stage.backup("src")));
            let report = stage.gc();
            assert_eq!((report.rescued, report.packs_deleted), (0, 0), "{area:?} {nth}");
            assert_eq!(
                stage.names(ObjectKind::Gc),
                Vec::<String>::new(),
                "{area:?} {nth}: it condemned something"
            );
            stage.library.assert_restores(made.lock().unwrap().take(), "src");
            stage.assert_sound();
        }
    }
}

/// A running writer: its packs and its session exist, its manifest is not written yet. Returns the manifest.
fn writer_at_work(stage: &Stage) -> (SnapshotId, Vec<u8>) {
    stage.write("src", &[1, 2]);
    let id = stage.backup("src");
    let manifest = stage.storage.inner.get(ObjectKind::Snapshots, &id.hex()).unwrap();
    stage.storage.inner.remove(ObjectKind::Snapshots, &id.hex()).unwrap();
    stage.stand_on(id, "elsewhere".into());
    (id, manifest)
}

fn commit(stage: &Stage, id: SnapshotId, manifest: &[u8]) {
    let inner = &stage.storage.inner;
    inner.create(ObjectKind::Snapshots, &id.hex(), &[manifest]).unwrap();
    inner.remove(ObjectKind::Sessions, &id.hex()).unwrap();
    let _ = inner.remove(ObjectKind::Sessions, &format!("{}.seen", id.hex()));
}

/// C1: sessions before roots: of a writer that commits at any listing, the session or the snapshot is seen.
#[test]
fn writer_committing_at_any_listing_keeps_its_packs() {
    for area in [ObjectKind::Snapshots, ObjectKind::Trash, ObjectKind::Packs, ObjectKind::Sessions] {
        for nth in 1..=listings(area) {
            let stage = Stage::new();
            let (id, manifest) = writer_at_work(&stage);
            at(&stage, nth, Act::List, area, move |stage| commit(stage, id, &manifest));
            let report = stage.gc();
            assert_eq!((report.rescued, report.packs_deleted), (0, 0), "{area:?} {nth}");
            assert_eq!(
                stage.names(ObjectKind::Gc),
                Vec::<String>::new(),
                "{area:?} {nth}: it condemned something"
            );
            stage.library.assert_restores(Some(id), "src");
            assert!(stage.storage.is_spent());
        }
    }
}

/// C2: what a running session has stored is neither condemned nor moved, although no root needs it yet.
#[test]
fn packs_of_a_running_writer_are_left_alone() {
    let stage = Stage::new();
    let (id, manifest) = writer_at_work(&stage);
    let before = stage.names(ObjectKind::Packs);
    let report = stage.gc();
    assert_eq!((report.later, report.waiting_for.len()), ((0, 0), 0), "its packs were condemned");
    assert_eq!((stage.names(ObjectKind::Packs), stage.names(ObjectKind::Gc)), (before, vec![]));
    commit(&stage, id, &manifest);
    stage.library.assert_restores(Some(id), "src");
}

/// C2: the copy that stays is read before the other is deleted, whichever is damaged.
#[test]
fn gc_never_keeps_the_damaged_one_of_two_copies() {
    for damaged in 0..2 {
        let stage = Stage::new();
        stage.write("one", &[1, 2]);
        stage.write("two", &[1, 2]);
        // Both store everything: neither sees the other.
        let first = Arc::new(Mutex::new(None));
        let note = Arc::clone(&first);
        at(&stage, 1, Act::Create, ObjectKind::Packs, move |stage| {
            *note.lock().unwrap() = Some(stage.backup("one"))
        });
        let second = stage.backup("two");
        let mut packs = stage.storage.inner.list(ObjectKind::Packs).unwrap();
        packs.retain(|found| found.len > 150_000);
        assert_eq!(packs.len(), 2, "two packs with the same files");
        let name = &packs[damaged].name;
        let mut bytes = stage.storage.inner.get(ObjectKind::Packs, name).unwrap();
        for at in [bytes.len() / 10, bytes.len() / 2, bytes.len() - bytes.len() / 20] {
            bytes[at] ^= 1;
        }
        stage.storage.inner.put(ObjectKind::Packs, name, bytes);
        stage.gc();
        let good = &packs[1 - damaged].name;
        assert!(
            stage.names(ObjectKind::Packs).contains(good) || !stage.names(ObjectKind::Packs).contains(name),
            "copy {damaged} is damaged, and the other one was deleted"
        );
        stage.library.assert_restores(first.lock().unwrap().take(), "one");
        stage.library.assert_restores(Some(second), "two");
        assert!(stage.storage.is_spent());
    }
}

fn publish(stage: &Stage, number: u64, ended: bool) {
    let repo = stage.library.open();
    let (storage, suite) = (stage.storage.inner.as_ref(), repo.suite());
    let record = GcRecord { by: NOBODY, at: Time::now(), condemned: vec![], roots: vec![], purged: vec![] };
    let name = format!("{number:016x}");
    objects::create(storage, suite, sealed_object::GC, ObjectKind::Gc, &name, &record).unwrap();
    if ended {
        objects::create(storage, suite, sealed_object::GC_DONE, ObjectKind::Gc, &format!("{name}.done"), &())
            .unwrap();
    }
}

/// C3: a collector that slept while its number was used and cleaned up deletes nothing under it.
#[test]
fn a_record_below_the_highest_number_never_counts() {
    let stage = Stage::new();
    stage.write("src", &[1, 2]);
    let id = stage.backup("src");
    stage.forget(id);
    let packs = stage.names(ObjectKind::Packs);
    // Numbers 1 and 2 were used meanwhile, and 1 is gone again.
    at(&stage, 1, Act::Create, ObjectKind::Gc, |stage| publish(stage, 2, true));
    at(&stage, 1, Act::Create, ObjectKind::Gc, move |stage| {
        assert_eq!(
            stage.names(ObjectKind::Packs),
            packs,
            "packs were deleted by a record that never counted"
        );
    });
    stage.gc();
    let numbers = stage.names(ObjectKind::Gc);
    assert_eq!(numbers, ["0000000000000003", "0000000000000003.done"]);
    assert_eq!(stage.bytes(), 0);
    stage.assert_sound();
}

/// C4: a collector sleeps before it looks for packs to rescue, while another one ends its run. The rescued
/// packs are in use, and no record condemns them.
#[test]
fn collector_that_slept_past_its_runs_end_deletes_nothing() {
    let stage = Stage::new();
    stage.write("old", &[1, 2]);
    let old = stage.backup("old");
    stage.forget(old);
    stage.write("new", &[1, 2]);
    let made = Arc::new(Mutex::new(None));
    let (note, other) = (Arc::clone(&made), Arc::downgrade(&stage));
    stage.storage.before(Act::Create, ObjectKind::Gc, move |_, _| {
        let stage = other.upgrade().unwrap();
        *note.lock().unwrap() = Some(stage.backup("new"));
        // After the record the sessions are listed, then the roots.
        at(&stage, 1, Act::List, ObjectKind::Snapshots, |stage| assert!(stage.gc().rescued > 0));
    });
    stage.gc();
    stage.library.assert_restores(made.lock().unwrap().take(), "new");
    assert!(stage.storage.is_spent());
    assert_eq!(stage.library.errors(), Vec::<String>::new());
}

/// R1: a reader does not acknowledge a gc run that purges what it reads.
#[test]
fn gc_waits_for_a_reader_whose_data_it_deletes() {
    let stage = Stage::new();
    stage.write("src", &[1, 2]);
    let id = stage.backup("src");
    let (reader, _) = Session::open(&stage.library.open(), SessionKind::Reader).unwrap();
    reader.set_reading(&[id]);
    stage.forget(id);
    let before = stage.bytes();
    assert_eq!(stage.gc().packs_deleted, 0);
    reader.write_heartbeat().unwrap();
    let report = stage.gc();
    assert_eq!((report.packs_deleted, report.waiting_for.len(), stage.bytes()), (0, 1, before));
    reader.close().unwrap();
    assert_eq!(stage.gc().bytes_deleted, before);
    stage.assert_sound();
}

/// R1: it acknowledges one that keeps everything it reads, which need not wait for it.
#[test]
fn gc_does_not_wait_for_a_reader_whose_data_it_keeps() {
    let stage = Stage::new();
    stage.write("kept", &[1]);
    let kept = stage.backup("kept");
    stage.write("gone", &[2]);
    let gone = stage.backup("gone");
    let (reader, _) = Session::open(&stage.library.open(), SessionKind::Reader).unwrap();
    reader.set_reading(&[kept]);
    stage.forget(gone);
    assert_eq!(stage.gc().packs_deleted, 0);
    reader.write_heartbeat().unwrap();
    assert!(stage.gc().packs_deleted > 0);
    reader.close().unwrap();
    stage.library.assert_restores(Some(kept), "kept");
    assert!(stage.storage.is_spent());
    assert_eq!(stage.library.errors(), Vec::<String>::new());
}

/// Forget: the trash entry exists before the manifest is removed.
#[test]
fn a_snapshot_that_is_forgotten_is_in_the_trash_before_it_goes() {
    let stage = Stage::new();
    stage.write("src", &[1]);
    let id = stage.backup("src");
    at(&stage, 1, Act::Remove, ObjectKind::Snapshots, |stage| {
        assert_eq!(stage.names(ObjectKind::Trash).len(), 1, "it would be nowhere");
    });
    stage.forget(id);
    stage.assert_sound();
}

/// Forget: an entry made after the snapshot was forgotten and purged by others would need deleted data.
#[test]
fn no_entry_stays_of_a_snapshot_that_was_purged_meanwhile() {
    let stage = Stage::new();
    stage.write("src", &[1]);
    let id = stage.backup("src");
    at(&stage, 1, Act::Create, ObjectKind::Trash, move |stage| {
        stage.storage.inner.remove(ObjectKind::Snapshots, &id.hex()).unwrap();
    });
    stage.forget(id);
    assert_eq!(stage.names(ObjectKind::Trash), Vec::<String>::new());
}

/// Undelete: a session that was considered dead undeletes nothing.
#[test]
fn undelete_by_a_dead_session_is_fenced() {
    let stage = Stage::new();
    stage.write("src", &[1]);
    let id = stage.backup("src");
    stage.forget(id);
    let suite = stage.library.open().suite().clone();
    stage.storage.before(Act::Create, ObjectKind::Snapshots, move |storage, name| {
        assert_ne!(name, id.hex(), "no fence would stop this");
        let fence = Fence { by: NOBODY, gc: 1, at: Time::now() };
        objects::create(storage, &suite, sealed_object::FENCE, ObjectKind::Snapshots, name, &fence).unwrap();
    });
    assert!(forget::undelete(&stage.library.open(), &[id.hex()]).is_err());
    assert_eq!(stage.library.snapshots(), []);
    assert!(stage.storage.is_spent());
}

/// Undelete: at every moment the snapshot exists under one name or the other.
#[test]
fn undeleted_snapshot_always_has_a_name() {
    let stage = Stage::new();
    stage.write("src", &[1]);
    let id = stage.backup("src");
    stage.forget(id);
    at(&stage, 1, Act::Remove, ObjectKind::Snapshots, move |stage| {
        assert!(stage.names(ObjectKind::Snapshots).contains(&id.hex()), "the other name goes first");
    });
    assert_eq!(forget::undelete(&stage.library.open(), &[id.hex()]).unwrap(), [id]);
    stage.library.assert_restores(Some(id), "src");
    stage.assert_sound();
}

/// Undelete: what an unfinished gc run purges may be gone at any moment.
#[test]
fn undelete_refuses_what_an_unfinished_gc_purges() {
    let stage = Stage::new();
    stage.write("src", &[1]);
    let id = stage.backup("src");
    let (reader, _) = Session::open(&stage.library.open(), SessionKind::Reader).unwrap();
    stage.forget(id);
    assert!(!stage.gc().waiting_for.is_empty());
    let err = forget::undelete(&stage.library.open(), &[id.hex()]).unwrap_err().chain();
    assert!(err.contains("begun to purge"), "{err}");
    reader.close().unwrap();
    stage.gc();
    assert_eq!((stage.bytes(), stage.names(ObjectKind::Trash)), (0, vec![]));
    stage.assert_sound();
}

/// A backup stores again what was missing when `repair snapshots` looked: the snapshot is complete, and is
/// kept.
#[test]
fn a_snapshot_that_a_backup_healed_meanwhile_is_not_replaced() {
    let stage = Stage::new();
    stage.write("src", &[1]);
    let id = stage.backup("src");
    lose_packs_of_data(&stage);
    // The session of the look-up, then that of the replacement.
    at(&stage, 2, Act::Create, ObjectKind::Sessions, |stage| {
        let options =
            backup::Options { kind: SnapshotKind::Full, allow_empty: true, ..backup::Options::default() };
        stage.library.backup("src", options);
    });
    let report = repair(&stage);
    assert_eq!(report, [snapshots::SnapshotFate::Healed]);
    assert!(stage.names(ObjectKind::Snapshots).contains(&id.hex()), "it was replaced");
    assert_eq!(stage.names(ObjectKind::Trash), Vec::<String>::new());
    stage.assert_sound();
}

/// Another run forgets it: the repaired one must not replace it.
#[test]
fn snapshot_forgotten_during_its_repair_stays_forgotten() {
    let stage = Stage::new();
    stage.write("src", &[1]);
    let id = stage.backup("src");
    lose_packs_of_data(&stage);
    at(&stage, 2, Act::Create, ObjectKind::Sessions, move |stage| stage.forget(id));
    let report = repair(&stage);
    assert_eq!(report, [snapshots::SnapshotFate::Forgotten]);
    assert_eq!(stage.names(ObjectKind::Snapshots), Vec::<String>::new());
}

fn lose_packs_of_data(stage: &Stage) {
    let inner = &stage.storage.inner;
    let largest = inner.list(ObjectKind::Packs).unwrap().into_iter().max_by_key(|pack| pack.len).unwrap();
    inner.remove(ObjectKind::Packs, &largest.name).unwrap();
}

fn repair(stage: &Stage) -> Vec<snapshots::SnapshotFate> {
    let options = snapshots::Options::default();
    let report = snapshots::run(&stage.library.open(), &options, &Control::default());
    report.unwrap().items.into_iter().map(|item| item.fate).collect()
}

/// A gc run sweeps packs that `repair index` has listed: that is not damage.
#[test]
fn packs_swept_during_an_index_rebuild_are_not_damaged() {
    for dry_run in [false, true] {
        let stage = Stage::new();
        stage.write("src", &[1, 2]);
        stage.backup("src");
        let name = stage.names(ObjectKind::Packs).remove(0);
        stage.storage.before(Act::Read, ObjectKind::Packs, move |storage, _| {
            storage.remove(ObjectKind::Packs, &name).unwrap();
        });
        let report = index::run(&stage.library.open(), dry_run, &Control::default()).unwrap();
        assert_eq!(report.unreadable, Vec::<String>::new(), "dry run: {dry_run}");
        assert!(stage.storage.is_spent());
    }
}

/// An existing pack that cannot be read is damaged all the same.
#[test]
fn unreadable_existing_packs_are_damaged() {
    let stage = Stage::new();
    stage.write("src", &[1]);
    stage.backup("src");
    let name = stage.names(ObjectKind::Packs).remove(0);
    let len = stage.storage.inner.get(ObjectKind::Packs, &name).unwrap().len();
    stage.storage.inner.put(ObjectKind::Packs, &name, vec![0; len]);
    let report = index::run(&stage.library.open(), false, &Control::default()).unwrap();
    assert_eq!(report.unreadable.len(), 1);
}
