//! `stats` counts what forgetting and garbage collection then really free.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any};
use proptest::{prop_assert, prop_assert_eq, proptest};
use snap_backup::model::id::SnapshotId;
use snap_backup::ops::gc::MaxUnused;
use snap_backup::ops::stats::Report;
use snap_backup::ops::{backup, forget, gc, stats};
use snap_backup::progress::Event;
use snap_backup::repo::options::{InitOptions, OpenOptions};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::filter::SnapshotQuery;
use snap_backup::repo::walk::ref_graph::ChunkTotals;
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{ObjectKind, Storage};
use snap_backup::{Control, Error};

use crate::support::Random;
use crate::support::hooked::{Act, Hooked};
use crate::support::library::Library;

struct Stage {
    library: Library,
    storage: Arc<Hooked>,
}

impl Stage {
    fn new() -> Self {
        let storage = Arc::new(Hooked::default());
        Self { library: Library::on(storage.clone(), None), storage }
    }

    fn without_deltas() -> Self {
        let storage = Arc::new(Hooked::default());
        let options = InitOptions { deltas: false, ..InitOptions::default() };
        Self { library: Library::with(storage.clone(), options), storage }
    }

    /// Backs up a source with exactly these files, each with its own bytes.
    fn backup(&self, source: &str, seeds: &[u64]) -> SnapshotId {
        let _ = fs::remove_dir_all(self.library.path(source));
        fs::create_dir(self.library.path(source)).unwrap();
        for seed in seeds {
            let name = format!("d{}/f{seed}", seed % 3);
            self.library.write(source, &[(&name, &Random::new(*seed).bytes(50_000))]);
        }
        let options = backup::Options { allow_empty: true, ..backup::Options::default() };
        self.library.backup(source, options).snapshot.unwrap()
    }

    fn forget(&self, id: SnapshotId) {
        let options = forget::Options {
            selectors: vec![id.hex()],
            allow_remove_all: true,
            ..forget::Options::default()
        };
        forget::run(&self.library.open(), &options).unwrap();
    }

    fn collect(&self) {
        let options =
            gc::Options { max_unused: MaxUnused::Bytes(0), empty_trash: true, ..gc::Options::default() };
        gc::run(&self.library.open(), &options, &Control::default()).unwrap();
    }

    /// Returns the bytes of packs after a garbage collection in a copy.
    fn bytes_if_collected(&self) -> u64 {
        let copy = Arc::new(MemoryStorage::default());
        for area in ObjectKind::ALL {
            for found in self.storage.inner.list(area).unwrap() {
                copy.put(area, &found.name, self.storage.inner.get(area, &found.name).unwrap());
            }
        }
        let options =
            gc::Options { max_unused: MaxUnused::Bytes(0), empty_trash: true, ..gc::Options::default() };
        let repo = Repository::open(copy.clone(), &OpenOptions::default()).unwrap();
        gc::run(&repo, &options, &Control::default()).unwrap();
        copy.list(ObjectKind::Packs).unwrap().iter().map(|found| found.len).sum()
    }

    fn stats(&self, selectors: &[&str]) -> Report {
        let selectors = selectors.iter().map(|one| (*one).to_owned()).collect();
        let options = stats::Options {
            choice: SnapshotQuery { selectors, ..SnapshotQuery::default() },
            ..stats::Options::default()
        };
        stats::run(&self.library.open(), &options, &Control::default()).unwrap()
    }

    fn bytes(&self) -> u64 {
        self.storage.inner.list(ObjectKind::Packs).unwrap().iter().map(|found| found.len).sum()
    }
}

fn sum<'a>(amounts: impl Iterator<Item = &'a ChunkTotals>) -> ChunkTotals {
    amounts.fold(ChunkTotals::default(), |mut sum, amount| {
        sum.add(*amount);
        sum
    })
}

#[test]
fn shared_chunks_belong_to_the_first_and_are_unique_to_none() {
    let stage = Stage::new();
    stage.backup("a", &[1, 2]);
    stage.backup("b", &[2, 3]);
    let report = stage.stats(&[]);
    let plain = |amount: &ChunkTotals| amount.plain / 50_000;
    let found: Vec<_> = report.lines.iter().map(|line| (plain(&line.added), plain(&line.unique))).collect();
    assert_eq!(found, [(2, 1), (1, 1)]);
    assert_eq!((report.files, report.raw, report.missing), (4, 200_000, 0));
    assert_eq!(plain(&report.needed), 3);
    let second = stage.stats(&["latest"]);
    assert_eq!((second.lines.len(), plain(&second.needed), second.raw), (1, 2, 100_000));
    assert_eq!(second.packs, report.packs, "packs are those of the repository, whatever was asked for");
}

