//! Writers and concurrent writers and collectors: rules W1 to W3 of docs/concurrency.md, each critical moment
//! staged.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use snap_backup::codec::crypto::hash::{ChunkType, Key, SubKeys};
use snap_backup::codec::crypto::suite::CipherSuite;
use snap_backup::codec::crypto::{key_slot, sealed_object};
use snap_backup::model::entry::Time;
use snap_backup::model::id::{PackId, SnapshotId};
use snap_backup::model::manifest::SnapshotKind;
use snap_backup::model::records::{Fence, GcRecord, SessionKind};
use snap_backup::ops::backup::{Options, Report};
use snap_backup::repo::objects;
use snap_backup::repo::pack::packs;
use snap_backup::repo::sessions::session::Session;
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{ObjectKind, Storage};

use crate::support::Random;
use crate::support::hooked::{Act, Hooked};
use crate::support::library::Library;

const NOBODY: SnapshotId = SnapshotId::new([7; 16]);

struct Stage {
    library: Library,
    storage: Arc<Hooked>,
    suite: CipherSuite,
}

impl Stage {
    /// An empty repository.
    fn new() -> Self {
        let storage = Arc::new(Hooked::default());
        let library = Library::on(storage.clone(), None);
        let suite = library.open().suite().clone();
        Self { library, storage, suite }
    }

    /// Files of a source that have not been modified for years, each with the seed of its content.
    fn write(&self, source: &str, files: &[(&str, u64)]) {
        for (name, seed) in files {
            self.library.write(source, &[(name, &Random::new(*seed).bytes(50_000))]);
            let age = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + seed);
            let path = self.library.path(source).join(name);
            fs::File::options().write(true).open(path).unwrap().set_modified(age).unwrap();
        }
    }

    /// An incremental backup, each step of which can be staged.
    fn backup(&self, source: &str) -> Report {
        self.backup_with(source, options())
    }

    fn backup_with(&self, source: &str, options: Options) -> Report {
        let summary = self.library.backup(source, options);
        assert!(self.storage.is_spent(), "the run never came to the moment that was staged");
        assert_eq!(self.names(ObjectKind::Sessions), Vec::<String>::new(), "a session was left behind");
        summary
    }

    fn names(&self, area: ObjectKind) -> Vec<String> {
        self.storage.inner.list(area).unwrap().into_iter().map(|found| found.name).collect()
    }
}

/// A file with an old mtime counts as unmodified, however recent the test is.
fn options() -> Options {
    Options { ignore_ctime: true, ..Options::default() }
}

fn pack_ids(storage: &MemoryStorage) -> Vec<PackId> {
    let listed = storage.list(ObjectKind::Packs).unwrap();
    listed.iter().map(|found| PackId::parse(&found.name).unwrap()).collect()
}

fn packs_of(storage: &MemoryStorage, suite: &CipherSuite, kind: ChunkType) -> Vec<PackId> {
    let len = |id: &PackId| storage.get(ObjectKind::Packs, &id.hex()).unwrap().len() as u64;
    let is = |id: &PackId| packs::read_table(storage, suite, id, len(id)).unwrap().kind == kind;
    pack_ids(storage).into_iter().filter(is).collect()
}

/// What a collector publishes: gc run `number` condemns `condemned` and has marked from `roots`.
fn condemn(
    storage: &MemoryStorage,
    suite: &CipherSuite,
    number: u64,
    condemned: Vec<PackId>,
    roots: Vec<SnapshotId>,
) {
    let record = GcRecord { by: NOBODY, at: Time::now(), condemned, roots, purged: Vec::new() };
    let name = format!("{number:016x}");
    objects::create(storage, suite, sealed_object::GC, ObjectKind::Gc, &name, &record).unwrap();
}

/// What a collector does when no session blocks it.
fn sweep(storage: &MemoryStorage, suite: &CipherSuite, number: u64, condemned: &[PackId]) {
    condemned.iter().for_each(|id| storage.remove(ObjectKind::Packs, &id.hex()).unwrap());
    let name = format!("{number:016x}.done");
    objects::create(storage, suite, sealed_object::GC_DONE, ObjectKind::Gc, &name, &()).unwrap();
}

/// Forgets, condemns and deletes what nothing refers to.
fn forget_and_collect_all(storage: &MemoryStorage, suite: &CipherSuite) {
    for found in storage.list(ObjectKind::Snapshots).unwrap() {
        storage.remove(ObjectKind::Snapshots, &found.name).unwrap();
    }
    condemn(storage, suite, 1, pack_ids(storage), Vec::new());
    sweep(storage, suite, 1, &pack_ids(storage));
}

