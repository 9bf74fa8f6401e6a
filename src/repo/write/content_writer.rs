//! Cuts streams into chunks: the one loop that decides where chunks end, and the content of a file that is
//! made of them.

use crate::codec::crypto::hash::ChunkType;
use crate::codec::tree::part_list::ListBuilder;
use crate::error::{self, Error, Result};
use crate::model::entry::{Content, ContentPart};
use crate::model::id::ChunkId;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::repository::Repository;
use crate::repo::write::put_chunk::PutChunk;
use crate::repo::write::similarity::{Follower, Older};

/// Room in the buffer at least, in addition to the longest chunk.
const BUFFER: usize = 1 << 20;

/// A stream in a buffer: bytes are read behind those that are not cut yet, and chunks are cut off in front.
pub(crate) trait ChunkBuffer {
    /// What reading fails with.
    type Error;

    /// Returns the error for a broken invariant.
    fn bug(rule: &'static str) -> Self::Error;

    /// Returns the bytes that are not cut yet.
    fn ahead(&self) -> std::result::Result<&[u8], Self::Error>;

    /// Reads more of the stream; `false` if there is no more.
    fn more(&mut self) -> std::result::Result<bool, Self::Error>;

    /// Takes the first bytes, which are a chunk.
    fn take(&mut self, id: ChunkId, len: usize) -> std::result::Result<(), Self::Error>;
}

/// Cuts a stream into chunks, in the buffer that it is read into. If it `goes_on` later, the bytes that may
/// not be a whole chunk stay in the buffer.
///
/// # Errors
/// When the buffer fails, or breaks the rules.
pub(crate) fn cut_all<B: ChunkBuffer>(
    repo: &Repository,
    buffer: &mut B,
    goes_on: bool,
) -> std::result::Result<(), B::Error> {
    let (chunker, mut is_more) = (repo.chunker(), true);
    loop {
        while is_more && buffer.ahead()?.len() < chunker.max() {
            is_more = buffer.more()?;
        }
        let ahead = buffer.ahead()?;
        if ahead.is_empty() || goes_on && ahead.len() < chunker.max() {
            return Ok(());
        }
        let chunk = ahead.get(..chunker.cut(ahead)).filter(|chunk| !chunk.is_empty());
        let chunk = chunk.ok_or_else(|| B::bug("a chunk is within the bytes that were read"))?;
        let (id, len) = (repo.hasher().name(ChunkType::Data, chunk), chunk.len());
        buffer.take(id, len)?;
    }
}

/// Stores contents, one after the other, each with the chunks of its owner.
#[derive(Debug)]
pub(crate) struct ContentWriter<'a> {
    repo: &'a Repository,
    list: ListBuilder,
    buffer: Vec<u8>,
    /// Where the bytes that are not cut yet begin and end in the buffer.
    start: usize,
    end: usize,
    /// Follows an older version of the content, of which `lists` reads the part list.
    follower: Option<Follower>,
    lists: Option<ChunkReader>,
}

impl<'a> ContentWriter<'a> {
    /// Makes a writer. `lists` reads part lists of older versions, if there may be any.
    pub(crate) fn new(repo: &'a Repository, lists: Option<ChunkReader>) -> Self {
        let (list, buffer) = (ListBuilder::default(), Vec::new());
        Self { repo, list, buffer, start: 0, end: 0, follower: None, lists }
    }

