//! Storages with weaker guarantees, wrong clocks, and containers: gc waits, and loses nothing.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use snap_backup::Control;
use snap_backup::codec::crypto::sealed_object;
use snap_backup::model::entry::Time;
use snap_backup::model::id::{PackId, SnapshotId};
use snap_backup::model::records::{GcRecord, Seen, SessionKind};
use snap_backup::ops::backup::Options;
use snap_backup::repo::objects;
use snap_backup::repo::sessions::gc_record;
use snap_backup::repo::sessions::session::Session;
use snap_backup::storage::local::LocalStorage;
use snap_backup::storage::{ObjectKind, Storage};

use crate::support::dates::{days, redate};
use crate::support::hooked::Act;
use crate::support::library::Library;
use crate::support::stage::Stage;
use crate::support::{Random, Sandbox};

const SOMEBODY: SnapshotId = SnapshotId::new([9; 16]);
const HOUR: i64 = 3600;

/// A snapshot that is kept, one that is forgotten, and a pack that gc has to delete.
fn garbage(stage: &Stage) {
    stage.write("a", &[1, 2]);
    let old = stage.backup("a");
    stage.write("a", &[2, 3]);
    stage.backup("a");
    stage.forget(old);
}

/// A collector's observation, so long ago, of a heartbeat that has not begun.
fn seen(stage: &Stage, id: SnapshotId, ago: i64) {
    let (repo, now) = (stage.library.open(), Time::now());
    let name = format!("{id}.seen");
    let seen = Seen { count: 0, at: Time { sec: now.sec - ago, ..now } };
    let bytes = objects::seal(repo.suite(), sealed_object::SEEN, &name, &seen).unwrap();
    stage.storage.inner.put(ObjectKind::Sessions, &name, bytes);
}

// Storages with weak guarantees.

#[test]
fn gc_on_untrusted_storage_deletes_nothing_with_others() {
    for distrusted in [false, true] {
        let stage = Stage::new();
        garbage(&stage);
        let before = stage.bytes();
        let (session, _) = Session::open(&stage.library.open(), SessionKind::Reader).unwrap();
        // It has acknowledged all later gc runs: on other storages nobody waits for it.
        session.acknowledge_gc(1000).unwrap();
        stage.storage.distrusted.store(distrusted, Ordering::Relaxed);
        let report = stage.gc();
        assert_eq!(report.waiting_for.is_empty(), !distrusted, "{report:?}");
        assert_eq!(stage.bytes() < before, !distrusted, "{report:?}");
        session.close().unwrap();
        let report = stage.gc();
        assert_eq!(report.waiting_for, Vec::<String>::new());
        assert!(stage.bytes() < before);
        stage.assert_sound();
    }
}

#[test]
fn lock_that_is_not_visible_to_all_declares_nobody_dead() {
    let stage = Stage::new();
    garbage(&stage);
    stage.storage.distrusted.store(true, Ordering::Relaxed);
    // Its lock is free, on this machine, since it booted; and its heartbeat has not changed for a while.
    stage.stand(SOMEBODY);
    for ago in [0, 2 * HOUR, 23 * HOUR] {
        seen(&stage, SOMEBODY, ago);
        let report = stage.gc();
        assert_eq!(report.waiting_for.len(), 1, "{ago} s: {report:?}");
    }
    seen(&stage, SOMEBODY, 25 * HOUR);
    assert_eq!(stage.gc().waiting_for, Vec::<String>::new());
    stage.assert_sound();
}

