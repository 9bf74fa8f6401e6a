//! This machine's view of a repository's packs, in sled: copies of recent packs' tables, and which runs of sorted rows
//! lie in files beside it (`runs`). A hint and disposable: never trusted, never what a commit waits for. The only user of
//! sled.
//!
//! sled 0.34.7 loses acknowledged writes in a power cut, but what survives is a prefix of the write order. So
//! whatever says "this is here" is written behind what it speaks of. And every value carries a tag that the
//! repository's key makes of its name and its bytes: what is torn, garbled, of another repository or under another
//! name is not there.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::Once;
use std::sync::PoisonError;

use crate::codec::hash::Namer;
use crate::codec::pack::Table;
use crate::model::id::PackId;
use crate::model::id::RepoId;

/// Bytes of one value: far below sled's segment, so that none spills into a file of its own.
const VALUE: usize = 6 << 10;
/// Bytes of one batch: sled holds all of a batch in memory several times over.
const BATCH: usize = 96 << 10;
/// Bytes between two flushes while much is written: sled holds what is not flushed.
const FLUSH: usize = 16 << 20;
/// Bytes of pages that sled keeps, about.
const CACHE: u64 = 16 << 20;
/// Bytes of a tag.
pub(in crate::store) const TAG: usize = 8;
const VERSION: u8 = 2;

/// An open view.
#[derive(Debug)]
pub struct View {
    /// Gone only while this is dropped.
    db: Option<sled::Db>,
    namer: Namer,
    dir: PathBuf,
    /// Held while a run is built: one at a time.
    building: Mutex<()>,
}

impl View {
    /// Opens or makes the view in `dir`, with a sentence for people where it was not as it should be. Nothing is
    /// lost without one: everything can be read from the packs.
    pub fn open(dir: &Path, repo: &RepoId, namer: &Namer) -> (Option<Self>, Option<String>) {
        let why = match Self::try_open(dir, repo, namer) {
            Ok(view) => return (Some(view), None),
            Err(why) => why,
        };
        if why.contains("could not acquire lock") {
            let busy =
                "another snap is using this machine's index cache; reading the packs' own tables instead";
            return (None, Some(busy.into()));
        }
        if let Err(err) = std::fs::remove_dir_all(dir).or_else(|_| std::fs::remove_file(dir)) {
            return (
                None,
                Some(format!("this machine's index cache is unusable and cannot be removed: {err}")),
            );
        }
        match Self::try_open(dir, repo, namer) {
            Ok(view) => {
                (Some(view), Some("this machine's index cache was damaged and is being rebuilt".into()))
            }
            Err(why) => (None, Some(format!("this machine's index cache cannot be used: {why}"))),
        }
    }

