//! Deltas and concurrent processes: a base is a reference like any other, in each of the rules.

use std::fs;
use std::sync::Arc;

use snap_backup::Control;
use snap_backup::codec::chunk::compress::Codec;
use snap_backup::codec::crypto::hash::ChunkType;
use snap_backup::codec::pack::Table;
use snap_backup::codec::pack::base::BaseNamer;
use snap_backup::model::id::{ChunkId, PackId, SnapshotId};
use snap_backup::ops::gc::MaxUnused;
use snap_backup::ops::{gc, repair, rewrite, stats};
use snap_backup::repo::index::Index;
use snap_backup::repo::options::IndexLimits;
use snap_backup::repo::pack::packs;
use snap_backup::repo::sessions::session::RepoState;
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{ObjectKind, Storage};

use crate::support::Random;
use crate::support::hooked::Act;
use crate::support::stage::Stage;

/// Incompressible bytes. Each version differs from all others in a few bytes of every chunk.
pub(crate) fn version(seed: u64, number: usize) -> Vec<u8> {
    let mut bytes = Random::new(seed).bytes(200_000);
    let places = if number == 0 { 0 } else { 100 };
    (0..places).for_each(|at| bytes[2000 * at + 16 * number..][..8].fill(number as u8));
    bytes
}

/// A version of a file, and of forty empty files next to it that make the directory's tree large enough for a
/// delta.
pub(crate) fn write(stage: &Stage, number: usize) {
    write_as(stage, "file", number);
}

fn write_as(stage: &Stage, name: &str, number: usize) {
    let beside = (0..40).map(|at| format!("beside{at}"));
    let beside: Vec<String> = beside.filter(|name| !stage.library.path("src").join(name).exists()).collect();
    let mut tree: Vec<(&str, &[u8])> = beside.iter().map(|name| (name.as_str(), &b""[..])).collect();
    let bytes = version(1, number);
    tree.push((name, &bytes));
    stage.library.write("src", &tree);
}

pub(crate) fn tables(stage: &Stage) -> Vec<(PackId, Table)> {
    let repo = stage.library.open();
    let listed = stage.storage.inner.list(ObjectKind::Packs).unwrap();
    let table = |id: PackId, len| (id, packs::read_table(repo.storage(), repo.suite(), &id, len).unwrap());
    listed.iter().map(|found| table(PackId::parse(&found.name).unwrap(), found.len)).collect()
}

pub(crate) fn deltas(stage: &Stage, kind: ChunkType) -> usize {
    let tables = tables(stage).into_iter().filter(|(_, table)| table.kind == kind);
    tables.flat_map(|(_, table)| table.blocks).filter(|block| block.codec == Codec::Delta).count()
}

/// Every base must be in a block that is not a delta.
pub(crate) fn assert_shallow(stage: &Stage) {
    let tables = tables(stage);
    let plain = |kind, means: &dyn Fn(&(ChunkId, u32)) -> bool| {
        let blocks =
            tables.iter().filter(|(_, table)| table.kind == kind).flat_map(|(_, table)| &table.blocks);
        blocks.filter(|block| block.codec != Codec::Delta).any(|block| block.chunks.iter().any(means))
    };
    for (_, table) in &tables {
        for block in &table.blocks {
            let hasher = BaseNamer::of(&block.chunks);
            for base in &block.bases {
                assert!(plain(table.kind, &|chunk| hasher.means(base, chunk)), "{base:?} is in deltas only");
            }
        }
    }
}

/// Makes snapshots of versions one after the other, and keeps all. Each but the first adds at least one
/// delta.
pub(crate) fn series(stage: &Stage, versions: usize) -> Vec<SnapshotId> {
    let make = |number| {
        write(stage, number);
        let id = stage.backup("src");
        let found = deltas(stage, ChunkType::Data);
        assert!(found >= number, "version {number}: {found} deltas");
        id
    };
    (0..versions).map(make).collect()
}

