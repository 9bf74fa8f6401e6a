//! A second copy of a repository: it has the same objects, whatever happened in between, and the first copy
//! is never harmed.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use snap_backup::codec::crypto::{cipher, sealed_object};
use snap_backup::model::entry::Time;
use snap_backup::model::id::{PackId, SnapshotId};
use snap_backup::model::records::{Fence, GcRecord};
use snap_backup::ops::sync::{Options, Report};
use snap_backup::ops::{backup, forget, sync};
use snap_backup::repo::objects;
use snap_backup::storage::mirror::Mirrored;
use snap_backup::storage::{ObjectKind, Storage};
use snap_backup::{Control, Result};

use crate::support::hooked::{Act, Hooked};
use crate::support::library::Library;
use crate::support::{Random, Sandbox, assert_same, files_below};

/// A repository, and a place for its copy.
struct Pair {
    library: Library,
    from: Arc<Hooked>,
    to: Arc<Hooked>,
}

impl Pair {
    fn new() -> Self {
        let (from, to) = (Arc::new(Hooked::default()), Arc::new(Hooked::default()));
        Self { library: Library::on(from.clone(), None), from, to }
    }

    fn with_password(password: &str) -> Self {
        let (from, to) = (Arc::new(Hooked::default()), Arc::new(Hooked::default()));
        Self { library: Library::on(from.clone(), Some(password)), from, to }
    }

    fn save(&self, name: &str, seed: u64) -> SnapshotId {
        self.library.write("src", &[(name, &Random::new(seed).bytes(100_000))]);
        self.library.backup("src", backup::Options::default()).snapshot.unwrap()
    }

    fn try_sync(&self) -> Result<Report> {
        let to: Arc<dyn Storage> = self.to.clone();
        sync::run(&self.library.open(), &to, &Options::default(), &Control::default())
    }

    fn sync(&self) -> Report {
        self.try_sync().unwrap_or_else(|err| panic!("{}", err.chain()))
    }

    fn names(storage: &Hooked, area: ObjectKind) -> Vec<String> {
        storage.inner.list(area).unwrap().into_iter().map(|found| found.name).collect()
    }

    /// All objects of the repository are the same in both, byte for byte.
    fn assert_equal(&self) {
        for area in [ObjectKind::Config, ObjectKind::Keys, ObjectKind::Packs, ObjectKind::Snapshots] {
            let of = |storage: &Hooked| -> BTreeMap<String, Vec<u8>> {
                let bytes = |name: String| (name.clone(), storage.inner.get(area, &name).unwrap());
                Self::names(storage, area).into_iter().map(bytes).collect()
            };
            assert!(of(&self.from) == of(&self.to), "{}", area.folder());
        }
        assert_eq!(
            Self::names(&self.to, ObjectKind::Sessions),
            [] as [String; 0],
            "a session was left behind"
        );
    }
}

fn fence(storage: &dyn Storage, suite: &snap_backup::codec::crypto::suite::CipherSuite, name: &str) {
    let fence = Fence { by: cipher::new_id().unwrap(), gc: 1, at: Time::now() };
    objects::create(storage, suite, sealed_object::FENCE, ObjectKind::Snapshots, name, &fence).unwrap();
}

#[test]
fn sync_copies_every_object_and_then_has_nothing_to_do() {
    let pair = Pair::new();
    pair.save("a", 1);
    let made = pair.sync();
    assert!(made.made && made.packs > 0 && made.snapshots == 1);
    pair.assert_equal();
    pair.save("b", 2);
    let second = pair.sync();
    assert!(!second.made && second.snapshots == 1);
    pair.assert_equal();
    pair.to.calls();
    let third = pair.sync();
    assert_eq!((third.packs, third.snapshots), (0, 0));
    let created = pair
        .to
        .calls()
        .into_iter()
        .filter(|(act, area, _)| *act == Act::Create && *area != ObjectKind::Sessions);
    assert_eq!(created.count(), 0);
}