    /// Removes the view in `dir`, so that it is made anew.
    ///
    /// # Errors
    /// Why it cannot be: another process uses it, or it cannot be removed.
    pub fn discard(dir: &Path, repo: &RepoId, namer: &Namer) -> Result<(), String> {
        match Self::try_open(dir, repo, namer) {
            Err(why) if why.contains("could not acquire lock") => {
                return Err("another snap is using this machine's index cache: run it again later".into());
            }
            // Whatever else is wrong with it goes with it.
            opened => drop(opened),
        }
        match std::fs::remove_dir_all(dir).or_else(|_| std::fs::remove_file(dir)) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("this machine's index cache at {} cannot be removed: {err}", dir.display()))
            }
            _ => Ok(()),
        }
    }

    fn try_open(dir: &Path, repo: &RepoId, namer: &Namer) -> Result<Self, String> {
        let opened = quietly(|| {
            let db = sled::Config::new().path(dir).cache_capacity(CACHE).flush_every_ms(None).open()?;
            let mut owner = repo.as_bytes().to_vec();
            owner.push(VERSION);
            match db.get(b"repo")? {
                Some(found) if found == owner => {}
                None if db.is_empty() => {
                    db.insert(b"repo", owner)?;
                }
                _ => return Err(sled::Error::Unsupported("of another repository".into())),
            }
            Ok(Self {
                db: Some(db),
                namer: namer.clone(),
                dir: dir.to_path_buf(),
                building: Mutex::default(),
            })
        });
        opened
            .unwrap_or_else(|| Err(sled::Error::Unsupported("it panicked".into())))
            .map_err(|err| err.to_string())
    }

    /// A value, if it is here and what was written under this name.
    pub(in crate::store) fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let db = self.db.as_ref()?;
        let value = quietly(|| db.get(key).ok().flatten()).flatten()?;
        let (tag, bytes) = value.split_first_chunk::<TAG>()?;
        (*tag == self.tag(key, bytes)).then(|| bytes.to_vec())
    }

    /// What only who has the repository's key can make of a name and its bytes.
    pub(in crate::store) fn tag(&self, key: &[u8], bytes: &[u8]) -> [u8; TAG] {
        self.namer.tag(b"view", &[&[key.len() as u8], key, bytes].concat()).to_le_bytes()
    }

    /// Begins to write.
    pub(in crate::store) fn writer(&self) -> Writer<'_> {
        Writer { view: self, batch: sled::Batch::default(), size: 0, unflushed: 0, failed: false }
    }

    /// Where files beside sled's own may lie.
    pub(in crate::store) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keeps others from building a run meanwhile.
    pub(in crate::store) fn building(&self) -> MutexGuard<'_, ()> {
        self.building.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pack's table, if it is here whole.
    pub fn table(&self, id: &PackId, len: u64) -> Option<Table> {
        self.table_of(id).filter(|(known, _)| *known == len).map(|(_, table)| table)
    }

    /// Whether a pack's table was kept here; what is kept may still turn out not to be whole.
    pub(in crate::store) fn has_table(&self, id: &PackId, len: u64) -> bool {
        self.get(&key(b"m", id, 0)).is_some_and(|mark| mark.starts_with(&len.to_le_bytes()))
    }

    /// A pack's length and table as they were when this machine last saw them, if they are here whole.
    pub fn table_of(&self, id: &PackId) -> Option<(u64, Table)> {
        let mark = self.get(&key(b"m", id, 0))?;
        let (pack, size) = mark.split_first_chunk::<8>()?;
        let size = u32::from_le_bytes(*size.first_chunk::<4>()?) as usize;
        let len = u64::from_le_bytes(*pack);
        let mut bytes = Vec::new();
        for number in 0..size.div_ceil(VALUE) {
            bytes.extend_from_slice(&self.get(&key(b"t", id, number as u32))?);
        }
        Table::from_cached(&bytes).ok().filter(|_| bytes.len() == size).map(|table| (len, table))
    }

    /// Adds tables. Best effort.
    pub fn add<'a>(&self, tables: impl Iterator<Item = (&'a PackId, u64, &'a Table)>) {
        let mut writer = self.writer();
        tables.for_each(|(id, len, table)| writer.table(id, len, table));
        writer.finish();
    }

    /// Drops the tables of packs that are gone. Best effort: what stays behind is never asked for.
    pub fn drop_tables<'a>(&self, gone: impl Iterator<Item = &'a PackId>) {
        let mut writer = self.writer();
        for id in gone {
            let mark = self.get(&key(b"m", id, 0)).unwrap_or_default();
            let size = mark.get(8..12).and_then(|size| <[u8; 4]>::try_from(size).ok());
            let rows = (size.map_or(0, u32::from_le_bytes) as usize).div_ceil(VALUE);
            writer.remove(key(b"m", id, 0));
            (0..rows).for_each(|number| writer.remove(key(b"t", id, number as u32)));
        }
        writer.finish();
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // sled flushes when it goes, and panics where the disk says no.
        let db = self.db.take();
        let _ = quietly(|| drop(db));
    }
}

/// Writes in batches; what is written first survives a power cut first.
pub(in crate::store) struct Writer<'a> {
    view: &'a View,
    batch: sled::Batch,
    size: usize,
    unflushed: usize,
    failed: bool,
}

impl Writer<'_> {
    /// Writes a value under a name.
    pub(in crate::store) fn put(&mut self, key: Vec<u8>, bytes: &[u8]) {
        let value = [&self.view.tag(&key, bytes), bytes].concat();
        self.size += key.len() + value.len();
        self.batch.insert(key, value);
        self.advance();
    }

    /// Removes a value.
    pub(in crate::store) fn remove(&mut self, key: Vec<u8>) {
        // sled reads the value's page to remove it, and keeps it until the batch is applied.
        self.size += 2 << 10;
        self.batch.remove(key);
        self.advance();
    }

    /// Keeps a copy of a pack's table.
    pub(in crate::store) fn table(&mut self, id: &PackId, len: u64, table: &Table) {
        let Ok(bytes) = table.to_cached() else { return };
        for (number, row) in bytes.chunks(VALUE).enumerate() {
            self.put(key(b"t", id, number as u32), row);
        }
        // Behind its rows: where this is, they are.
        let mark = [len.to_le_bytes().as_slice(), &(bytes.len() as u32).to_le_bytes()].concat();
        self.put(key(b"m", id, 0), &mark);
    }

    fn advance(&mut self) {
        if self.size < BATCH {
            return;
        }
        self.unflushed += self.size;
        self.size = 0;
        let batch = std::mem::take(&mut self.batch);
        let flush = self.unflushed >= FLUSH;
        if flush {
            self.unflushed = 0;
        }
        self.apply(batch, flush);
    }

    fn apply(&mut self, batch: sled::Batch, flush: bool) {
        let write = |db: &sled::Db| db.apply_batch(batch).is_ok() && (!flush || db.flush().is_ok());
        let done = !self.failed && self.view.db.as_ref().and_then(|db| quietly(|| write(db))) == Some(true);
        self.failed = !done;
    }

    /// Writes the rest; whether all of it was taken.
    pub(in crate::store) fn finish(mut self) -> bool {
        if self.size + self.unflushed == 0 {
            return !self.failed;
        }
        let batch = std::mem::take(&mut self.batch);
        self.apply(batch, true);
        !self.failed
    }
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// sled panics on some damaged files; a view is not worth a crash. The panic's own message is kept from the
/// terminal.
fn quietly<T>(work: impl FnOnce() -> T) -> Option<T> {
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
