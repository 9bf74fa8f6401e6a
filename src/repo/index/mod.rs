//! Chunk id to place. The packs' own tables are the truth and the fresh listing rules; what this machine's view holds
//! only says where to look.
//!
//! Few or recent chunks have their rows in memory. Beyond the limit set at opening they move into runs in the view, which takes
//! about twelve bits of memory for each chunk, and only where new ones are to be told from known ones.

mod bases;
pub(crate) mod bloom;
pub mod catalog;
pub mod entry;
mod load;
pub mod local_cache;
pub(crate) mod mac_file;
pub(crate) mod pending;
pub(crate) mod run;
pub(crate) mod run_pack;
pub mod table_cache;
pub(crate) mod table_loader;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use crate::codec::chunk::compress::Codec;
use crate::codec::crypto::hash::ChunkType;
use crate::error::{Error, Result};
use crate::model::id::{ChunkId, PackId};
use crate::repo::index::catalog::{Catalog, Merge, PackInfo};
use crate::repo::index::entry::IndexEntry;
use crate::repo::index::run::CorruptRun;
use crate::repo::index::table_cache::PackTable;
use crate::repo::sessions::session::RepoState;

/// Where a chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// Its block: pack number in this index and place in the pack.
    pub block: BlockAt,
    /// Where it begins in the plain block.
    pub start: u32,
    /// Its plain bytes.
    pub len: u32,
}

/// A block of an [`Index`]; ordered as they lie in the packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockAt {
    /// Which pack.
    pub pack: u32,
    /// Which of its blocks.
    pub block: u32,
}

impl BlockAt {
    /// In no pack of any index: what is looked for there has to be found anew.
    pub const NOWHERE: Self = Self { pack: u32::MAX, block: u32::MAX };
}

/// A copy of a chunk, by where its pack's table has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChunkAt {
    /// Which pack.
    pub pack: u32,
    /// Which of its chunks, counted through its blocks.
    pub nth: u32,
}

/// What reading a block takes.
#[derive(Debug, Clone)]
pub struct BlockPlace {
    /// The pack.
    pub pack: PackId,
    /// Type of its chunks.
    pub kind: ChunkType,
    /// Where it begins in the pack.
    pub offset: u32,
    /// Its sealed bytes.
    pub stored: u32,
    /// Its plain bytes.
    pub plain: u32,
    /// How it is packed.
    pub codec: Codec,
    /// Of a delta: what it is made from, in the order of its prefix.
    pub bases: Vec<(ChunkId, u32)>,
}

/// One copy of a chunk, for those who keep an account of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copy {
    /// Its number among all copies of this index: they are counted pack by pack.
    pub row: usize,
    /// Where it lies.
    pub location: Location,
    /// As its pack is.
    pub not_writable: bool,
    /// It lies in a delta block: reading it takes that block's bases as well.
    pub delta: bool,
}

/// All chunks of the packs that a [`RepoState`] lists.
#[derive(Debug, Default)]
pub struct Index {
    repo_state: RepoState,
    catalog: Catalog,
    /// Of packs that are in no run, in order.
    rows: Vec<IndexEntry>,
    /// Look-ups of chunks that may be new.
    asked: AtomicU32,
    /// Delta blocks whose bases were looked up, and whether they may be written against.
    standing: Mutex<HashMap<BlockAt, bool>>,
    /// Packs whose tables could not be read: (object, why).
    pub unreadable: Vec<(PackId, Error)>,
    /// Packs whose tables could be read only after they were rebuilt.
    pub mended: Vec<PackId>,
}

impl Index {
    /// What it was loaded from.
    pub fn repo_state(&self) -> &RepoState {
        &self.repo_state
    }

    /// How many chunks the listed packs hold, copies counted.
    pub fn chunks(&self) -> u64 {
        self.catalog.packs.iter().map(|pack| u64::from(pack.chunks)).sum()
    }

    /// A copy that may be written against.
    ///
    /// # Errors
    /// When a table could not be read.
    pub fn find(&self, kind: ChunkType, id: &ChunkId) -> Result<Option<Location>> {
        let asked = self.asked.load(Ordering::Relaxed);
        if asked < self.catalog.limits().bloom_after_lookups {
            self.asked.store(asked + 1, Ordering::Relaxed);
        }
        self.search(kind, id, asked >= self.catalog.limits().bloom_after_lookups)
    }