/// A copy that was made during a backup and then collected has a fence where the manifest of the backup has
/// to be.
#[test]
fn fence_in_the_copy_is_replaced_by_the_manifest() {
    for far in [false, true] {
        let pair = Pair::new();
        pair.save("a", 1);
        pair.sync();
        let made = pair.save("b", 2);
        let suite = pair.library.open().suite().clone();
        fence(pair.to.inner.as_ref(), &suite, &made.hex());
        // A fence here is no manifest, and is not copied.
        fence(pair.from.inner.as_ref(), &suite, &SnapshotId::new([9; 16]).hex());
        pair.to.far.store(far, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(pair.sync().snapshots, 1);
        pair.from.inner.remove(ObjectKind::Snapshots, &SnapshotId::new([9; 16]).hex()).unwrap();
        pair.assert_equal();
        assert_eq!(pair.sync().snapshots, 0);
    }
}

/// Empty, truncated or garbled: a name alone proves nothing.
#[test]
fn damaged_objects_there_are_quarantined_and_copied() {
    let ways: [fn(&mut Vec<u8>); 3] =
        [Vec::clear, |bytes| bytes.truncate(bytes.len() - 10), |bytes| bytes[50] ^= 0xff];
    for area in [ObjectKind::Snapshots, ObjectKind::Keys, ObjectKind::Config] {
        for (way, damage) in ways.iter().enumerate() {
            let pair = Pair::with_password("x");
            pair.save("a", 1);
            pair.sync();
            let name = Pair::names(&pair.to, area).remove(0);
            let mut bytes = pair.to.inner.get(area, &name).unwrap();
            damage(&mut bytes);
            pair.to.inner.put(area, &name, bytes.clone());
            let report = pair.sync();
            assert_eq!((report.objects_healed, report.snapshots), (1, 0), "{area:?} {way}");
            pair.assert_equal();
            assert_eq!(pair.to.inner.get(ObjectKind::Quarantine, &name), Some(bytes), "{area:?} {way}");
            assert_eq!(pair.sync().objects_healed, 0);
        }
    }
}

#[test]
fn sync_reports_damage_here_and_replaces_nothing_there() {
    for area in [ObjectKind::Snapshots, ObjectKind::Keys, ObjectKind::Config] {
        let pair = Pair::with_password("x");
        pair.save("a", 1);
        pair.sync();
        let repo = pair.library.open();
        let name = Pair::names(&pair.from, area).remove(0);
        let whole = pair.from.inner.get(area, &name).unwrap();
        let mut bytes = whole.clone();
        bytes[50] ^= 0xff;
        pair.from.inner.put(area, &name, bytes);
        let to: Arc<dyn Storage> = pair.to.clone();
        let report = sync::run(&repo, &to, &Options::default(), &Control::default()).unwrap();
        assert_eq!(pair.to.inner.get(area, &name), Some(whole), "{area:?}");
        // For keys and configurations, an intact one there is enough.
        assert_eq!(report.is_whole(), area != ObjectKind::Snapshots, "{area:?}");
    }
}

/// Somebody forgets it there first.
#[test]
fn a_snapshot_that_another_run_forgot_there_is_no_damage() {
    let pair = Pair::new();
    let old = pair.save("a", 1);
    pair.save("b", 2);
    pair.sync();
    forget::run(
        &pair.library.open(),
        &forget::Options { selectors: vec![old.hex()], ..forget::Options::default() },
    )
    .unwrap();
    pair.to.far.store(true, std::sync::atomic::Ordering::Relaxed);
    // It is listed, and then gone.
    pair.to.before(Act::Read, ObjectKind::Snapshots, |_, _| ());
    pair.to.before(Act::Read, ObjectKind::Snapshots, |storage, name| {
        storage.remove(ObjectKind::Snapshots, name).unwrap();
    });
    let (to, options): (Arc<dyn Storage>, _) = (pair.to.clone(), Options { delete: true, dry_run: false });
    let report = sync::run(&pair.library.open(), &to, &options, &Control::default()).unwrap();
    assert!(pair.to.is_spent() && report.forgotten == 0);
}

/// Making each removal durable takes as long as making all of them durable.
#[test]
fn sync_delete_removes_gone_snapshots_in_one_pass() {
    let pair = Pair::new();
    let made: Vec<SnapshotId> = (0..12).map(|seed| pair.save("a", seed)).collect();
    pair.sync();
    let selectors = made.iter().take(11).map(SnapshotId::hex).collect();
    forget::run(&pair.library.open(), &forget::Options { selectors, ..forget::Options::default() }).unwrap();
    pair.to.calls();
    let (to, options): (Arc<dyn Storage>, _) = (pair.to.clone(), Options { delete: true, dry_run: false });
    let report = sync::run(&pair.library.open(), &to, &options, &Control::default()).unwrap();
    assert_eq!(report.forgotten, 11);
    let calls = pair.to.calls();
    let count =
        |wanted: (Act, ObjectKind)| calls.iter().filter(|(act, area, _)| (*act, *area) == wanted).count();
    assert_eq!(count((Act::Remove, ObjectKind::Snapshots)), 11);
    assert_eq!(count((Act::Sync, ObjectKind::Snapshots)), 1, "{calls:?}");
    assert_eq!(Pair::names(&pair.to, ObjectKind::Snapshots), [made[11].hex()]);
}

/// The result of a cut connection, or of a file system that lost its end.
#[test]
fn pack_of_another_length_there_is_quarantined_and_copied() {
    let changes: [fn(&mut Vec<u8>); 3] =
        [|bytes| bytes.truncate(bytes.len() / 2), |bytes| bytes.push(0), Vec::clear];
    for change in changes {
        let pair = Pair::new();
        pair.save("a", 1);
        pair.sync();
        let name = Pair::names(&pair.to, ObjectKind::Packs).remove(0);
        let mut bytes = pair.to.inner.get(ObjectKind::Packs, &name).unwrap();
        change(&mut bytes);
        pair.to.inner.put(ObjectKind::Packs, &name, bytes.clone());
        let report = pair.sync();
        assert_eq!((report.packs, report.healed), (1, 1));
        pair.assert_equal();
        assert_eq!(pair.to.inner.get(ObjectKind::Quarantine, &name), Some(bytes));
        assert_eq!(pair.sync().packs, 0);
    }
}

#[test]
fn manifests_come_after_the_packs_that_they_need() {
    let pair = Pair::new();
    pair.save("a", 1);
    pair.sync();
    pair.save("b", 2);
    pair.to.calls();
    pair.sync();
    let created: Vec<ObjectKind> =
        pair.to.calls().into_iter().filter(|call| call.0 == Act::Create).map(|call| call.1).collect();
    let first = created.iter().position(|area| *area == ObjectKind::Snapshots).unwrap();
    assert!(created.iter().skip(first).all(|area| *area != ObjectKind::Packs), "{created:?}");
    assert!(created.iter().take(first).any(|area| *area == ObjectKind::Packs), "{created:?}");
}

#[test]
fn interrupted_sync_continues() {
    let pair = Pair::new();
    pair.save("a", 1);
    pair.save("b", 2);
    pair.sync();
    let packs = Pair::names(&pair.to, ObjectKind::Packs);
    pair.to.inner.remove(ObjectKind::Packs, &packs[0]).unwrap();
    let manifests = Pair::names(&pair.to, ObjectKind::Snapshots);
    pair.to.inner.remove(ObjectKind::Snapshots, &manifests[1]).unwrap();
    let report = pair.sync();
    assert_eq!((report.packs, report.snapshots), (1, 1));
    pair.assert_equal();
}

/// In place of a commit under the session's own name (W3).
#[test]
fn sync_considered_dead_compares_everything_again() {
    for before in [ObjectKind::Packs, ObjectKind::Snapshots] {
        let pair = Pair::new();
        pair.save("a", 1);
        pair.sync();
        pair.save("b", 2);
        let suite = pair.library.open().suite().clone();
        pair.to.before(Act::Create, before, move |storage, _| {
            // The gc run has fenced the session, and swept what nobody there refers to.
            let sessions = storage.list(ObjectKind::Sessions).unwrap();
            let own = sessions.iter().find(|found| !found.name.contains('.')).unwrap();
            fence(storage, &suite, &own.name);
            for found in storage.list(ObjectKind::Packs).unwrap() {
                storage.remove(ObjectKind::Packs, &found.name).unwrap();
            }
        });
        pair.to.calls();
        pair.sync();
        if before == ObjectKind::Packs {
            // It noticed this before it copied a manifest whose data is missing.
            let created = pair.to.calls().into_iter().filter(|call| call.0 == Act::Create).map(|call| call.1);
            let created: Vec<ObjectKind> = created.collect();
            let last = created.iter().rposition(|area| *area == ObjectKind::Packs).unwrap();
            assert!(!created[..last].contains(&ObjectKind::Snapshots), "{created:?}");
        }
        let packs = |storage: &Hooked| Pair::names(storage, ObjectKind::Packs);
        assert_eq!(packs(&pair.from), packs(&pair.to), "{before:?}");
        let there = Pair::names(&pair.to, ObjectKind::Snapshots);
        assert!(Pair::names(&pair.from, ObjectKind::Snapshots).iter().all(|name| there.contains(name)));
    }
}

#[test]
fn sync_does_not_rely_on_packs_condemned_there() {
    let pair = Pair::new();
    pair.save("a", 1);
    pair.sync();
    let ids = Pair::names(&pair.to, ObjectKind::Packs);
    let record = GcRecord {
        by: cipher::new_id().unwrap(),
        at: Time::now(),
        condemned: ids.iter().map(|name| PackId::parse(name).unwrap()).collect(),
        roots: Vec::new(),
        purged: Vec::new(),
    };
    let suite = pair.library.open().suite().clone();
    objects::create(&*pair.to, &suite, sealed_object::GC, ObjectKind::Gc, &format!("{:016x}", 1), &record)
        .unwrap();
    pair.save("b", 2);
    let err = pair.try_sync().unwrap_err();
    assert!(err.to_string().contains("run `Repository::gc` there first"), "{}", err.chain());
    assert_eq!(Pair::names(&pair.to, ObjectKind::Snapshots).len(), 1);
}

#[test]
fn damaged_objects_here_are_not_copied() {
    let pair = Pair::new();
    pair.save("a", 1);
    let name = Pair::names(&pair.from, ObjectKind::Packs).remove(0);
    let mut bytes = pair.from.inner.get(ObjectKind::Packs, &name).unwrap();
    bytes[300] ^= 1;
    pair.from.inner.put(ObjectKind::Packs, &name, bytes);
    let report = pair.sync();
    assert_eq!(
        report.damaged.iter().map(|(id, _)| id.hex()).collect::<Vec<_>>(),
        std::slice::from_ref(&name)
    );
    assert!(!Pair::names(&pair.to, ObjectKind::Packs).contains(&name));
}

#[test]
fn mirrored_backup_writes_packs_to_both_and_reads_none() {
    let pair = Pair::new();
    pair.save("a", 1);
    pair.sync();
    let both = Arc::new(Mirrored::new(pair.from.clone(), pair.to.clone()));
    let repo = pair.library.open().elsewhere(both.clone()).unwrap();
    pair.library.write("src", &[("b", &Random::new(2).bytes(500_000))]);
    let options = backup::Options { sources: vec![pair.library.path("src")], ..backup::Options::default() };
    backup::Backup::begin(options, None, &Control::default())
        .unwrap()
        .run(&repo, &Control::default())
        .unwrap();
    assert!(both.failed().is_none());
    pair.from.calls();
    let report = pair.sync();
    assert_eq!((report.packs, report.snapshots), (0, 1));
    let reads = pair
        .from
        .calls()
        .into_iter()
        .filter(|(act, area, _)| (*act, *area) == (Act::Read, ObjectKind::Packs));
    assert_eq!(reads.count(), 0, "a pack was read again");
    pair.assert_equal();
}

// The command.

/// The objects of a copy.
fn objects_of(sandbox: &Sandbox, repo: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for area in ["config", "keys", "packs", "snapshots"] {
        let root = sandbox.path(repo);
        for file in files_below(&root.join(area)) {
            all.insert(file.strip_prefix(&root).unwrap().to_owned(), fs::read(&file).unwrap());
        }
    }
    all
}

fn there(sandbox: &Sandbox, args: &[&str]) -> crate::support::Outcome {
    let mut command = sandbox.bin();
    command.args(["-r", "second"]).args(args);
    crate::support::finish(command, b"")
}

#[test]
fn second_copy_opens_with_the_same_passwords_and_restores() {
    let sandbox = Sandbox::with_tree(&[("a", "one"), ("d/b", "two")]);
    sandbox.backup(&[]);
    sandbox.snap(&["sync", "--to", "second"]).expect(10);
    assert!(!sandbox.path("second").join("config").exists());
    sandbox.ok(&["sync", "--to", "second", "--init"]);
    assert_eq!(objects_of(&sandbox, "repo"), objects_of(&sandbox, "second"));
    sandbox.ok(&["check"]);
    there(&sandbox, &["check", "--read-data"]).expect(0);
    fs::remove_dir_all(sandbox.path("repo")).unwrap();
    there(&sandbox, &["restore", "latest", "--target", "out/there"]).expect(0);
    assert_same(&sandbox.src(), &sandbox.path("out/there/src"));
}

#[test]
fn sync_heals_a_pack_that_a_check_found_damaged_there() {
    let sandbox = Sandbox::with_tree(&[("a", "one")]);
    sandbox.backup(&[]);
    sandbox.ok(&["sync", "--to", "second", "--init"]);
    let pack = files_below(&sandbox.path("second/packs")).remove(0);
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&pack, bytes).unwrap();
    there(&sandbox, &["check", "--read-data"]).expect(20);
    let report = sandbox.ok(&["sync", "--to", "second", "--json"]).summary();
    assert_eq!(report["packs_healed"], 1);
    there(&sandbox, &["check", "--read-data"]).expect(0);
    assert_eq!(objects_of(&sandbox, "repo"), objects_of(&sandbox, "second"));
}

