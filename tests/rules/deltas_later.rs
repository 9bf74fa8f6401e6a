//! `gc --delta`: data that was stored without deltas becomes deltas later, by the rules of any other move.

use std::fs;
use std::sync::{Arc, Mutex};

use snap_backup::Control;
use snap_backup::codec::crypto::hash::ChunkType;
use snap_backup::model::id::SnapshotId;
use snap_backup::ops::{backup, gc};
use snap_backup::repo::options::OpenOptions;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::write::delta_writer::Delta;
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{ObjectKind, Storage};

use crate::deltas::{assert_shallow, assert_versions, deltas, differences, version, write};
use crate::interleave_exhaustive::Gap;
use crate::support::hooked::Act;
use crate::support::stage::Stage;
use crate::support::world::copy_of;

fn options(max_repack: Option<u64>) -> gc::Options {
    gc::Options { delta: true, max_unused: gc::MaxUnused::Unlimited, max_repack, ..gc::Options::default() }
}

fn collect(stage: &Stage, options: &gc::Options) -> gc::Report {
    let report = gc::run(&stage.library.open(), options, &Control::default());
    report.unwrap_or_else(|err| panic!("{}", err.chain()))
}

fn plain() -> backup::Options {
    backup::Options { delta: Delta::Off, ..backup::Options::default() }
}

/// Snapshots of these versions, none of them with a delta.
fn plain_series(stage: &Stage, versions: usize) -> Vec<(SnapshotId, usize)> {
    let make = |number| {
        write(stage, number);
        (stage.library.backup("src", plain()).snapshot.unwrap(), number)
    };
    let made = (0..versions).map(make).collect();
    assert_eq!(deltas(stage, ChunkType::Data) + deltas(stage, ChunkType::Tree), 0);
    made
}

#[test]
fn data_stored_whole_becomes_deltas_that_restore_alike() {
    let stage = Stage::new();
    let made = plain_series(&stage, 4);
    let before = stage.bytes();
    let said = collect(&stage, &gc::Options { dry_run: true, ..options(None) });
    assert_eq!((stage.bytes(), deltas(&stage, ChunkType::Data)), (before, 0), "a dry run writes nothing");
    let done = collect(&stage, &options(None));
    assert_eq!(done.similar, said.similar);
    assert!(before > 800_000 && stage.bytes() < 260_000, "{} of {before} bytes", stage.bytes());
    let (saved, told) = (before - stage.bytes(), done.similar.saves);
    assert!(saved.abs_diff(told) < saved / 20, "{saved} bytes were saved, {told} were said");
    assert!(deltas(&stage, ChunkType::Data) > 0 && deltas(&stage, ChunkType::Tree) > 0);
    assert_shallow(&stage);
    assert_versions(&stage, &made);
    let after = stage.bytes();
    let again = collect(&stage, &options(None));
    assert_eq!((again.similar, stage.bytes()), (gc::Similar::default(), after), "all is done");
    // The next backup uses the same bases, and old snapshots are forgotten as always.
    write(&stage, 4);
    let next = stage.backup("src");
    assert!(stage.bytes() < after + 6000, "{} bytes, {after} before", stage.bytes());
    made.iter().for_each(|(id, _)| stage.forget(*id));
    stage.gc();
    assert_shallow(&stage);
    assert_versions(&stage, &[(next, 4)]);
}

#[test]
fn each_run_converts_its_share_and_reports_the_rest() {
    let stage = Stage::new();
    let made = plain_series(&stage, 4);
    let largest =
        stage.storage.inner.list(ObjectKind::Packs).unwrap().iter().map(|pack| pack.len).max().unwrap();
    let (mut bytes, mut runs) = (stage.bytes(), 0);
    loop {
        let report = collect(&stage, &options(Some(largest)));
        if report.similar.chunks == 0 {
            assert_eq!((report.similar.later, stage.bytes()), (0, bytes));
            break;
        }
        assert!(report.bytes_deleted <= 2 * largest, "{report:?}");
        assert!(stage.bytes() < bytes, "{} bytes, {bytes} before", stage.bytes());
        assert!(report.similar.later > 0 || runs >= 2, "run {runs}: {report:?}");
        assert_shallow(&stage);
        (bytes, runs) = (stage.bytes(), runs + 1);
    }
    assert!(runs >= 3 && bytes < 260_000, "{runs} runs, {bytes} bytes");
    assert_versions(&stage, &made);
}

