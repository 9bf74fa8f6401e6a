//! Path rules: what they remove from old snapshots, and what they must never remove.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any};
use proptest::{prop_assert_eq, proptest};
use snap_backup::model::entry::{Entry, Kind, Time};
use snap_backup::model::id::{ChunkId, SnapshotId};
use snap_backup::model::manifest::Manifest;
use snap_backup::model::records::SessionKind;
use snap_backup::ops::rewrite::expire::{self, ExpiryRule, Hold, Options, Report};
use snap_backup::ops::{backup, gc, ls};
use snap_backup::repo::sessions::session::Session;
use snap_backup::repo::snapshots::filter::{SnapshotFilter, SnapshotQuery};
use snap_backup::repo::snapshots::{self, Snapshot};
use snap_backup::storage::{ObjectKind, Storage};
use snap_backup::{Control, Error, Result};

use crate::support::files_below;
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

    /// Backs up exactly these files of a host, each with its name as content. Existing files are not touched,
    /// so that snapshots share trees.
    fn save(&self, host: &str, files: &[&str]) -> Snapshot {
        let src = self.library.path("src");
        fs::create_dir_all(&src).unwrap();
        let of = |file: &&str| {
            let (path, text) = file.split_once('=').unwrap_or((file, file));
            (src.join(path), text.as_bytes().to_vec())
        };
        let wanted: BTreeMap<_, _> = files.iter().map(of).collect();
        for path in files_below(&src).into_iter().filter(|path| !wanted.contains_key(path)) {
            fs::remove_file(&path).unwrap();
            path.ancestors()
                .skip(1)
                .take_while(|dir| *dir != src && fs::remove_dir(dir).is_ok())
                .for_each(drop);
        }
        for (path, text) in wanted {
            if fs::read(&path).ok() != Some(text.clone()) {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
        }
        let options =
            backup::Options { host: Some(host.into()), allow_empty: true, ..backup::Options::default() };
        let id = self.library.backup("src", options).snapshot.unwrap();
        self.all().into_iter().find(|one| one.id == id).unwrap()
    }

    fn all(&self) -> Vec<Snapshot> {
        snapshots::list(&self.library.open()).unwrap()
    }

    /// Changes attributes of a snapshot.
    fn alter(&self, old: &Snapshot, change: impl Fn(&mut Manifest)) -> Snapshot {
        let repo = self.library.open();
        let mut manifest = old.manifest.clone();
        change(&mut manifest);
        let (session, _) = Session::open(&repo, SessionKind::Writer).unwrap();
        assert!(snapshots::commit(&repo, session.id, &manifest).unwrap());
        self.storage.inner.remove(ObjectKind::Snapshots, &old.id.hex()).unwrap();
        let id = session.id;
        session.close().unwrap();
        Snapshot { id, manifest }
    }

    fn try_expire(&self, options: &Options) -> Result<Report> {
        expire::run(&self.library.open(), options, &Control::default())
    }

    fn expire(&self, options: &Options) -> Report {
        self.try_expire(options).unwrap_or_else(|err| panic!("{}", err.chain()))
    }

    /// Returns the paths of each snapshot without `src/`, by its time.
    fn paths(&self) -> Vec<Vec<String>> {
        self.trees().into_values().map(|tree| tree.into_keys().collect()).collect()
    }

    /// Returns the entries of each snapshot by time and host; directories without the ids of their trees.
    fn trees(&self) -> BTreeMap<(Time, String), BTreeMap<String, Entry>> {
        let repo = self.library.open();
        let tree = |one: &Snapshot| {
            let mut tree = BTreeMap::new();
            ls::run(&repo, &one.id.hex(), ls::Levels::All, &mut |path, entry| {
                let mut entry = entry.clone();
                if let Kind::Dir { tree } = &mut entry.kind {
                    *tree = ChunkId::new([0; 32]);
                }
                let path = String::from_utf8(path.to_vec()).unwrap();
                path.strip_prefix("src/").map(|path| tree.insert(path.to_owned(), entry));
                Ok(())
            })
            .unwrap();
            tree
        };
        let all = self.all();
        let trees: BTreeMap<_, _> =
            all.iter().map(|one| ((one.manifest.started, one.manifest.host.clone()), tree(one))).collect();
        assert_eq!(trees.len(), all.len(), "no snapshot is there twice");
        trees
    }

    fn gc(&self) {
        let options = gc::Options { empty_trash: true, ..gc::Options::default() };
        gc::run(&self.library.open(), &options, &Control::default()).unwrap();
    }
}