#[test]
fn only_sync_delete_forgets_there_what_is_gone_here() {
    let sandbox = Sandbox::with_tree(&[("a", "one")]);
    let first = sandbox.backup(&[]);
    sandbox.write(&[("a", "two")]);
    sandbox.backup(&[]);
    sandbox.ok(&["sync", "--to", "second", "--init"]);
    sandbox.ok(&["forget", &first]);
    sandbox.ok(&["sync", "--to", "second"]);
    assert_eq!(files_below(&sandbox.path("second/snapshots")).len(), 2);
    let report = sandbox.ok(&["sync", "--to", "second", "--delete", "--json"]).summary();
    assert_eq!(report["forgotten"], 1);
    assert_eq!(files_below(&sandbox.path("second/snapshots")).len(), 1);
    there(&sandbox, &["undelete", &first]).expect(0);
    sandbox.ok(&["forget", "latest", "--allow-remove-all"]);
    let refused = sandbox.snap(&["sync", "--to", "second", "--delete"]).expect(22);
    assert!(refused.stderr.contains("no snapshot"), "{}", refused.stderr);
    assert_eq!(files_below(&sandbox.path("second/snapshots")).len(), 2);
}

#[test]
fn password_removed_here_no_longer_opens_the_copy() {
    let sandbox = Sandbox::with_tree(&[("a", "one")]);
    sandbox.backup(&[]);
    let mut add = sandbox.command(&["key", "add"]);
    add.env("SNAP_NEW_PASSWORD", "second");
    crate::support::finish(add, b"").expect(0);
    sandbox.ok(&["sync", "--to", "second", "--init"]);
    let with_second = |args: &[&str]| {
        let mut command = sandbox.bin();
        command.env("SNAP_PASSWORD", "second").args(args);
        crate::support::finish(command, b"")
    };
    with_second(&["-r", "second", "snapshots"]).expect(0);
    let keys = sandbox.ok(&["key", "list", "--json"]).json();
    let current = |key: &&serde_json::Value| key["current"] == false;
    let other = keys.as_array().unwrap().iter().find(current).unwrap()["id"].as_str().unwrap().to_owned();
    sandbox.ok(&["key", "remove", &other]);
    sandbox.ok(&["sync", "--to", "second", "--delete"]);
    with_second(&["-r", "second", "snapshots"]).expect(12);
}

