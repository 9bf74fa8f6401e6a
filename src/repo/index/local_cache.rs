//! The local index cache: copies of recent packs' tables in sled, and the list of the sorted runs, which are
//! files next to it (`runs`). It is a disposable hint: never trusted, and no commit depends on it. This is
//! the only user of sled.
//!
//! sled 0.34.7 loses acknowledged writes in a power cut, but what survives is a prefix of the write order. So
//! a value that says "this is here" is always written after the data it refers to. Every value carries a MAC
//! over its name and its bytes, made with a key of the repository. A value that is torn, corrupt, from
//! another repository or under another name is treated as absent.
//!
//! Only one process can open a sled database. So it is opened on demand and closed after a short idle time
//! (`IDLE_BEFORE_CLOSE`); a process that finds it open waits for it (`OPEN_TIMEOUT`). Runs are read from
//! their files, without the database. The list of runs is changed only under a lock
//! (`LocalIndexCache::lock_runs`).

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::codec::crypto::hash::ChunkHasher;
use crate::codec::pack::Table;
use crate::model::id::{PackId, RepoId};
use crate::util::threads;

/// Maximum bytes of one value: far below sled's segment size, so that no value goes to a file of its own.
const MAX_VALUE_BYTES: usize = 6 << 10;
/// Maximum bytes of one batch: sled holds several copies of a batch in memory.
const MAX_BATCH_BYTES: usize = 96 << 10;
/// Bytes between two flushes while much is written: sled keeps unflushed data in memory.
const FLUSH_BYTES: usize = 16 << 20;
/// Approximate bytes of sled's page cache.
const CACHE_BYTES: u64 = 16 << 20;
/// Bytes of a MAC.
pub(crate) const MAC_BYTES: usize = 8;
const VERSION: u8 = 5;
/// Number of threads that sled starts with its first database.
/// If the system refuses a thread, sled does not notice and waits for it forever.
const SLED_THREADS: usize = 7;
/// Bytes of the stack of each of sled's threads.
const SLED_STACK_BYTES: usize = 2 << 20;
/// Idle time after which the database is closed, so that another process can open it.
const IDLE_BEFORE_CLOSE: Duration = Duration::from_millis(100);
/// How long to wait for the database: longer than another process needs to load an index.
/// Without it, the packs' own tables are read.
const OPEN_TIMEOUT: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(10);

/// One machine's cache of a repository's index.
#[derive(Debug)]
pub struct LocalIndexCache {
    place: Place,
    hasher: ChunkHasher,
    database: Arc<Mutex<Database>>,
    /// Held while a run is built, so that only one is built at a time.
    run_build: Mutex<()>,
}

/// The location of a cache, and the repository it belongs to.
#[derive(Debug, Clone)]
struct Place {
    dir: PathBuf,
    repo: RepoId,
}

#[derive(Debug)]
struct Database {
    open: Option<Arc<Handle>>,
    used: Instant,
    /// Until this time the database is assumed busy, so that after one failed wait other threads do not wait
    /// as well.
    busy_until: Option<Instant>,
    /// The database is damaged or cannot be read; it is not opened again.
    is_broken: bool,
    /// A thread is waiting to close the database.
    has_closer: bool,
}

/// An open sled database. `None` only during drop.
#[derive(Debug)]
struct Handle(Option<sled::Db>);

/// Lock on the list of runs: while it is held, no other process or thread changes the list.
pub(crate) struct RunsLock<'a> {
    _run_build: MutexGuard<'a, ()>,
    _open: Arc<Handle>,
}

/// Why a database could not be opened.
enum OpenError {
    /// Another process has it open.
    Busy,
    /// sled could not start its threads.
    NoThreads,
    Broken(String),
}

