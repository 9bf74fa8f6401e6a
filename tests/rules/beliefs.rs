//! Which sessions, records and cached data are trusted: only what is intact.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use snap_backup::codec::crypto::sealed_object;
use snap_backup::model::entry::Time;
use snap_backup::model::id::{PackId, SnapshotId};
use snap_backup::model::manifest::SnapshotKind;
use snap_backup::model::records::{Damaged, Fence, Heartbeat, SessionKind};
use snap_backup::ops::backup;
use snap_backup::repo::objects;
use snap_backup::repo::sessions::damage;
use snap_backup::repo::sessions::session::Session;
use snap_backup::storage::{ObjectKind, Storage};

use crate::support::stage::Stage;

const NOBODY: SnapshotId = SnapshotId::new([7; 16]);

/// A repository with a forgotten snapshot, whose packs a gc run would delete.
fn with_garbage() -> Arc<Stage> {
    let stage = Stage::new();
    stage.write("src", &[1]);
    let id = stage.backup("src");
    stage.forget(id);
    stage
}

/// C4: nobody knows what a session with an unreadable record does, so gc waits for it.
#[test]
fn a_session_that_cannot_be_read_is_waited_for() {
    let stage = with_garbage();
    stage.storage.inner.put(ObjectKind::Sessions, &NOBODY.hex(), b"no record".to_vec());
    let before = stage.bytes();
    let report = stage.gc();
    assert_eq!((report.packs_deleted, stage.bytes()), (0, before));
    assert_eq!(report.waiting_for.len(), 1, "{report:?}");
}

/// C4: an unreadable end record does not count.
#[test]
fn unreadable_end_record_declares_nobody_dead() {
    let stage = with_garbage();
    stage.stand_on(NOBODY, "elsewhere".to_owned());
    stage.storage.inner.put(ObjectKind::Sessions, &format!("{NOBODY}.end"), b"no beat".to_vec());
    let before = stage.bytes();
    let report = stage.gc();
    assert_eq!((report.packs_deleted, stage.bytes()), (0, before));
    assert_eq!(report.waiting_for.len(), 1, "{report:?}");
    assert!(stage.names(ObjectKind::Sessions).contains(&NOBODY.hex()));
    assert!(!stage.names(ObjectKind::Snapshots).contains(&NOBODY.hex()), "it was fenced");
}

/// W1: a session that has acknowledged a gc run never withdraws that. A later heartbeat with a lower number
/// would delay a sweep for no reason.
#[test]
fn heartbeat_never_reverts_what_a_session_has_seen() {
    let stage = Stage::new();
    let repo = stage.library.open();
    for kind in [SessionKind::Writer, SessionKind::Reader, SessionKind::Collector] {
        let (session, _) = Session::open(&repo, kind).unwrap();
        session.acknowledge_gc(7).unwrap();
        session.write_heartbeat().unwrap();
        let name = format!("{}.beat", session.id);
        let beat: Heartbeat =
            objects::read(repo.storage(), repo.suite(), sealed_object::BEAT, ObjectKind::Sessions, &name)
                .unwrap();
        assert_eq!((beat.gc_seen, beat.count), (7, 3), "{kind:?}");
        session.close().unwrap();
    }
}

/// The cached manifest has another length than the fence that now has its name.
#[test]
fn cached_manifest_hides_no_fence() {
    let stage = Stage::new();
    stage.write("src", &[1]);
    let id = stage.backup("src");
    assert_eq!(stage.library.snapshots(), [id]);
    let suite = stage.library.open().suite().clone();
    let inner = &stage.storage.inner;
    inner.remove(ObjectKind::Snapshots, &id.hex()).unwrap();
    let fence = Fence { by: NOBODY, gc: 1, at: Time::now() };
    objects::create(inner.as_ref(), &suite, sealed_object::FENCE, ObjectKind::Snapshots, &id.hex(), &fence)
        .unwrap();
    assert_eq!(stage.library.snapshots(), []);
}

/// C2: as long as a damaged pack exists, no new data may refer to it, even if everything in it also exists
/// elsewhere.
#[test]
fn the_record_of_a_damaged_pack_stays_while_the_pack_does() {
    let stage = Stage::new();
    stage.write("src", &[1, 2]);
    stage.backup("src");
    let largest =
        stage.storage.inner.list(ObjectKind::Packs).unwrap().into_iter().max_by_key(|found| found.len);
    let name = largest.unwrap().name;
    let mut bytes = stage.storage.inner.get(ObjectKind::Packs, &name).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    stage.storage.inner.put(ObjectKind::Packs, &name, bytes);
    let repo = stage.library.open();
    damage::record(&repo, NOBODY, Damaged::Pack(PackId::parse(&name).unwrap()), "for a test".into()).unwrap();
    drop(repo);
    let full = backup::Options { kind: SnapshotKind::Full, ..backup::Options::default() };
    stage.library.backup("src", full);
    assert_eq!(stage.gc().lost, 0, "all it held was stored again");
    assert_eq!(
        (stage.names(ObjectKind::Damage), stage.names(ObjectKind::Packs).contains(&name)),
        (vec![name.clone()], true)
    );
    stage.storage.inner.remove(ObjectKind::Packs, &name).unwrap();
    stage.gc();
    assert_eq!(stage.names(ObjectKind::Damage), Vec::<String>::new());
    stage.assert_sound();
}