/// Returns how the restored snapshot differs from its version.
pub(crate) fn differences(stage: &Stage, id: SnapshotId, number: usize) -> Vec<String> {
    write(stage, number);
    let repo = stage.library.open();
    let wrong = stage.library.differences(&repo, id, "src", &stage.library.path("src"));
    wrong.into_iter().filter(|what| !what.contains("mtime")).collect()
}

/// Each must restore to its version.
pub(crate) fn assert_versions(stage: &Stage, snapshots: &[(SnapshotId, usize)]) {
    for (id, number) in snapshots {
        let wrong = differences(stage, *id, *number);
        assert_eq!(wrong, Vec::<String>::new(), "version {number}");
    }
    stage.assert_sound();
}

#[test]
fn changed_file_is_a_delta_and_the_next_uses_the_same_base() {
    let stage = Stage::new();
    let mut bytes = Vec::new();
    let mut made = Vec::new();
    for number in 0..4 {
        write(&stage, number);
        let before = stage.bytes();
        made.push((stage.backup("src"), number));
        bytes.push(stage.bytes() - before);
    }
    assert!(bytes[0] > 200_000 && bytes[1..].iter().all(|bytes| *bytes < 6000), "{bytes:?}");
    assert!(deltas(&stage, ChunkType::Data) >= 3 && deltas(&stage, ChunkType::Tree) > 0);
    assert_shallow(&stage);
    assert_versions(&stage, &made);
}

#[test]
fn new_file_with_a_similar_name_is_stored_as_a_delta() {
    let stage = Stage::new();
    write_as(&stage, "dump-2026-11-27.sql", 0);
    stage.backup("src");
    fs::remove_file(stage.library.path("src/dump-2026-11-27.sql")).unwrap();
    write_as(&stage, "dump-2026-11-28.sql", 1);
    let before = stage.bytes();
    let id = stage.backup("src");
    assert!(stage.bytes() - before < 6000, "{} bytes", stage.bytes() - before);
    stage.library.assert_restores(Some(id), "src");
}

#[test]
fn slightly_changed_chunks_are_deltas_among_new_ones() {
    let stage = Stage::new();
    let old = Random::new(1).bytes(1_200_000);
    stage.library.write("src", &[("file", &old)]);
    let first = stage.backup("src");
    let mut new = old.clone();
    (0..30).for_each(|at| new[10_000 + 10_000 * at] ^= 1);
    new[300_000..1_150_000].copy_from_slice(&Random::new(2).bytes(850_000));
    stage.library.write("src", &[("file", &new)]);
    let before = stage.bytes();
    let second = stage.backup("src");
    let added = stage.bytes() - before;
    assert!(added < 1_050_000, "{added} bytes");
    assert_eq!(deltas(&stage, ChunkType::Data), 1);
    stage.library.assert_restores(Some(second), "src");
    stage.library.write("src", &[("file", &old)]);
    let wrong = stage.library.differences(&stage.library.open(), first, "src", &stage.library.path("src"));
    assert!(wrong.iter().all(|what| what.contains("mtime")), "{wrong:?}");
    stage.assert_sound();
}

#[test]
fn base_of_a_needed_delta_stays_without_its_snapshot() {
    let stage = Stage::new();
    let made = series(&stage, 3);
    stage.forget(made[0]);
    stage.forget(made[1]);
    stage.gc();
    assert_shallow(&stage);
    assert_versions(&stage, &[(made[2], 2)]);
    stage.forget(made[2]);
    stage.gc();
    assert_eq!(stage.bytes(), 0, "nobody needs the bases any more");
}

