//! Garbage collection and concurrent writers: rules C1 to C5 of docs/concurrency.md, each critical moment
//! staged.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use snap_backup::Control;
use snap_backup::codec::crypto::sealed_object;
use snap_backup::model::entry::Time;
use snap_backup::model::id::{PackId, SnapshotId};
use snap_backup::model::records::{GcRecord, SessionKind};
use snap_backup::ops::gc::MaxUnused;
use snap_backup::ops::{backup, forget, gc};
use snap_backup::repo::objects;
use snap_backup::repo::sessions::session::Session;
use snap_backup::storage::{ObjectKind, Storage};

use crate::support::hooked::Act;
use crate::support::stage::Stage;

const NOBODY: SnapshotId = SnapshotId::new([7; 16]);

#[test]
fn gc_deletes_only_what_forgotten_snapshots_need() {
    for forgotten in 0..8_u32 {
        let stage = Stage::new();
        let mut made = Vec::new();
        for (number, seeds) in [[1, 2, 3], [2, 3, 4], [3, 4, 5]].iter().enumerate() {
            let source = format!("s{number}");
            stage.write(&source, seeds);
            made.push((stage.backup(&source), source));
        }
        let goes = |number: &usize| forgotten >> number & 1 == 1;
        (0..3).filter(goes).for_each(|number| stage.forget(made[number].0));
        stage.gc();
        for number in (0..3).filter(|number| !goes(number)) {
            stage.library.assert_restores(Some(made[number].0), &made[number].1);
        }
        stage.assert_sound();
        let fresh = Stage::new();
        for number in (0..3).filter(|number| !goes(number)) {
            let seeds = [[1, 2, 3], [2, 3, 4], [3, 4, 5]][number];
            fresh.write(&made[number].1, &seeds);
            fresh.backup(&made[number].1);
        }
        let (is, should) = (stage.bytes(), fresh.bytes());
        assert!(is <= should + should / 50 + 4096, "{forgotten:03b}: {is} bytes, {should} in a fresh one");
    }
}

#[test]
fn a_forgotten_snapshot_comes_back_until_it_is_purged() {
    let stage = Stage::new();
    stage.write("src", &[1, 2]);
    let id = stage.backup("src");
    stage.forget(id);
    let options = gc::Options { max_unused: MaxUnused::Bytes(0), ..gc::Options::default() };
    gc::run(&stage.library.open(), &options, &Control::default()).unwrap();
    assert_eq!(forget::undelete(&stage.library.open(), &[id.hex()]).unwrap(), [id]);
    let collect = |empty_trash| {
        let options = gc::Options { empty_trash, ..gc::Options::default() };
        gc::run(&stage.library.open(), &options, &Control::default()).unwrap()
    };
    assert_eq!(collect(false).in_trash, 0);
    stage.library.assert_restores(Some(id), "src");
    // The entry still exists: purging it must not delete the existing snapshot, nor count as a loss.
    assert_eq!(collect(true).purged, 0);
    stage.library.assert_restores(Some(id), "src");
    assert_eq!(stage.names(ObjectKind::Trash), Vec::<String>::new());
    stage.forget(id);
    stage.gc();
    assert!(forget::undelete(&stage.library.open(), &[id.hex()]).is_err());
    assert_eq!(stage.bytes(), 0);
}

#[test]
fn undelete_window_is_measured_by_the_storage_clock() {
    let stage = Stage::new();
    stage.write("src", &[1]);
    let id = stage.backup("src");
    stage.forget(id);
    let collect = || gc::run(&stage.library.open(), &gc::Options::default(), &Control::default());
    assert_eq!(collect().unwrap().purged, 0);
    let now = Time::now();
    let day = Time { sec: now.sec - 24 * 3600 - 1, ..now };
    stage.storage.inner.date(ObjectKind::Trash, &stage.names(ObjectKind::Trash)[0], day);
    assert_eq!(collect().unwrap().purged, 1);
    assert_eq!(stage.bytes(), 0);
}

