//! The index at its limits: entries that do not fit in memory, and a corrupt index cache.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use crate::support::Random;
use crate::support::heard::Heard;
use crate::support::library::Library;
use crate::support::scale::{self, CHUNK, Shape};
use snap_backup::Control;
use snap_backup::codec::crypto::hash::{ChunkType, Key, SubKeys};
use snap_backup::codec::crypto::key_slot;
use snap_backup::model::config::Config;
use snap_backup::model::id::ChunkId;
use snap_backup::ops::backup::Backup;
use snap_backup::ops::{backup, check, forget, gc};
use snap_backup::repo::index::{ChunkAt, Index};
use snap_backup::repo::options::{IndexLimits, InitOptions, OpenOptions};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::sessions::session::RepoState;
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{ObjectKind, Storage};

const CHUNKS: u64 = 6000;
/// Six thousand chunks need several runs, and hardly any table stays cached.
const SMALL: IndexLimits = IndexLimits { rows: 1000, tables: 64 << 10, bloom_after_lookups: 10 };

/// A repository in memory, with a cache.
struct Store {
    home: tempfile::TempDir,
    storage: Arc<MemoryStorage>,
    heard: Heard,
}

impl Store {
    fn new() -> Self {
        let store =
            Self { home: tempfile::tempdir().unwrap(), storage: Arc::default(), heard: Heard::default() };
        let init = InitOptions { cache: Some(store.cache()), ..InitOptions::default() };
        Repository::init(store.storage.clone(), &init).unwrap();
        store
    }

    fn with_chunks() -> Self {
        let store = Self::new();
        scale::make(&store.open(SMALL), Shape { per_pack: 100, packs: CHUNKS / 100, ..Shape::of(CHUNKS) });
        store
    }

    fn cache(&self) -> PathBuf {
        self.home.path().join("cache")
    }

    fn open(&self, limits: IndexLimits) -> Repository {
        self.heard.take();
        let (cache, control) = (Some(self.cache()), self.heard.control());
        let access = OpenOptions { cache, control, ..OpenOptions::default() };
        let mut repo = Repository::open(self.storage.clone(), &access).unwrap();
        repo.set_limits(limits);
        repo
    }

    fn without_cache(&self) -> Repository {
        Repository::open(self.storage.clone(), &OpenOptions::default()).unwrap()
    }

