//! Cuts streams into chunks, and builds the content of a file from them. All chunks of files are cut by
//! [`cut_all`].

use crate::codec::crypto::hash::ChunkType;
use crate::codec::tree::part_list::ListBuilder;
use crate::error::{self, Error, Result};
use crate::model::entry::{Content, ContentPart};
use crate::model::id::ChunkId;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::repository::Repository;
use crate::repo::write::put_chunk::PutChunk;
use crate::repo::write::similarity::{Follower, Older};

/// Minimum length in bytes of the buffer, in addition to the longest chunk.
const BUFFER_LEN: usize = 1 << 20;

/// A buffered stream: bytes are appended at the end, and chunks are removed from the front.
pub(crate) trait ChunkBuffer {
    /// The error of a failed read or write.
    type Error;

    /// Returns the error for a broken invariant.
    fn bug(rule: &'static str) -> Self::Error;

    /// Returns the bytes that are not cut yet.
    fn uncut(&self) -> std::result::Result<&[u8], Self::Error>;

    /// Reads more of the stream. Returns false at its end.
    fn read_more(&mut self) -> std::result::Result<bool, Self::Error>;

    /// Removes the first `len` bytes, which are the chunk `id`.
    fn take_chunk(&mut self, id: ChunkId, len: usize) -> std::result::Result<(), Self::Error>;
}

/// Cuts a stream into chunks. If it `continues` in a later call, bytes that may not be a whole chunk stay in
/// the buffer.
///
/// # Errors
/// When the buffer fails; [`ChunkBuffer::bug`] if a chunk is not within it.
pub(crate) fn cut_all<B: ChunkBuffer>(
    repo: &Repository,
    buffer: &mut B,
    continues: bool,
) -> std::result::Result<(), B::Error> {
    let (chunker, mut has_more) = (repo.chunker(), true);
    loop {
        while has_more && buffer.uncut()?.len() < chunker.max() {
            has_more = buffer.read_more()?;
        }
        let uncut = buffer.uncut()?;
        if uncut.is_empty() || continues && uncut.len() < chunker.max() {
            return Ok(());
        }
        let chunk = uncut.get(..chunker.cut(uncut)).filter(|chunk| !chunk.is_empty());
        let chunk = chunk.ok_or_else(|| B::bug("a chunk is within the bytes that were read"))?;
        let (id, len) = (repo.hasher().id_of(ChunkType::Data, chunk), chunk.len());
        buffer.take_chunk(id, len)?;
    }
}

/// Cuts and stores contents of files, one after the other.
#[derive(Debug)]
pub(crate) struct ContentWriter<'a> {
    repo: &'a Repository,
    list: ListBuilder,
    buffer: Vec<u8>,
    /// Range in the buffer of the bytes that are not cut yet.
    start: usize,
    end: usize,
    /// Finds similar chunks in an older version of the content, whose part list `old_lists` reads.
    follower: Option<Follower>,
    old_lists: Option<ChunkReader>,
}

impl<'a> ContentWriter<'a> {
    /// Creates a writer. `old_lists` reads part lists of older versions; `None` if there are none.
    pub(crate) fn new(repo: &'a Repository, old_lists: Option<ChunkReader>) -> Self {
        let (list, buffer) = (ListBuilder::default(), Vec::new());
        Self { repo, list, buffer, start: 0, end: 0, follower: None, old_lists }
    }

    /// Declares that the next content, of this size, is similar to a stored one.
    pub(crate) fn follow(&mut self, older: Older, size: u64) {
        self.follower = Some(Follower::new(older, Some(size)));
    }

    /// Adds bytes. The last chunk may continue with those of the next call.
    ///
    /// # Errors
    /// As [`PutChunk::put_similar`].
    pub(crate) fn push(&mut self, mut bytes: &[u8], owner: u32, out: &mut dyn PutChunk) -> Result<()> {
        let mut read = |buffer: &mut [u8]| {
            let len = bytes.len().min(buffer.len());
            let (head, tail) = bytes.split_at(len);
            buffer.split_at_mut(len).0.copy_from_slice(head);
            bytes = tail;
            Ok(len)
        };
        self.cut(&mut read, owner, out, true)
    }

    /// Adds bytes that `read` writes to its argument, until it returns 0. The last chunk ends there.
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

    /// Ends the content and returns it.
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
        continues: bool,
    ) -> Result<()> {
        let (repo, max) = (self.repo, self.repo.chunker().max());
        // Allocates only at the first use. So long that the remaining bytes are rarely moved to the front.
        self.buffer.resize(BUFFER_LEN.max(2 * max) + max, 0);
        cut_all(repo, &mut ContentBuffer { content: self, read, owner, out }, continues)
    }

    fn part(&mut self, part: ContentPart, owner: u32, out: &mut dyn PutChunk) -> Result<()> {
        let hasher = self.repo.hasher();
        self.list.push(part, &mut |bytes| out.put_tree(owner, hasher, bytes, &[]))
    }

    /// Returns the stored chunks to which the next chunk is probably similar. None if the older version
    /// cannot be read.
    fn similar_chunks(&mut self, id: &ChunkId, len: u32) -> Result<Vec<(ChunkId, u32)>> {
        let (Some(follower), Some(old_lists)) = (&mut self.follower, &mut self.old_lists) else {
            return Ok(Vec::new());
        };
        match follower.next(old_lists, id, len) {
            Err(err) if err.is_damage() => {
                self.follower = None;
                Ok(Vec::new())
            }
            similar => similar,
        }
    }
}

/// The buffer of a content that is being written, with the source of its bytes.
struct ContentBuffer<'f, 'a> {
    content: &'f mut ContentWriter<'a>,
    read: &'f mut dyn FnMut(&mut [u8]) -> Result<usize>,
    owner: u32,
    out: &'f mut dyn PutChunk,
}

const IN_BUFFER: &str = "the bytes that were read are in the buffer";

impl ChunkBuffer for ContentBuffer<'_, '_> {
    type Error = Error;

    fn bug(rule: &'static str) -> Error {
        Error::Bug { what: rule }
    }

    fn uncut(&self) -> Result<&[u8]> {
        error::part(&self.content.buffer, self.content.start..self.content.end, IN_BUFFER)
    }

    fn read_more(&mut self) -> Result<bool> {
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

    fn take_chunk(&mut self, id: ChunkId, len: usize) -> Result<()> {
        let similar = self.content.similar_chunks(&id, len as u32)?;
        let start = self.content.start;
        let chunk = error::part(&self.content.buffer, start..start + len, IN_BUFFER)?;
        self.out.put_similar(self.owner, ChunkType::Data, id, chunk, &similar)?;
        self.content.start += len;
        self.content.part(ContentPart::Chunk { id, len: len as u32 }, self.owner, &mut *self.out)
    }
}