#[test]
fn a_record_that_another_collector_overwrote_deletes_nothing() {
    let stage = Stage::new();
    garbage(&stage);
    let suite = stage.library.open().suite().clone();
    let (weak, deleted) = (Arc::downgrade(&stage), Arc::new(Mutex::new(BTreeSet::new())));
    // Right after the record is published, and before it is read again, another one with the same name
    // exists.
    let other = suite.clone();
    stage.storage.before(Act::Create, ObjectKind::Gc, move |_, name| {
        let (name, suite) = (name.to_owned(), other);
        weak.upgrade().unwrap().storage.before(Act::List, ObjectKind::Gc, move |storage, _| {
            let (condemned, purged) = (Vec::new(), Vec::new());
            let roots = storage.list(ObjectKind::Snapshots).unwrap();
            let roots = roots.iter().map(|found| SnapshotId::parse(&found.name).unwrap()).collect();
            let record = GcRecord { by: SOMEBODY, at: Time::now(), condemned, roots, purged };
            let bytes = objects::seal(&suite, sealed_object::GC, &name, &record).unwrap();
            storage.put(ObjectKind::Gc, &name, bytes);
        });
    });
    let gone = Arc::clone(&deleted);
    stage.storage.before(Act::Remove, ObjectKind::Packs, move |storage, name| {
        let open = gc_record::unfinished(storage, &suite).unwrap();
        let pack = PackId::parse(name).unwrap();
        let named = open.iter().any(|one| one.record.condemned.contains(&pack));
        gone.lock().unwrap().insert((name.to_owned(), named));
    });
    stage.gc();
    let deleted = deleted.lock().unwrap();
    assert!(!deleted.is_empty() && deleted.iter().all(|(_, named)| *named), "{deleted:?}: no record said so");
    stage.assert_sound();
}

// Clocks.

#[test]
fn clock_a_day_ahead_purges_nothing_just_forgotten() {
    let stage = Stage::new();
    garbage(&stage);
    // The storage's clock is 25 hours behind this machine's.
    let (now, there) = (Time::now(), 25 * HOUR);
    let there = Time { sec: now.sec - there, ..now };
    for found in stage.storage.inner.list(ObjectKind::Trash).unwrap() {
        stage.storage.inner.date(ObjectKind::Trash, &found.name, there);
    }
    for _ in 0..8 {
        stage.storage.before(Act::List, ObjectKind::Sessions, move |storage, _| {
            for found in storage.list(ObjectKind::Sessions).unwrap() {
                storage.date(ObjectKind::Sessions, &found.name, there);
            }
        });
    }
    let report = stage.gc_without_purge();
    assert_eq!((report.purged, report.in_trash), (0, 1), "{report:?}");
    assert_eq!(stage.names(ObjectKind::Trash).len(), 1);
}

#[test]
fn observer_whose_clock_went_back_declares_nobody_dead() {
    let stage = Stage::new();
    garbage(&stage);
    stage.stand_on(SOMEBODY, "elsewhere".to_owned());
    // Observed tomorrow: the observer's clock was a day ahead then, or is a day behind now.
    seen(&stage, SOMEBODY, -24 * HOUR);
    assert_eq!(stage.gc().waiting_for.len(), 1);
    // The observation counts from now on, by this clock.
    let repo = stage.library.open();
    let name = format!("{SOMEBODY}.seen");
    let seen: Seen =
        objects::read(&*stage.storage.inner, repo.suite(), sealed_object::SEEN, ObjectKind::Sessions, &name)
            .unwrap();
    assert!(seen.at.sec <= Time::now().sec, "{seen:?}");
    assert_eq!(stage.gc().waiting_for.len(), 1);
}

/// A clock that jumped a day ahead buries a live writer: the fence makes it look everything up again, nothing
/// else.
#[test]
fn writer_buried_by_a_wrong_clock_commits_all_or_fails() {
    let stage = Stage::new();
    garbage(&stage);
    stage.write("b", &[1, 4]);
    let weak = Arc::downgrade(&stage);
    stage.storage.before(Act::Create, ObjectKind::Snapshots, move |storage, own| {
        let stage = weak.upgrade().unwrap();
        let own = SnapshotId::parse(own).unwrap();
        // The session belongs to another machine, because its lock is held here.
        storage.remove(ObjectKind::Sessions, &own.hex()).unwrap();
        storage.remove(ObjectKind::Sessions, &format!("{own}.beat")).unwrap();
        stage.stand_on(own, "elsewhere".to_owned());
        seen(&stage, own, 24 * HOUR);
        assert_eq!(stage.gc().waiting_for, Vec::<String>::new());
    });
    match stage.library.try_backup("b", Options::default()) {
        Ok(made) => stage.library.assert_restores(made.snapshot, "b"),
        Err(err) => assert!(err.chain().contains("considered this run dead"), "{}", err.chain()),
    }
    stage.gc();
    stage.assert_sound();
}