#[test]
fn interrupted_conversion_loses_nothing_and_continues() {
    let stage = Stage::new();
    let made = plain_series(&stage, 2);
    let before = copy_of(&stage.storage.inner);
    for at in 0.. {
        let storage = copy_of(&before);
        let gap = Arc::new(Gap { inner: storage.clone(), state: Mutex::new((0, None)), at, cut: true });
        let run = |storage: Arc<dyn Storage>| {
            let repo = Repository::open(storage, &OpenOptions::default())?;
            gc::run(&repo, &options(None), &Control::default())
        };
        let done = run(gap);
        put_back(&stage, &storage);
        assert_shallow(&stage);
        for (id, number) in &made {
            let wrong = differences(&stage, *id, *number);
            assert_eq!(wrong, Vec::<String>::new(), "cut at change {at}, version {number}");
        }
        run(stage.storage.inner.clone()).unwrap();
        assert_shallow(&stage);
        assert_versions(&stage, &made);
        assert!(stage.bytes() < 500_000, "cut at change {at}: {} bytes", stage.bytes());
        if done.is_ok() {
            assert!(at > 5, "{at}");
            break;
        }
    }
}

/// Replaces the files of the stage.
fn put_back(stage: &Stage, from: &MemoryStorage) {
    let inner = &stage.storage.inner;
    for area in ObjectKind::ALL {
        for found in inner.list(area).unwrap() {
            inner.remove(area, &found.name).unwrap();
        }
        for found in from.list(area).unwrap() {
            inner.create(area, &found.name, &[&from.get(area, &found.name).unwrap()]).unwrap();
        }
    }
}

/// C4: a backup makes a delta from data that a gc run is converting to a delta.
#[test]
fn base_of_a_concurrent_backup_stays_whole() {
    let stage = Stage::new();
    let mut made = plain_series(&stage, 2);
    write(&stage, 2);
    let other = Arc::downgrade(&stage);
    stage.storage.before(Act::Create, ObjectKind::Snapshots, move |_, _| {
        let report = collect(&other.upgrade().unwrap(), &options(None));
        assert!(report.similar.chunks > 0 && !report.waiting_for.is_empty(), "{report:?}");
    });
    made.push((stage.backup("src"), 2));
    assert!(stage.storage.is_spent());
    assert!(collect(&stage, &options(None)).rescued > 0);
    assert_shallow(&stage);
    assert_versions(&stage, &made);
    stage.gc();
    assert_shallow(&stage);
    assert_versions(&stage, &made);
}

/// The base of one file's version may be the version of another.
#[test]
fn base_never_becomes_a_delta_itself() {
    let stage = Stage::new();
    let mut made = Vec::new();
    // The second of each pair of names goes through the same versions as the first, one snapshot later.
    for number in 0..4_usize {
        write(&stage, number);
        let before = version(1, (number + 3) % 4);
        stage.library.write("src", &[("other", &before)]);
        made.push(stage.library.backup("src", plain()).snapshot.unwrap());
    }
    collect(&stage, &options(None));
    assert!(deltas(&stage, ChunkType::Data) > 0);
    assert_shallow(&stage);
    for (number, id) in made.iter().enumerate() {
        stage.library.write("src", &[("other", &version(1, (number + 3) % 4))]);
        assert_versions(&stage, &[(*id, number)]);
    }
}

#[test]
fn dissimilar_data_is_left_alone() {
    let stage = Stage::new();
    stage.write("src", &[1, 2]);
    stage.library.backup("src", plain());
    for seed in [1, 2] {
        fs::write(stage.library.path("src").join(format!("f{seed}")), version(90 + seed, 0)).unwrap();
    }
    stage.library.backup("src", plain());
    let (before, report) = (stage.bytes(), collect(&stage, &options(None)));
    assert_eq!((report.packs_moved, report.similar.later, stage.bytes()), (0, 0, before), "{report:?}");
}

#[test]
fn a_repository_without_deltas_refuses() {
    let stage = Stage::without_deltas();
    stage.write("src", &[1]);
    stage.backup("src");
    let refused = gc::run(&stage.library.open(), &options(None), &Control::default()).unwrap_err();
    assert!(refused.chain().contains("`Repository::allow_deltas`"), "{}", refused.chain());
}