    /// Opens the values of the cache through sled itself.
    fn index_cache(&self) -> sled::Db {
        let mut dirs = fs::read_dir(self.cache()).unwrap().map(|dir| dir.unwrap().path().join("view"));
        let dir = dirs.find(|dir| dir.is_dir()).unwrap();
        // Threads of sled may hold its lock for a moment after the last handle is dropped.
        let open = |_| {
            let index_cache = sled::open(&dir);
            if index_cache.is_err() {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            index_cache.ok()
        };
        (0..200).find_map(open).expect("this machine's view stays locked")
    }

    /// Changes every value whose key begins with this, without sled noticing.
    fn lie(&self, prefix: &[u8], lie: Lie) {
        let index_cache = self.index_cache();
        let all: Vec<_> = index_cache.scan_prefix(prefix).map(|row| row.unwrap()).collect();
        assert!(!all.is_empty());
        all.iter().for_each(|(key, value)| lie(&index_cache, key, value));
        index_cache.flush().unwrap();
    }

    /// Returns the files of the cache with this extension.
    fn files(&self, ending: &str) -> Vec<PathBuf> {
        let dirs = fs::read_dir(self.cache()).unwrap().map(|dir| dir.unwrap().path().join("view/runs"));
        let files = dirs.filter(|dir| dir.is_dir()).flat_map(|dir| fs::read_dir(dir).unwrap());
        let files = files.map(|file| file.unwrap().path());
        files.filter(|file| file.extension().is_some_and(|found| found == ending)).collect()
    }

    fn harm(&self, ending: &str, harm: fn(&mut Vec<u8>)) {
        let files = self.files(ending);
        assert!(!files.is_empty());
        for file in files {
            let mut bytes = fs::read(&file).unwrap();
            harm(&mut bytes);
            fs::write(&file, bytes).unwrap();
        }
    }

    fn packs(&self) -> Vec<String> {
        self.storage.list(ObjectKind::Packs).unwrap().into_iter().map(|found| found.name).collect()
    }
}

fn load(repo: &Repository) -> Index {
    Index::load(repo, RepoState::read(repo.storage(), repo.suite(), |_| Ok(())).unwrap()).unwrap()
}

/// Every chunk is found where the table of its pack has it, and no other chunk.
fn assert_knows_all(repo: &Repository, index: &Index) {
    for number in 0..CHUNKS {
        let id = scale::chunk_id(repo, number);
        let copies = index.copies(ChunkType::Data, &id).unwrap();
        assert_eq!(copies.len(), 1, "chunk {number}");
        let location = index.find(ChunkType::Data, &id).unwrap().unwrap();
        assert_eq!((location, location.len), (copies[0].location, CHUNK));
        // All chunks of a pack have the same length and are in one block.
        let at = ChunkAt { pack: location.block.pack, nth: location.start / CHUNK };
        let (_, found, copy) = index.chunk(at).unwrap().unwrap();
        assert_eq!((found, copy), (id, copies[0]));
        assert!(index.find(ChunkType::Tree, &id).unwrap().is_none());
    }
    for number in CHUNKS..2 * CHUNKS {
        assert!(index.find(ChunkType::Data, &scale::chunk_id(repo, number)).unwrap().is_none());
    }
}

#[test]
fn rows_beyond_memory_become_runs_and_every_chunk_is_found() {
    let store = Store::with_chunks();
    for _ in 0..2 {
        let repo = store.open(SMALL);
        assert_knows_all(&repo, &load(&repo));
        assert_eq!(store.heard.take(), Vec::<String>::new());
    }
    let runs = store.files("rows").len();
    assert!((1..=6).contains(&runs), "{runs} runs");
    let plain = store.without_cache();
    assert_knows_all(&plain, &load(&plain));
}

#[test]
fn a_pack_that_is_gone_or_of_another_length_does_not_count() {
    let store = Store::with_chunks();
    load(&store.open(SMALL));
    let packs = store.packs();
    let before = load(&store.open(SMALL)).chunks();
    store.storage.remove(ObjectKind::Packs, &packs[0]).unwrap();
    let mut bytes = store.storage.get(ObjectKind::Packs, &packs[1]).unwrap();
    bytes.push(0);
    store.storage.put(ObjectKind::Packs, &packs[1], bytes);
    let repo = store.open(SMALL);
    let index = load(&repo);
    assert_eq!(index.unreadable.len(), 1);
    assert!(index.chunks() < before);
    let known = (0..CHUNKS)
        .filter(|number| index.find(ChunkType::Data, &scale::chunk_id(&repo, *number)).unwrap().is_some());
    let plain = store.without_cache();
    let truth = load(&plain);
    let true_ones = (0..CHUNKS)
        .filter(|number| truth.find(ChunkType::Data, &scale::chunk_id(&plain, *number)).unwrap().is_some());
    assert_eq!(known.collect::<Vec<_>>(), true_ones.collect::<Vec<_>>());
}

#[test]
fn chunk_with_the_same_id_prefix_is_not_mistaken() {
    let store = Store::with_chunks();
    for limits in [SMALL, IndexLimits::default()] {
        let repo = store.open(limits);
        let index = load(&repo);
        for number in 0..CHUNKS {
            let mut id = *scale::chunk_id(&repo, number).as_bytes();
            id[31] ^= 1;
            assert!(index.find(ChunkType::Data, &ChunkId::new(id)).unwrap().is_none());
            assert!(index.copies(ChunkType::Data, &ChunkId::new(id)).unwrap().is_empty());
        }
    }
}

type Lie = fn(&sled::Db, &[u8], &[u8]);

/// Damages values of a cache without sled noticing.
const LIES: [Lie; 3] = [
    |index_cache, key, value| {
        let mut value = value.to_vec();
        *value.last_mut().unwrap() ^= 1;
        index_cache.insert(key, value).unwrap();
    },
    // Each pack gets the table of its neighbour.
    |index_cache, key, value| {
        let next = index_cache.get_gt(key).unwrap().map(|(next, _)| next);
        if let Some(next) = next.filter(|next| next.len() == key.len()) {
            index_cache.insert(next, value).unwrap();
        }
    },
    |index_cache, key, _| {
        index_cache.remove(key).unwrap();
    },
];

/// Damages files of a cache.
const HARMS: [fn(&mut Vec<u8>); 6] = [
    // The last entry of each page points elsewhere.
    |bytes| (15..bytes.len()).step_by(PAGE).for_each(|at| bytes[at] ^= 1),
    // Each page is intact, but in another position.
    |bytes| {
        let most = bytes.len();
        bytes.rotate_left(PAGE.min(most));
    },
    |bytes| {
        let half = bytes.len() / 2;
        bytes[..half].fill(0);
    },
    |bytes| bytes.truncate(bytes.len() / 2),
    |bytes| bytes.clear(),
    |bytes| bytes.push(0),
];
const PAGE: usize = 255 * 16 + 8;

#[test]
fn corrupt_cache_values_are_not_trusted() {
    for lie in LIES {
        for part in [b"t".as_slice(), b"m", b"runs"] {
            let store = Store::with_chunks();
            load(&store.open(SMALL));
            // Some packs are in no run, so that sled has tables as well.
            scale::make(
                &store.open(SMALL),
                Shape { first: CHUNKS * 9, per_pack: 10, packs: 9, ..Shape::of(90) },
            );
            load(&store.open(SMALL));
            store.lie(part, lie);
            let repo = store.open(SMALL);
            assert_knows_all(&repo, &load(&repo));
            assert!(store.heard.take().len() <= 1);
        }
    }
}

#[test]
fn corrupt_cache_files_are_detected_on_reading() {
    for harm in HARMS {
        for ending in ["rows", "tables"] {
            let store = Store::with_chunks();
            load(&store.open(SMALL));
            store.harm(ending, harm);
            let repo = store.open(SMALL);
            assert_knows_all(&repo, &load(&repo));
            assert!(store.heard.take().len() <= 1);
            drop(repo);
            // The state is repaired.
            let repo = store.open(SMALL);
            assert_knows_all(&repo, &load(&repo));
            assert_eq!(store.heard.take(), Vec::<String>::new());
        }
    }
}

#[test]
fn scan_of_all_entries_detects_lost_ones() {
    for harm in HARMS {
        let store = Store::with_chunks();
        load(&store.open(SMALL));
        store.harm("rows", harm);
        let repo = store.open(SMALL);
        let index = load(&repo);
        let count = || {
            let mut rows = 0;
            let mut each = |group: &[ChunkAt]| {
                rows += group.len() as u64;
                Ok(())
            };
            index.for_each_group(&mut each).unwrap().then_some(rows)
        };
        let rows = count().or_else(count);
        assert_eq!(rows, Some(index.chunks()));
        assert_eq!(store.heard.take().len(), 1);
    }
}

#[test]
fn index_cache_in_use_changes_only_speed() {
    let store = Store::with_chunks();
    load(&store.open(SMALL));
    let held = store.index_cache();
    let repo = store.open(SMALL);
    assert_knows_all(&repo, &load(&repo));
    assert_eq!(store.heard.take(), Vec::<String>::new());
    drop(held);
    let repo = store.open(SMALL);
    assert_knows_all(&repo, &load(&repo));
    assert_eq!(store.heard.take(), Vec::<String>::new());
}

/// Packs whose bytes are gone can only be known from the cache.
#[test]
fn readers_release_the_index_cache() {
    let store = Store::with_chunks();
    load(&store.open(SMALL));
    let first = store.open(SMALL);
    let index = load(&first);
    for found in store.storage.list(ObjectKind::Packs).unwrap() {
        store.storage.put(ObjectKind::Packs, &found.name, vec![0; found.len as usize]);
    }
    let second = store.open(SMALL);
    let beside = load(&second);
    assert_eq!(beside.unreadable.len(), 0, "packs were read beside somebody who has an index");
    assert!(index.chunks() >= CHUNKS && beside.chunks() == index.chunks());
    assert_eq!(store.heard.take(), Vec::<String>::new());
}

#[test]
fn run_beyond_memory_limit_stores_each_chunk_once() {
    let store = Store::new();
    let source = store.home.path().join("src");
    fs::create_dir(&source).unwrap();
    // Blocks of one pack hold few of these chunks, so packs are written while the run continues. Each file
    // occurs twice, far apart.
    let mut random = 7u64;
    let mut bytes = || {
        (0..9000)
            .flat_map(|_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                random.to_le_bytes()
            })
            .collect::<Vec<u8>>()
    };
    for number in 0..900 {
        let bytes = bytes();
        fs::write(source.join(format!("a{number:04}")), &bytes).unwrap();
        fs::write(source.join(format!("b{number:04}")), &bytes).unwrap();
    }
    let repo = store.open(IndexLimits { rows: 300, ..SMALL });
    let options = backup::Options { sources: vec![source], ..backup::Options::default() };
    let summary =
        Backup::begin(options, None, &Control::default()).unwrap().run(&repo, &Control::default()).unwrap();
    assert_eq!((summary.counts.files_new, summary.problems.len()), (1800, 0));
    let index = load(&repo);
    let mut ids = BTreeSet::new();
    let mut count = 0;
    for pack in 0..index.packs().len() as u32 {
        let table = index.table(pack).unwrap();
        for (block, _) in table.blocks() {
            count += block.chunks.len();
            ids.extend(block.chunks.iter().map(|(id, _)| *id));
        }
    }
    assert!(index.packs().len() > 2, "the run must go on after the first pack has landed");
    assert_eq!(count, ids.len(), "a chunk was stored twice");
    drop(index);
    let options = check::Options { read_data: true, ..check::Options::default() };
    assert_eq!(check::run(&repo, &options, &Control::default()).unwrap().errors, []);
    drop(repo);
    assert!(!store.files("rows").is_empty(), "nothing left memory");
}

