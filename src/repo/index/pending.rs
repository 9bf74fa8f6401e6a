//! The chunks that a run has written itself, so that each is written once.
//!
//! What is on its way into a pack is known by its whole id. Once its pack is durable it is a row like any other, and
//! beyond [`Limits::rows`] of them the rows move into a run of this machine's view, so that memory follows what is in
//! flight and not what is stored.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::codec::crypto::hash::ChunkType;
use crate::error::Result;
use crate::model::id::ChunkId;
use crate::repo::index::catalog::{Catalog, TableSource};
use crate::repo::index::entry;
use crate::repo::index::entry::IndexEntry;
use crate::repo::index::run_pack::RunPack;
use crate::repo::index::table_cache::PackTable;
use crate::repo::pack::packs::StoredPack;

/// What was written since the run began.
#[derive(Debug)]
pub(crate) struct PendingChunks {
    /// In no durable pack yet.
    flying: HashSet<ChunkId>,
    catalog: Catalog,
    /// Place of one chunk of each prefix. Another of the same prefix is stored again, which costs its bytes.
    places: HashMap<u64, (u32, u32)>,
    /// Packs whose chunks are in `places`.
    pending: Vec<(u32, Arc<PackTable>)>,
}

impl PendingChunks {
    /// Nothing yet.
    pub(crate) fn new(source: TableSource) -> Self {
        let catalog = Catalog::new(source);
        Self { flying: HashSet::new(), catalog, places: HashMap::new(), pending: Vec::new() }
    }

    /// Whether a chunk was put by this run.
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

    /// A chunk is on its way.
    pub(crate) fn add(&mut self, id: ChunkId) {
        self.flying.insert(id);
    }

    /// A chunk that was on its way stays here after all.
    pub(crate) fn take_back(&mut self, id: &ChunkId) {
        self.flying.remove(id);
    }

    /// A pack has become durable.
    pub(crate) fn landed(&mut self, pack: StoredPack) {
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

    /// From the tables, which have every copy.
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

    /// Tells this machine's view of the packs that it has not heard of.
    pub(crate) fn settle(&self) {
        self.catalog.settle(&self.pending, |_| true);
    }
}