/// C1 and C4: a running session protects what it may have found; the next gc run deletes it.
#[test]
fn gc_deletes_nothing_before_running_sessions_have_seen_it() {
    for kind in [SessionKind::Writer, SessionKind::Reader] {
        let stage = Stage::new();
        stage.write("src", &[1, 2]);
        let id = stage.backup("src");
        let repo = stage.library.open();
        let (session, _) = Session::open(&repo, kind).unwrap();
        stage.forget(id);
        let before = stage.bytes();
        let report = stage.gc();
        assert_eq!((report.packs_deleted, stage.bytes()), (0, before));
        assert!(!report.waiting_for.is_empty() && report.later.1 == before);
        session.close().unwrap();
        assert_eq!(stage.gc().bytes_deleted, before);
        stage.assert_sound();
    }
}

/// C4: a writer that found chunks before the record was published, and committed after it: they are rescued.
#[test]
fn chunk_found_before_it_was_condemned_is_rescued() {
    let stage = Stage::new();
    stage.write("old", &[1, 2]);
    let old = stage.backup("old");
    stage.forget(old);
    stage.write("new", &[1, 2]);
    let (other, made) = (Arc::downgrade(&stage), Arc::new(Mutex::new(None)));
    let note = Arc::clone(&made);
    stage.storage.before(Act::Create, ObjectKind::Gc, move |_, _| {
        *note.lock().unwrap() = Some(other.upgrade().unwrap().backup("new"));
    });
    let report = stage.gc();
    assert!(report.rescued > 0, "{report:?}");
    stage.library.assert_restores(made.lock().unwrap().take(), "new");
    stage.assert_sound();
    // And they are ordinary packs again.
    stage.gc();
    stage.library.assert_restores(Some(stage.library.snapshots()[0]), "new");
}

/// C4: the same for a snapshot that was undeleted in between.
#[test]
fn snapshot_undeleted_before_condemning_is_rescued() {
    let stage = Stage::new();
    stage.write("src", &[1, 2]);
    let id = stage.backup("src");
    stage.forget(id);
    let other = Arc::downgrade(&stage);
    stage.storage.before(Act::Create, ObjectKind::Gc, move |_, _| {
        forget::undelete(&other.upgrade().unwrap().library.open(), &[id.hex()]).unwrap();
    });
    assert!(stage.gc().rescued > 0);
    stage.library.assert_restores(Some(id), "src");
    stage.assert_sound();
}

/// C1: snapshots, trash, snapshots again.
#[test]
fn a_snapshot_forgotten_between_two_listings_is_still_a_root() {
    for listing in [ObjectKind::Trash, ObjectKind::Snapshots] {
        let stage = Stage::new();
        stage.write("src", &[1, 2]);
        let id = stage.backup("src");
        stage.write("src", &[3]);
        stage.backup("src");
        let other = Arc::downgrade(&stage);
        stage.storage.before(Act::List, listing, move |_, _| other.upgrade().unwrap().forget(id));
        let options = gc::Options { max_unused: MaxUnused::Bytes(0), ..gc::Options::default() };
        gc::run(&stage.library.open(), &options, &Control::default()).unwrap();
        stage.write("src", &[1, 2]);
        assert_eq!(forget::undelete(&stage.library.open(), &[id.hex()]).unwrap(), [id]);
        assert_eq!(stage.library.errors(), Vec::<String>::new(), "{listing:?}");
    }
}

/// C3: the number is taken: the run starts again, and the other's record is swept first.
#[test]
fn two_collections_never_share_a_number() {
    let stage = Stage::new();
    stage.write("src", &[1, 2]);
    let id = stage.backup("src");
    stage.write("src", &[2]);
    stage.backup("src");
    stage.forget(id);
    let suite = stage.library.open().suite().clone();
    stage.storage.before(Act::Create, ObjectKind::Gc, move |storage, name| {
        let record =
            GcRecord { by: NOBODY, at: Time::now(), condemned: vec![], roots: vec![], purged: vec![] };
        objects::create(storage, &suite, sealed_object::GC, ObjectKind::Gc, name, &record).unwrap();
    });
    stage.gc();
    let numbers: Vec<String> = stage.names(ObjectKind::Gc);
    assert_eq!(numbers, ["0000000000000002", "0000000000000002.done"]);
    stage.library.assert_restores(stage.library.snapshots().first().copied(), "src");
    stage.assert_sound();
}

/// C4: a writer whose process is gone is fenced before anything is deleted, and its session removed.
#[test]
fn a_dead_writer_is_fenced_and_its_packs_are_collected() {
    assert_fenced(&Stage::new());
}