/// Chunks of the first snapshot stay, those of the second are deleted, and half of them are in both.
fn forget_and_collect(store: &Store, repo: &Repository) -> (u64, u64, u64) {
    let shape = |first| Shape { first, per_pack: 100, packs: 20, per_file: 5, files_per_dir: 50 };
    let first = scale::make(repo, shape(0));
    let second = scale::make(repo, shape(1000));
    let options = forget::Options {
        selectors: vec![second.hex()],
        allow_remove_all: true,
        ..forget::Options::default()
    };
    forget::run(repo, &options).unwrap();
    let options =
        gc::Options { empty_trash: true, max_unused: gc::MaxUnused::Bytes(0), ..gc::Options::default() };
    let report = gc::run(repo, &options, &Control::default()).unwrap();
    let options = check::Options { read_data: true, ..check::Options::default() };
    let checked = check::run(repo, &options, &Control::default()).unwrap();
    assert_eq!(checked.errors, []);
    assert_eq!(checked.snapshots, 1);
    let index = load(repo);
    for number in 0..2000 {
        assert_eq!(
            index.copies(ChunkType::Data, &scale::chunk_id(repo, number)).unwrap().len(),
            1,
            "{number}"
        );
    }
    for number in 2000..3000 {
        assert!(
            index.copies(ChunkType::Data, &scale::chunk_id(repo, number)).unwrap().is_empty(),
            "{number}"
        );
    }
    let _ = (first, store);
    (report.packs_deleted, report.packs_moved, report.lost)
}