fn now() -> Options {
    Options { now: Time::now(), ..Options::default() }
}

/// Matching paths are removed from snapshots of that age and older ones.
fn by(pattern: &str, before: Time) -> Options {
    Options { rules: vec![ExpiryRule { pattern: pattern.into(), before }], ..now() }
}

fn deleted_before(before: Time) -> Options {
    Options { deleted_before: Some(before), ..now() }
}

fn started(one: &Snapshot) -> Time {
    one.manifest.started
}

#[test]
fn expire_rule_applies_at_its_age_and_older() {
    let stage = Stage::new();
    let files = ["keep", "tmp/a", "x/tmp/b", "x/c"];
    let saved: Vec<Snapshot> = (0..4).map(|_| stage.save("h", &files)).collect();
    let before = stage.trees();
    let at = started(&saved[1]);
    let report = stage.expire(&by("**/tmp/**", Time { nanos: at.nanos - 1, ..at }));
    assert_eq!(report.rewritten.len(), 1, "a snapshot of just after that time is not old enough");
    let report = stage.expire(&by("**/tmp/**", at));
    assert_eq!((report.rewritten.len(), report.unchanged), (1, 1));
    let less = ["keep", "tmp", "x", "x/c", "x/tmp"].map(str::to_owned).to_vec();
    let all = ["keep", "tmp", "tmp/a", "x", "x/c", "x/tmp", "x/tmp/b"].map(str::to_owned).to_vec();
    assert_eq!(stage.paths(), [less.clone(), less, all.clone(), all], "directories stay where `**` ends");
    for (key, tree) in stage.trees() {
        assert!(tree.iter().all(|(path, entry)| before[&key][path] == *entry), "what stays is as it was");
    }
    let dropped = report.rewritten[0].dropped;
    assert_eq!((dropped.files, dropped.bytes), (2, 12));
    let new = stage.all().into_iter().find(|one| one.manifest.started == at).unwrap();
    assert_eq!(new.manifest.original(), Some(saved[1].id));
    assert_eq!(new.manifest.counts.bytes_total + 12, saved[1].manifest.counts.bytes_total);
    stage.gc();
    assert_eq!(stage.library.errors(), Vec::<String>::new());
}

#[test]
fn the_newest_pinned_held_partial_and_future_ones_lose_nothing() {
    let stage = Stage::new();
    let mut saved: Vec<Snapshot> = (0..6).map(|_| stage.save("h", &["tmp"])).collect();
    let far = Time { sec: Time::now().sec + 9_999_999, nanos: 0 };
    saved[0] = stage.alter(&saved[0], |manifest| manifest.set_pinned(true));
    saved[2] = stage.alter(&saved[2], |manifest| manifest.partial = true);
    saved[3] = stage.alter(&saved[3], |manifest| manifest.started = far);
    // The alarm of another host protects nothing here; the only snapshot of that host is its newest one.
    let other = stage.save("other", &["tmp"]);
    stage.alter(&other, |manifest| manifest.set_alarm("odd"));
    let report = stage.expire(&by("tmp", Time { sec: i64::MAX, nanos: 0 }));
    let ids: Vec<SnapshotId> = report.rewritten.iter().map(|one| one.old.id).collect();
    assert_eq!(ids, [saved[1].id, saved[4].id]);
    let held: Vec<_> = report.held.iter().map(|(one, hold)| (one.id, *hold)).collect();
    assert_eq!(held, [(saved[0].id, Hold::Pinned)]);
    assert_eq!(stage.paths().iter().filter(|paths| paths.is_empty()).count(), 2);

    let stage = Stage::new();
    let mut saved: Vec<Snapshot> = (0..4).map(|_| stage.save("h", &["tmp"])).collect();
    saved[1] = stage.alter(&saved[1], |manifest| manifest.set_alarm("odd"));
    let report = stage.expire(&by("tmp", Time::now()));
    let held: Vec<_> = report.held.iter().map(|(one, hold)| (one.id, *hold)).collect();
    let alarm = Hold::Alarm(saved[1].id);
    assert_eq!(held, [(saved[0].id, alarm), (saved[1].id, alarm)]);
    assert_eq!(report.rewritten.iter().map(|one| one.old.id).collect::<Vec<_>>(), [saved[2].id]);
}

