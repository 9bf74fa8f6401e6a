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
    in_flight: HashSet<ChunkId>,
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
        Self { in_flight: HashSet::new(), catalog, places: HashMap::new(), pending: Vec::new() }
    }

    /// Returns whether this run already wrote a chunk.
    pub(crate) fn has(&self, kind: ChunkType, id: &ChunkId) -> Result<bool> {
        if self.in_flight.contains(id) {
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
            if self.catalog.index_cache().is_none_or(|index_cache| !run.may_contain(index_cache, prefix)) {
                continue;
            }
            for row in self.catalog.entries_in(run, prefix)? {
                if self.catalog.copy(row, kind, id)?.is_some() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Records that a chunk is on its way into a pack.
    pub(crate) fn add(&mut self, id: ChunkId) {
        self.in_flight.insert(id);
    }

    /// Forgets a chunk that was on its way but will not be written.
    pub(crate) fn cancel(&mut self, id: &ChunkId) {
        self.in_flight.remove(id);
    }

    /// Records that a pack has become durable.
    pub(crate) fn record_durable(&mut self, pack: StoredPack) {
        let number = self.catalog.packs.len() as u32;
        let pack_table = Arc::new(PackTable::new(pack.table));
        let info = self.catalog.info(&RunPack::of(pack.id, pack.len, &pack_table));
        self.catalog.packs.push(info);
        self.catalog.cache_table(number, &pack_table, false);
        for (id, row) in pack_table.ids().zip(entry::of_pack(number, pack_table.ids())) {
            self.in_flight.remove(id);
            self.places.insert(row.prefix, (row.pack, row.nth));
        }
        self.pending.push((number, pack_table));
        if self.places.len() >= self.catalog.limits().rows && self.catalog.index_cache().is_some() {
            self.flush_to_run();
        }
    }

    /// Moves the entries into a run. They are taken from the tables, which list every copy.
    fn flush_to_run(&mut self) {
        let mut rows: Vec<IndexEntry> = Vec::with_capacity(self.places.len());
        for (number, pack_table) in &self.pending {
            rows.extend(entry::of_pack(*number, pack_table.ids()));
        }
        self.catalog.flush_to_run(&mut self.pending, &mut rows);
        if self.pending.is_empty() {
            self.places.clear();
            self.catalog.compact();
        }
    }

    /// Adds the new packs to the local index cache.
    pub(crate) fn persist_tables(&self) {
        self.catalog.persist_tables(&self.pending, |_| true);
    }
}
