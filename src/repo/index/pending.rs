//! The chunks that this run has written itself, so that each is written once.
//!
//! A chunk on its way into a pack is known by its full id. Once its pack is durable it becomes an index
//! entry, and beyond [`IndexLimits::rows`](crate::repo::options::IndexLimits) entries they move into a sorted
//! run of the local index cache. So memory follows the data in flight, not the data stored.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::codec::crypto::hash::ChunkType;
use crate::error::Result;
use crate::model::id::ChunkId;
use crate::repo::index::catalog::{Catalog, TableSource};
use crate::repo::index::entry::{self, IndexEntry};
use crate::repo::index::run_pack::RunPack;
use crate::repo::index::table_cache::PackTable;
use crate::repo::pack::packs::StoredPack;

/// The chunks written since the run began.
#[derive(Debug)]
pub(crate) struct PendingChunks {
    /// Chunks that are in no durable pack yet.
    flying: HashSet<ChunkId>,
    catalog: Catalog,
    /// Place of one chunk per prefix. A second chunk with the same prefix is stored again if it recurs,
    /// which only costs space.
    places: HashMap<u64, (u32, u32)>,
    /// Packs whose chunks are in `places`.
    pending: Vec<(u32, Arc<PackTable>)>,
}

impl PendingChunks {
    pub(crate) fn new(source: TableSource) -> Self {
        let catalog = Catalog::new(source);
        Self { flying: HashSet::new(), catalog, places: HashMap::new(), pending: Vec::new() }
    }

    /// Returns whether this run already wrote a chunk.
    pub(crate) fn has(&self, kind: ChunkType, id: &ChunkId) -> Result<bool> {
        if self.flying.contains(id) {
            return Ok(true);
        }
        let prefix = id.prefix();
        if let Some((pack, nth)) = self.places.get(&prefix) {
            let row = IndexEntry { prefix, pack: *pack, nth: *nth };
            if self.catalog.copy(row, kind, id)?.is_some() {
                return Ok(true);
            }
        }
        for run in &self.catalog.runs {
            if self.catalog.index_cache().is_none_or(|index_cache| !run.passes(index_cache, prefix)) {
                continue;
            }
            for row in self.catalog.rows_in(run, prefix)? {
                if self.catalog.copy(row, kind, id)?.is_some() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Records that a chunk is on its way into a pack.
    pub(crate) fn add(&mut self, id: ChunkId) {
        self.flying.insert(id);
    }

    /// Forgets a chunk that was on its way but will not be written.
    pub(crate) fn take_back(&mut self, id: &ChunkId) {
        self.flying.remove(id);
    }

    /// Records that a pack has become durable.
    pub(crate) fn record_durable(&mut self, pack: StoredPack) {
        let number = self.catalog.packs.len() as u32;
        let kept = Arc::new(PackTable::new(pack.table));
        let info = self.catalog.info(&RunPack::of(pack.id, pack.len, &kept));
        self.catalog.packs.push(info);
        self.catalog.keep(number, &kept, false);
        for (id, row) in kept.ids().zip(entry::of_pack(number, kept.ids())) {
            self.flying.remove(id);
            self.places.insert(row.prefix, (row.pack, row.nth));
        }
        self.pending.push((number, kept));
        if self.places.len() >= self.catalog.limits().rows && self.catalog.index_cache().is_some() {
            self.spill();
        }
    }

    /// Moves the entries into a run. They are taken from the tables, which list every copy.
    fn spill(&mut self) {
        let mut rows: Vec<IndexEntry> = Vec::with_capacity(self.places.len());
        for (number, kept) in &self.pending {
            rows.extend(entry::of_pack(*number, kept.ids()));
        }
        self.catalog.spill(&mut self.pending, &mut rows);
        if self.pending.is_empty() {
            self.places.clear();
            self.catalog.merge_runs();
        }
    }

    /// Adds the new packs to the local index cache.
    pub(crate) fn settle(&self) {
        self.catalog.settle(&self.pending, |_| true);
    }
}