fn fence(storage: &MemoryStorage, suite: &CipherSuite, name: &str) {
    let fence = Fence { by: NOBODY, gc: 1, at: Time::now() };
    objects::create(storage, suite, sealed_object::FENCE, ObjectKind::Snapshots, name, &fence).unwrap();
}

// W1: a session first, then the listings.

#[test]
fn session_exists_before_the_listings_and_the_first_pack() {
    let stage = Stage::new();
    stage.write("src", &[("a", 1)]);
    stage.backup("src");
    stage.write("src", &[("b", 2)]);
    stage.storage.calls();
    stage.backup("src");
    let calls = stage.storage.calls();
    let at = |act, area| calls.iter().position(|call| (call.0, call.1) == (act, area)).unwrap();
    let (session, pack) = (at(Act::Create, ObjectKind::Sessions), at(Act::Create, ObjectKind::Packs));
    assert!(session < pack, "{calls:?}");
    let between = calls[session + 1..pack].iter().filter(|call| call.0 != Act::Read);
    let between = between.map(|call| (call.0, call.1)).collect::<Vec<_>>();
    let looks =
        [ObjectKind::Gc, ObjectKind::Gc, ObjectKind::Damage, ObjectKind::Packs, ObjectKind::Snapshots]
            .map(|area| (Act::List, area));
    let [gc, again, damage, packs, parent] = looks;
    assert_eq!(between, [gc, again, (Act::Replace, ObjectKind::Sessions), damage, packs, parent]);
    let last = calls.iter().rposition(|call| call.0 == Act::Create).unwrap();
    assert_eq!(calls[last].1, ObjectKind::Snapshots, "the manifest comes last");
    let gone = calls.iter().filter(|call| (call.0, call.1) == (Act::Remove, ObjectKind::Sessions));
    let name = &calls[session].2;
    assert_eq!(gone.map(|call| &call.2).collect::<Vec<_>>(), [&format!("{name}.beat"), name]);
    assert!(at(Act::Remove, ObjectKind::Sessions) > last, "the session outlives the commit");
}

#[test]
fn heartbeat_records_the_gc_that_the_session_has_seen() {
    let stage = Stage::new();
    condemn(&stage.storage.inner, &stage.suite, 41, Vec::new(), Vec::new());
    let (session, repo_state) = Session::open(&stage.library.open(), SessionKind::Writer).unwrap();
    let name = format!("{}.beat", session.id);
    let beat: snap_backup::model::records::Heartbeat =
        objects::read(&*stage.storage.inner, &stage.suite, sealed_object::BEAT, ObjectKind::Sessions, &name)
            .unwrap();
    assert_eq!((beat.gc_seen, repo_state.gc_seen), (41, 41));
}

#[test]
fn gc_record_between_the_two_listings_counts_as_unseen() {
    let stage = Stage::new();
    stage.write("src", &[("a", 1)]);
    stage.backup("src");
    let condemned = pack_ids(&stage.storage.inner);
    let suite = stage.suite.clone();
    // The first hook gets the first listing.
    stage.storage.before(Act::List, ObjectKind::Gc, |_, _| ());
    stage.storage.before(Act::List, ObjectKind::Gc, move |storage, _| {
        condemn(storage, &suite, 1, pack_ids(storage), Vec::new());
    });
    let (_session, repo_state) = Session::open(&stage.library.open(), SessionKind::Writer).unwrap();
    assert_eq!(repo_state.gc_seen, 0);
    assert_eq!(repo_state.condemned, condemned.into_iter().collect());
}

// W2: new data refers to nothing that may be deleted.

#[test]
fn chunk_condemned_before_the_session_is_stored_again() {
    let stage = Stage::new();
    stage.write("other", &[("x", 1)]);
    let other = stage.backup("other").snapshot.unwrap();
    let garbage = pack_ids(&stage.storage.inner);
    stage.write("src", &[("a", 2)]);
    let parent = stage.backup("src").snapshot.unwrap();
    stage.storage.inner.remove(ObjectKind::Snapshots, &other.hex()).unwrap();
    stage.write("src", &[("b", 1)]);

    let (suite, condemned) = (stage.suite.clone(), garbage.clone());
    stage.storage.before(Act::Create, ObjectKind::Sessions, move |storage, _| {
        condemn(storage, &suite, 1, condemned, vec![parent]);
    });
    let made = stage.backup("src");
    assert_eq!((made.counts.files_new, made.counts.files_unchanged), (1, 1));
    sweep(&stage.storage.inner, &stage.suite, 1, &garbage);
    stage.library.assert_restores(made.snapshot, "src");
    assert_eq!(stage.library.errors(), Vec::<String>::new());
}

