//! Reading for many threads at once and for as long as it takes: chunks through one bounded cache of blocks, pieces of
//! directories and lists decoded once, ranges of files with the blocks behind them asked for in time.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::codec::crypto::hash::ChunkType;
use crate::codec::tree::dir::DirPiece;
use crate::codec::tree::part_list::ListPiece;
use crate::error;
use crate::error::{Error, Result};
use crate::model::entry::{Content, Part};
use crate::model::id::ChunkId;
use crate::repo::index::Index;
use crate::repo::random::block_cache::{BlockCache, Chunk};
use crate::repo::random::dir_lookup::DirPieceRef;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::read::read_session::ReadSession;
use crate::repo::walk::dir_reader::bad;
use crate::repo::walk::file_parts;
use crate::repo::walk::file_parts::PartListSource;
use crate::util::lru::LruCache;

/// Bytes of decoded blocks that are kept.
const BLOCKS: usize = 48 << 20;
/// Bytes of decoded pieces of directories that are kept, about.
const DIRS: usize = 16 << 20;
/// Bytes of decoded pieces of lists that are kept, about.
const LISTS: usize = 4 << 20;
/// Bytes that an entry takes in memory beside what it is stored in, about.
const ENTRY: usize = 400;
/// How far before its reader a file that is read in order is asked for.
const AHEAD: u64 = 12 << 20;
/// Reads may come in another order than they were made in: so far from where one was expected it is still in order.
const NEAR: u64 = 1 << 20;

/// Chunks, pieces and ranges of what a [`ReadSession`] reads.
#[derive(Debug)]
pub struct RandomReader {
    blocks: BlockCache,
    dirs: LruCache<DirPieceRef>,
    lists: LruCache<ListPiece>,
    reading: Arc<ReadSession>,
}

/// How somebody reads a file: whether in order, and how far it has been asked for.
#[derive(Debug, Default)]
pub struct ReadAhead(Mutex<Place>);

#[derive(Debug, Default, Clone, Copy)]
struct Place {
    /// Where a read in order begins.
    next: u64,
    /// Bytes that were read in order.
    run: u64,
    /// All before it was asked for.
    asked: u64,
}

impl RandomReader {
    /// Of a session.
    ///
    /// # Errors
    /// When its threads cannot be started.
    pub fn new(reading: &Arc<ReadSession>) -> Result<Self> {
        let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).clamp(2, 4);
        let blocks = BlockCache::new(reading.repo(), BLOCKS, workers)?;
        let (dirs, lists) = (LruCache::new(DIRS), LruCache::new(LISTS));
        Ok(Self { blocks, dirs, lists, reading: Arc::clone(reading) })
    }

    /// The session.
    pub fn reading(&self) -> &ReadSession {
        &self.reading
    }

    /// A chunk. Where one copy is damaged, the others are tried; where all are gone, those that came since.
    ///
    /// # Errors
    /// When no copy is whole.
    pub fn chunk(&self, kind: ChunkType, id: &ChunkId) -> Result<Chunk> {
        let index = self.reading.index()?;
        match self.listed(&index, kind, id) {
            Err(err) if err.is_damage() => {}
            other => return other,
        }
        ChunkReader::following(&self.reading)?.get(kind, id).map(Chunk::alone)
    }

    fn listed(&self, index: &Index, kind: ChunkType, id: &ChunkId) -> Result<Chunk> {
        let missing = || Error::Missing { what: format!("chunk {}", id.short()) };
        let location = index.find_any(kind, id)?.ok_or_else(missing)?;
        self.blocks.chunk(index, kind, id, &location)
    }

    /// A piece of a directory.
    ///
    /// # Errors
    /// As [`Self::chunk`], and when it is none.
    pub(crate) fn dir(&self, id: &ChunkId) -> Result<Arc<DirPieceRef>> {
        if let Some(piece) = self.dirs.get(id) {
            return Ok(piece);
        }
        let chunk = self.chunk(ChunkType::Tree, id)?;
        let piece = DirPiece::decode(chunk.bytes());
        let piece = DirPieceRef::from(piece.map_err(Error::damaged(format!("tree {}", id.short())))?);
        let entries = match &piece {
            DirPieceRef::Leaf(entries) => entries.len(),
            DirPieceRef::Index(_) => 0,
        };
        let cost = entries.saturating_mul(ENTRY).saturating_add(chunk.bytes().len().saturating_mul(2));
        Ok(self.dirs.put(*id, piece, cost))
    }

    /// Bytes of a range of a file, holes as zeros; less where the file ends before. Where `read_ahead` says that the file is
    /// read in order, what follows is asked for.
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
        self.ask(size, content, read_ahead.after(&range, size))?;
        let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
        let lists: &mut dyn PartListSource = &mut &*self;
        file_parts::each_part_in(lists, size, content, range.clone(), &mut |at, part| {
            let start = range.start.saturating_sub(at);
            let end = part.len().min(range.end.saturating_sub(at));
            match part {
                Part::Hole { .. } => bytes.resize(bytes.len() + (end - start) as usize, 0),
                Part::Chunk { id, len } => {
                    let chunk = self.chunk(ChunkType::Data, &id)?;
                    if chunk.bytes().len() as u64 != u64::from(len) {
                        return Err(bad("a chunk that is not as long as its entry says"));
                    }
                    let range = start as usize..end as usize;
                    let some = error::part(chunk.bytes(), range, "a range ends within its chunk")?;
                    bytes.extend_from_slice(some);
                }
            }
            Ok(())
        })?;
        match bytes.len() as u64 == range.end - range.start {
            true => Ok(bytes),
            false => Err(bad("a file whose parts are not its size")),
        }
    }

    /// Where, from an offset on, a file has data (or else a hole): `None` where it has none before its end, at which
    /// there is a hole.
    ///
    /// # Errors
    /// When a piece of the list is missing or damaged.
    pub fn seek(&self, size: u64, content: &Content, from: u64, data: bool) -> Result<Option<u64>> {
        let mut found = None;
        let lists: &mut dyn PartListSource = &mut &*self;
        let mut at = from;
        // A list of a large file is read piece by piece, and no further than needed.
        while at < size && found.is_none() {
            let end = at.saturating_add(1 << 30).min(size);
            file_parts::each_part_in(lists, size, content, at..end, &mut |start, part| {
                if found.is_none() && data == matches!(part, Part::Chunk { .. }) {
                    found = Some(start.max(from));
                }
                Ok(())
            })?;
            at = end;
        }
        Ok(found.or((!data && from < size).then_some(size)))
    }

    /// Asks for the blocks of a range; damage in it is the business of whoever reads it.
    fn ask(&self, size: u64, content: &Content, range: Range<u64>) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let index = self.reading.index()?;
        let mut last = None;
        let lists: &mut dyn PartListSource = &mut &*self;
        let asked = file_parts::each_part_in(lists, size, content, range, &mut |_, part| {
            if let Part::Chunk { id, .. } = part
                && let Some(location) = index.find_any(ChunkType::Data, &id)?
                && last.replace(location.block) != Some(location.block)
            {
                self.blocks.ask(&index, location.block);
            }
            Ok(())
        });
        match asked {
            Err(err) if !err.is_damage() => Err(err),
            _ => Ok(()),
        }
    }

    /// Lets go of all that is kept, and of the index: it is read again when it is needed.
    pub fn rest(&self) {
        self.blocks.clear();
        self.dirs.clear();
        self.lists.clear();
        self.reading.rest();
    }
}