#[test]
fn gc_keeps_bases_or_stores_whole_whichever_is_smaller() {
    let stage = Stage::new();
    let made = series(&stage, 3);
    let before = stage.bytes();
    stage.forget(made[0]);
    stage.gc();
    // Two deltas have the same base: storing one of them whole would take more space than the bases.
    assert!(deltas(&stage, ChunkType::Data) >= 2 && stage.bytes() < before + 1000);
    stage.forget(made[1]);
    stage.gc();
    assert_eq!(deltas(&stage, ChunkType::Data), 0);
    let alone = Stage::new();
    write(&alone, 2);
    alone.backup("src");
    let (is, should) = (stage.bytes(), alone.bytes());
    assert!(is <= should + 1000, "{is} bytes, {should} where there never was another version");
    assert_versions(&stage, &[(made[2], 2)]);
}

#[test]
fn announced_space_leaves_out_bases_that_others_need() {
    let stage = Stage::new();
    let made = series(&stage, 3);
    let (before, told) =
        (stage.bytes(), stats::freed(&stage.library.open(), &made[..1], &Control::default()).unwrap());
    stage.forget(made[0]);
    stage.gc();
    let freed = before.saturating_sub(stage.bytes());
    // The file's 200 000 bytes are the base of two deltas.
    assert!(told.bytes.abs_diff(freed) < 4096, "{} bytes were announced, {freed} freed", told.bytes);
    assert!(deltas(&stage, ChunkType::Data) >= 2 && freed < 10_000, "{freed} bytes were freed");
}

#[test]
fn tree_that_is_also_a_base_keeps_what_it_refers_to() {
    let stage = Stage::new();
    stage.library.write("src", &[("only-in-the-first", &version(2, 0))]);
    write(&stage, 0);
    let first = stage.backup("src");
    fs::remove_file(stage.library.path("src/only-in-the-first")).unwrap();
    write(&stage, 1);
    let second = stage.backup("src");
    assert!(deltas(&stage, ChunkType::Tree) > 0);
    stage.write("other", &[7]);
    let other = stage.backup("other");
    stage.forget(other);
    stage.gc();
    stage.library.assert_restores(Some(second), "src");
    stage.library.write("src", &[("only-in-the-first", &version(2, 0))]);
    assert_versions(&stage, &[(first, 0)]);
}

#[test]
fn no_delta_is_made_from_what_is_condemned() {
    let stage = Stage::new();
    write(&stage, 0);
    let first = stage.backup("src");
    write(&stage, 1);
    let repo = stage.library.open();
    let condemned: Vec<PackId> = tables(&stage).into_iter().map(|(id, _)| id).collect();
    let (suite, gone) = (repo.suite().clone(), condemned.clone());
    stage.storage.before(Act::Create, ObjectKind::Sessions, move |storage, _| {
        condemn(storage, &suite, gone, first);
    });
    let second = stage.backup("src");
    condemned.iter().for_each(|id| stage.storage.inner.remove(ObjectKind::Packs, &id.hex()).unwrap());
    stage.library.assert_restores(Some(second), "src");
}

/// A machine that knows many chunks finds them in tables that it has just read.
#[test]
fn condemned_chunk_is_no_base_even_if_its_table_is_cached() {
    let stage = Stage::new();
    write(&stage, 0);
    let first = stage.backup("src");
    let (_, table) = tables(&stage).into_iter().find(|(_, table)| table.kind == ChunkType::Data).unwrap();
    let chunk = table.blocks[0].chunks[0];
    let mut repo = stage.library.open();
    repo.set_limits(IndexLimits { rows: 1, tables: 1 << 20, bloom_after_lookups: 10 });
    let look = || {
        let repo_state = RepoState::read(repo.storage(), repo.suite(), |_| Ok(())).unwrap();
        let index = Index::load(&repo, repo_state).unwrap();
        index.copies(ChunkType::Data, &chunk.0).unwrap();
        (index.find_base(ChunkType::Data, &chunk).unwrap(), index.find_cached(ChunkType::Data, &chunk.0))
    };
    let (found, cached) = look();
    assert!(found.is_some() && cached == found, "{cached:?} is cached");
    let condemned = tables(&stage).into_iter().map(|(id, _)| id).collect();
    condemn(&stage.storage.inner, repo.suite(), condemned, first);
    assert_eq!(look(), (None, None));
}

