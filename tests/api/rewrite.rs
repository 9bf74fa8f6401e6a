//! Snapshots that are replaced by others without some paths, or with other attributes.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::ProptestConfig;
use proptest::{prop_assert_eq, proptest};
use snap_backup::model::entry::{Kind, Time};
use snap_backup::model::id::{ChunkId, SnapshotId};
use snap_backup::model::manifest::Manifest;
use snap_backup::ops::gc::MaxUnused;
use snap_backup::ops::rewrite::{Change, Report};
use snap_backup::ops::{backup, forget, gc, ls, rewrite};
use snap_backup::repo::snapshots;
use snap_backup::repo::snapshots::filter::SnapshotQuery;
use snap_backup::storage::{ObjectKind, Storage};
use snap_backup::{Control, Error, Result};

use crate::support::Random;
use crate::support::hooked::{Act, Hooked};
use crate::support::library::Library;

struct Stage {
    library: Library,
    storage: Arc<Hooked>,
}

impl Stage {
    fn new() -> Arc<Self> {
        let storage = Arc::new(Hooked::default());
        Arc::new(Self { library: Library::on(storage.clone(), None), storage })
    }

    fn backup(&self, tree: &[(&str, &[u8])]) -> SnapshotId {
        self.library.write("src", tree);
        self.library.backup("src", backup::Options::default()).snapshot.unwrap()
    }

    fn try_rewrite(&self, options: &rewrite::Options) -> Result<Report> {
        rewrite::run(&self.library.open(), options, &Control::default())
    }

    fn rewrite(&self, options: &rewrite::Options) -> Report {
        self.try_rewrite(options).unwrap_or_else(|err| panic!("{}", err.chain()))
    }

    fn manifests(&self) -> Vec<Manifest> {
        snapshots::list(&self.library.open()).unwrap().into_iter().map(|one| one.manifest).collect()
    }

    /// Returns each path with its size or tree.
    fn paths(&self, selector: &str) -> BTreeMap<String, (u64, Option<ChunkId>)> {
        let mut paths = BTreeMap::new();
        ls::run(&self.library.open(), selector, ls::Levels::All, &mut |path, entry| {
            let tree = match entry.kind {
                Kind::Dir { tree } => Some(tree),
                _ => None,
            };
            paths.insert(String::from_utf8(path.to_vec()).unwrap(), (entry.size(), tree));
            Ok(())
        })
        .unwrap();
        paths
    }

    fn gc(&self) {
        let options =
            gc::Options { max_unused: MaxUnused::Bytes(0), empty_trash: true, ..gc::Options::default() };
        gc::run(&self.library.open(), &options, &Control::default()).unwrap();
    }

    fn trash(&self) -> usize {
        self.storage.inner.list(ObjectKind::Trash).unwrap().len()
    }
}

fn without(patterns: &[&str]) -> rewrite::Options {
    let exclude = patterns.iter().map(|one| (*one).into()).collect();
    rewrite::Options { exclude, ..rewrite::Options::default() }
}

fn saying(change: Change) -> rewrite::Options {
    rewrite::Options { change, ..rewrite::Options::default() }
}

