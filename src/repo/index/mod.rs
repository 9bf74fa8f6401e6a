//! The index: maps chunk ids to places. The packs' own tables and a fresh listing are authoritative; the
//! local index cache only gives hints.
//!
//! Entries of few or recent chunks are kept in memory. Beyond the limit set at opening they move into sorted
//! runs in the local index cache, whose Bloom filters take about 12 bits of memory per chunk. The filters are
//! loaded only by sessions that must tell new chunks from known ones.

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
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use crate::codec::chunk::block::BlockSeal;
use crate::codec::chunk::compress::Codec;
use crate::codec::crypto::hash::ChunkType;
use crate::error::{Error, Result};
use crate::model::id::{ChunkId, PackId};
use crate::repo::index::catalog::{Catalog, Merge, PackInfo};
use crate::repo::index::entry::IndexEntry;
use crate::repo::index::run::CorruptRun;
use crate::repo::index::table_cache::PackTable;
use crate::repo::sessions::session::RepoState;

/// The location of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The block: pack number in this index and number in the pack.
    pub block: BlockAt,
    /// Offset of the chunk in the plain block.
    pub start: u32,
    /// Length of the plain chunk in bytes.
    pub len: u32,
}

/// A block of an [`Index`]; sorts in pack order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockAt {
    /// The pack's number in the index.
    pub pack: u32,
    /// The block's number in the pack.
    pub block: u32,
}

impl BlockAt {
    /// A location in no pack; the chunk must be looked up again.
    pub const NOWHERE: Self = Self { pack: u32::MAX, block: u32::MAX };
}

/// A copy of a chunk, by its position in its pack's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChunkAt {
    /// The pack's number in the index.
    pub pack: u32,
    /// The chunk's number in the pack, counted through its blocks.
    pub nth: u32,
}

/// Data for reading a block.
#[derive(Debug, Clone)]
pub struct BlockPlace {
    /// The pack that holds the block.
    pub pack: PackId,
    /// Type of its chunks.
    pub kind: ChunkType,
    /// Offset of the block in the pack.
    pub offset: u32,
    /// Sealed length in bytes.
    pub stored: u32,
    /// Plain length in bytes.
    pub plain: u32,
    /// How it is compressed.
    pub codec: Codec,
    /// The data that it is bound to.
    pub seal: BlockSeal,
    /// The bases of a delta block, in the order of its prefix; empty for other blocks.
    pub bases: Vec<(ChunkId, u32)>,
}

/// One copy of a chunk, for callers that account for all copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copy {
    /// Number of the copy among all copies in this index, counted pack by pack.
    pub number: usize,
    /// Its location.
    pub location: Location,
    /// Whether its pack is [usable](PackInfo::usable).
    pub in_usable_pack: bool,
    /// Whether it is in a delta block, so that reading it also needs the block's bases.
    pub delta: bool,
    /// Whether another write key stored it. Nobody has verified its id, so new data must not reference it.
    pub foreign: bool,
}

impl Copy {
    /// Returns whether new data may reference it (W2). The bases of a delta are not considered.
    pub(crate) fn may_be_referenced(&self) -> bool {
        self.in_usable_pack && !self.foreign
    }
}

/// All chunks of the packs that a [`RepoState`] lists.
#[derive(Debug, Default)]
pub struct Index {
    repo_state: RepoState,
    catalog: Catalog,
    /// Entries of packs that are in no run, sorted.
    rows: Vec<IndexEntry>,
    /// Number of look-ups by [`Self::find`], counted up to the limit from which Bloom filters are used.
    lookups: AtomicU32,
    /// For delta blocks that were looked up: whether new data may reference all their bases.
    sound_blocks: Mutex<HashMap<BlockAt, bool>>,
    /// Packs whose tables could not be read, with the error.
    pub unreadable: Vec<(PackId, Error)>,
    /// Packs whose tables could be read only after they were rebuilt from parity.
    pub healed: Vec<PackId>,
}

impl Index {
    /// Returns the repository state that the index was loaded from.
    pub fn repo_state(&self) -> &RepoState {
        &self.repo_state
    }

    /// Returns the number of chunks in the listed packs, copies counted.
    pub fn chunks(&self) -> u64 {
        self.catalog.packs.iter().map(|pack| u64::from(pack.chunks)).sum()
    }