/// What a gc run publishes that has no roots, and has made sure that `first` is gone.
fn condemn(
    storage: &MemoryStorage,
    suite: &snap_backup::codec::crypto::suite::CipherSuite,
    condemned: Vec<PackId>,
    by: SnapshotId,
) {
    use snap_backup::codec::crypto::sealed_object;
    use snap_backup::model::entry::Time;
    use snap_backup::model::records::GcRecord;
    use snap_backup::repo::objects;
    let record = GcRecord { by, at: Time::now(), condemned, roots: Vec::new(), purged: Vec::new() };
    objects::create(storage, suite, sealed_object::GC, ObjectKind::Gc, "0000000000000001", &record).unwrap();
}

#[test]
fn base_condemned_after_its_delta_was_made_is_rescued() {
    let stage = Stage::new();
    write(&stage, 0);
    let first = stage.backup("src");
    write(&stage, 1);
    // While the writer of the second exists, the first is forgotten and condemned.
    let other = Arc::downgrade(&stage);
    stage.storage.before(Act::Create, ObjectKind::Snapshots, move |_, _| {
        let stage = other.upgrade().unwrap();
        stage.forget(first);
        assert!(!stage.gc().waiting_for.is_empty(), "somebody who has not seen it is at work");
    });
    let second = stage.backup("src");
    assert!(deltas(&stage, ChunkType::Data) > 0);
    let report = stage.gc();
    assert!(report.rescued > 0, "{report:?}");
    assert_versions(&stage, &[(second, 1)]);
    stage.gc();
    assert_versions(&stage, &[(second, 1)]);
}

#[test]
fn forgetting_any_of_a_series_leaves_the_others_whole() {
    for forgotten in 1..8_u32 {
        let stage = Stage::new();
        let made = series(&stage, 3);
        let (goes, stays): (Vec<_>, Vec<_>) =
            made.iter().copied().zip(0..).partition(|(_, number)| forgotten >> number & 1 == 1);
        let ids: Vec<SnapshotId> = goes.iter().map(|(id, _)| *id).collect();
        let said = stats::freed(&stage.library.open(), &ids, &Control::default()).unwrap().bytes;
        let before = stage.bytes();
        ids.iter().for_each(|id| stage.forget(*id));
        stage.gc();
        let freed = before - stage.bytes();
        assert!(
            freed.abs_diff(said) <= before / 100 + 2000,
            "{forgotten:03b}: {freed} came back, {said} were said"
        );
        let numbers: Vec<(SnapshotId, usize)> =
            stays.iter().map(|(id, number)| (*id, *number as usize)).collect();
        assert_shallow(&stage);
        assert_versions(&stage, &numbers);
    }
}

#[test]
fn repairing_packs_keeps_deltas_and_their_bases_readable() {
    let stage = Stage::new();
    let made = series(&stage, 3);
    let packs: Vec<PackId> = tables(&stage).into_iter().map(|(id, _)| id).collect();
    // One of the two tables of each: nothing is lost.
    for id in &packs {
        let mut bytes = stage.storage.inner.get(ObjectKind::Packs, &id.hex()).unwrap();
        *bytes.iter_mut().nth_back(100).unwrap() ^= 1;
        stage.storage.inner.put(ObjectKind::Packs, &id.hex(), bytes);
    }
    let options = repair::packs::Options { ids: packs.iter().map(PackId::hex).collect(), dry_run: false };
    let report = repair::packs::run(&stage.library.open(), &options, &Control::default()).unwrap();
    assert!(!report.has_lost() && report.packs.len() == packs.len(), "{report:?}");
    let numbered: Vec<(SnapshotId, usize)> = made.into_iter().zip(0..).collect();
    assert_versions(&stage, &numbered);
    stage.gc();
    assert_versions(&stage, &numbered);
}

