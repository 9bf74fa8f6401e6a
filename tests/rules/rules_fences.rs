//! W3: how long a fence exists, who is stopped when it is gone, and whose free lock proves nothing.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use snap_backup::codec::crypto::{cipher, sealed_object};
use snap_backup::model::entry::Time;
use snap_backup::model::id::SnapshotId;
use snap_backup::model::records::{Fence, SessionKind, SessionRecord};
use snap_backup::ops::backup;
use snap_backup::repo::options::InitOptions;
use snap_backup::repo::sessions::session::Session;
use snap_backup::repo::{objects, snapshots};
use snap_backup::storage::{ObjectKind, Storage};
use snap_backup::util::host;

use crate::support::hooked::{Act, Hooked};
use crate::support::library::Library;
use crate::support::stage::Stage;

const DAY: i64 = 24 * 3600;

fn fence(stage: &Stage, days: i64) -> SnapshotId {
    let (repo, id) = (stage.library.open(), cipher::new_id().unwrap());
    let fence = Fence { by: SnapshotId::new([7; 16]), gc: 1, at: Time::now() };
    objects::create(
        repo.storage(),
        repo.suite(),
        sealed_object::FENCE,
        ObjectKind::Snapshots,
        &id.hex(),
        &fence,
    )
    .unwrap();
    let now = Time::now();
    stage.storage.inner.date(ObjectKind::Snapshots, &id.hex(), Time { sec: now.sec - days * DAY, ..now });
    id
}

#[test]
fn fence_expires_after_a_month_but_not_before_its_session() {
    let stage = Stage::new();
    stage.write("src", &[1]);
    let kept = stage.backup("src");
    let now = Time::now();
    stage.storage.inner.date(ObjectKind::Snapshots, &kept.hex(), Time { sec: now.sec - 400 * DAY, ..now });
    let (young, old, beside) = (fence(&stage, 29), fence(&stage, 30), fence(&stage, 30));
    stage.stand_on(beside, "elsewhere".to_owned());
    stage.gc();
    let names = stage.names(ObjectKind::Snapshots);
    assert!(!names.contains(&old.hex()), "nobody needs it any more");
    for id in [kept, young, beside] {
        assert!(names.contains(&id.hex()), "{id}");
    }
}

#[test]
fn a_fence_is_read_once_by_each_machine() {
    let stage = Stage::new();
    (0..3).for_each(|_| _ = fence(&stage, 0));
    let reads = || {
        stage.storage.calls();
        assert_eq!(snapshots::list(&stage.library.open()).unwrap(), []);
        let calls = stage.storage.calls();
        calls.iter().filter(|(act, area, _)| (*act, *area) == (Act::Read, ObjectKind::Snapshots)).count()
    };
    assert_eq!((reads(), reads()), (3, 0));
}

/// A writer whose every silence is too long.
fn sleeper() -> (Arc<Hooked>, Library) {
    let storage = Arc::new(Hooked::default());
    let library =
        Library::with(storage.clone(), InitOptions { stale_after: Duration::ZERO, ..InitOptions::default() });
    (storage, library)
}

/// Right before a manifest is created, its session has been buried, and the fence is gone again.
fn bury_before_the_commit(storage: &Hooked, lose_packs: bool) -> Arc<Mutex<Vec<String>>> {
    let buried = Arc::new(Mutex::new(Vec::new()));
    let names = buried.clone();
    storage.before(Act::Create, ObjectKind::Snapshots, move |storage, name| {
        storage.remove(ObjectKind::Sessions, name).unwrap();
        names.lock().unwrap().push(name.to_owned());
        let packs = if lose_packs { storage.list(ObjectKind::Packs).unwrap() } else { Vec::new() };
        packs.iter().for_each(|pack| storage.remove(ObjectKind::Packs, &pack.name).unwrap());
    });
    buried
}

#[test]
fn writer_that_outslept_its_fence_commits_no_holes() {
    let (storage, library) = sleeper();
    library.write("src", &[("a", b"hello")]);
    bury_before_the_commit(&storage, true);
    let err = library.try_backup("src", backup::Options::default()).unwrap_err().chain();
    assert!(err.contains("considered this run dead"), "{err}");
    assert_eq!(library.snapshots(), []);
    assert_eq!(library.errors(), Vec::<String>::new());
}

#[test]
fn writer_that_outslept_its_fence_commits_under_a_new_name() {
    let (storage, library) = sleeper();
    library.write("src", &[("a", b"hello")]);
    let buried = bury_before_the_commit(&storage, false);
    let made = library.backup("src", backup::Options::default()).snapshot.unwrap();
    assert_eq!(library.snapshots(), [made]);
    assert!(!buried.lock().unwrap().contains(&made.hex()), "it stands under the name that was fenced");
    library.assert_restores(Some(made), "src");
}

/// The boot id in a session's record.
fn boot_of(storage: &Arc<Hooked>, library: &Library) -> String {
    let repo = library.open();
    let (session, _) = Session::open(&repo, SessionKind::Writer).unwrap();
    let name = session.id.hex();
    let record: SessionRecord =
        objects::read(storage.as_ref(), repo.suite(), sealed_object::SESSION, ObjectKind::Sessions, &name)
            .unwrap();
    session.close().unwrap();
    record.boot
}

#[test]
fn session_without_a_lock_records_no_boot_id() {
    let stage = Stage::new();
    assert_eq!(boot_of(&stage.storage, &stage.library), host::boot_id());
    stage.storage.far.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(boot_of(&stage.storage, &stage.library), "");
}

/// By SFTP to this machine, for example: a process that uses the path finds the lock free, and must not
/// conclude that the session has ended.
#[test]
fn writer_without_visible_locks_is_not_considered_dead() {
    let stage = Stage::new();
    stage.write("src", &[1]);
    stage.forget(stage.backup("src"));
    stage.storage.far.store(true, std::sync::atomic::Ordering::Relaxed);
    let repo = stage.library.open();
    let (session, _) = Session::open(&repo, SessionKind::Writer).unwrap();
    stage.storage.far.store(false, std::sync::atomic::Ordering::Relaxed);
    // Nothing holds it any more.
    let (inner, name) = (&stage.storage.inner, session.id.hex());
    let bytes = inner.get(ObjectKind::Sessions, &name).unwrap();
    inner.remove(ObjectKind::Sessions, &name).unwrap();
    inner.put(ObjectKind::Sessions, &name, bytes);
    let report = stage.gc();
    assert!(!report.waiting_for.is_empty(), "it was taken for dead");
    assert!(!stage.names(ObjectKind::Snapshots).contains(&name), "it was fenced");
    session.close().unwrap();
}