#[test]
fn parent_collected_before_the_session_is_not_trusted() {
    let stage = Stage::new();
    stage.write("src", &[("a", 1), ("d/b", 2)]);
    stage.backup("src");
    stage.write("src", &[("c", 3)]);
    let suite = stage.suite.clone();
    stage.storage.before(Act::Create, ObjectKind::Sessions, move |storage, _| {
        forget_and_collect_all(storage, &suite);
    });
    let made = stage.backup("src");
    assert_eq!(made.counts.bytes_added, 150_000 + made_of_trees(&made), "all is stored again");
    stage.library.assert_restores(made.snapshot, "src");
    assert_eq!(stage.library.errors(), Vec::<String>::new());
}

#[test]
fn parent_that_is_no_root_of_a_gc_is_looked_up_by_chunk() {
    let stage = Stage::new();
    stage.write("src", &[("a", 1), ("d/b", 2)]);
    stage.backup("src");
    stage.write("src", &[("c", 3)]);
    let suite = stage.suite.clone();
    stage.storage.before(Act::Create, ObjectKind::Sessions, move |storage, _| {
        condemn(storage, &suite, 1, Vec::new(), Vec::new());
    });
    let made = stage.backup("src");
    assert_eq!(made.counts.files_unchanged, 2);
    assert_eq!(made.counts.bytes_read, 50_000, "what still lies there is not read again");
    stage.library.assert_restores(made.snapshot, "src");
}

#[test]
fn parent_that_is_no_root_reuses_no_condemned_packs() {
    for kind in [ChunkType::Data, ChunkType::Tree] {
        let stage = Stage::new();
        stage.write("src", &[("a", 1), ("d/b", 2)]);
        stage.backup("src");
        stage.write("src", &[("c", 3)]);
        let condemned = packs_of(&stage.storage.inner, &stage.suite, kind);
        let (suite, packs) = (stage.suite.clone(), condemned.clone());
        stage.storage.before(Act::Create, ObjectKind::Sessions, move |storage, _| {
            condemn(storage, &suite, 1, packs, Vec::new());
        });
        let made = stage.backup("src");
        sweep(&stage.storage.inner, &stage.suite, 1, &condemned);
        stage.library.assert_restores(made.snapshot, "src");
    }
}

#[test]
fn unchanged_run_commits_no_parent_collected_meanwhile() {
    let stage = Stage::new();
    stage.write("src", &[("a", 1), ("d/b", 2)]);
    stage.backup("src");
    let suite = stage.suite.clone();
    stage.storage.before(Act::Create, ObjectKind::Sessions, move |storage, _| {
        forget_and_collect_all(storage, &suite);
    });
    let made = stage.backup_with("src", Options { allow_empty: true, ..options() });
    stage.library.assert_restores(made.snapshot, "src");
    assert_eq!(stage.library.errors(), Vec::<String>::new());
}

#[test]
fn differential_commits_no_full_collected_meanwhile() {
    let stage = Stage::new();
    stage.write("src", &[("a", 1)]);
    let root = stage.library.path("src");
    let time = fs::metadata(&root).unwrap().modified().unwrap();
    stage.backup("src");
    stage.write("src", &[("b", 2)]);
    stage.backup("src");
    fs::remove_file(root.join("b")).unwrap();
    fs::File::open(&root).unwrap().set_modified(time).unwrap();
    let suite = stage.suite.clone();
    stage.storage.before(Act::Create, ObjectKind::Sessions, move |storage, _| {
        forget_and_collect_all(storage, &suite);
    });
    let made = stage.backup_with("src", Options { kind: SnapshotKind::Differential, ..options() });
    stage.library.assert_restores(made.snapshot, "src");
    assert_eq!(stage.library.errors(), Vec::<String>::new());
}

#[test]
fn lookups_before_the_session_are_repeated() {
    let stage = Stage::new();
    stage.write("src", &[("a", 1), ("d/b", 2)]);
    stage.backup("src");
    stage.write("src", &[("c", 3)]);
    // The parent is not a root: it is not trusted from the first look-up on.
    condemn(&stage.storage.inner, &stage.suite, 1, Vec::new(), Vec::new());
    let suite = stage.suite.clone();
    stage.storage.before(Act::Create, ObjectKind::Sessions, move |storage, _| {
        sweep(storage, &suite, 1, &[]);
        condemn(storage, &suite, 2, pack_ids(storage), Vec::new());
        sweep(storage, &suite, 2, &pack_ids(storage));
    });
    let made = stage.backup("src");
    stage.library.assert_restores(made.snapshot, "src");
}