impl PartListSource for &RandomReader {
    fn list(&mut self, id: &ChunkId) -> Result<Arc<ListPiece>> {
        if let Some(piece) = self.lists.get(id) {
            return Ok(piece);
        }
        let chunk = self.chunk(ChunkType::Tree, id)?;
        let piece = file_parts::decode(id, chunk.bytes())?;
        Ok(self.lists.put(*id, piece, chunk.bytes().len().saturating_mul(2)))
    }
}

impl ReadAhead {
    /// Takes a read; what is to be asked for after it.
    fn after(&self, range: &Range<u64>, size: u64) -> Range<u64> {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if range.start.abs_diff(place.next) > NEAR {
            *place = Place { next: range.start, run: 0, asked: range.end };
        }
        place.run = place.run.saturating_add(range.end - range.start);
        place.next = place.next.max(range.end);
        // Whoever has read little may not go on; then twice as much at once is asked for each time.
        let from = place.asked.max(range.end);
        let to = range.end.saturating_add((place.run * 2).min(AHEAD)).min(size);
        // Not for every read: to ask costs a look-up for each chunk's block.
        if to <= from || (to - from < NEAR && to < size) || place.run <= NEAR / 8 {
            return 0..0;
        }
        place.asked = to;
        from..to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: u64 = 128 << 10;
    const SIZE: u64 = 1 << 30;

    #[test]
    fn what_follows_is_asked_for_once_and_in_time() {
        let read_ahead = ReadAhead::default();
        let mut asked = 0;
        for at in (0..SIZE).step_by(READ as usize) {
            let range = read_ahead.after(&(at..at + READ), SIZE);
            if !range.is_empty() {
                assert!(range.start >= asked && range.end <= SIZE, "asked twice or too much: {range:?}");
                asked = range.end;
            }
            // After the first few reads nothing is read that was not asked for before.
            assert!(at < 2 << 20 || at + READ <= asked, "{at} is read and was not asked for");
            assert!(asked <= at + READ + AHEAD);
        }
    }

    #[test]
    fn reads_that_overtake_each_other_are_in_order() {
        let read_ahead = ReadAhead::default();
        let mut asked = 0;
        for pair in 0..64 {
            for at in [pair * 2 + 1, pair * 2] {
                let range = read_ahead.after(&(at * READ..(at + 1) * READ), SIZE);
                asked = asked.max(range.end);
            }
        }
        assert!(asked >= 128 * READ + AHEAD / 2, "{asked}");
    }

    #[test]
    fn nothing_is_asked_for_where_reads_jump() {
        let read_ahead = ReadAhead::default();
        for number in 0..1000u64 {
            let at = (number * 7919) % 8000 * READ;
            assert_eq!(read_ahead.after(&(at..at + 4096), SIZE), 0..0);
        }
    }
}