/// Otherwise anybody who may add objects could let a writer commit that was considered dead.
#[test]
fn trash_entry_without_manifest_proves_no_commit() {
    let stage = Stage::new();
    stage.storage.inner.put(ObjectKind::Trash, &format!("{NOBODY}.{NOBODY}"), vec![0; 200]);
    assert_fenced(&stage);
}

fn assert_fenced(stage: &Stage) {
    stage.write("src", &[1]);
    let kept = stage.backup("src");
    let dead = NOBODY.hex();
    stage.stand(NOBODY);
    stage.write("gone", &[2]);
    let gone = stage.backup("gone");
    stage.forget(gone);
    let inner = Arc::clone(&stage.storage.inner);
    stage.storage.before(Act::Remove, ObjectKind::Packs, move |_, _| {
        let fence = inner.get(ObjectKind::Snapshots, &dead);
        let fence = fence.unwrap_or_else(|| panic!("packs are deleted before the fence is there"));
        assert!(fence.starts_with(&sealed_object::FENCE));
    });
    stage.gc();
    assert!(stage.names(ObjectKind::Snapshots).contains(&NOBODY.hex()), "there is no fence");
    assert_eq!(stage.library.snapshots(), [kept]);
    stage.library.assert_restores(Some(kept), "src");
    stage.assert_sound();
}

/// C1: a snapshot that returns after the first listing and loses its trash entry before the second is found
/// by the third.
#[test]
fn a_snapshot_brought_back_between_two_listings_is_a_root() {
    let stage = Stage::new();
    stage.write("src", &[1, 2]);
    let id = stage.backup("src");
    stage.forget(id);
    // The first listing of trash is that for partial snapshots.
    stage.storage.before(Act::List, ObjectKind::Trash, |_, _| ());
    let other = Arc::downgrade(&stage);
    stage.storage.before(Act::List, ObjectKind::Trash, move |storage, _| {
        let stage = other.upgrade().unwrap();
        forget::undelete(&stage.library.open(), &[id.hex()]).unwrap();
        stage
            .names(ObjectKind::Trash)
            .iter()
            .for_each(|name| storage.remove(ObjectKind::Trash, name).unwrap());
    });
    assert_eq!(stage.gc().rescued, 0, "it was no root from the first");
    stage.library.assert_restores(Some(id), "src");
    stage.assert_sound();
}

/// C5: a purged snapshot whose writer still exists cannot be committed once more.
#[test]
fn purged_snapshots_name_is_fenced_while_its_writer_lives() {
    let stage = Stage::new();
    stage.write("src", &[1]);
    let id = stage.backup("src");
    stage.stand(id);
    stage.forget(id);
    let inner = Arc::clone(&stage.storage.inner);
    stage.storage.before(Act::Remove, ObjectKind::Packs, move |_, _| {
        assert!(
            inner.get(ObjectKind::Snapshots, &id.hex()).is_some(),
            "the writer could commit it once more"
        );
    });
    stage.gc();
    assert_eq!((stage.bytes(), stage.library.snapshots()), (0, vec![]));
    stage.assert_sound();
}

/// C2: damage found while moving is recorded, and the mark starts again without the damaged copy.
#[test]
fn damage_met_while_moving_deletes_nothing() {
    let stage = Stage::new();
    stage.write("src", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    let id = stage.backup("src");
    stage.write("src", &[1, 2]);
    let kept = stage.backup("src");
    stage.forget(id);
    let largest =
        stage.storage.inner.list(ObjectKind::Packs).unwrap().into_iter().max_by_key(|found| found.len);
    let name = largest.unwrap().name;
    let mut bytes = stage.storage.inner.get(ObjectKind::Packs, &name).unwrap();
    // In each of its two blocks: the readers determine which file is in which.
    for at in [bytes.len() / 10, bytes.len() - bytes.len() / 20] {
        bytes[at] ^= 1;
    }
    stage.storage.inner.put(ObjectKind::Packs, &name, bytes);
    let report = stage.gc();
    assert!(stage.names(ObjectKind::Packs).contains(&name), "the only copy is gone: {report:?}");
    assert_eq!(stage.names(ObjectKind::Damage), [PackId::parse(&name).unwrap().hex()]);
    // The next backup stores again what the source still has.
    stage.write("src", &[1, 2]);
    let healed = stage.library.backup("src", backup::Options::default()).snapshot.unwrap_or(kept);
    stage.library.assert_restores(Some(healed), "src");
}
