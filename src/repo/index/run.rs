//! Sorted runs: the entries of many packs, sorted, in files of the local index cache, with copies of those
//! packs' tables. A run is immutable; a longer one replaces it.
//!
//! `<id>.rows` holds pages of entries, the first prefix of each page, the Bloom filter and the packs.
//! `<id>.tables` holds the tables of the packs that were new when the run was made; runs that result from
//! merging refer to it. sled's value `runs` lists the live runs, and is written after their files are on
//! disk.

use std::fs::File;
use std::sync::OnceLock;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::codec::crypto::cipher;
use crate::codec::pack::Table;
use crate::codec::wire;
use crate::repo::index::bloom::{BLOCK_BYTES, BloomFilter};
use crate::repo::index::entry::{ENTRY_BYTES, IndexEntry};
use crate::repo::index::local_cache::LocalIndexCache;
use crate::repo::index::mac_file::{MacFile, Section};
use crate::repo::index::run_pack::{RUN_PACK_BYTES, RunPack, TableLocation};
use crate::repo::index::{entry, mac_file};

/// Entries per page: with its MAC, a page is as much as is read at once anyway.
const ENTRIES_PER_PAGE: u64 = 255;
/// Bytes of a piece of the sections that are read as a whole.
const PIECE_BYTES: u64 = 32 << 10;
/// Maximum number of entries of a run that is accepted, because lengths are computed from it.
const MAX_ENTRIES: u64 = 1 << 36;
const LIVE_RUNS_KEY: &[u8] = b"runs";
/// The pack number of a pack that is no longer listed.
const UNLISTED: u32 = u32::MAX;

/// Description of a live run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunMeta {
    id: u64,
    rows: u64,
    packs: u32,
    lines: u32,
    /// Ids of the files that hold tables of its packs.
    tables: Vec<u64>,
}

/// An open run. Its file may be removed meanwhile.
#[derive(Debug)]
pub(crate) struct SortedRun {
    meta: RunMeta,
    file: File,
    /// The reader's number of each of the run's packs.
    numbers: Vec<u32>,
    /// First prefix of each page.
    fence_keys: Vec<u64>,
    bloom: OnceLock<Option<BloomFilter>>,
    /// The entries rebuilt from the packs' tables, once the run turned out to be corrupt.
    rebuilt: OnceLock<Vec<IndexEntry>>,
}

/// Part of a run's file could not be read.
#[derive(Debug)]
pub(crate) struct CorruptRun;

/// Returns the live runs.
pub(crate) fn list(index_cache: &LocalIndexCache) -> Vec<RunMeta> {
    index_cache.get(LIVE_RUNS_KEY).and_then(|bytes| wire::decode(&bytes).ok()).unwrap_or_default()
}

fn write_list(index_cache: &LocalIndexCache, metas: &[RunMeta]) -> bool {
    let Ok(bytes) = wire::encode(&metas) else { return false };
    let mut writer = index_cache.writer();
    writer.put(LIVE_RUNS_KEY.to_vec(), &bytes);
    writer.finish()
}

impl RunMeta {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    fn pages(&self) -> Section {
        Section { start: 0, items: self.rows, per: ENTRIES_PER_PAGE, size: ENTRY_BYTES as u64 }
    }

    fn fence_keys(&self) -> Section {
        Section { start: self.pages().end(), items: self.pages().pieces(), per: PIECE_BYTES / 8, size: 8 }
    }

    fn bloom(&self) -> Section {
        let size = BLOCK_BYTES as u64;
        Section {
            start: self.fence_keys().end(),
            items: u64::from(self.lines),
            per: PIECE_BYTES / size,
            size,
        }
    }

    fn packs(&self) -> Section {
        let size = RUN_PACK_BYTES as u64;
        Section { start: self.bloom().end(), items: u64::from(self.packs), per: PIECE_BYTES / size, size }
    }
}

impl SortedRun {
    /// Opens a run. `number` returns the reader's number of a pack, if it is listed.
    pub(crate) fn open(
        index_cache: &LocalIndexCache,
        meta: RunMeta,
        mut number: impl FnMut(&RunPack) -> Option<u32>,
    ) -> Option<Self> {
        let file = File::open(mac_file::path(index_cache, meta.id, "rows")).ok()?;
        if meta.rows > MAX_ENTRIES || file.metadata().ok()?.len() != meta.packs().end() {
            return None;
        }
        let mut fence_keys = Vec::with_capacity(meta.fence_keys().items as usize);
        for piece in meta.fence_keys().read(index_cache, &file, meta.id) {
            fence_keys.extend(piece?.as_chunks::<8>().0.iter().map(|first| u64::from_le_bytes(*first)));
        }
        let mut packs = Vec::with_capacity(meta.packs as usize);
        for piece in meta.packs().read(index_cache, &file, meta.id) {
            packs.extend(piece?.as_chunks::<RUN_PACK_BYTES>().0.iter().map(RunPack::from_bytes));
        }
        if packs.iter().map(|pack| u64::from(pack.chunks)).sum::<u64>() != meta.rows {
            return None;
        }
        let numbers = packs.iter().map(|pack| number(pack).unwrap_or(UNLISTED)).collect();
        let (bloom, rebuilt) = (OnceLock::new(), OnceLock::new());
        Some(Self { meta, file, numbers, fence_keys, bloom, rebuilt })
    }