#[test]
fn another_repository_is_no_copy_of_this_one() {
    let sandbox = Sandbox::with_tree(&[("a", "one")]);
    sandbox.backup(&[]);
    let mut other = sandbox.bin();
    other.args(["-r", "second", "init"]);
    crate::support::finish(other, b"").expect(0);
    let refused = sandbox.snap(&["sync", "--to", "second"]).expect(1);
    assert!(refused.stderr.contains("is not the one at"), "{}", refused.stderr);
    let itself = sandbox.snap(&["sync", "--to", "./repo/"]).expect(1);
    assert!(itself.stderr.contains("itself"), "{}", itself.stderr);
    let mirrored = sandbox.snap(&["backup", "--mirror", "second", "src"]).expect(3);
    assert!(mirrored.stderr.contains("is not a mirror"), "{}", mirrored.stderr);
}

#[test]
fn mirror_is_created_updated_and_its_failure_is_a_problem() {
    let sandbox = Sandbox::with_tree(&[("a", "one")]);
    sandbox.ok(&["backup", "--init", "--mirror", "second", "src"]);
    assert_eq!(objects_of(&sandbox, "repo"), objects_of(&sandbox, "second"));
    fs::rename(sandbox.path("second"), sandbox.path("away")).unwrap();
    sandbox.write(&[("a", "two")]);
    let behind = sandbox.snap(&["backup", "--mirror", "second", "src"]).expect(3);
    assert!(behind.stderr.contains("no copy of the repository"), "{}", behind.stderr);
    assert_eq!(sandbox.snapshot_names().len(), 2);
    fs::rename(sandbox.path("away"), sandbox.path("second")).unwrap();
    sandbox.write(&[("a", "three")]);
    sandbox.ok(&["backup", "--mirror", "second", "src"]);
    assert_eq!(objects_of(&sandbox, "repo"), objects_of(&sandbox, "second"));
    there(&sandbox, &["check", "--read-data"]).expect(0);
}