#[test]
fn files_deleted_before_the_limit_go_later_ones_stay() {
    let stage = Stage::new();
    stage.save("h", &["gone", "back", "late", "now", "d/gone"]);
    stage.save("h", &["late", "now", "d/other"]);
    let state = stage.save("h", &["late", "now", "d/other"]);
    stage.save("h", &["now", "back=new"]);
    stage.save("h", &["now"]);
    // A snapshot of another host: what it lacks is irrelevant.
    stage.save("other", &["gone"]);
    stage.save("other", &["gone"]);
    let at = started(&state);
    let earlier = Time { nanos: at.nanos - 1, ..at };
    let report = stage.expire(&deleted_before(earlier));
    assert_eq!(
        report.rewritten.len(),
        1,
        "the state of then is the second one, which has no older but the first"
    );
    let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let paths = stage.paths();
    assert_eq!(paths[0], names(&["back", "d", "late", "now"]));
    assert_eq!(paths[1], names(&["d", "d/other", "late", "now"]));
    let report = stage.expire(&deleted_before(at));
    assert_eq!((report.rewritten.len(), report.unchanged), (0, 2), "nothing more went by then");
    // Next, everything that the newest snapshot lacks.
    let report = stage.expire(&deleted_before(Time::now()));
    assert_eq!(report.rewritten.len(), 4);
    let mut expected = vec![names(&["now"]); 5];
    expected.extend([names(&["gone"]), names(&["gone"])]);
    assert_eq!(stage.paths(), expected);
    assert!(stage.expire(&deleted_before(Time::now())).rewritten.is_empty());
    stage.gc();
    assert_eq!(stage.library.errors(), Vec::<String>::new());
}

#[test]
fn protected_snapshot_still_shows_which_files_existed() {
    let stage = Stage::new();
    stage.save("h", &["a", "b"]);
    let state = stage.save("h", &["b"]);
    let pinned = stage.save("h", &["a"]);
    stage.alter(&pinned, |manifest| manifest.set_pinned(true));
    stage.save("h", &["b"]);
    assert!(stage.expire(&deleted_before(started(&state))).rewritten.is_empty(), "`a` was there since");
    // A partial snapshot shows what existed, but not what did not exist.
    let partial = stage.save("h", &["b"]);
    let partial = stage.alter(&partial, |manifest| manifest.partial = true);
    let report = stage.expire(&deleted_before(started(&partial)));
    assert_eq!(report.rewritten.len(), 1);
    assert_eq!(stage.paths(), [vec!["b"], vec!["b"], vec!["a"], vec!["b"], vec!["b"]]);
}

#[test]
fn one_tree_at_two_paths_loses_only_what_matches_where_it_is() {
    let stage = Stage::new();
    let files = ["a/x/f", "a/y/f", "b/x/f"];
    // Byte for byte equal: hard links have the same times.
    stage.save("h", &files);
    let src = stage.library.path("src");
    for copy in ["a/y/f", "b/x/f"] {
        fs::remove_file(src.join(copy)).unwrap();
        fs::hard_link(src.join("a/x/f"), src.join(copy)).unwrap();
    }
    let options =
        || backup::Options { host: Some("h".into()), allow_empty: true, ..backup::Options::default() };
    (0..2).for_each(|_| drop(stage.library.backup("src", options())));
    let linked = stage.all();
    stage.expire(&by("/src/a/x/f", started(&linked[1])));
    let left = ["a", "a/x", "a/y", "a/y/f", "b", "b/x", "b/x/f"].map(str::to_owned).to_vec();
    assert_eq!(stage.paths()[..2], [left.clone(), left]);
    assert_eq!(stage.library.errors(), Vec::<String>::new());
}

#[test]
fn expire_reads_and_writes_a_shared_tree_once() {
    let cost = |snapshots: usize| {
        let stage = Stage::new();
        (0..snapshots).for_each(|_| drop(stage.save("h", &["tmp/a", "x/b", "y/tmp/c"])));
        stage.save("h", &["other"]);
        stage.storage.calls();
        let report = stage.expire(&by("**/tmp/**", Time::now()));
        assert_eq!(report.rewritten.len(), snapshots);
        let packs = stage
            .storage
            .calls()
            .into_iter()
            .filter(|(act, area, _)| *area == ObjectKind::Packs && *act == Act::Create);
        (report.trees_built, packs.count())
    };
    // The root, `src`, `src/tmp`, `src/y` and `src/y/tmp`.
    assert_eq!(cost(2), (5, 1));
    assert_eq!(cost(12), (5, 1));
}