    /// Writes a run of `packs` from entries in order of prefix, whose pack numbers are positions in `packs`.
    /// On success the run is live and those it replaces are not. `numbers` are the reader's pack numbers.
    pub(crate) fn build(
        index_cache: &LocalIndexCache,
        packs: &[RunPack],
        numbers: Vec<u32>,
        rows: impl Iterator<Item = Result<IndexEntry, CorruptRun>>,
        replaced: &[u64],
    ) -> Option<Self> {
        let total = packs.iter().map(|pack| u64::from(pack.chunks)).sum();
        let mut bloom = BloomFilter::with_capacity(total);
        let id = new_id()?;
        let mut tables: Vec<u64> = packs.iter().filter_map(|pack| Some(pack.table?.file)).collect();
        tables.sort_unstable();
        tables.dedup();
        let meta = RunMeta { id, rows: total, packs: packs.len() as u32, lines: bloom.len() as u32, tables };
        let fence_keys = write_entries(index_cache, &meta, packs, rows, &mut bloom).ok()?;
        let file = File::open(mac_file::path(index_cache, id, "rows")).ok()?;
        let mut live = list(index_cache);
        live.retain(|meta| !replaced.contains(&meta.id));
        live.push(meta.clone());
        let (bloom, rebuilt) = (OnceLock::from(Some(bloom)), OnceLock::new());
        write_list(index_cache, &live).then_some(Self { meta, file, numbers, fence_keys, bloom, rebuilt })
    }

    pub(crate) fn id(&self) -> u64 {
        self.meta.id
    }

    /// Returns the number of entries.
    pub(crate) fn len(&self) -> u64 {
        self.meta.rows
    }

    /// Returns the reader's numbers of the run's packs that are listed.
    pub(crate) fn packs(&self) -> impl Iterator<Item = u32> {
        self.numbers.iter().copied().filter(|number| *number != UNLISTED)
    }

    /// Returns whether the run may hold a chunk of this prefix; `false` is certain.
    pub(crate) fn may_contain(&self, index_cache: &LocalIndexCache, prefix: u64) -> bool {
        let read = || {
            let pieces = self.meta.bloom().read(index_cache, &self.file, self.meta.id);
            BloomFilter::from_pieces(self.meta.lines as usize, pieces)
        };
        self.bloom.get_or_init(read).as_ref().is_none_or(|bloom| bloom.may_contain(prefix))
    }

    /// Releases the memory of the Bloom filter.
    pub(crate) fn drop_bloom(&mut self) {
        self.bloom.take();
    }

    /// Returns the entries with a prefix.
    pub(crate) fn find(
        &self,
        index_cache: &LocalIndexCache,
        prefix: u64,
    ) -> Result<Vec<IndexEntry>, CorruptRun> {
        if let Some(rows) = self.rebuilt.get() {
            return Ok(entry::with_prefix(rows, prefix).to_vec());
        }
        let pages = self.fence_keys.partition_point(|first| *first <= prefix);
        let mut found = Vec::new();
        // Entries of one prefix may continue over several pages.
        for page in (0..pages as u64).rev() {
            let rows = self.read(index_cache, page)?;
            found.extend(entry::with_prefix(&rows, prefix).iter().filter_map(|row| self.renumber(*row)));
            if self.fence_keys.get(page as usize).is_none_or(|first| *first < prefix) {
                break;
            }
        }
        Ok(found)
    }

    /// Uses `rows`, the entries of all the run's packs, instead of the corrupt file.
    pub(crate) fn set_rebuilt(&self, rows: Vec<IndexEntry>) {
        let _ = self.rebuilt.set(rows);
    }