#[test]
fn cost_of_a_set_is_what_only_its_snapshots_use() {
    let stage = Stage::new();
    stage.backup("a", &[1, 2]);
    stage.backup("b", &[2, 3, 4]);
    stage.backup("a", &[1, 5]);
    let options = stats::Options { sets: true, ..stats::Options::default() };
    let seen = std::sync::Mutex::new(Vec::new());
    let observer = |event: Event<'_>| match event {
        Event::Expect { files, .. } => seen.lock().unwrap().push(files),
        Event::Done { files, .. } => seen.lock().unwrap().push(files),
        _ => {}
    };
    let repo = stage.library.open();
    let report = stats::run(&repo, &options, &Control::new(&observer)).unwrap();
    assert_eq!(*seen.lock().unwrap(), [3, 1, 1, 1], "the progress is in snapshots");
    let plain = |amount: &ChunkTotals| amount.plain / 50_000;
    let sets =
        report.sets.iter().map(|set| (set.snapshots, set.newest, plain(&set.first), plain(&set.unique)));
    assert_eq!(sets.collect::<Vec<_>>(), [(2, 100_000, 3, 2), (1, 150_000, 2, 2)]);
    let firsts = report.sets.iter().map(|set| set.first.stored).sum::<u64>();
    assert_eq!(firsts, report.packs.needed);
}

#[test]
fn an_empty_repository_counts_as_nothing() {
    let report = Stage::new().stats(&[]);
    assert_eq!(
        (report.lines.len(), report.needed, report.packs),
        (0, ChunkTotals::default(), stats::Packs::default())
    );
}

#[test]
fn a_backup_that_commits_meanwhile_is_no_damage() {
    let stage = Arc::new(Stage::new());
    stage.backup("a", &[1]);
    let other = Arc::downgrade(&stage);
    stage.storage.before(Act::List, ObjectKind::Snapshots, move |_, _| {
        other.upgrade().unwrap().backup("b", &[2]);
    });
    let report = stage.stats(&[]);
    assert!(stage.storage.is_spent());
    assert_eq!((report.lines.len(), report.missing), (2, 0));
}

/// Not once for each snapshot that shares it.
#[test]
fn each_distinct_tree_is_read_once() {
    let stage = Stage::new();
    let reads = || {
        stage.storage.calls();
        stage.stats(&[]);
        let calls = stage.storage.calls();
        calls.iter().filter(|(act, area, _)| (*act, *area) == (Act::Read, ObjectKind::Packs)).count()
    };
    stage.backup("src", &(0..40).collect::<Vec<u64>>());
    let one = reads();
    for step in 0..40_u8 {
        stage.library.write("src", &[("step", &[step])]);
        stage.library.backup("src", backup::Options::default());
    }
    // Each snapshot has two trees of its own, in one block, and shares the others, which are in another.
    // Bases of deltas are stored separately, and may be read once more.
    let many = reads();
    assert!(many <= one + 45, "{one} reads for one snapshot, {many} for forty-one");
    assert!(one > 0);
}

#[test]
fn a_missing_file_chunk_is_counted_and_a_missing_tree_is_named() {
    let stage = Stage::new();
    let id = stage.backup("src", &[1]);
    let packs = stage.storage.inner.list(ObjectKind::Packs).unwrap();
    let biggest = packs.iter().max_by_key(|found| found.len).unwrap();
    stage.storage.inner.remove(ObjectKind::Packs, &biggest.name).unwrap();
    assert!(stage.stats(&[]).missing > 0);
    for found in packs {
        stage.storage.inner.remove(ObjectKind::Packs, &found.name).unwrap();
    }
    let failed = stats::run(&stage.library.open(), &stats::Options::default(), &Control::default());
    let Err(Error::Missing { what }) = failed else { panic!("{failed:?}") };
    assert!(what.contains(&id.short()), "{what}");
}

