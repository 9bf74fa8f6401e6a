//! Random access for many threads, also for long-lived processes: chunks through one bounded cache of blocks,
//! caches of decoded directory and list pieces, and ranges of files with read-ahead.

use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::codec::crypto::hash::ChunkType;
use crate::codec::tree::dir::{DirChild, DirPiece};
use crate::codec::tree::part_list::ListPiece;
use crate::error::{self, Error, Result};
use crate::model::entry::{Content, ContentPart, Entry};
use crate::model::id::ChunkId;
use crate::repo::index::Index;
use crate::repo::random::block_cache::{BlockCache, Chunk};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::read::read_session::ReadSession;
use crate::repo::walk::file_parts::{self, PartListSource};
use crate::repo::walk::plausible::{check_len, corrupt_tree};
use crate::util::lru::LruCache;
use crate::util::threads;

/// Bytes of decoded blocks that are cached.
const BLOCK_CACHE_BYTES: usize = 48 << 20;
/// Approximate bytes of decoded directory pieces that are cached.
const DIR_CACHE_BYTES: usize = 16 << 20;
/// Approximate bytes of decoded list pieces that are cached.
const LIST_CACHE_BYTES: usize = 4 << 20;
/// Approximate bytes that an entry takes in memory beyond its stored size.
const ENTRY_BYTES: usize = 400;
/// Maximum bytes of read-ahead for a file that is read sequentially.
const MAX_WINDOW_BYTES: u64 = 12 << 20;
/// Reads may arrive reordered: a read within this distance of the expected offset still counts as sequential.
const REORDER_BYTES: u64 = 1 << 20;

/// A decoded piece of a directory, with shared entries.
#[derive(Debug)]
pub(crate) enum DirPieceRef {
    Leaf(Vec<Arc<Entry>>),
    Index(Vec<DirChild>),
}

impl From<DirPiece> for DirPieceRef {
    fn from(piece: DirPiece) -> Self {
        match piece {
            DirPiece::Leaf(entries) => Self::Leaf(entries.into_iter().map(Arc::new).collect()),
            DirPiece::Index(kids) => Self::Index(kids),
        }
    }
}

/// Reads chunks, pieces and ranges through a [`ReadSession`].
#[derive(Debug)]
pub struct RandomReader {
    blocks: BlockCache,
    dirs: LruCache<DirPieceRef>,
    lists: LruCache<ListPiece>,
    reading: Arc<ReadSession>,
}

/// Tracks how a file is read: whether sequentially, and how far read-ahead has been requested.
#[derive(Debug, Default)]
pub struct ReadAhead(Mutex<AccessPattern>);

#[derive(Debug, Default, Clone, Copy)]
struct AccessPattern {
    /// Where the next sequential read begins.
    next: u64,
    /// Bytes that were read sequentially.
    run: u64,
    /// Read-ahead was requested up to this offset.
    requested: u64,
}

impl RandomReader {
    /// Creates a reader for a session. If no thread can be started, there is no read-ahead.
    pub fn new(reading: &Arc<ReadSession>) -> Self {
        let workers = threads::at_most(threads::workers().clamp(2, 4));
        let blocks = BlockCache::new(reading.repo(), BLOCK_CACHE_BYTES, workers);
        let (dirs, lists) = (LruCache::new(DIR_CACHE_BYTES), LruCache::new(LIST_CACHE_BYTES));
        Self { blocks, dirs, lists, reading: Arc::clone(reading) }
    }

    /// Returns a chunk. If one copy is damaged, tries the others; if all packs are gone, lists packs again.
    ///
    /// # Errors
    /// When no copy is intact.
    pub fn chunk(&self, kind: ChunkType, id: &ChunkId) -> Result<Chunk> {
        let index = self.reading.index()?;
        match self.chunk_in(&index, kind, id) {
            Err(err) if err.is_damage() => {}
            other => return other,
        }
        ChunkReader::following(&self.reading)?.get(kind, id).map(Chunk::unshared)
    }

