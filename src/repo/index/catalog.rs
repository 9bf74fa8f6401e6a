//! The index catalog: finds chunks in cached tables, in sorted runs of the local index cache, and in the
//! packs' own tables. Entries are only hints: the table of a pack with the full id is authoritative.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::codec::chunk::compress::Codec;
use crate::codec::crypto::hash::ChunkType;
use crate::codec::crypto::suite::CipherSuite;
use crate::codec::pack::Table;
use crate::error::{Error, Result};
use crate::model::id::{ChunkId, PackId, SnapshotId};
use crate::progress::Control;
use crate::repo::index::entry::IndexEntry;
use crate::repo::index::local_cache::LocalIndexCache;
use crate::repo::index::run::{CorruptRun, SortedRun};
use crate::repo::index::run_pack::{RunPack, TableLocation};
use crate::repo::index::table_cache::{PackTable, TableCache};
use crate::repo::index::{BlockAt, Copy, Location, entry, run};
use crate::repo::options::IndexLimits;
use crate::repo::pack::heal::PackHealer;
use crate::repo::repository::Repository;
use crate::storage::Storage;

/// Maximum number of runs; above it runs are merged regardless of size.
const MAX_RUNS: usize = 6;

/// Where tables are read from.
#[derive(Debug, Clone)]
pub(crate) struct TableSource {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) suite: CipherSuite,
    pub(crate) index_cache: Option<Arc<LocalIndexCache>>,
    pub(crate) limits: IndexLimits,
    pub(crate) control: Control<'static>,
    pub(crate) healer: Arc<PackHealer>,
}

impl TableSource {
    /// Creates a source that reads tables from a repository.
    pub(crate) fn of(repo: &Repository) -> Self {
        Self {
            storage: Arc::clone(repo.shared_storage()),
            suite: repo.suite().clone(),
            index_cache: repo.index_cache().cloned(),
            limits: repo.limits(),
            control: repo.control().clone(),
            healer: Arc::clone(repo.healer()),
        }
    }

    /// Reads a pack's own table.
    fn table(&self, pack: &PackId, len: u64) -> Result<Table> {
        let table = self.healer.read_table(self.storage.as_ref(), &self.control, &self.suite, (pack, len));
        table.map(|(table, _)| table)
    }
}

/// A listed pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackInfo {
    /// The pack's id.
    pub id: PackId,
    /// Length in bytes.
    pub len: u64,
    /// Type of its chunks.
    pub kind: ChunkType,
    /// The session that wrote it.
    pub session: SnapshotId,
    /// Number of chunks in it.
    pub chunks: u32,
    /// Number of its first chunk, counted over all copies in the index.
    pub first: usize,
    /// Whether new data may reference it (W2): it is not condemned, damaged or unreadable. Chunks that no
    /// usable pack has are read from other packs.
    pub usable: bool,
    /// A copy of its table in the local index cache, if its entries are in a run.
    pub(crate) table: Option<TableLocation>,
}

/// The listed packs, and the structures that find chunks in them.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) source: Option<TableSource>,
    pub(crate) packs: Vec<PackInfo>,
    pub(crate) runs: Vec<SortedRun>,
    tables: Mutex<TableCache>,
}

impl Catalog {
    pub(crate) fn new(source: TableSource) -> Self {
        Self { source: Some(source), packs: Vec::new(), runs: Vec::new(), tables: Mutex::default() }
    }

    pub(crate) fn limits(&self) -> IndexLimits {
        self.source.as_ref().map_or_else(IndexLimits::default, |source| source.limits)
    }

    pub(crate) fn index_cache(&self) -> Option<&Arc<LocalIndexCache>> {
        self.source.as_ref().and_then(|source| source.index_cache.as_ref())
    }

