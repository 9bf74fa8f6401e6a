//! A series in which each version changes other places: what changed is stored once, in dictionaries.

use std::collections::HashSet;

use snap_backup::codec::chunk::compress::Codec;
use snap_backup::codec::crypto::hash::ChunkType;
use snap_backup::model::id::{ChunkId, SnapshotId};
use snap_backup::storage::{ObjectKind, Storage};

use crate::deltas::{assert_shallow, tables};
use crate::support::Random;
use crate::support::stage::Stage;

const VERSIONS: usize = 12;
const ROWS: usize = 1500;

/// The versions of a file of 200 kB. Each changes a fiftieth of the rows of the previous one.
fn versions() -> Vec<Vec<u8>> {
    let mut random = Random::new(11);
    let mut rows: Vec<Vec<u8>> = (0..ROWS).map(|_| random.bytes(133)).collect();
    let mut next = |number: usize| {
        for at in (0..if number == 0 { 0 } else { ROWS / 50 }).map(|at| at * 50 + number * 4) {
            rows[at] = random.bytes(133);
        }
        rows.concat()
    };
    (0..VERSIONS).map(&mut next).collect()
}

fn back_up(stage: &Stage, versions: &[Vec<u8>]) -> Vec<SnapshotId> {
    let made = versions.iter().map(|bytes| {
        stage.library.write("src", &[("dump.sql", bytes)]);
        stage.backup("src")
    });
    made.collect()
}

fn assert_restore(stage: &Stage, made: &[SnapshotId], versions: &[Vec<u8>], which: &[usize]) {
    for number in which {
        stage.library.write("src", &[("dump.sql", &versions[*number])]);
        let repo = stage.library.open();
        let wrong = stage.library.differences(&repo, made[*number], "src", &stage.library.path("src"));
        let wrong: Vec<String> = wrong.into_iter().filter(|what| !what.contains("mtime")).collect();
        assert_eq!(wrong, Vec::<String>::new(), "version {number}");
    }
    stage.assert_sound();
}

/// Bases that are shorter than any chunk that does not end its file.
fn dictionaries(stage: &Stage) -> HashSet<u64> {
    let shortest = stage.library.open().config().chunker.min;
    let tables = tables(stage).into_iter().filter(|(_, table)| table.kind == ChunkType::Data);
    let blocks = tables.flat_map(|(_, table)| table.blocks);
    let bases = blocks.filter(|block| block.codec == Codec::Delta).flat_map(|block| block.bases);
    bases.filter(|base| base.len < shortest).map(|base| base.prefix()).collect()
}

#[test]
fn a_series_that_drifts_stores_each_change_about_once() {
    let (stage, versions) = (Stage::new(), versions());
    let made = back_up(&stage, &versions[..1]);
    let first = stage.bytes();
    let made = [made, back_up(&stage, &versions[1..])].concat();
    let added = stage.bytes() - first;
    // A version changes 4 kB. Deltas against only the first one would add up to 260 kB.
    let changes = 133 * (ROWS as u64 / 50) * (VERSIONS as u64 - 1);
    assert!(added < 3 * changes, "{added} bytes for changes of {changes}");
    assert!(!dictionaries(&stage).is_empty());
    assert_shallow(&stage);
    assert_restore(&stage, &made, &versions, &[0, 3, VERSIONS - 1]);
}

#[test]
fn dictionaries_stay_as_long_as_a_delta_needs_them() {
    let (stage, versions) = (Stage::new(), versions());
    let made = back_up(&stage, &versions);
    let all = dictionaries(&stage);
    for number in [0, 1, 2, 4, 5, 7, 8, 9] {
        stage.forget(made[number]);
    }
    stage.gc();
    assert!(!dictionaries(&stage).is_empty() && dictionaries(&stage).is_subset(&all));
    assert_shallow(&stage);
    assert_restore(&stage, &made, &versions, &[3, 6, VERSIONS - 1]);
    made.iter()
        .enumerate()
        .filter(|(number, _)| [3, 6, 10].contains(number))
        .for_each(|(_, id)| stage.forget(*id));
    stage.gc();
    assert_restore(&stage, &made, &versions, &[VERSIONS - 1]);
    stage.forget(made[VERSIONS - 1]);
    stage.gc();
    assert_eq!(stage.bytes(), 0, "nobody needs them any more");
}

#[test]
fn loss_of_a_dictionary_is_named_and_healed_by_a_backup() {
    let (stage, versions) = (Stage::new(), versions());
    back_up(&stage, &versions);
    let lost = dictionaries(&stage);
    let is_lost = |id: &ChunkId| lost.contains(&id.prefix());
    let with = tables(&stage).into_iter().find(|(_, table)| {
        table
            .blocks
            .iter()
            .any(|block| block.codec != Codec::Delta && block.chunks.iter().any(|(id, _)| is_lost(id)))
    });
    let (pack, _) = with.unwrap();
    stage.storage.inner.remove(ObjectKind::Packs, &pack.hex()).unwrap();
    let errors = stage.library.errors();
    assert!(errors.iter().any(|error| error.contains("/src/dump.sql")), "{errors:#?}");
    stage.library.write("src", &[("dump.sql", &versions[VERSIONS - 1])]);
    let healed = stage.backup("src");
    stage.library.assert_restores(Some(healed), "src");
}