impl LocalIndexCache {
    /// Opens or creates the cache in `dir`. Also returns a warning for the user if something was wrong with
    /// it. Without a cache nothing is lost: everything can be read from the packs.
    pub fn open(dir: &Path, repo: &RepoId, hasher: &ChunkHasher) -> (Option<Self>, Option<String>) {
        let place = Place { dir: dir.to_path_buf(), repo: *repo };
        let index_cache = |open: Option<Arc<Handle>>| Self::with_database(place.clone(), hasher, open);
        let why = match place.open_or_wait() {
            Ok(open) => return (Some(index_cache(Some(open))), None),
            Err(OpenError::Busy | OpenError::NoThreads) => return (Some(index_cache(None)), None),
            Err(OpenError::Broken(why)) => why,
        };
        let unusable = |why: String| format!("the local index cache at {} {why}", dir.display());
        if let Err(err) = discard(dir) {
            return (None, Some(unusable(format!("is unusable ({why}) and cannot be removed: {err}"))));
        }
        match place.open_or_wait() {
            Ok(open) => {
                let rebuilt = "the local index cache was damaged and is being rebuilt".to_owned();
                (Some(index_cache(Some(open))), Some(rebuilt))
            }
            Err(OpenError::Busy | OpenError::NoThreads) => (Some(index_cache(None)), None),
            Err(OpenError::Broken(why)) => (None, Some(unusable(format!("cannot be used: {why}")))),
        }
    }

    fn with_database(place: Place, hasher: &ChunkHasher, open: Option<Arc<Handle>>) -> Self {
        let busy_until = open.is_none().then(|| Instant::now() + OPEN_TIMEOUT);
        let used = Instant::now();
        let database = Database { open, used, busy_until, is_broken: false, has_closer: false };
        let (database, run_build) = (Arc::new(Mutex::new(database)), Mutex::default());
        let index_cache = Self { place, hasher: hasher.clone(), database, run_build };
        index_cache.close_when_idle();
        index_cache
    }

    /// Removes the cache in `dir`, so that it is rebuilt.
    ///
    /// # Errors
    /// The reason as text: another process uses it, or it cannot be removed.
    pub fn discard(dir: &Path, repo: &RepoId) -> Result<(), String> {
        let place = Place { dir: dir.to_path_buf(), repo: *repo };
        let opened = place.open_or_wait();
        if matches!(opened, Err(OpenError::Busy | OpenError::NoThreads)) {
            let why = "is in use by another process: run this again when that has ended";
            return Err(format!("the local index cache at {} {why}", dir.display()));
        }
        // A broken database is removed as well.
        let removed = discard(dir);
        drop(opened);
        removed.map_err(|err| format!("the local index cache at {} cannot be removed: {err}", dir.display()))
    }

    /// Returns the database, waiting for it if necessary; `None` if it cannot be opened now.
    fn database(&self) -> Option<Arc<Handle>> {
        let mut database = self.database.lock();
        database.used = Instant::now();
        if let Some(open) = &database.open {
            return Some(Arc::clone(open));
        }
        if database.is_broken || database.busy_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let opened = self.place.open_or_wait();
        database.used = Instant::now();
        match opened {
            Ok(open) => {
                database.open = Some(Arc::clone(&open));
                drop(database);
                self.close_when_idle();
                Some(open)
            }
            Err(OpenError::Busy | OpenError::NoThreads) => {
                database.busy_until = Some(Instant::now() + OPEN_TIMEOUT);
                None
            }
            Err(OpenError::Broken(_)) => {
                database.is_broken = true;
                None
            }
        }
    }

    /// Starts the thread that closes the idle database, unless it is running.
    fn close_when_idle(&self) {
        let mut database = self.database.lock();
        if database.open.is_none() || std::mem::replace(&mut database.has_closer, true) {
            return;
        }
        let kept = Arc::downgrade(&self.database);
        let close = move || {
            loop {
                std::thread::sleep(IDLE_BEFORE_CLOSE);
                let Some(kept) = kept.upgrade() else { return };
                let mut database = kept.lock();
                // Close only if no other handle exists: reopened meanwhile, the database would seem to be in
                // use by another process.
                let is_free = database.open.as_ref().is_none_or(|open| Arc::strong_count(open) == 1);
                if is_free && database.used.elapsed() >= IDLE_BEFORE_CLOSE {
                    database.has_closer = false;
                    let open = database.open.take();
                    drop(database);
                    return drop(open);
                }
            }
        };
        let started = std::thread::Builder::new().name("close-view".to_owned()).spawn(close);
        // Without that thread the database stays open until the cache is dropped.
        database.has_closer = started.is_ok();
    }