    fn tables(&self) -> MutexGuard<'_, TableCache> {
        self.tables.lock()
    }

    /// Sets [`PackInfo::first`] of each pack, once all packs are known.
    pub(crate) fn number_copies(&mut self) {
        let mut first = 0;
        for pack in &mut self.packs {
            pack.first = first;
            first += pack.chunks as usize;
        }
    }

    /// Returns the [`PackInfo`] of the next pack to be added.
    pub(crate) fn info(&self, pack: &RunPack) -> PackInfo {
        PackInfo {
            id: pack.id,
            len: pack.len,
            kind: ChunkType::from_byte(pack.kind).unwrap_or(ChunkType::Data),
            session: pack.session,
            chunks: pack.chunks,
            first: self.packs.last().map_or(0, |pack| pack.first + pack.chunks as usize),
            usable: true,
            table: pack.table,
        }
    }

    /// Returns a pack's table: cached in memory, from the local index cache, or from the pack itself.
    ///
    /// # Errors
    /// When it is damaged or cannot be read.
    pub(crate) fn table(&self, pack: u32) -> Result<Arc<PackTable>> {
        if let Some(pack_table) = self.tables().get(pack) {
            return Ok(pack_table);
        }
        let missing = || Error::Missing { what: "the table of an unknown pack".into() };
        let info = self.packs.get(pack as usize).ok_or_else(missing)?;
        let source = self.source.as_ref().ok_or_else(missing)?;
        let copied = source.index_cache.as_ref().and_then(|index_cache| match info.table {
            Some(at) => run::table(index_cache, at),
            None => index_cache.table(&info.id, info.len),
        });
        let table = match copied {
            Some(table) => table,
            None => source.table(&info.id, info.len)?,
        };
        let pack_table = Arc::new(PackTable::new(table));
        if pack_table.chunks() != info.chunks {
            // Copies are numbered by this count, so a garbage collection must not continue if it is wrong.
            return Err(Error::Refused(format!(
                "the local index cache contradicts pack {}: remove the cache's folder `view`",
                info.id.short()
            )));
        }
        self.cache_table(pack, &pack_table, !self.runs.is_empty());
        Ok(pack_table)
    }

    /// Caches a table in memory. With `with_chunks`, its chunks can also be found without their entries.
    pub(crate) fn cache_table(&self, pack: u32, table: &Arc<PackTable>, with_chunks: bool) {
        self.tables().put(pack, table, with_chunks, self.limits().tables);
    }

    /// Returns the copy that an entry points to, if it is this chunk. `None` if the table is damaged.
    pub(crate) fn copy(&self, row: IndexEntry, kind: ChunkType, id: &ChunkId) -> Result<Option<Copy>> {
        if self.packs.get(row.pack as usize).is_none_or(|pack| pack.kind != kind) {
            return Ok(None);
        }
        match self.table(row.pack) {
            Ok(table) => Ok(self.copy_at(row, &table, kind, id)),
            Err(err) if err.is_damage() => Ok(None),
            Err(err) => Err(err),
        }
    }

    fn copy_at(&self, row: IndexEntry, table: &PackTable, kind: ChunkType, id: &ChunkId) -> Option<Copy> {
        let pack = self.packs.get(row.pack as usize)?;
        let chunk = table.chunk_at(row.nth).filter(|chunk| chunk.id == id && table.table.kind == kind)?;
        let block = BlockAt { pack: row.pack, block: chunk.block };
        let location = Location { block, start: chunk.start, len: chunk.len };
        let delta = table.block(chunk.block).is_some_and(|(block, _)| block.codec == Codec::Delta);
        let Table { by, own, .. } = &table.table;
        let foreign = self.source.as_ref().is_some_and(|source| !source.suite.may_reuse(by.as_ref(), *own));
        let number = pack.first + row.nth as usize;
        Some(Copy { number, location, in_usable_pack: pack.usable, delta, foreign })
    }

    /// Returns the id and length of the chunk that an entry points to. `None` if the table is damaged.
    pub(crate) fn chunk(&self, row: IndexEntry, kind: ChunkType) -> Result<Option<(ChunkId, u32)>> {
        if self.packs.get(row.pack as usize).is_none_or(|pack| pack.kind != kind) {
            return Ok(None);
        }
        match self.table(row.pack) {
            Ok(table) => Ok(table.chunk_at(row.nth).map(|chunk| (*chunk.id, chunk.len))),
            Err(err) if err.is_damage() => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// Finds a chunk by id prefix, in cached tables only.
    pub(crate) fn find_cached_chunk(&self, kind: ChunkType, prefix: u64) -> Option<(ChunkId, u32)> {
        let (_, nth, table) = self.tables().find(prefix)?;
        let chunk = table.chunk_at(nth).filter(|_| table.table.kind == kind)?;
        Some((*chunk.id, chunk.len))
    }

    /// Finds a copy of a chunk, in cached tables only.
    pub(crate) fn find_cached(&self, kind: ChunkType, id: &ChunkId) -> Option<Copy> {
        let prefix = id.prefix();
        let (pack, nth, table) = self.tables().find(prefix)?;
        self.copy_at(IndexEntry { prefix, pack, nth }, &table, kind, id)
    }

    /// Returns a run's entries with a prefix. If the run turns out to be corrupt, rebuilds all its entries
    /// from the packs' tables.
    pub(crate) fn entries_in(&self, run: &SortedRun, prefix: u64) -> Result<Vec<IndexEntry>> {
        let Some(index_cache) = self.index_cache() else { return Ok(Vec::new()) };
        match run.find(index_cache, prefix) {
            Ok(rows) => Ok(rows),
            Err(CorruptRun) => {
                self.rebuild_run(run)?;
                let rule = |CorruptRun| Error::Bug {
                    what: "index entries that were rebuilt from tables are in memory",
                };
                run.find(index_cache, prefix).map_err(rule)
            }
        }
    }

    pub(crate) fn warn_of_damage(&self) {
        if let Some(source) = &self.source {
            source.control.warn("the local index cache is damaged; reading the tables from the packs");
        }
    }

    /// Rebuilds a run's entries from its packs' tables.
    pub(crate) fn rebuild_run(&self, run: &SortedRun) -> Result<()> {
        self.warn_of_damage();
        let mut rows = Vec::new();
        for pack in run.packs() {
            match self.table(pack) {
                Ok(table) => rows.extend(entry::of_pack(pack, table.ids())),
                Err(err) if err.is_damage() => {}
                Err(err) => return Err(err),
            }
        }
        rows.sort_unstable();
        run.set_rebuilt(rows);
        if let Some(index_cache) = self.index_cache() {
            run::drop_run(index_cache, run.id());
        }
        Ok(())
    }

    /// Moves the entries of all `pending` packs into a new run and releases their tables. On failure they
    /// stay in memory; `false` means that retrying is pointless.
    pub(crate) fn flush_to_run(
        &mut self,
        pending: &mut Vec<(u32, Arc<PackTable>)>,
        rows: &mut Vec<IndexEntry>,
    ) -> bool {
        let Some(index_cache) = self.index_cache().cloned() else { return false };
        rows.sort_unstable();
        let Some(_lock) = index_cache.lock_runs() else { return false };
        run::remove_unreferenced(&index_cache);
        let tables = pending.iter().map(|(_, pack_table)| &pack_table.table);
        let Some(places) = run::write_tables(&index_cache, tables) else { return false };
        for ((number, _), at) in pending.iter().zip(places) {
            if let Some(info) = self.packs.get_mut(*number as usize) {
                info.table = Some(at);
            }
        }
        let numbers = pending.iter().map(|(number, _)| *number).collect();
        let built = self.build(&index_cache, numbers, rows.iter().map(|row| Ok(*row)), &[]);
        let Some(run) = built else { return false };
        self.runs.push(run);
        index_cache.drop_tables(
            pending.iter().filter_map(|(number, _)| Some(&self.packs.get(*number as usize)?.id)),
        );
        pending.clear();
        rows.clear();
        true
    }

    /// Caches the tables of packs that stay in memory, within the budget.
    /// Copies new ones to the local index cache.
    pub(crate) fn persist_tables(&self, pending: &[(u32, Arc<PackTable>)], new: impl Fn(&PackId) -> bool) {
        let mut writer = self.index_cache().map(|index_cache| index_cache.writer());
        for (number, pack_table) in pending {
            self.cache_table(*number, pack_table, false);
            let Some(info) = self.packs.get(*number as usize).filter(|info| new(&info.id)) else { continue };
            writer.iter_mut().for_each(|writer| writer.put_table(&info.id, info.len, &pack_table.table));
        }
        if let Some(writer) = writer {
            writer.finish();
        }
    }

    fn build(
        &self,
        index_cache: &LocalIndexCache,
        mut numbers: Vec<u32>,
        rows: impl Iterator<Item = Result<IndexEntry, CorruptRun>>,
        replaced: &[u64],
    ) -> Option<SortedRun> {
        numbers.sort_unstable();
        let mut local = vec![0; self.packs.len()];
        let mut packs = Vec::with_capacity(numbers.len());
        for (at, number) in numbers.iter().enumerate() {
            let info = self.packs.get(*number as usize)?;
            *local.get_mut(*number as usize)? = at as u32;
            let PackInfo { id, len, session, chunks, table, .. } = *info;
            packs.push(RunPack { id, len, kind: info.kind.byte(), session, chunks, table });
        }
        let rows = rows.map(|row| {
            let row = row?;
            local.get(row.pack as usize).map(|pack| IndexEntry { pack: *pack, ..row }).ok_or(CorruptRun)
        });
        SortedRun::build(index_cache, &packs, numbers, rows, replaced)
    }

    /// Merges runs until each is at least twice as long as the next, and none has mostly deleted packs.
    /// This bounds the number of runs per look-up, and rewrites an entry about once per doubling of the
    /// index.
    pub(crate) fn compact(&mut self) {
        let Some(index_cache) = self.index_cache().cloned() else { return };
        self.runs.sort_by_key(|run| std::cmp::Reverse(run.len()));
        let from = self.compaction_start();
        if from >= self.runs.len() {
            return;
        }
        let Some(_lock) = index_cache.lock_runs() else { return };
        let mut merged: Vec<SortedRun> = self.runs.drain(from..).collect();
        let mut numbers: Vec<u32> = merged.iter().flat_map(SortedRun::packs).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let replaced: Vec<u64> = merged.iter().map(SortedRun::id).collect();
        merged.iter_mut().for_each(SortedRun::drop_bloom);
        let rows = Merge::new(merged.iter().map(|run| run.rows(&index_cache)).collect());
        match self.build(&index_cache, numbers, rows, &replaced) {
            Some(run) => {
                self.runs.push(run);
                drop(merged);
                run::remove_unreferenced(&index_cache);
            }
            None => self.runs.extend(merged),
        }
    }

    /// Returns the position from which runs, sorted longest first, are merged; their number if none are.
    fn compaction_start(&self) -> usize {
        let mut from = self.runs.len().saturating_sub(1);
        let mut sum = self.runs.last().map_or(0, SortedRun::len);
        while let Some(longer) = from.checked_sub(1).and_then(|at| self.runs.get(at)).map(SortedRun::len) {
            if longer >= 2 * sum && from < MAX_RUNS {
                break;
            }
            from -= 1;
            sum += longer;
        }
        if from + 1 < self.runs.len() {
            return from;
        }
        let chunks = |pack: u32| self.packs.get(pack as usize).map_or(0, |pack| u64::from(pack.chunks));
        let mostly_unlisted = |run: &SortedRun| run.packs().map(chunks).sum::<u64>() * 2 < run.len();
        self.runs.iter().position(mostly_unlisted).unwrap_or(self.runs.len())
    }
}

/// Merges several sorted sources of entries in order of prefix.
pub(crate) struct Merge<I: Iterator<Item = Result<IndexEntry, CorruptRun>>> {
    sources: Vec<std::iter::Peekable<I>>,
}

impl<I: Iterator<Item = Result<IndexEntry, CorruptRun>>> Merge<I> {
    pub(crate) fn new(sources: Vec<I>) -> Self {
        Self { sources: sources.into_iter().map(Iterator::peekable).collect() }
    }
}

impl<I: Iterator<Item = Result<IndexEntry, CorruptRun>>> Iterator for Merge<I> {
    type Item = Result<IndexEntry, CorruptRun>;

    fn next(&mut self) -> Option<Self::Item> {
        // There are at most a handful of sources. A corrupt one is returned first.
        let firsts = self.sources.iter_mut().filter_map(|source| {
            let prefix = match source.peek()? {
                Ok(row) => row.prefix,
                Err(CorruptRun) => 0,
            };
            Some((prefix, source))
        });
        firsts.min_by_key(|(prefix, _)| *prefix)?.1.next()
    }
}
