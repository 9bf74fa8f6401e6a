//! This machine's view of the packs' tables, in sled. A hint and disposable: never on the commit path, and
//! everything in it is checked. The only user of sled.
//!
//! sled 0.34.7 loses acknowledged writes in a power cut, but what survives is a prefix of the write order. So
//! the row that says "this pack is here, and hashes to this" is written behind the pack's rows.

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::path::Path;

use crate::codec::hash;
use crate::codec::pack::Table;
use crate::model::id::PackId;
use crate::model::id::RepoId;

/// Bytes of one row: far below sled's segment, so that no value spills into a file of its own.
const ROW: usize = 6 << 10;
/// Bytes of one batch: sled holds all of a batch in memory several times over.
const BATCH: usize = 96 << 10;
const CACHE: u64 = 32 << 20;
const VERSION: u8 = 1;

/// An open view.
#[derive(Debug)]
pub struct View {
    db: sled::Db,
}

impl View {
    /// Opens or makes the view in `dir`, with a sentence for people where it was not as it should be. Nothing is
    /// lost without one: everything can be read from the packs.
    pub fn open(dir: &Path, repo: &RepoId) -> (Option<Self>, Option<String>) {
        let why = match Self::try_open(dir, repo) {
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
        match Self::try_open(dir, repo) {
            Ok(view) => {
                (Some(view), Some("this machine's index cache was damaged and is being rebuilt".into()))
            }
            Err(why) => (None, Some(format!("this machine's index cache cannot be used: {why}"))),
        }
    }

    fn try_open(dir: &Path, repo: &RepoId) -> Result<Self, String> {
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
            Ok(Self { db })
        });
        opened
            .unwrap_or_else(|| Err(sled::Error::Unsupported("it panicked".into())))
            .map_err(|err| err.to_string())
    }

    /// A pack's table, if it is here whole.
    pub fn table(&self, id: &PackId, len: u64) -> Option<Table> {
        quietly(|| {
            let mark = self.db.get(key(b"m", id, 0)).ok()??;
            let (mark_len, sum) = mark.split_first_chunk::<8>()?;
            if u64::from_le_bytes(*mark_len) != len {
                return None;
            }
            let mut bytes = Vec::new();
            for row in self.db.scan_prefix([b"t".as_slice(), id.as_bytes()].concat()) {
                bytes.extend_from_slice(&row.ok()?.1);
            }
            if hash::sha256(&bytes) != *sum {
                return None;
            }
            Table::from_cached(&bytes).ok()
        })
        .flatten()
    }

    /// Adds tables. Best effort.
    pub fn add<'a>(&self, tables: impl Iterator<Item = (&'a PackId, u64, &'a Table)>) {
        let _ = quietly(|| -> sled::Result<()> {
            for (id, len, table) in tables {
                let Ok(bytes) = table.to_cached() else { continue };
                let mut batch = sled::Batch::default();
                let mut size = 0;
                for (number, row) in bytes.chunks(ROW).enumerate() {
                    batch.insert(key(b"t", id, number as u32), row);
                    size += row.len();
                    if size >= BATCH {
                        self.db.apply_batch(std::mem::take(&mut batch))?;
                        size = 0;
                    }
                }
                self.db.apply_batch(batch)?;
                let mut mark = len.to_le_bytes().to_vec();
                mark.extend_from_slice(&hash::sha256(&bytes));
                self.db.insert(key(b"m", id, 0), mark)?;
            }
            self.db.flush().map(|_| ())
        });
    }
}

/// sled panics on some damaged files; a view is not worth a crash. The panic's own message is kept from the
/// terminal.
fn quietly<T>(work: impl FnOnce() -> T) -> Option<T> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = catch_unwind(AssertUnwindSafe(work));
    std::panic::set_hook(hook);
    result.ok()
}

fn key(kind: &[u8], id: &PackId, number: u32) -> Vec<u8> {
    let mut key = kind.to_vec();
    key.extend_from_slice(id.as_bytes());
    key.extend_from_slice(&number.to_be_bytes());
    key
}