    /// Returns all entries in order of prefix.
    pub(crate) fn rows<'a>(
        &'a self,
        index_cache: &'a LocalIndexCache,
    ) -> impl Iterator<Item = Result<IndexEntry, CorruptRun>> + 'a {
        let rebuilt = self.rebuilt.get();
        let pages = if rebuilt.is_some() { 0 } else { self.meta.pages().pieces() };
        let read = move |page| {
            let read = self.read(index_cache, page);
            let broken = read.is_err().then_some(Err(CorruptRun));
            let rows = read.unwrap_or_default().into_iter();
            rows.filter_map(|row| self.renumber(row)).map(Ok).chain(broken)
        };
        rebuilt.into_iter().flatten().map(|row| Ok(*row)).chain((0..pages).flat_map(read))
    }

    fn renumber(&self, row: IndexEntry) -> Option<IndexEntry> {
        let pack = self.numbers.get(row.pack as usize).copied().filter(|number| *number != UNLISTED)?;
        Some(IndexEntry { pack, ..row })
    }

    fn read(&self, index_cache: &LocalIndexCache, page: u64) -> Result<Vec<IndexEntry>, CorruptRun> {
        let (at, len) = self.meta.pages().piece(page);
        let bytes = mac_file::read(index_cache, &self.file, self.meta.id, at, len).ok_or(CorruptRun)?;
        Ok(bytes.as_chunks::<ENTRY_BYTES>().0.iter().map(|row| IndexEntry::from_bytes(*row)).collect())
    }
}

/// Writes a run's file and returns the first prefix of each page.
fn write_entries(
    index_cache: &LocalIndexCache,
    meta: &RunMeta,
    packs: &[RunPack],
    rows: impl Iterator<Item = Result<IndexEntry, CorruptRun>>,
    bloom: &mut BloomFilter,
) -> io::Result<Vec<u64>> {
    let mut file = MacFile::create(index_cache, meta.id, "rows")?;
    let (mut fence_keys, mut page, mut count) = (Vec::new(), Vec::new(), 0);
    for row in rows {
        let row = row.map_err(|CorruptRun| io::Error::other("a part of the index cache is damaged"))?;
        if page.is_empty() {
            fence_keys.push(row.prefix);
        }
        bloom.insert(row.prefix);
        page.extend_from_slice(&row.to_bytes());
        count += 1;
        if count % ENTRIES_PER_PAGE == 0 {
            file.put(&page)?;
            page.clear();
        }
    }
    if !page.is_empty() {
        file.put(&page)?;
    }
    if count != meta.rows {
        return Err(io::Error::other("an index entry is missing"));
    }
    for piece in fence_keys.chunks(PIECE_BYTES as usize / 8) {
        file.put(&piece.iter().flat_map(|first: &u64| first.to_le_bytes()).collect::<Vec<u8>>())?;
    }
    for piece in bloom.pieces(PIECE_BYTES as usize) {
        file.put(&piece)?;
    }
    for piece in packs.chunks(PIECE_BYTES as usize / RUN_PACK_BYTES) {
        file.put(&piece.iter().flat_map(RunPack::to_bytes).collect::<Vec<u8>>())?;
    }
    file.finish()?;
    Ok(fence_keys)
}

/// Writes copies of tables and returns the place of each.
pub(crate) fn write_tables<'a>(
    index_cache: &LocalIndexCache,
    tables: impl Iterator<Item = &'a Table>,
) -> Option<Vec<TableLocation>> {
    let id = new_id()?;
    let mut file = MacFile::create(index_cache, id, "tables").ok()?;
    let mut places = Vec::new();
    for table in tables {
        let bytes = table.to_cached().ok()?;
        let offset = file.put(&bytes).ok()?;
        places.push(TableLocation { file: id, offset, size: bytes.len() as u32 });
    }
    file.finish().ok().map(|()| places)
}

pub(crate) fn table(index_cache: &LocalIndexCache, at: TableLocation) -> Option<Table> {
    let file = File::open(mac_file::path(index_cache, at.file, "tables")).ok()?;
    if u64::from(at.size) > file.metadata().ok()?.len() {
        return None;
    }
    Table::from_cached(&mac_file::read(index_cache, &file, at.file, at.offset, at.size as usize)?).ok()
}

/// Removes a run from the list of live runs.
pub(crate) fn drop_run(index_cache: &LocalIndexCache, id: u64) {
    let Some(_lock) = index_cache.lock_runs() else { return };
    let mut live = list(index_cache);
    live.retain(|meta| meta.id != id);
    write_list(index_cache, &live);
}

/// Removes files of runs that are not live: replaced ones, and those whose building was interrupted.
pub(crate) fn remove_unreferenced(index_cache: &LocalIndexCache) {
    let live = list(index_cache);
    let is_live =
        |name: &str| match name.split_once('.').map(|(id, ending)| (u64::from_str_radix(id, 16), ending)) {
            Some((Ok(id), "rows")) => live.iter().any(|meta| meta.id == id),
            Some((Ok(id), "tables")) => live.iter().any(|meta| meta.tables.contains(&id)),
            _ => false,
        };
    for entry in fs::read_dir(mac_file::folder(index_cache)).into_iter().flatten().flatten() {
        if !entry.file_name().to_str().is_some_and(is_live) {
            mac_file::remove(&entry.path());
        }
    }
}

fn new_id() -> Option<u64> {
    let mut id = [0; 8];
    cipher::random(&mut id).ok()?;
    Some(u64::from_le_bytes(id))
}