/// Returns the bytes of the trees that a run stored.
fn made_of_trees(made: &Report) -> u64 {
    made.counts.bytes_added % 50_000
}

// Concurrent writers.

#[test]
fn nested_backups_harm_neither() {
    for (act, area) in [
        (Act::Create, ObjectKind::Sessions),
        (Act::Create, ObjectKind::Packs),
        (Act::Create, ObjectKind::Snapshots),
    ] {
        let stage = Arc::new(Stage::new());
        stage.write("one", &[("a", 1), ("b", 2)]);
        stage.write("two", &[("a", 1), ("c", 3)]);
        let within = Arc::new(Mutex::new(None));
        let (other, made) = (Arc::downgrade(&stage), within.clone());
        stage.storage.before(act, area, move |_, _| {
            let other = other.upgrade().unwrap();
            *made.lock().unwrap() = other.library.backup("two", options()).snapshot;
        });
        let without = stage.library.backup("one", options()).snapshot;
        let within = within.lock().unwrap().take();
        assert_eq!(stage.library.snapshots().len(), 2);
        stage.library.assert_restores(without, "one");
        stage.library.assert_restores(within, "two");
        assert_eq!(stage.library.errors(), Vec::<String>::new(), "within {act:?} in {area:?}");
    }
}

#[test]
fn backups_at_the_same_time_all_succeed_and_restore() {
    let stage = Stage::new();
    let sources = ["0", "1", "2", "3"];
    for (number, source) in sources.iter().enumerate() {
        stage.write(source, &[("same", 1), ("own", 10 + number as u64)]);
    }
    let made = std::thread::scope(|scope| {
        let runs = sources.map(|source| scope.spawn(|| stage.library.backup(source, options()).snapshot));
        runs.map(|run| run.join().unwrap())
    });
    for (id, source) in made.into_iter().zip(sources) {
        stage.library.assert_restores(id, source);
    }
    assert_eq!(stage.library.errors(), Vec::<String>::new());
    assert_eq!(stage.names(ObjectKind::Sessions), Vec::<String>::new());
}

// W3: a fence has the name.

#[test]
fn fenced_run_commits_under_a_new_session_if_all_exists() {
    for fences in [1, 2] {
        let stage = Stage::new();
        stage.write("src", &[("a", 1)]);
        let parent = stage.backup("src").snapshot.unwrap();
        stage.write("src", &[("b", 2)]);
        let fenced = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..fences {
            let (suite, fenced) = (stage.suite.clone(), fenced.clone());
            stage.storage.before(Act::Create, ObjectKind::Snapshots, move |storage, name| {
                fence(storage, &suite, name);
                fenced.lock().unwrap().push(name.to_owned());
            });
        }
        stage.storage.calls();
        let made = stage.backup("src").snapshot.unwrap();
        let fenced = fenced.lock().unwrap();
        assert!(!fenced.contains(&made.hex()), "committed under a fence");
        assert_eq!(stage.library.snapshots(), [parent, made], "the fence is no snapshot");
        stage.library.assert_restores(Some(made), "src");
        let calls = stage.storage.calls();
        let commit =
            calls.iter().position(|call| call.2 == made.hex() && call.1 == ObjectKind::Snapshots).unwrap();
        let session = calls.iter().position(|call| call.2 == made.hex()).unwrap();
        let looked = calls[session..commit].contains(&(Act::List, ObjectKind::Packs, String::new()));
        assert!(looked, "the new session looked at nothing: {calls:?}");
    }
}

#[test]
fn fenced_run_that_lost_a_pack_fails_and_commits_nothing() {
    for kind in [ChunkType::Data, ChunkType::Tree] {
        for new in [true, false] {
            let stage = Stage::new();
            stage.write("src", &[("a", 1), ("d/b", 2)]);
            let parent = stage.backup("src").snapshot.unwrap();
            let before = pack_ids(&stage.storage.inner);
            stage.write("src", &[("c", 3)]);
            let suite = stage.suite.clone();
            stage.storage.before(Act::Create, ObjectKind::Snapshots, move |storage, name| {
                fence(storage, &suite, name);
                // A pack that the run wrote, or one that it found.
                let mut lost = packs_of(storage, &suite, kind);
                lost.retain(|id| before.contains(id) != new);
                condemn(storage, &suite, 1, lost.clone(), Vec::new());
                sweep(storage, &suite, 1, &lost);
            });
            let err = stage.library.try_backup("src", options()).unwrap_err().chain();
            assert!(err.contains("deleted what it had stored"), "{kind:?}, new: {new}: {err}");
            assert_eq!(stage.library.snapshots(), [parent]);
            assert_eq!(stage.names(ObjectKind::Sessions), Vec::<String>::new());
        }
    }
}

