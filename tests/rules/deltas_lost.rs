//! Deltas if something is lost, damaged or not listed: no other base is deleted meanwhile, and the damage is
//! attributed correctly.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use snap_backup::Control;
use snap_backup::codec::chunk::compress::Codec;
use snap_backup::codec::crypto::hash::ChunkType;
use snap_backup::codec::pack::BlockRow;
use snap_backup::codec::pack::base::BaseRef;
use snap_backup::model::id::PackId;
use snap_backup::model::records::Damaged;
use snap_backup::ops::repair::packs::PackFate;
use snap_backup::ops::{backup, repair};
use snap_backup::repo::sessions::damage;
use snap_backup::storage::{ObjectKind, Storage};

use crate::deltas::{assert_versions, deltas, packs_of_deltas, series, tables, version, write};
use crate::support::hooked::Act;
use crate::support::stage::Stage;

/// Damages the sealed bytes of the first block that is not a delta.
fn damage_bases(stage: &Stage) -> PackId {
    for (id, table) in tables(stage) {
        let is_delta = |block: &BlockRow| block.codec == Codec::Delta;
        let Some(block) = table.blocks.first().filter(|_| !table.blocks.iter().any(is_delta)) else {
            continue;
        };
        if table.kind == ChunkType::Data && block.plain >= 100_000 {
            let mut bytes = stage.storage.inner.get(ObjectKind::Packs, &id.hex()).unwrap();
            bytes[block.offset as usize + 100] ^= 1;
            stage.storage.inner.put(ObjectKind::Packs, &id.hex(), bytes);
            return id;
        }
    }
    panic!("nothing to damage")
}

#[test]
fn deltas_of_lost_bases_are_named_and_healed_by_a_backup() {
    let stage = Stage::new();
    series(&stage, 2);
    damage_bases(&stage);
    let errors = stage.library.errors();
    assert!(errors.iter().filter(|error| error.contains("/src/file")).count() >= 2, "{errors:#?}");
    let healed =
        stage.library.backup("src", backup::Options { allow_empty: true, ..backup::Options::default() });
    stage.library.assert_restores(healed.snapshot, "src");
}

#[test]
fn a_collection_that_meets_a_damaged_base_deletes_nothing_of_it() {
    let stage = Stage::new();
    // Data that only the first has makes its pack move.
    stage.library.write("src", &[("only-in-the-first", &version(2, 0))]);
    write(&stage, 0);
    let first = stage.backup("src");
    fs::remove_file(stage.library.path("src/only-in-the-first")).unwrap();
    write(&stage, 1);
    stage.backup("src");
    assert!(deltas(&stage, ChunkType::Data) > 0);
    let damaged = damage_bases(&stage);
    stage.forget(first);
    stage.gc();
    assert!(stage.names(ObjectKind::Packs).contains(&damaged.hex()));
    assert!(stage.names(ObjectKind::Damage).contains(&damaged.hex()), "the pack of the base is written down");
}

/// Removes packs during an operation, and brings them back, like a late listing or a moved folder.
fn without<T>(stage: &Stage, packs: &[PackId], work: impl FnOnce() -> T) -> T {
    let names: Vec<String> = packs.iter().map(PackId::hex).collect();
    let bytes: Vec<Vec<u8>> =
        names.iter().map(|name| stage.storage.inner.get(ObjectKind::Packs, name).unwrap()).collect();
    names.iter().for_each(|name| stage.storage.inner.remove(ObjectKind::Packs, name).unwrap());
    let result = work();
    names.iter().zip(bytes).for_each(|(name, bytes)| stage.storage.inner.put(ObjectKind::Packs, name, bytes));
    result
}

#[test]
fn possible_bases_of_an_unlisted_delta_are_not_condemned() {
    let stage = Stage::new();
    let made = series(&stage, 2);
    stage.forget(made[0]);
    let report = without(&stage, &packs_of_deltas(&stage), || stage.gc());
    assert!(report.lost > 0 && report.data_stays, "{report:?}");
    assert_versions(&stage, &[(made[1], 1)]);
    stage.gc();
    assert_versions(&stage, &[(made[1], 1)]);
}

#[test]
fn possible_bases_of_an_unlisted_delta_are_rescued() {
    let stage = Stage::new();
    write(&stage, 0);
    let first = stage.backup("src");
    write(&stage, 1);
    let other = Arc::downgrade(&stage);
    stage.storage.before(Act::Create, ObjectKind::Snapshots, move |_, _| {
        let stage = other.upgrade().unwrap();
        stage.forget(first);
        assert!(!stage.gc().waiting_for.is_empty(), "somebody who has not seen it is at work");
    });
    let second = stage.backup("src");
    without(&stage, &packs_of_deltas(&stage), || stage.gc());
    assert_versions(&stage, &[(second, 1)]);
}