    /// Lengths of those of these chunks that may be written against.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn lengths(&self, kind: ChunkType, ids: &[ChunkId]) -> Result<Vec<(ChunkId, u32)>> {
        let mut found = Vec::new();
        for id in ids {
            found.extend(self.find(kind, id)?.map(|location| (*id, location.len)));
        }
        Ok(found)
    }

    /// A copy to read: a good one where there is one, else any.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn find_any(&self, kind: ChunkType, id: &ChunkId) -> Result<Option<Location>> {
        if let Some(found) = self.search(kind, id, false)? {
            return Ok(Some(found));
        }
        let copies = self.copies(kind, id)?;
        let best = copies.iter().find(|copy| !copy.delta).or(copies.first());
        Ok(best.map(|copy| copy.location))
    }

    fn search(&self, kind: ChunkType, id: &ChunkId, sieved: bool) -> Result<Option<Location>> {
        if !self.catalog.runs.is_empty()
            && let Some(copy) = self.catalog.near(kind, id)
            && self.is_sound(&copy)?
        {
            return Ok(Some(copy.location));
        }
        let prefix = id.prefix();
        for row in entry::with_prefix(&self.rows, prefix) {
            if let Some(copy) = self.catalog.copy(*row, kind, id)?
                && self.is_sound(&copy)?
            {
                return Ok(Some(copy.location));
            }
        }
        for run in &self.catalog.runs {
            if sieved
                && self.catalog.index_cache().is_some_and(|index_cache| !run.passes(index_cache, prefix))
            {
                continue;
            }
            for row in self.catalog.rows_in(run, prefix)? {
                if let Some(copy) = self.catalog.copy(row, kind, id)?
                    && self.is_sound(&copy)?
                {
                    return Ok(Some(copy.location));
                }
            }
        }
        Ok(None)
    }

    /// A good copy near what was asked for last, if there is one: costs no reading.
    pub fn near(&self, kind: ChunkType, id: &ChunkId) -> Option<Copy> {
        self.catalog.near(kind, id).filter(|copy| self.is_sound(copy).unwrap_or(false))
    }

    /// All copies in listed packs, in order of their packs.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn copies(&self, kind: ChunkType, id: &ChunkId) -> Result<Vec<Copy>> {
        let prefix = id.prefix();
        let mut found = Vec::new();
        for row in entry::with_prefix(&self.rows, prefix) {
            found.extend(self.catalog.copy(*row, kind, id)?);
        }
        for run in &self.catalog.runs {
            for row in self.catalog.rows_in(run, prefix)? {
                found.extend(self.catalog.copy(row, kind, id)?);
            }
        }
        found.sort_unstable_by_key(|copy| copy.row);
        Ok(found)
    }

    /// All copies that may be of one chunk at a time: they share eight bytes of their ids, and only [`Self::chunk`] knows
    /// the rest. False: this machine's view broke on the way, and what was said is not all; ask again from the start.
    ///
    /// # Errors
    /// When a table could not be read, and what `each` returns.
    pub fn each_group(&self, each: &mut dyn FnMut(&[ChunkAt]) -> Result<()>) -> Result<bool> {
        let index_cache = self.catalog.index_cache();
        let mut sources: Vec<Box<dyn Iterator<Item = std::result::Result<IndexEntry, CorruptRun>> + '_>> =
            vec![Box::new(self.rows.iter().map(|row| Ok(*row)))];
        for run in &self.catalog.runs {
            sources.extend(index_cache.map(|index_cache| Box::new(run.rows(index_cache)) as Box<_>));
        }
        let mut group: Vec<ChunkAt> = Vec::new();
        let mut prefix = None;
        for row in Merge::new(sources) {
            let Ok(row) = row else {
                self.catalog.runs.iter().try_for_each(|run| self.catalog.rescue(run))?;
                return Ok(false);
            };
            if prefix != Some(row.prefix) && !group.is_empty() {
                group.sort_unstable();
                each(&group)?;
                group.clear();
            }
            prefix = Some(row.prefix);
            group.push(ChunkAt { pack: row.pack, nth: row.nth });
        }
        group.sort_unstable();
        if !group.is_empty() {
            each(&group)?;
        }
        Ok(true)
    }

    /// Type, id and copy of a chunk by its place; `None` where the table is damaged.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn chunk(&self, at: ChunkAt) -> Result<Option<(ChunkType, ChunkId, Copy)>> {
        let ChunkAt { pack, nth } = at;
        let (Some(info), table) = (self.catalog.packs.get(pack as usize), self.catalog.table(pack)) else {
            return Ok(None);
        };
        let table = match table {
            Ok(table) => table,
            Err(err) if err.is_damage() => return Ok(None),
            Err(err) => return Err(err),
        };
        let Some(id) = table.spot(nth).map(|spot| *spot.id) else { return Ok(None) };
        let copy = self.catalog.copy(IndexEntry { prefix: id.prefix(), pack, nth }, info.kind, &id)?;
        Ok(copy.map(|copy| (info.kind, id, copy)))
    }

    /// All listed packs; a [`BlockAt`] counts in this order.
    pub fn packs(&self) -> &[PackInfo] {
        &self.catalog.packs
    }

    /// What a pack holds.
    ///
    /// # Errors
    /// When its table is damaged or cannot be read.
    pub fn table(&self, pack: u32) -> Result<Arc<PackTable>> {
        self.catalog.table(pack)
    }

    /// What reading a block takes.
    ///
    /// # Errors
    /// When there is no such block, or as [`Self::table`].
    pub fn place(&self, at: BlockAt) -> Result<BlockPlace> {
        let missing = || Error::Missing { what: "a block of an unknown pack".into() };
        let pack = self.catalog.packs.get(at.pack as usize).ok_or_else(missing)?;
        let kept = self.catalog.table(at.pack)?;
        let row = kept.table.blocks.get(at.block as usize).ok_or_else(missing)?;
        Ok(BlockPlace {
            pack: pack.id,
            kind: pack.kind,
            offset: row.offset,
            stored: row.stored,
            plain: row.plain,
            codec: row.codec,
            bases: self.bases_of(pack.kind, row)?,
        })
    }
}