#[test]
fn a_fenced_run_does_not_count_on_condemned_packs() {
    for kind in [ChunkType::Data, ChunkType::Tree] {
        let stage = Stage::new();
        stage.write("src", &[("a", 1), ("d/b", 2)]);
        let suite = stage.suite.clone();
        stage.storage.before(Act::Create, ObjectKind::Snapshots, move |storage, name| {
            fence(storage, &suite, name);
            condemn(storage, &suite, 1, packs_of(storage, &suite, kind), Vec::new());
        });
        let err = stage.library.try_backup("src", options()).unwrap_err().chain();
        assert!(err.contains("deleted what it had stored"), "{kind:?}: {err}");
        assert_eq!(stage.library.snapshots(), []);
    }
}

#[test]
fn run_after_a_failed_fenced_one_is_complete() {
    let stage = Stage::new();
    stage.write("src", &[("a", 1), ("d/b", 2)]);
    let suite = stage.suite.clone();
    stage.storage.before(Act::Create, ObjectKind::Snapshots, move |storage, name| {
        fence(storage, &suite, name);
        let lost = packs_of(storage, &suite, ChunkType::Data);
        condemn(storage, &suite, 1, lost.clone(), Vec::new());
        sweep(storage, &suite, 1, &lost);
    });
    stage.library.try_backup("src", options()).unwrap_err();
    let made = stage.backup("src");
    stage.library.assert_restores(made.snapshot, "src");
    assert_eq!(stage.library.errors(), Vec::<String>::new());
}

// Damage heals.

#[test]
fn backup_stores_again_what_a_check_found_damaged() {
    for kind in [ChunkType::Data, ChunkType::Tree] {
        let stage = Stage::new();
        stage.write("src", &[("a", 1), ("d/b", 2)]);
        let made = stage.backup("src").snapshot;
        for id in packs_of(&stage.storage.inner, &stage.suite, kind) {
            let mut bytes = stage.storage.inner.get(ObjectKind::Packs, &id.hex()).unwrap();
            // Between the two tables: one of the blocks.
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            stage.storage.inner.put(ObjectKind::Packs, &id.hex(), bytes);
        }
        assert_ne!(stage.library.errors(), Vec::<String>::new());
        assert_eq!(stage.names(ObjectKind::Damage).len(), 1 + usize::from(kind == ChunkType::Tree));
        let healed = stage.backup("src");
        assert!(healed.counts.bytes_added > 0, "{kind:?}: nothing was stored again");
        stage.library.assert_restores(made, "src");
    }
}

#[test]
fn the_backup_after_a_check_stores_again_what_the_check_missed() {
    for kind in [ChunkType::Data, ChunkType::Tree] {
        let stage = Stage::new();
        stage.write("src", &[("a", 1), ("d/b", 2)]);
        let made = stage.backup("src").snapshot;
        for id in packs_of(&stage.storage.inner, &stage.suite, kind) {
            stage.storage.inner.remove(ObjectKind::Packs, &id.hex()).unwrap();
        }
        assert_ne!(stage.library.errors(), Vec::<String>::new());
        stage.backup("src");
        stage.library.assert_restores(made, "src");
        assert_eq!(stage.library.errors(), Vec::<String>::new(), "{kind:?}");
    }
}

// Features of later versions.

#[test]
fn an_unknown_read_only_feature_lets_read_and_not_write() {
    let stage = Stage::new();
    stage.write("src", &[("a", 1)]);
    let made = stage.backup("src").snapshot;
    let mut config = stage.library.open().config().clone();
    config.ro_compat = 1 << 40;
    let master = Key::new(config.open_master.unwrap());
    let key = SubKeys::derive(&master, &config.repo).config;
    stage.storage.inner.put(ObjectKind::Config, "1", key_slot::encode_config(&config, &key).unwrap());
    stage.library.assert_restores(made, "src");
    stage.write("src", &[("b", 2)]);
    let before = stage.names(ObjectKind::Packs);
    let err = stage.library.try_backup("src", options()).unwrap_err().chain();
    assert!(err.contains("newer snap"), "{err}");
    assert_eq!((stage.names(ObjectKind::Packs), stage.names(ObjectKind::Snapshots).len()), (before, 1));
}