    /// Locks the list of runs. Returns `None` if the database cannot be opened now.
    pub(crate) fn lock_runs(&self) -> Option<RunsLock<'_>> {
        let run_build = self.run_build.lock();
        Some(RunsLock { _open: self.database()?, _run_build: run_build })
    }

    /// Returns a value if it is present and its MAC matches.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let database = self.database()?;
        let db = database.0.as_ref()?;
        let value = catch_panics(|| db.get(key).ok().flatten()).flatten()?;
        let (mac, bytes) = value.split_first_chunk::<MAC_BYTES>()?;
        (*mac == self.mac(key, bytes)).then(|| bytes.to_vec())
    }

    /// Computes the MAC of a name and its bytes, with a key of the repository.
    pub(crate) fn mac(&self, key: &[u8], bytes: &[u8]) -> [u8; MAC_BYTES] {
        self.hasher.tag(b"view", &[&[key.len() as u8], key, bytes].concat()).to_le_bytes()
    }

    /// Starts a batch of writes.
    pub(crate) fn writer(&self) -> Writer<'_> {
        let (batch, database) = (sled::Batch::default(), self.database());
        Writer { index_cache: self, failed: database.is_none(), database, batch, size: 0, unflushed: 0 }
    }

    /// The directory for files other than sled's own.
    pub(crate) fn dir(&self) -> &Path {
        &self.place.dir
    }

    /// Returns a pack's table if a complete copy is cached.
    pub fn table(&self, id: &PackId, len: u64) -> Option<Table> {
        self.table_of(id).filter(|(known, _)| *known == len).map(|(_, table)| table)
    }

    /// Returns whether a pack's table was cached. The copy may still turn out to be incomplete.
    pub(crate) fn has_table(&self, id: &PackId, len: u64) -> bool {
        self.get(&key(b"m", id, 0)).is_some_and(|mark| mark.starts_with(&len.to_le_bytes()))
    }

    /// Returns the length and table of a pack when it was last seen, if a complete copy is cached.
    pub fn table_of(&self, id: &PackId) -> Option<(u64, Table)> {
        let mark = self.get(&key(b"m", id, 0))?;
        let (pack, size) = mark.split_first_chunk::<8>()?;
        let size = u32::from_le_bytes(*size.first_chunk::<4>()?) as usize;
        let len = u64::from_le_bytes(*pack);
        let mut bytes = Vec::new();
        for number in 0..size.div_ceil(MAX_VALUE_BYTES) {
            bytes.extend_from_slice(&self.get(&key(b"t", id, number as u32))?);
        }
        Table::from_cached(&bytes).ok().filter(|_| bytes.len() == size).map(|table| (len, table))
    }

    /// Adds tables. Best effort.
    pub fn add<'a>(&self, tables: impl Iterator<Item = (&'a PackId, u64, &'a Table)>) {
        let mut writer = self.writer();
        tables.for_each(|(id, len, table)| writer.put_table(id, len, table));
        writer.finish();
    }

    /// Removes the tables of deleted packs. Best effort: tables that stay behind are never looked up.
    pub fn drop_tables<'a>(&self, gone: impl Iterator<Item = &'a PackId>) {
        let mut writer = self.writer();
        for id in gone {
            let Some(mark) = self.get(&key(b"m", id, 0)) else { continue };
            let size = mark.get(8..12).and_then(|size| <[u8; 4]>::try_from(size).ok());
            let rows = (size.map_or(0, u32::from_le_bytes) as usize).div_ceil(MAX_VALUE_BYTES);
            writer.remove(key(b"m", id, 0));
            (0..rows).for_each(|number| writer.remove(key(b"t", id, number as u32)));
        }
        writer.finish();
    }
}

impl Place {
    /// Opens the database, waiting at most [`OPEN_TIMEOUT`].
    fn open_or_wait(&self) -> Result<Arc<Handle>, OpenError> {
        let since = Instant::now();
        loop {
            match self.open() {
                // sled's own threads may hold the lock for a moment after the database was closed.
                Err(OpenError::Busy) if since.elapsed() < OPEN_TIMEOUT => std::thread::sleep(POLL),
                other => return other.map(Arc::new),
            }
        }
    }