#[test]
fn a_set_may_name_its_mirrors() {
    let sandbox = Sandbox::with_tree(&[("a", "one")]);
    let config = "[sets.home]\nrepository = \"./repo\"\nsources = [\"src\"]\nmirror = \"./second\"\n";
    fs::write(sandbox.path("snap.toml"), config).unwrap();
    sandbox.ok(&["sync", "--to", "second", "--init"]);
    let mut run = sandbox.bin();
    run.args(["backup", "--set", "home"]);
    crate::support::finish(run, b"").expect(0);
    assert_eq!(objects_of(&sandbox, "repo"), objects_of(&sandbox, "second"));
    assert_eq!(sandbox.snapshot_names().len(), 1);
}

#[test]
fn nothing_is_written_by_a_dry_run() {
    let pair = Pair::new();
    pair.save("a", 1);
    let to: Arc<dyn Storage> = pair.to.clone();
    let options = Options { dry_run: true, ..Options::default() };
    for synced in [false, true] {
        if synced {
            pair.sync();
            pair.save("b", 2);
        }
        pair.to.calls();
        let report = sync::run(&pair.library.open(), &to, &options, &Control::default()).unwrap();
        assert!(report.packs > 0 && report.snapshots == 1);
        assert!(pair.to.calls().iter().all(|(act, ..)| matches!(act, Act::List | Act::Read)));
    }
}