#[test]
fn snapshots_with_a_shared_tree_expire_paths_by_own_age() {
    let stage = Stage::new();
    let saved: Vec<Snapshot> = (0..5).map(|_| stage.save("h", &["d/a", "d/b", "keep"])).collect();
    let rule = |name: &str, at: usize| ExpiryRule { pattern: name.into(), before: started(&saved[at]) };
    let options = Options { rules: vec![rule("b", 2), rule("a", 0)], ..now() };
    let report = stage.expire(&options);
    let tree = |files: &[&str]| ["d", "keep"].iter().chain(files).map(|path| (*path).to_owned()).collect();
    let sorted = |mut paths: Vec<String>| {
        paths.sort();
        paths
    };
    let expected = [&[][..], &["d/a"], &["d/a"], &["d/a", "d/b"], &["d/a", "d/b"]];
    assert_eq!(stage.paths(), expected.map(|files| sorted(tree(files))));
    // `src/d`, `src` and the root, once for the first snapshot and once for the two that follow.
    assert_eq!((report.rewritten.len(), report.trees_built), (3, 6));
}

#[test]
fn expire_changes_selected_snapshots_and_reports_directories() {
    let stage = Stage::new();
    let first = stage.save("h", &["tmp/a=1", "tmp/b=22", "old=333", "keep"]);
    stage.save("h", &["tmp/a=1", "keep"]);
    stage.save("h", &["keep", "tmp/c"]);
    let selection = SnapshotFilter { hosts: vec!["nobody".into()], ..SnapshotFilter::default() };
    let choice = SnapshotQuery { selection, ..SnapshotQuery::default() };
    assert!(stage.try_expire(&Options { choice, ..by("tmp", Time::now()) }).is_err());
    let choice = SnapshotQuery { selectors: vec![first.id.hex()], ..SnapshotQuery::default() };
    let options = Options { choice, deleted_before: Some(Time::now()), ..by("tmp/*", Time::now()) };
    let dry = stage.expire(&Options { dry_run: true, ..options.clone() });
    assert!(dry.rewritten.len() == 1 && dry.rewritten[0].new.is_none());
    assert!(stage.all().iter().any(|one| one.id == first.id), "nothing is written");
    assert_eq!(stage.storage.inner.list(ObjectKind::Sessions).unwrap().len(), 0);
    let report = stage.expire(&options);
    assert_eq!(dry.taken.rows, report.taken.rows);
    let rows = report.taken.rows.iter().map(|row| {
        let path = String::from_utf8(row.path.clone()).unwrap();
        (path, row.paths, row.totals.files, row.totals.bytes, row.snapshots.count())
    });
    let (old, tmp) = (("src/old".to_owned(), 1, 1, 3, 1), ("src/tmp".to_owned(), 2, 2, 3, 1));
    assert_eq!(rows.collect::<Vec<_>>(), [old, tmp]);
    assert_eq!(stage.paths()[0], ["keep", "tmp"]);
    assert!(matches!(stage.try_expire(&by("!x", Time::now())), Err(Error::Usage(_))));
    assert!(matches!(stage.try_expire(&by("[x", Time::now())), Err(Error::Usage(_))));
    assert_eq!(stage.expire(&by("none", Time::now())).unmatched, ["none"]);
}

/// A run that is killed after any commit leaves the original and its rewrite. The next run completes it.
#[test]
fn interrupted_expire_is_finished_without_duplicates() {
    for after in 0..3 {
        let stage = Stage::new();
        (0..4).for_each(|_| drop(stage.save("h", &["tmp/a", "x"])));
        let options = by("tmp", Time::now());
        *stage.storage.failing.lock().unwrap() = Some((Act::Create, ObjectKind::Trash, after));
        assert!(stage.try_expire(&options).is_err());
        assert_eq!(stage.all().len(), 5, "the original and its rewrite stand");
        assert_eq!(stage.library.errors(), Vec::<String>::new());
        let report = stage.expire(&options);
        assert_eq!((report.rewritten.len(), report.unchanged), (3 - after, after as u64 + 1));
        let full = ["tmp", "tmp/a", "x"].map(str::to_owned).to_vec();
        let less = vec!["x".to_owned()];
        assert_eq!(stage.paths(), [less.clone(), less.clone(), less, full]);
        stage.gc();
        assert_eq!(stage.library.errors(), Vec::<String>::new());
    }
}