/// Files of several kinds: incompressible bytes, or text of which some is shared between files.
fn mixed(stage: &Stage, source: &str, files: &[(u8, bool, u16)]) -> SnapshotId {
    let _ = fs::remove_dir_all(stage.library.path(source));
    fs::create_dir(stage.library.path(source)).unwrap();
    for (seed, text, kib) in files {
        let len = usize::from(*kib) * 1024;
        let bytes = match text {
            true => {
                (0..len / 8).flat_map(|at| format!("{:07} ", at * usize::from(*seed)).into_bytes()).collect()
            }
            false => Random::new(u64::from(*seed)).bytes(len),
        };
        stage.library.write(source, &[(&format!("d{}/f{seed}{text}", seed % 3), &bytes)]);
    }
    let options = backup::Options { allow_empty: true, ..backup::Options::default() };
    stage.library.backup(source, options).snapshot.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Accurate to one percent and 32 KiB, whatever else is in the blocks and whether or not it is forgotten:
    /// the rest of several blocks is compressed together, which can only be estimated. Without deltas,
    /// because a gc run stores those whole whose bases take more space than they save, which is not estimated
    /// here.
    #[test]
    fn announced_space_is_freed(
        sources in vec(vec((0..12_u8, any::<bool>(), 1..600_u16), 0..6), 2..6),
        marks in vec(any::<[bool; 2]>(), 6),
    ) {
        let stage = Stage::without_deltas();
        let ids: Vec<SnapshotId> = sources.iter().map(|files| mixed(&stage, "src", files)).collect();
        // Unused data and trash that do not belong to these snapshots.
        let early: Vec<SnapshotId> = ids.iter().zip(&marks).filter(|(_, [_, early])| *early).map(|(id, _)| *id).collect();
        let going: Vec<SnapshotId> =
            ids.iter().zip(&marks).filter(|(_, [going, early])| *going && !early).map(|(id, _)| *id).collect();
        early.iter().for_each(|id| stage.forget(*id));
        let said = stats::freed(&stage.library.open(), &going, &Control::default()).unwrap();
        // What a gc run would free without them, measured on a copy.
        let without = stage.bytes_if_collected();
        going.iter().for_each(|id| stage.forget(*id));
        stage.collect();
        let freed = without.saturating_sub(stage.bytes());
        let slack = freed / 100 + (32 << 10);
        prop_assert!(said.bytes.abs_diff(freed) <= slack, "said {}, freed {freed}", said.bytes);
    }

    #[test]
    fn unique_size_is_what_forgetting_frees(
        sources in vec(vec(0..8_u64, 0..6), 1..5),
        goes in any::<proptest::sample::Index>(),
        deltas in any::<bool>(),
    ) {
        let stage = if deltas { Stage::new() } else { Stage::without_deltas() };
        for (number, seeds) in sources.iter().enumerate() {
            stage.backup(&format!("s{}", number % 2), seeds);
        }
        let before = stage.stats(&[]);
        let packs = before.packs;
        prop_assert_eq!(packs.bytes, stage.bytes());
        prop_assert_eq!(packs.needed + packs.trash + packs.unused + packs.frame, packs.bytes);
        prop_assert_eq!(sum(before.lines.iter().map(|line| &line.added)), before.needed);
        prop_assert_eq!(packs.needed, before.needed.stored);

        let ids: Vec<SnapshotId> = before.lines.iter().map(|line| line.snapshot.id).collect();
        prop_assert_eq!(stats::freed(&stage.library.open(), &ids, &Control::default()).unwrap().only, before.needed);
        let gone = goes.get(&before.lines);
        let alone = stats::freed(&stage.library.open(), &[gone.snapshot.id], &Control::default()).unwrap().only;
        prop_assert_eq!(alone, gone.unique);
        stage.forget(gone.snapshot.id);
        let after = stage.stats(&[]);
        prop_assert_eq!(after.needed.plain + gone.unique.plain, before.needed.plain);
        prop_assert_eq!(after.packs.needed + gone.unique.stored, before.packs.needed);
        prop_assert_eq!(after.packs.trash, before.packs.trash + gone.unique.stored);

        stage.collect();
        let collected = stage.stats(&[]);
        // A gc run stores a delta whole if that takes fewer bytes than its bases, which are then deleted as
        // well.
        let more = |now: u64, then: u64| if deltas { now > then } else { now != then };
        prop_assert!(!more(collected.needed.plain, after.needed.plain));
        prop_assert!(!more(collected.needed.chunks, after.needed.chunks));
        prop_assert_eq!((collected.packs.trash, collected.packs.unused), (0, 0));
        prop_assert_eq!(collected.packs.bytes, stage.bytes());
    }
}
