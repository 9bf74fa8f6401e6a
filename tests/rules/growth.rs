//! How work grows with the repository: storage calls are counted, because they take the time.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;

use snap_backup::Control;
use snap_backup::model::id::SnapshotId;
use snap_backup::ops::forget::PolicyOptions;
use snap_backup::ops::forget::policy::{Count, Rule};
use snap_backup::ops::{backup, forget, gc};
use snap_backup::repo::snapshots;
use snap_backup::storage::ObjectKind;

use crate::support::Random;
use crate::support::hooked::Act;
use crate::support::stage::Stage;

type Calls = BTreeMap<String, usize>;

/// The number of calls of each kind since the last count.
fn calls(stage: &Stage) -> Calls {
    let mut counts = Calls::new();
    for (act, area, _) in stage.storage.calls() {
        *counts.entry(format!("{act:?} {}", area.folder())).or_default() += 1;
    }
    counts
}

/// Every call that `few` counts, `many` counts as often or, if it is made once for each object, `per` times
/// `more` often.
fn assert_linear(few: &Calls, many: &Calls, more: usize, per: &[(&str, usize)]) {
    let per: BTreeMap<&str, usize> = per.iter().copied().collect();
    for (call, count) in many {
        let allowed = few.get(call).unwrap_or(&0) + per.get(call.as_str()).unwrap_or(&0) * more;
        assert!(*count <= allowed, "{call}: {count} where {allowed} are enough; {few:?} became {many:?}");
    }
}

/// A snapshot of a source, and older ones of the same. Returns their ids.
fn with_older(number: u64) -> (std::sync::Arc<Stage>, Vec<SnapshotId>) {
    let stage = Stage::new();
    stage.write("src", &[1]);
    let newest = stage.backup("src");
    let repo = stage.library.open();
    let made = snapshots::load(&repo, &newest.hex()).unwrap().unwrap();
    let older = (1..=number).map(|age| {
        let mut manifest = made.manifest.clone();
        manifest.started.sec -= i64::try_from(age).unwrap();
        let mut id = [9; 16];
        id[..8].copy_from_slice(&age.to_be_bytes());
        let id = SnapshotId::new(id);
        assert!(snapshots::commit(&repo, id, &manifest).unwrap());
        id
    });
    let older = older.collect();
    (stage, older)
}

/// One entry, one removal and two look-ups for each. Listings and syncs are made once for all.
const FORGOTTEN: &[(&str, usize)] = &[("Read snapshots", 2), ("Create trash", 1), ("Remove snapshots", 1)];

#[test]
fn forgetting_many_by_name_lists_once_and_syncs_once() {
    let counted = |number: u64| {
        let (stage, older) = with_older(number);
        // Manifests in the local cache need not be read.
        assert_eq!(stage.library.snapshots().len() as u64, number + 1);
        stage.storage.calls();
        let selectors = older.iter().map(SnapshotId::hex).collect();
        let options = forget::Options { selectors, ..forget::Options::default() };
        assert_eq!(forget::run(&stage.library.open(), &options).unwrap().len() as u64, number);
        let counts = calls(&stage);
        stage.storage.cut_power();
        assert_eq!(stage.library.snapshots().len(), 1, "what was said to be forgotten came back");
        counts
    };
    assert_linear(&counted(1), &counted(41), 40, FORGOTTEN);
}

#[test]
fn forgetting_many_by_a_rule_lists_once_and_syncs_once() {
    let counted = |number: u64| {
        let (stage, _) = with_older(number);
        assert_eq!(stage.library.snapshots().len() as u64, number + 1);
        stage.storage.calls();
        let options = PolicyOptions { rules: vec![Rule::Last(Count::UpTo(1))], ..PolicyOptions::default() };
        forget::by_policy(&stage.library.open(), &options).unwrap();
        let counts = calls(&stage);
        stage.storage.cut_power();
        assert_eq!(stage.library.snapshots().len(), 1, "what was said to be forgotten came back");
        counts
    };
    assert_linear(&counted(1), &counted(41), 40, FORGOTTEN);
}