/// The second run does everything right before the first one commits, or right before it forgets.
#[test]
fn two_runs_at_once_leave_one_rewrite_of_each() {
    for (act, area) in [(Act::Create, ObjectKind::Snapshots), (Act::Create, ObjectKind::Trash)] {
        let stage = Stage::new();
        (0..3).for_each(|_| drop(stage.save("h", &["tmp/a", "x"])));
        let there = Arc::downgrade(&stage);
        stage.storage.before(act, area, move |_, _| {
            let stage = there.upgrade().unwrap();
            assert_eq!(stage.expire(&by("tmp", Time::now())).rewritten.len(), 2);
        });
        let report = stage.expire(&by("tmp", Time::now()));
        assert!(stage.storage.is_spent());
        assert_eq!(report.rewritten.len(), 2);
        assert!(report.rewritten[1].new.is_none(), "the other run's result stands");
        let less = vec!["x".to_owned()];
        assert_eq!(stage.paths()[..2], [less.clone(), less]);
        assert_eq!(stage.paths().len(), 3);
        stage.gc();
        assert_eq!(stage.library.errors(), Vec::<String>::new());
    }
}

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Computes the expected result from the definition, for each snapshot and path.
fn model(stage: &Stage, options: &Options) -> BTreeMap<(Time, String), Vec<String>> {
    let (all, trees) = (stage.all(), stage.trees());
    let place = |one: &Snapshot| (one.manifest.started, one.id);
    let mut expected = BTreeMap::new();
    for one in &all {
        let Manifest { started, host, .. } = &one.manifest;
        let set = || all.iter().filter(|other| other.manifest.host == *host);
        let newest = set().max_by_key(|other| place(other)).unwrap().id == one.id;
        // The newest snapshot at or before that time.
        let state = options.deleted_before.and_then(|before| {
            set().filter(|other| other.manifest.started <= before).max_by_key(|other| place(other))
        });
        let tree = &trees[&(*started, host.clone())];
        let stays = |path: &String| {
            let parts: Vec<&str> = path.split('/').collect();
            let matches = |rule: &&ExpiryRule| {
                let name = rule.pattern.to_str().unwrap();
                parts.contains(&name) && *started <= rule.before
            };
            let was_since = |state: &Snapshot| {
                let since = set().filter(|other| place(other) >= place(state));
                since
                    .map(|other| &trees[&(other.manifest.started, host.clone())])
                    .any(|tree| tree.contains_key(path))
            };
            let deleted = state.is_some_and(|state| place(one) < place(state) && !was_since(state));
            newest || one.manifest.is_pinned() || (options.rules.iter().find(matches).is_none() && !deleted)
        };
        let paths = tree.keys().filter(|path| stays(path)).cloned().collect();
        expected.insert((*started, host.clone()), paths);
    }
    expected
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn each_snapshot_loses_exactly_what_the_rule_defines(
        history in vec((vec((0..3_usize, 0..3_usize), 0..6), any::<bool>(), 0..6_u8), 2..7),
        rules in vec((0..3_usize, 0..7_usize), 0..3),
        deleted in proptest::option::of(0..7_usize),
    ) {
        let stage = Stage::new();
        for (files, other, pin) in &history {
            let files: Vec<String> =
                files.iter().map(|(dir, name)| format!("{}/{}", NAMES[*dir], NAMES[*name])).collect();
            let files: Vec<&str> = files.iter().map(String::as_str).collect();
            let saved = stage.save(if *other { "other" } else { "h" }, &files);
            if *pin == 0 {
                stage.alter(&saved, |manifest| manifest.set_pinned(true));
            }
        }
        let all = stage.all();
        let time = |at: &usize| all.get(*at).map_or(Time::now(), started);
        let rule = |(name, at): &(usize, usize)| ExpiryRule { pattern: NAMES[*name].into(), before: time(at) };
        let options = Options {
            rules: rules.iter().map(rule).collect(),
            deleted_before: deleted.as_ref().map(time),
            ..now()
        };
        let (before, expected) = (stage.trees(), model(&stage, &options));
        stage.expire(&options);
        let after = stage.trees();
        let paths: BTreeMap<_, Vec<String>> =
            after.iter().map(|(key, tree)| (key.clone(), tree.keys().cloned().collect())).collect();
        prop_assert_eq!(paths, expected);
        for (key, tree) in &after {
            for (path, entry) in tree {
                prop_assert_eq!(entry, &before[key][path], "{}", path);
            }
        }
        prop_assert_eq!(stage.expire(&options).rewritten.len(), 0, "a second run changes nothing");
        prop_assert_eq!(stage.library.errors(), Vec::<String>::new());
    }
}