#[test]
fn rewrite_removes_a_path_and_keeps_other_tree_ids() {
    let stage = Stage::new();
    stage.backup(&[("a/keep", b"1"), ("a/secret/k", b"22"), ("b/c/d", b"333"), ("secret", b"x")]);
    stage.backup(&[("b/new", b"4")]);
    let before = [stage.paths("latest~1"), stage.paths("latest")];
    let told = stage.manifests();
    let report = stage.rewrite(&without(&["secret"]));
    assert_eq!((report.rewritten.len(), report.unchanged), (2, 0));
    let dropped = report.rewritten[1].dropped;
    assert_eq!((dropped.files, dropped.dirs, dropped.bytes), (2, 1, 3));
    for (selector, before) in ["latest~1", "latest"].into_iter().zip(&before) {
        let after = stage.paths(selector);
        let expected: Vec<&String> = before.keys().filter(|path| !path.contains("secret")).collect();
        assert_eq!(after.keys().collect::<Vec<_>>(), expected);
        assert_eq!(after["src/b"], before["src/b"], "nothing in it changed");
        assert_ne!(after["src/a"], before["src/a"]);
    }
    for (old, new) in told.iter().zip(stage.manifests()) {
        assert_eq!((old.started, old.kind, &old.sources), (new.started, new.kind, &new.sources));
        assert_eq!(new.counts.bytes_total + 3, old.counts.bytes_total);
        assert_eq!(new.counts.dirs + 1, old.counts.dirs);
    }
    assert_eq!(stage.trash(), 2);
    stage.gc();
    assert_eq!(stage.library.errors(), Vec::<String>::new());
    fs::remove_dir_all(stage.library.path("src/a/secret")).unwrap();
    fs::remove_file(stage.library.path("src/secret")).unwrap();
    let now = stage.library.snapshots();
    let repo = stage.library.open();
    let differences = stage.library.differences(&repo, now[1], "src", &stage.library.path("src"));
    // Directories keep their times.
    let odd: Vec<_> =
        differences.iter().filter(|one| !one.contains("mtime") && !one.contains("time")).collect();
    assert!(odd.is_empty(), "{differences:#?}");
}

#[test]
fn removed_data_is_gone_once_old_snapshots_are_purged() {
    let stage = Stage::new();
    let secret = Random::new(1).bytes(50_000);
    stage.backup(&[("keep", b"1"), ("secret", &secret)]);
    stage.backup(&[("keep", b"22")]);
    let size = || stage.storage.inner.list(ObjectKind::Packs).unwrap().iter().map(|one| one.len).sum::<u64>();
    let before = size();
    stage.rewrite(&without(&["/src/secret"]));
    stage.gc();
    assert!(size() + 50_000 < before, "{before} {}", size());
    assert_eq!(stage.library.errors(), Vec::<String>::new());
}

#[test]
fn a_dry_run_and_a_run_that_changes_nothing_write_nothing() {
    let stage = Stage::new();
    stage.backup(&[("a", b"1"), ("b", b"2")]);
    let dry = stage.rewrite(&rewrite::Options { dry_run: true, ..without(&["a"]) });
    assert_eq!((dry.rewritten.len(), dry.rewritten[0].new), (1, None));
    assert_eq!(dry.rewritten[0].dropped.files, 1);
    let ids = stage.library.snapshots();
    let same = stage.rewrite(&without(&["none"]));
    assert_eq!((same.rewritten.len(), same.unchanged), (0, 1));
    assert_eq!((stage.library.snapshots(), stage.trash()), (ids, 0));
    assert!(matches!(stage.try_rewrite(&without(&["[a"])), Err(Error::Usage(_))));
}

#[test]
fn last_matching_pattern_decides_and_a_slash_means_the_root() {
    let stage = Stage::new();
    stage.backup(&[("a/x.o", b"1"), ("a/keep.o", b"1"), ("x.o", b"1"), ("b/src/f", b"1")]);
    stage.rewrite(&without(&["*.o", "!keep.o", "/src/b"]));
    let left: Vec<String> = stage.paths("latest").into_keys().collect();
    assert_eq!(left, ["src", "src/a", "src/a/keep.o"]);
}

#[test]
fn attributes_change_without_changing_the_tree() {
    let stage = Stage::new();
    let first = stage.backup(&[("a", b"1")]);
    let at = Time { sec: 2_000_000_000, nanos: 5 };
    let change = Change {
        host: Some("other".into()),
        description: Some("before the move".into()),
        add_tags: vec!["b".into(), "a".into(), "a".into()],
        pinned: Some(true),
        expires: Some(Some(at)),
        ..Change::default()
    };
    let old = stage.manifests().remove(0);
    stage.rewrite(&saying(change.clone()));
    let new = stage.manifests().remove(0);
    assert_eq!((new.root, new.counts, new.started), (old.root, old.counts, old.started));
    assert_eq!(
        (new.host.as_str(), new.description(), new.expires()),
        ("other", Some("before the move"), Some(at))
    );
    assert_eq!(
        (new.tags.clone(), new.is_pinned(), new.original()),
        (vec!["b".into(), "a".into()], true, Some(first))
    );
    // The second run has nothing to change.
    assert_eq!(stage.rewrite(&saying(change)).unchanged, 1);
    let back = Change {
        description: Some(String::new()),
        remove_tags: vec!["b".into()],
        pinned: Some(false),
        expires: Some(None),
        ..Change::default()
    };
    stage.rewrite(&saying(back));
    let last = stage.manifests().remove(0);
    assert_eq!((last.description(), last.is_pinned(), last.expires()), (None, false, None));
    assert_eq!((last.tags.clone(), last.original()), (vec!["a".to_owned()], Some(first)), "the first counts");
    let long = Change { description: Some("x".repeat(5000)), ..Change::default() };
    assert!(matches!(stage.try_rewrite(&saying(long)), Err(Error::Usage(_))));
}