#[test]
fn while_one_base_is_damaged_the_others_stay() {
    let stage = Stage::new();
    write(&stage, 0);
    let first = stage.backup("src");
    let of_first = tables(&stage);
    let base = of_first.iter().find(|(_, table)| table.kind == ChunkType::Data).unwrap().0;
    stage.library.write("src", &[("second", &version(5, 0))]);
    let both = stage.backup("src");
    write(&stage, 1);
    stage.library.write("src", &[("second", &version(5, 1))]);
    let last = stage.backup("src");
    let repo = stage.library.open();
    let bases: BTreeSet<u64> = tables(&stage)
        .iter()
        .filter(|(_, table)| table.kind == ChunkType::Data)
        .flat_map(|(_, table)| table.blocks.iter().flat_map(|block| block.bases.iter().map(BaseRef::prefix)))
        .collect();
    let in_first = of_first.iter().flat_map(|(_, table)| &table.blocks).flat_map(|block| &block.chunks);
    let in_first: Vec<u64> = in_first.map(|(id, _)| id.prefix()).collect();
    assert!(
        bases.iter().any(|id| in_first.contains(id)) && bases.iter().any(|id| !in_first.contains(id)),
        "one delta is made from chunks of both packs"
    );
    damage::record(&repo, last, Damaged::Pack(base), "for now".into()).unwrap();
    stage.forget(first);
    stage.forget(both);
    let report = stage.gc();
    assert!(report.lost > 0, "{report:?}");
    // It was the cable.
    damage::remove(&repo, &base.hex()).unwrap();
    assert_versions(&stage, &[(last, 1)]);
    stage.gc();
    assert_versions(&stage, &[(last, 1)]);
}

#[test]
fn pack_with_deltas_without_bases_is_left_alone() {
    let stage = Stage::new();
    write(&stage, 0);
    let first = stage.backup("src");
    write(&stage, 1);
    stage.library.write("src", &[("only-in-the-second", &version(2, 0))]);
    let second = stage.backup("src");
    fs::remove_file(stage.library.path("src/only-in-the-second")).unwrap();
    stage.backup("src");
    let damaged = damage_bases(&stage).hex();
    stage.forget(first);
    stage.forget(second);
    let before = packs_of_deltas(&stage);
    assert!(!before.iter().any(|id| id.hex() == damaged));
    stage.gc();
    assert_eq!(stage.gc().packs_moved, 0);
    assert_eq!(stage.names(ObjectKind::Damage), [damaged], "only the pack of the base is damaged");
    assert_eq!(packs_of_deltas(&stage), before);
}

#[test]
fn bases_of_a_delta_in_a_damaged_pack_stay_until_repaired() {
    let stage = Stage::new();
    let made = series(&stage, 2);
    let repo = stage.library.open();
    for id in packs_of_deltas(&stage) {
        damage::record(&repo, made[1], Damaged::Pack(id), "for now".into()).unwrap();
    }
    stage.forget(made[0]);
    stage.gc();
    let report = repair::packs::run(&repo, &repair::packs::Options::default(), &Control::default());
    assert!(!report.unwrap().has_lost());
    assert_versions(&stage, &[(made[1], 1)]);
}

#[test]
fn repair_keeps_deltas_without_bases_until_a_backup_heals() {
    let stage = Stage::new();
    let made = series(&stage, 2);
    let mut damaged = vec![damage_bases(&stage)];
    // The second table of a pack of deltas: its blocks are intact.
    for id in packs_of_deltas(&stage) {
        let mut bytes = stage.storage.inner.get(ObjectKind::Packs, &id.hex()).unwrap();
        *bytes.iter_mut().nth_back(100).unwrap() ^= 1;
        stage.storage.inner.put(ObjectKind::Packs, &id.hex(), bytes);
        damaged.push(id);
    }
    let options = repair::packs::Options { ids: damaged.iter().map(PackId::hex).collect(), dry_run: false };
    let report = repair::packs::run(&stage.library.open(), &options, &Control::default()).unwrap();
    let waiting =
        |fate: &PackFate| matches!(fate, PackFate::Salvaged { lost: 0, waiting, .. } if *waiting > 0);
    assert!(report.has_lost() && report.packs.iter().any(|(_, fate)| waiting(fate)), "{report:?}");
    assert!(deltas(&stage, ChunkType::Data) > 0);
    write(&stage, 0);
    stage.backup("src");
    assert_versions(&stage, &[(made[0], 0), (made[1], 1)]);
}