    fn chunk_in(&self, index: &Index, kind: ChunkType, id: &ChunkId) -> Result<Chunk> {
        let missing = || Error::Missing { what: format!("chunk {}", id.short()) };
        let location = index.find_any(kind, id)?.ok_or_else(missing)?;
        self.blocks.chunk(index, kind, id, &location)
    }

    /// Returns a piece of a directory.
    ///
    /// # Errors
    /// As [`Self::chunk`], and when it is not a directory piece.
    pub(crate) fn dir(&self, id: &ChunkId) -> Result<Arc<DirPieceRef>> {
        if let Some(piece) = self.dirs.get(id) {
            return Ok(piece);
        }
        let chunk = self.chunk(ChunkType::Tree, id)?;
        let piece = DirPiece::decode(chunk.bytes()?);
        let piece = DirPieceRef::from(piece.map_err(Error::damaged(format!("tree {}", id.short())))?);
        let entries = match &piece {
            DirPieceRef::Leaf(entries) => entries.len(),
            DirPieceRef::Index(_) => 0,
        };
        let cost = entries.saturating_mul(ENTRY_BYTES).saturating_add(chunk.bytes()?.len().saturating_mul(2));
        Ok(self.dirs.put(*id, piece, cost))
    }

    /// Returns the bytes of a range of a file, holes as zeros; fewer at the end of the file. If `read_ahead`
    /// finds that the file is read sequentially, requests the following blocks.
    ///
    /// # Errors
    /// When a chunk or a piece of the list is missing or damaged.
    pub fn read(
        &self,
        size: u64,
        content: &Content,
        range: Range<u64>,
        read_ahead: &ReadAhead,
    ) -> Result<Vec<u8>> {
        let range = range.start..range.end.min(size);
        if range.is_empty() {
            return Ok(Vec::new());
        }
        self.prefetch(size, content, read_ahead.record_read(&range, size))?;
        let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
        let lists: &mut dyn PartListSource = &mut &*self;
        file_parts::each_part_in(lists, size, content, range.clone(), &mut |at, part| {
            let start = range.start.saturating_sub(at);
            let end = part.len().min(range.end.saturating_sub(at));
            match part {
                ContentPart::Hole { .. } => bytes.resize(bytes.len() + (end - start) as usize, 0),
                ContentPart::Chunk { id, len } => {
                    let chunk = self.chunk(ChunkType::Data, &id)?;
                    check_len(chunk.bytes()?, len)?;
                    let range = start as usize..end as usize;
                    let bytes_in_range = error::part(chunk.bytes()?, range, "a range ends within its chunk")?;
                    bytes.extend_from_slice(bytes_in_range);
                }
            }
            Ok(())
        })?;
        if bytes.len() as u64 == range.end - range.start {
            Ok(bytes)
        } else {
            Err(corrupt_tree("the parts of a file do not add up to its size"))
        }
    }

    /// Returns the first offset from `from` on at which the file has data, or with `data` false a hole.
    /// `None` if there is none before the end of the file; a hole at the end counts.
    ///
    /// # Errors
    /// When a piece of the list is missing or damaged.
    pub fn seek(&self, size: u64, content: &Content, from: u64, data: bool) -> Result<Option<u64>> {
        let mut found = None;
        let lists: &mut dyn PartListSource = &mut &*self;
        let mut at = from;
        // The list of a large file is read piece by piece, no further than needed.
        while at < size && found.is_none() {
            let end = at.saturating_add(1 << 30).min(size);
            file_parts::each_part_in(lists, size, content, at..end, &mut |start, part| {
                if found.is_none() && data == matches!(part, ContentPart::Chunk { .. }) {
                    found = Some(start.max(from));
                }
                Ok(())
            })?;
            at = end;
        }
        Ok(found.or((!data && from < size).then_some(size)))
    }