/// One that fails is an error, and those before it are durable all the same.
#[test]
fn one_failure_among_many_forgets_is_reported() {
    let (stage, older) = with_older(20);
    *stage.storage.failing.lock().unwrap() = Some((Act::Create, ObjectKind::Trash, 12));
    let selectors = older.iter().map(SnapshotId::hex).collect();
    let options = forget::Options { selectors, ..forget::Options::default() };
    let err = forget::run(&stage.library.open(), &options).unwrap_err();
    assert!(err.chain().contains("trash fails"), "{}", err.chain());
    let (left, trashed) = (stage.library.snapshots().len(), stage.names(ObjectKind::Trash).len());
    assert_eq!(left + trashed, 21, "{left} stand and {trashed} are forgotten");
    stage.storage.cut_power();
    assert_eq!(stage.library.snapshots().len(), left);
}

/// A gc run reads each dead session a few times and writes one fence for it. It removes all its objects, and
/// lists nothing per session.
#[test]
fn many_dead_sessions_are_buried_with_as_many_listings_as_one() {
    let counted = |number: u8| {
        let stage = Stage::new();
        stage.write("src", &[1]);
        stage.backup("src");
        (0..number).for_each(|id| stage.stand(SnapshotId::new([id; 16])));
        stage.storage.calls();
        let report = stage.gc();
        assert_eq!(report.waiting_for, Vec::<String>::new());
        let counts = calls(&stage);
        assert_eq!(stage.names(ObjectKind::Snapshots).len(), usize::from(number) + 1, "a fence for each");
        stage.assert_sound();
        counts
    };
    let per = [
        // The session, its heartbeat and the last observation of it, when it is marked and when it is buried.
        ("Read sessions", 6),
        ("Create snapshots", 1),
        ("Remove sessions", 1),
    ];
    assert_linear(&counted(1), &counted(41), 40, &per);
}

/// What exceeds a budget is left to a later run.
#[test]
fn small_packs_are_merged_as_far_as_the_budget_goes() {
    let stage = Stage::new();
    for seed in 0..100u64 {
        stage.library.write("src", &[(&format!("f{seed}"), seed.to_string().as_bytes())]);
        stage.backup("src");
    }
    let before = stage.names(ObjectKind::Packs).len();
    assert!(before >= 200, "{before} packs: one of data and one of trees for each run");
    let collect = |max_repack| {
        let options = gc::Options { max_repack, ..gc::Options::default() };
        gc::run(&stage.library.open(), &options, &Control::default()).unwrap()
    };
    // Enough for the smallest data packs and tree packs, not for all.
    let report = collect(Some(stage.bytes() / 2));
    let after = stage.names(ObjectKind::Packs).len();
    assert!(
        report.packs_moved >= 132 && after > 10,
        "{} moved of {before}, {after} left",
        report.packs_moved
    );
    collect(None);
    let last = stage.names(ObjectKind::Packs).len();
    assert!(last < after && last < 10, "{after} packs became {last}");
    stage.library.assert_restores(stage.library.snapshots().last().copied(), "src");
    stage.assert_sound();
}

/// A machine that lost its cache reads the table of each pack and each manifest once, and nothing of them the
/// next time.
#[test]
fn an_unchanged_backup_without_a_cache_reads_each_pack_once() {
    let counted = |runs: u64| {
        let stage = Stage::new();
        for run in 0..runs {
            stage.library.write("src", &[("f", &Random::new(run).bytes(run as usize + 1))]);
            stage.backup("src");
        }
        let unchanged = || {
            stage.storage.calls();
            let made = stage.library.backup("src", backup::Options::default());
            assert!(made.snapshot.is_none(), "{made:?}");
            calls(&stage)
        };
        fs::remove_dir_all(stage.library.cache()).unwrap();
        (unchanged(), unchanged())
    };
    let ((few, few_later), (many, many_later)) = (counted(2), counted(42));
    // Two packs of each run.
    assert_linear(&few, &many, 40, &[("Read packs", 2), ("Read snapshots", 1)]);
    assert_linear(&few_later, &many_later, 40, &[]);
}