    /// Returns a copy that new data may reference.
    ///
    /// # Errors
    /// When a table could not be read.
    pub fn find(&self, kind: ChunkType, id: &ChunkId) -> Result<Option<Location>> {
        let lookups = self.lookups.load(Ordering::Relaxed);
        let use_bloom = lookups >= self.catalog.limits().bloom_after_lookups;
        if !use_bloom {
            self.lookups.store(lookups + 1, Ordering::Relaxed);
        }
        self.find_sound(kind, id, use_bloom)
    }

    /// Returns the lengths of those of these chunks that new data may reference.
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

    /// Returns a copy for reading: if possible one that new data may reference, otherwise any.
    pub fn find_any(&self, kind: ChunkType, id: &ChunkId) -> Result<Option<Location>> {
        if let Some(found) = self.find_sound(kind, id, false)? {
            return Ok(Some(found));
        }
        let copies = self.copies(kind, id)?;
        let best = copies.iter().find(|copy| !copy.delta).or(copies.first());
        Ok(best.map(|copy| copy.location))
    }

    fn find_sound(&self, kind: ChunkType, id: &ChunkId, use_bloom: bool) -> Result<Option<Location>> {
        if !self.catalog.runs.is_empty()
            && let Some(copy) = self.catalog.find_cached(kind, id)
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
            if use_bloom
                && self.catalog.index_cache().is_some_and(|index_cache| !run.may_contain(index_cache, prefix))
            {
                continue;
            }
            for row in self.catalog.entries_in(run, prefix)? {
                if let Some(copy) = self.catalog.copy(row, kind, id)?
                    && self.is_sound(&copy)?
                {
                    return Ok(Some(copy.location));
                }
            }
        }
        Ok(None)
    }

    /// Like [`Self::find`], but searches cached tables only, without I/O. Recently used tables are cached, so
    /// neighbours of recent chunks are likely found.
    pub fn find_cached(&self, kind: ChunkType, id: &ChunkId) -> Option<Copy> {
        self.catalog.find_cached(kind, id).filter(|copy| self.is_sound(copy).unwrap_or(false))
    }

    /// Returns all copies in listed packs, in pack order.
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
            for row in self.catalog.entries_in(run, prefix)? {
                found.extend(self.catalog.copy(row, kind, id)?);
            }
        }
        found.sort_unstable_by_key(|copy| copy.number);
        Ok(found)
    }

    /// Calls `each` with groups of copies that may be of one chunk: their ids share the first eight bytes.
    /// [`Self::chunk`] returns the whole id. Returns `false` if the local index cache failed on the way: then
    /// the groups seen are incomplete, and the caller must start again.
    ///
    /// # Errors
    /// When a table could not be read, and what `each` returns.
    pub fn for_each_group(&self, each: &mut dyn FnMut(&[ChunkAt]) -> Result<()>) -> Result<bool> {
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
                self.catalog.runs.iter().try_for_each(|run| self.catalog.rebuild_run(run))?;
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

    /// Returns type, id and copy of the chunk at a place; `None` if the table is damaged.
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
        let Some(id) = table.chunk_at(nth).map(|chunk| *chunk.id) else { return Ok(None) };
        let copy = self.catalog.copy(IndexEntry { prefix: id.prefix(), pack, nth }, info.kind, &id)?;
        Ok(copy.map(|copy| (info.kind, id, copy)))
    }

    /// Returns all listed packs; [`BlockAt::pack`] is a position in this slice.
    pub fn packs(&self) -> &[PackInfo] {
        &self.catalog.packs
    }

    /// Returns a pack's table.
    ///
    /// # Errors
    /// When it is damaged or cannot be read.
    pub fn table(&self, pack: u32) -> Result<Arc<PackTable>> {
        self.catalog.table(pack)
    }

    /// Returns what is needed to read a block.
    ///
    /// # Errors
    /// When there is no such block, or as [`Self::table`].
    pub fn place(&self, at: BlockAt) -> Result<BlockPlace> {
        let missing = || Error::Missing { what: "a block of an unknown pack".into() };
        let pack = self.catalog.packs.get(at.pack as usize).ok_or_else(missing)?;
        let pack_table = self.catalog.table(at.pack)?;
        let row = pack_table.table.blocks.get(at.block as usize).ok_or_else(missing)?;
        Ok(BlockPlace {
            pack: pack.id,
            kind: pack.kind,
            offset: row.offset,
            stored: row.stored,
            plain: row.plain,
            codec: row.codec,
            seal: row.seal((pack_table.table.sealing(), pack.kind)),
            bases: self.bases_of(pack.kind, row)?,
        })
    }
}