#[test]
fn gc_from_runs_equals_gc_from_memory() {
    let outcomes = [SMALL, IndexLimits::default()].map(|limits| {
        let store = Store::new();
        let repo = store.open(limits);
        forget_and_collect(&store, &repo)
    });
    assert_eq!(outcomes[0], outcomes[1]);
    assert!(outcomes[0].0 > 0 && outcomes[0].2 == 0);
}

/// The table of a pack needs memory even if the pack holds little, so many small tables do not stay in
/// memory.
#[test]
fn tables_of_many_small_packs_do_not_stay_in_memory() {
    let store = Store::new();
    let limits = IndexLimits { rows: 1600, ..IndexLimits::default() };
    scale::make(&store.open(limits), Shape { per_pack: 1, packs: 300, per_file: 1, ..Shape::of(300) });
    assert_eq!(store.files("rows"), Vec::<PathBuf>::new());
    let repo = store.open(limits);
    let repo_state = RepoState::read(repo.storage(), repo.suite(), |_| Ok(())).unwrap();
    let index = Index::load(&repo, repo_state).unwrap();
    let found = (0..300)
        .filter(|number| index.find(ChunkType::Data, &scale::chunk_id(&repo, *number)).unwrap().is_some());
    assert_eq!(found.count(), 300);
    assert_eq!(store.files("rows").len(), 1, "300 rows are few, and 300 tables are many");
    assert_eq!(store.heard.take(), Vec::<String>::new());
}

/// Programs that do not know deltas read such a repository, because its configuration does not exclude them.
#[test]
fn deltas_that_the_configuration_does_not_allow_are_damage() {
    let storage = Arc::new(MemoryStorage::default());
    let library = Library::on(storage.clone(), None);
    let mut bytes = Random::new(1).bytes(400_000);
    for at in [100_000, 200_000] {
        bytes[at] ^= 1;
        library.write("src", &[("a", &bytes)]);
        library.backup("src", backup::Options::default());
    }
    assert_eq!(library.errors(), Vec::<String>::new());
    let config = Config { generation: 2, incompat: 0, ..library.open().config().clone() };
    let keys = SubKeys::derive(&Key::new(config.open_master.unwrap()), &config.repo);
    storage.put(ObjectKind::Config, "2", key_slot::encode_config(&config, &keys.config).unwrap());
    assert_eq!(library.open().config().generation, 2);
    let errors = library.errors();
    assert!(errors.iter().any(|text| text.contains("it contains deltas")), "{errors:?}");
}