    /// Requests the blocks of a range. Damage is left to be reported by the read itself.
    fn prefetch(&self, size: u64, content: &Content, range: Range<u64>) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let index = self.reading.index()?;
        let mut last = None;
        let lists: &mut dyn PartListSource = &mut &*self;
        let prefetched = file_parts::each_part_in(lists, size, content, range, &mut |_, part| {
            if let ContentPart::Chunk { id, .. } = part
                && let Some(location) = index.find_any(ChunkType::Data, &id)?
                && last.replace(location.block) != Some(location.block)
            {
                self.blocks.prefetch(&index, location.block);
            }
            Ok(())
        });
        match prefetched {
            Err(err) if !err.is_damage() => Err(err),
            _ => Ok(()),
        }
    }

    /// Releases all caches and the index; they are filled again when needed.
    pub fn release_caches(&self) {
        self.blocks.clear();
        self.dirs.clear();
        self.lists.clear();
        self.reading.release_caches();
    }
}

impl PartListSource for &RandomReader {
    fn list(&mut self, id: &ChunkId) -> Result<Arc<ListPiece>> {
        if let Some(piece) = self.lists.get(id) {
            return Ok(piece);
        }
        let chunk = self.chunk(ChunkType::Tree, id)?;
        let piece = file_parts::decode(id, chunk.bytes()?)?;
        Ok(self.lists.put(*id, piece, chunk.bytes()?.len().saturating_mul(2)))
    }
}

impl ReadAhead {
    /// Records a read and returns the range to request read-ahead for.
    fn record_read(&self, range: &Range<u64>, size: u64) -> Range<u64> {
        let mut pattern = self.0.lock();
        if range.start.abs_diff(pattern.next) > REORDER_BYTES {
            *pattern = AccessPattern { next: range.start, run: 0, requested: range.end };
        }
        pattern.run = pattern.run.saturating_add(range.end - range.start);
        pattern.next = pattern.next.max(range.end);
        // A reader that has read little may stop soon, so the window doubles as sequential reading continues.
        let from = pattern.requested.max(range.end);
        let to = range.end.saturating_add((pattern.run * 2).min(MAX_WINDOW_BYTES)).min(size);
        // Not for every read: a request costs a look-up for each chunk's block.
        if to <= from || (to - from < REORDER_BYTES && to < size) || pattern.run <= REORDER_BYTES / 8 {
            return 0..0;
        }
        pattern.requested = to;
        from..to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: u64 = 128 << 10;
    const SIZE: u64 = 1 << 30;

    #[test]
    fn sequential_reads_are_prefetched_once_and_in_time() {
        let read_ahead = ReadAhead::default();
        let mut asked = 0;
        for at in (0..SIZE).step_by(READ as usize) {
            let range = read_ahead.record_read(&(at..at + READ), SIZE);
            if !range.is_empty() {
                assert!(range.start >= asked && range.end <= SIZE, "asked twice or too much: {range:?}");
                asked = range.end;
            }
            // After the first few reads everything that is read was requested before.
            assert!(at < 2 << 20 || at + READ <= asked, "{at} is read and was not asked for");
            assert!(asked <= at + READ + MAX_WINDOW_BYTES);
        }
    }

    #[test]
    fn reads_that_overtake_each_other_are_in_order() {
        let read_ahead = ReadAhead::default();
        let mut asked = 0;
        for pair in 0..64 {
            for at in [pair * 2 + 1, pair * 2] {
                let range = read_ahead.record_read(&(at * READ..(at + 1) * READ), SIZE);
                asked = asked.max(range.end);
            }
        }
        assert!(asked >= 128 * READ + MAX_WINDOW_BYTES / 2, "{asked}");
    }

    #[test]
    fn random_reads_trigger_no_prefetch() {
        let read_ahead = ReadAhead::default();
        for number in 0..1000u64 {
            let at = (number * 7919) % 8000 * READ;
            assert_eq!(read_ahead.record_read(&(at..at + 4096), SIZE), 0..0);
        }
    }
}