#[test]
fn new_snapshot_exists_before_the_old_one_goes() {
    let stage = Stage::new();
    let old = stage.backup(&[("a", b"1"), ("b", b"2")]);
    let there = Arc::downgrade(&stage);
    stage.storage.before(Act::Create, ObjectKind::Trash, move |storage, _| {
        let names: Vec<String> =
            storage.list(ObjectKind::Snapshots).unwrap().into_iter().map(|one| one.name).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(names.contains(&old.hex()));
        let stage = there.upgrade().unwrap();
        assert_eq!(stage.library.errors(), Vec::<String>::new());
    });
    stage.rewrite(&without(&["a"]));
    assert!(stage.storage.is_spent());
}

/// The result is as if the rewrite had come first.
#[test]
fn snapshot_forgotten_concurrently_stays_forgotten() {
    let stage = Stage::new();
    stage.backup(&[("a", b"1")]);
    let old = stage.backup(&[("a", b"22")]);
    let there = Arc::downgrade(&stage);
    // The old one is forgotten right before the new one is committed.
    stage.storage.before(Act::Create, ObjectKind::Snapshots, move |_, _| {
        let stage = there.upgrade().unwrap();
        let selectors = vec![old.hex()];
        let options = forget::Options { selectors, allow_remove_all: true, ..forget::Options::default() };
        forget::run(&stage.library.open(), &options).unwrap();
    });
    let choice = SnapshotQuery { selectors: vec![old.hex()], ..SnapshotQuery::default() };
    let report = stage.rewrite(&rewrite::Options { choice, ..without(&["a"]) });
    assert!(stage.storage.is_spent());
    assert_eq!((report.rewritten.len(), report.rewritten[0].new), (1, None));
    assert_eq!(stage.library.snapshots().len(), 1);
}

/// W2: the session exists before the look-up, and what it refers to must still exist.
#[test]
fn rewrite_does_not_commit_a_collected_snapshot_with_holes() {
    let stage = Stage::new();
    stage.backup(&[("a", b"1")]);
    let old = stage.backup(&[("a", &Random::new(1).bytes(50_000))]);
    let there = Arc::downgrade(&stage);
    // The snapshot is forgotten and purged between its selection and the session that commits.
    stage.storage.before(Act::Create, ObjectKind::Sessions, |_, _| {});
    stage.storage.before(Act::Create, ObjectKind::Sessions, move |_, _| {
        let stage = there.upgrade().unwrap();
        let selectors = vec![old.hex()];
        let options = forget::Options { selectors, allow_remove_all: true, ..forget::Options::default() };
        forget::run(&stage.library.open(), &options).unwrap();
    });
    let choice = SnapshotQuery { selectors: vec![old.hex()], ..SnapshotQuery::default() };
    let change = Change { add_tags: vec!["x".into()], ..Change::default() };
    let report = stage.rewrite(&rewrite::Options { choice, ..saying(change) });
    assert!(stage.storage.is_spent());
    assert_eq!(report.rewritten[0].new, None);
    assert_eq!(stage.library.snapshots().len(), 1);
    stage.gc();
    assert_eq!(stage.library.errors(), Vec::<String>::new());
}