#[test]
fn snapshot_of_tomorrow_hides_no_change() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("repo");
    let library = Library::on(Arc::new(LocalStorage::new(&path)), None);
    library.write("src", &[("a", &[1; 9000]), ("b", &[2; 9000])]);
    let first = library.backup("src", Options::default()).snapshot.unwrap();
    let future = redate(&path, None, &first.hex(), days(1));
    library.write("src", &[("a", &[3; 9000])]);
    let second = library.backup("src", Options::default());
    assert_eq!((second.counts.files_changed, second.counts.files_unchanged), (1, 1));
    library.assert_restores(second.snapshot, "src");
    library.write("src", &[("a", &[4; 9000])]);
    let third = library.backup("src", Options::default());
    library.assert_restores(third.snapshot, "src");
    let standing: Vec<String> = library.snapshots().iter().map(SnapshotId::hex).collect();
    assert!(standing.contains(&future) && standing.len() == 3, "{standing:?}");
    let repo = library.open();
    let options = snap_backup::ops::gc::Options { empty_trash: true, ..Default::default() };
    snap_backup::ops::gc::run(&repo, &options, &Control::default()).unwrap();
    assert_eq!(library.errors(), Vec::<String>::new());
}

// Containers.

/// A backup in a container, made by `unshare` with these options, that waits for more data.
fn contained(sandbox: &Sandbox, options: &[&str], before: &str) -> Option<Child> {
    let inner = sandbox.command(&["backup", "--stdin"]);
    let mut command = Command::new("unshare");
    command.args(options).args(["sh", "-c"]).arg(format!("{before} exec \"$0\" \"$@\""));
    command.arg(inner.get_program()).args(inner.get_args()).env_clear().current_dir(sandbox.path(""));
    inner.get_envs().filter_map(|(name, value)| Some((name, value?))).for_each(|(name, value)| {
        command.env(name, value);
    });
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else {
        crate::support::skipped("no unshare, which makes containers");
        return None;
    };
    child.stdin.as_mut().unwrap().write_all(&Random::new(7).bytes(40_000_000)).ok();
    // Its first pack exists; more than a pack of data has been read by now, or it never began.
    for _ in 0..400 {
        let stands = !sandbox.objects("sessions").is_empty();
        if stands || child.try_wait().unwrap().is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    if sandbox.objects("sessions").is_empty() {
        let _ = child.kill();
        let _ = child.wait();
        crate::support::skipped("no containers can be made here");
        return None;
    }
    Some(child)
}

fn waits(sandbox: &Sandbox) -> usize {
    let report = sandbox.ok(&["gc", "--json", "--empty-trash", "--max-unused", "0"]).summary();
    report["waiting_for"].as_array().unwrap().len()
}

/// Something that lets gc wait.
fn with_garbage() -> Sandbox {
    let sandbox = Sandbox::open();
    sandbox.write(&[("a", "1")]);
    let old = sandbox.backup(&[]);
    sandbox.write(&[("a", "2")]);
    sandbox.backup(&[]);
    sandbox.ok(&["forget", &old]);
    sandbox
}

#[test]
fn container_on_the_same_machine_is_seen_alive() {
    let sandbox = with_garbage();
    let options = ["--pid", "--fork", "--kill-child"];
    let Some(mut child) = contained(&sandbox, &options, "") else { return };
    // Its process number belongs to another process here, or to none.
    assert_eq!(waits(&sandbox), 1, "its packs are being used");
    assert_eq!(waits(&sandbox), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    // The lock goes with the process.
    for _ in 0..100 {
        if waits(&sandbox) == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(waits(&sandbox), 0);
    sandbox.assert_clean();
}

/// The same boot of the same kernel, but a host name of its own: whose locks those are cannot be known.
#[test]
fn container_with_another_name_is_not_dead_at_once() {
    let sandbox = with_garbage();
    let Some(mut child) = contained(&sandbox, &["--uts"], "hostname another-machine &&") else { return };
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(waits(&sandbox), 1, "its heart has not stood still for long");
    sandbox.assert_clean();
}