    /// Announces that the next content, of this size, is similar to a stored one.
    pub(crate) fn follow(&mut self, older: Older, size: u64) {
        self.follower = Some(Follower::new(older, Some(size)));
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// As [`PutChunk::put_similar`].
    pub(crate) fn push(&mut self, mut bytes: &[u8], owner: u32, out: &mut dyn PutChunk) -> Result<()> {
        let mut read = |room: &mut [u8]| {
            let len = bytes.len().min(room.len());
            let (now, later) = bytes.split_at(len);
            room.split_at_mut(len).0.copy_from_slice(now);
            bytes = later;
            Ok(len)
        };
        self.cut(&mut read, owner, out, true)
    }

    /// Adds all that `read` returns, until that is 0. The last chunk ends there.
    ///
    /// # Errors
    /// As `read` and [`PutChunk::put_similar`].
    pub(crate) fn fill(
        &mut self,
        read: &mut dyn FnMut(&mut [u8]) -> Result<usize>,
        owner: u32,
        out: &mut dyn PutChunk,
    ) -> Result<()> {
        self.cut(read, owner, out, false)
    }

    /// Adds a hole. The last chunk ends before it.
    ///
    /// # Errors
    /// As [`PutChunk::put_similar`].
    pub(crate) fn hole(&mut self, len: u64, owner: u32, out: &mut dyn PutChunk) -> Result<()> {
        self.fill(&mut |_| Ok(0), owner, out)?;
        self.follower.iter_mut().for_each(|follower| follower.hole(len));
        self.part(ContentPart::Hole { len }, owner, out)
    }

    /// Ends the content.
    ///
    /// # Errors
    /// As [`PutChunk::put_similar`].
    pub(crate) fn finish(&mut self, owner: u32, out: &mut dyn PutChunk) -> Result<Content> {
        self.fill(&mut |_| Ok(0), owner, out)?;
        self.follower = None;
        let hasher = self.repo.hasher();
        std::mem::take(&mut self.list).finish(&mut |bytes| out.put_tree(owner, hasher, bytes, &[]))
    }

    fn cut(
        &mut self,
        read: &mut dyn FnMut(&mut [u8]) -> Result<usize>,
        owner: u32,
        out: &mut dyn PutChunk,
        goes_on: bool,
    ) -> Result<()> {
        let (repo, max) = (self.repo, self.repo.chunker().max());
        // Allocates only at the first use. Long enough that what is left over is rarely moved to the front.
        self.buffer.resize(BUFFER.max(2 * max) + max, 0);
        cut_all(repo, &mut Filling { content: self, read, owner, out }, goes_on)
    }

    fn part(&mut self, part: ContentPart, owner: u32, out: &mut dyn PutChunk) -> Result<()> {
        let hasher = self.repo.hasher();
        self.list.push(part, &mut |bytes| out.put_tree(owner, hasher, bytes, &[]))
    }

    /// Returns chunks that the next chunk is probably similar to. If they cannot be determined, it is stored
    /// without a delta.
    fn like(&mut self, id: &ChunkId, len: u32) -> Result<Vec<(ChunkId, u32)>> {
        let (Some(follower), Some(lists)) = (&mut self.follower, &mut self.lists) else {
            return Ok(Vec::new());
        };
        match follower.next(lists, id, len) {
            Err(err) if err.is_damage() => {
                self.follower = None;
                Ok(Vec::new())
            }
            like => like,
        }
    }
}

/// A content that is being written, with what it is read from.
struct Filling<'f, 'a> {
    content: &'f mut ContentWriter<'a>,
    read: &'f mut dyn FnMut(&mut [u8]) -> Result<usize>,
    owner: u32,
    out: &'f mut dyn PutChunk,
}

const IN_BUFFER: &str = "the bytes that were read are in the buffer";

impl ChunkBuffer for Filling<'_, '_> {
    type Error = Error;

    fn bug(rule: &'static str) -> Error {
        Error::Bug { what: rule }
    }

    fn ahead(&self) -> Result<&[u8]> {
        error::part(&self.content.buffer, self.content.start..self.content.end, IN_BUFFER)
    }

    fn more(&mut self) -> Result<bool> {
        let ContentWriter { buffer, start, end, .. } = &mut *self.content;
        if *end == buffer.len() {
            buffer.copy_within(*start..*end, 0);
            (*start, *end) = (0, *end - *start);
        }
        let len = buffer.len();
        let count = (self.read)(error::part_mut(buffer, *end..len, IN_BUFFER)?)?;
        *end += count;
        Ok(count > 0)
    }

    fn take(&mut self, id: ChunkId, len: usize) -> Result<()> {
        let like = self.content.like(&id, len as u32)?;
        let start = self.content.start;
        let chunk = error::part(&self.content.buffer, start..start + len, IN_BUFFER)?;
        self.out.put_similar(self.owner, ChunkType::Data, id, chunk, &like)?;
        self.content.start += len;
        self.content.part(ContentPart::Chunk { id, len: len as u32 }, self.owner, &mut *self.out)
    }
}