/// As a gc run does that considered the writer of the new trees dead.
#[test]
fn trees_deleted_before_the_commit_are_detected() {
    let stage = Stage::new();
    let old = stage.backup(&[("a", b"1"), ("b", b"2")]);
    let packs = |storage: &dyn Storage| -> Vec<String> {
        storage.list(ObjectKind::Packs).unwrap().into_iter().map(|one| one.name).collect()
    };
    let before = packs(&*stage.storage.inner);
    // The reader, the writer of trees, and the session that commits.
    stage.storage.before(Act::Create, ObjectKind::Sessions, |_, _| {});
    stage.storage.before(Act::Create, ObjectKind::Sessions, |_, _| {});
    stage.storage.before(Act::Create, ObjectKind::Sessions, move |storage, _| {
        let new: Vec<String> = packs(storage).into_iter().filter(|name| !before.contains(name)).collect();
        assert!(!new.is_empty());
        new.iter().for_each(|name| storage.remove(ObjectKind::Packs, name).unwrap());
    });
    assert!(matches!(stage.try_rewrite(&without(&["a"])), Err(Error::Refused(_))));
    assert!(stage.storage.is_spent());
    assert_eq!((stage.library.snapshots(), stage.trash()), (vec![old], 0));
    assert_eq!(stage.library.errors(), Vec::<String>::new());
}

#[test]
fn a_pinned_snapshot_is_forgotten_by_name_with_force_alone() {
    let stage = Stage::new();
    let first = stage.backup(&[("a", b"1")]);
    stage.backup(&[("a", b"22")]);
    let choice = SnapshotQuery { selectors: vec![first.hex()], ..SnapshotQuery::default() };
    let pin = Change { pinned: Some(true), ..Change::default() };
    let pinned = stage.rewrite(&rewrite::Options { choice, ..saying(pin) }).rewritten[0].new.unwrap();
    let forget = |force: bool| {
        let options = forget::Options { selectors: vec![pinned.hex()], force, ..forget::Options::default() };
        forget::run(&stage.library.open(), &options)
    };
    assert!(matches!(forget(false), Err(Error::Retention(_))));
    assert!(matches!(stage.try_rewrite(&without(&["a"])), Err(Error::Retention(_))));
    assert_eq!(stage.library.snapshots().len(), 2);
    assert_eq!(forget(true).unwrap().len(), 1);
    assert_eq!(stage.library.snapshots().len(), 1);
}

#[test]
fn a_backup_goes_on_from_what_was_rewritten() {
    let stage = Stage::new();
    stage.backup(&[("a", b"1"), ("b/c", b"2")]);
    stage.rewrite(&without(&["a"]));
    let id = stage.backup(&[("b/d", b"3")]);
    stage.library.assert_restores(Some(id), "src");
    assert_eq!(stage.library.errors(), Vec::<String>::new());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn exactly_the_named_snapshots_go(
        trees in vec(vec((0..4_u8, 0..4_u8, 0..5_u8), 1..10), 1..4),
        name in 0..4_u8,
    ) {
        let stage = Stage::new();
        for tree in &trees {
            let _ = fs::remove_dir_all(stage.library.path("src"));
            for (dir, sub, file) in tree {
                let path = stage.library.path("src").join(format!("n{dir}/n{sub}"));
                fs::create_dir_all(&path).unwrap();
                fs::write(path.join(format!("n{file}")), [*file]).unwrap();
            }
            let options = backup::Options { allow_empty: true, ..backup::Options::default() };
            stage.library.backup("src", options);
        }
        let all = |stage: &Stage| -> Vec<BTreeMap<String, (u64, Option<ChunkId>)>> {
            let ids = stage.library.snapshots();
            ids.iter().map(|id| stage.paths(&id.hex())).collect()
        };
        let before = all(&stage);
        let gone = format!("n{name}");
        stage.rewrite(&without(&[&gone]));
        let hit = |path: &str| path.split('/').any(|part| part == gone);
        for (before, after) in before.iter().zip(all(&stage)) {
            let expected: Vec<&String> = before.keys().filter(|path| !hit(path)).collect();
            prop_assert_eq!(after.keys().collect::<Vec<_>>(), expected);
            for (path, what) in &after {
                let inside = format!("{path}/");
                if before.keys().all(|other| !other.starts_with(&inside) || !hit(other)) {
                    prop_assert_eq!(what, &before[path], "{}", path);
                }
            }
        }
        prop_assert_eq!(stage.library.errors(), Vec::<String>::new());
    }
}