    fn open(&self) -> Result<Handle, OpenError> {
        static SLED_HAS_ITS_THREADS: AtomicBool = AtomicBool::new(false);
        if !SLED_HAS_ITS_THREADS.load(Ordering::Relaxed) {
            threads::can_start(SLED_THREADS, SLED_STACK_BYTES).map_err(|_| OpenError::NoThreads)?;
        }
        let opened = catch_panics(|| {
            let db = sled::Config::new()
                .path(&self.dir)
                .cache_capacity(CACHE_BYTES)
                .flush_every_ms(None)
                .open()?;
            let mut owner = self.repo.as_bytes().to_vec();
            owner.push(VERSION);
            match db.get(b"repo")? {
                Some(found) if found == owner => {}
                None if db.is_empty() => {
                    db.insert(b"repo", owner)?;
                }
                _ => return Err(sled::Error::Unsupported("of another repository".into())),
            }
            Ok(Handle(Some(db)))
        });
        let why = match opened {
            Some(Ok(open)) => {
                SLED_HAS_ITS_THREADS.store(true, Ordering::Relaxed);
                return Ok(open);
            }
            Some(Err(why)) => why.to_string(),
            None => "the database panicked".to_owned(),
        };
        Err(if why.contains("could not acquire lock") { OpenError::Busy } else { OpenError::Broken(why) })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // sled flushes when its last handle is dropped, and panics if the write fails.
        let db = self.0.take();
        let _ = catch_panics(|| drop(db));
    }
}

/// Removes a cache atomically (by renaming it first), so that no process opens a half-removed one.
fn discard(dir: &Path) -> std::io::Result<()> {
    let aside = dir.with_extension(format!("gone{}", std::process::id()));
    match std::fs::rename(dir, &aside) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed?,
    }
    std::fs::remove_dir_all(&aside).or_else(|_| std::fs::remove_file(&aside))
}

/// Writes in batches, in order: what is written first is the first to survive a power cut.
pub(crate) struct Writer<'a> {
    index_cache: &'a LocalIndexCache,
    /// Keeps the database open until all is written.
    database: Option<Arc<Handle>>,
    batch: sled::Batch,
    size: usize,
    unflushed: usize,
    failed: bool,
}

impl Writer<'_> {
    pub(crate) fn put(&mut self, key: Vec<u8>, bytes: &[u8]) {
        let value = [&self.index_cache.mac(&key, bytes), bytes].concat();
        self.size += key.len() + value.len();
        self.batch.insert(key, value);
        self.apply_full_batch();
    }

    pub(crate) fn remove(&mut self, key: Vec<u8>) {
        // sled reads the value's page to remove it, and keeps the page until the batch is applied.
        self.size += 2 << 10;
        self.batch.remove(key);
        self.apply_full_batch();
    }

    /// Stores a copy of a pack's table.
    pub(crate) fn put_table(&mut self, id: &PackId, len: u64, table: &Table) {
        let Ok(bytes) = table.to_cached() else { return };
        for (number, row) in bytes.chunks(MAX_VALUE_BYTES).enumerate() {
            self.put(key(b"t", id, number as u32), row);
        }
        // Written after the table's values: if this one survives, they do.
        let mark = [len.to_le_bytes().as_slice(), &(bytes.len() as u32).to_le_bytes()].concat();
        self.put(key(b"m", id, 0), &mark);
    }

    fn apply_full_batch(&mut self) {
        if self.size < MAX_BATCH_BYTES {
            return;
        }
        self.unflushed += self.size;
        self.size = 0;
        let batch = std::mem::take(&mut self.batch);
        let flush = self.unflushed >= FLUSH_BYTES;
        if flush {
            self.unflushed = 0;
        }
        self.apply_batch(batch, flush);
    }

    fn apply_batch(&mut self, batch: sled::Batch, flush: bool) {
        let write = |db: &sled::Db| db.apply_batch(batch).is_ok() && (!flush || db.flush().is_ok());
        let db = self.database.as_ref().and_then(|open| open.0.as_ref());
        self.failed |= db.and_then(|db| catch_panics(|| write(db))) != Some(true);
    }

    /// Writes the rest and returns whether all writes succeeded.
    pub(crate) fn finish(mut self) -> bool {
        if self.size + self.unflushed == 0 {
            return !self.failed;
        }
        let batch = std::mem::take(&mut self.batch);
        self.apply_batch(batch, true);
        !self.failed
    }
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Catches a panic and suppresses its message: sled panics on some damaged files, and a cache must not crash
/// the program.
fn catch_panics<T>(work: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                loud(info);
            }
        }));
    });
    let before = QUIET.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    QUIET.set(before);
    result.ok()
}

fn key(kind: &[u8], id: &PackId, number: u32) -> Vec<u8> {
    [kind, id.as_bytes(), &number.to_be_bytes()].concat()
}