#[test]
fn packs_with_deltas_of_a_dead_part_are_packed_again_as_deltas() {
    let stage = Stage::new();
    write(&stage, 0);
    stage.library.write("src", &[("second", &version(5, 0))]);
    let first = stage.backup("src");
    write(&stage, 1);
    stage.library.write("src", &[("second", &version(5, 1))]);
    let both = stage.backup("src");
    write(&stage, 2);
    let last = stage.backup("src");
    stage.forget(both);
    let options =
        gc::Options { max_unused: MaxUnused::Bytes(0), empty_trash: true, ..gc::Options::default() };
    gc::run(&stage.library.open(), &options, &Control::default()).unwrap();
    assert!(stage.bytes() < 500_000, "{} bytes: what was a delta became whole", stage.bytes());
    stage.library.write("src", &[("second", &version(5, 1))]);
    assert_versions(&stage, &[(last, 2)]);
    stage.library.write("src", &[("second", &version(5, 0))]);
    assert_versions(&stage, &[(first, 0)]);
}

/// Returns the data packs that contain a delta.
pub(crate) fn packs_of_deltas(stage: &Stage) -> Vec<PackId> {
    let is_delta = |table: &Table| table.blocks.iter().any(|block| block.codec == Codec::Delta);
    let tables = tables(stage).into_iter();
    tables.filter(|(_, table)| table.kind == ChunkType::Data && is_delta(table)).map(|(id, _)| id).collect()
}

#[test]
fn repository_gets_no_deltas_until_it_allows_them() {
    let stage = Stage::without_deltas();
    write(&stage, 0);
    stage.backup("src");
    write(&stage, 1);
    stage.backup("src");
    assert_eq!(deltas(&stage, ChunkType::Data), 0);
    stage.library.open().allow_deltas().unwrap();
    write(&stage, 2);
    let last = stage.backup("src");
    assert!(deltas(&stage, ChunkType::Data) > 0);
    stage.library.assert_restores(Some(last), "src");
}

#[test]
fn drifting_version_is_stored_whole_when_that_pays() {
    let stage = Stage::new();
    let mut bytes = Random::new(1).bytes(180_000);
    let mut added = Vec::new();
    // A delta grows by about 5000 bytes with each version, so the twelfth is better stored whole: twice the
    // root of 180 / 5. The changes are so short that dictionaries of them save nothing.
    for number in 0..16_usize {
        stage.library.write("src", &[("file", &bytes)]);
        let before = stage.bytes();
        let id = stage.backup("src");
        added.push(stage.bytes() - before);
        stage.library.assert_restores(Some(id), "src");
        let fresh = Random::new(100 + number as u64).bytes(4500);
        for (at, piece) in fresh.chunks(5).enumerate() {
            bytes[200 * at + 12 * number..][..5].copy_from_slice(piece);
        }
    }
    let whole: Vec<usize> = (0..16).filter(|number| added[*number] > 150_000).collect();
    assert!(matches!(whole[..], [0, 10..=14]), "{whole:?} of {added:?}");
    assert!(added[15] < 70_000, "{added:?}");
    assert_shallow(&stage);
    stage.assert_sound();
}

#[test]
fn rewritten_directory_is_stored_as_a_delta() {
    let stage = Stage::new();
    let files: Vec<(String, [u8; 2])> = (0..200).map(|at| (format!("f{at:03}"), [at, 1])).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    stage.library.write("src", &files);
    stage.backup("src");
    let before = stage.bytes();
    let options = rewrite::Options { exclude: vec!["/**/f100".into()], ..rewrite::Options::default() };
    let report = rewrite::run(&stage.library.open(), &options, &Control::default()).unwrap();
    assert_eq!(report.rewritten.len(), 1);
    assert!(deltas(&stage, ChunkType::Tree) > 0);
    assert!(stage.bytes() - before < 3000, "{} bytes for one name less of 200", stage.bytes() - before);
    stage.assert_sound();
}
