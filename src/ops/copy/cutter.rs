//! Splits the content of files into chunks of the destination repository.

use crate::codec::crypto::hash::ChunkType;
use crate::codec::tree::part_list::ListBuilder;
use crate::error::Result;
use crate::model::entry::{Content, Part};
use crate::model::id::ChunkId;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::repository::Repository;
use crate::repo::write::chunk_writer::ChunkWriter;
use crate::repo::write::similarity::{Follower, Older};

/// Splits files into chunks, one after the other.
pub(super) struct Cutter<'a> {
    repo: &'a Repository,
    list: ListBuilder,
    /// Bytes that are not split yet.
    rest: Vec<u8>,
    /// Follows an older version of the file in the destination; `lists` reads its part list.
    follower: Option<Follower>,
    lists: ChunkReader,
}

/// Stores a piece of a tree or of a part list, as a delta if it is similar to a stored one.
pub(super) fn put_tree(
    repo: &Repository,
    chunk_writer: &mut ChunkWriter<'_>,
    bytes: &[u8],
    like: &[ChunkId],
) -> Result<ChunkId> {
    let id = repo.hasher().name(ChunkType::Tree, bytes);
    let like = chunk_writer.index().lengths(ChunkType::Tree, like)?;
    chunk_writer.put_similar(ChunkType::Tree, id, bytes, &like)?;
    Ok(id)
}

impl<'a> Cutter<'a> {
    /// Makes a cutter. `lists` reads the destination.
    pub(super) fn new(repo: &'a Repository, lists: ChunkReader) -> Self {
        Self { repo, list: ListBuilder::default(), rest: Vec::new(), follower: None, lists }
    }

    /// Announces that the next file is similar to one in the destination.
    pub(super) fn follow(&mut self, older: Older, size: u64) {
        self.follower = Some(Follower::new(older, Some(size)));
    }

    /// Adds bytes to the current file.
    pub(super) fn push(&mut self, bytes: &[u8], chunk_writer: &mut ChunkWriter<'_>) -> Result<()> {
        self.rest.extend_from_slice(bytes);
        // Splits several chunks at a time, so that the remainder is rarely moved to the front.
        if self.rest.len() < 4 * self.repo.chunker().max() { Ok(()) } else { self.cut(chunk_writer, false) }
    }

    /// Adds a hole. The current chunk ends before it.
    pub(super) fn hole(&mut self, len: u64, chunk_writer: &mut ChunkWriter<'_>) -> Result<()> {
        self.cut(chunk_writer, true)?;
        self.follower.iter_mut().for_each(|follower| follower.hole(len));
        self.part(Part::Hole { len }, chunk_writer)
    }

    /// Ends the current file and returns its content.
    pub(super) fn end(&mut self, chunk_writer: &mut ChunkWriter<'_>) -> Result<Content> {
        self.cut(chunk_writer, true)?;
        self.follower = None;
        let repo = self.repo;
        std::mem::take(&mut self.list).finish(&mut |bytes| put_tree(repo, chunk_writer, bytes, &[]))
    }

    fn cut(&mut self, chunk_writer: &mut ChunkWriter<'_>, to_the_end: bool) -> Result<()> {
        let chunker = self.repo.chunker();
        let rest = std::mem::take(&mut self.rest);
        let mut ahead = rest.as_slice();
        while ahead.len() >= chunker.max() || to_the_end && !ahead.is_empty() {
            let (chunk, behind) = ahead.split_at(chunker.cut(ahead));
            let id = self.repo.hasher().name(ChunkType::Data, chunk);
            let len = chunk.len() as u32;
            let like = self.like(&id, len)?;
            chunk_writer.put_similar(ChunkType::Data, id, chunk, &like)?;
            self.part(Part::Chunk { id, len }, chunk_writer)?;
            ahead = behind;
        }
        let left = ahead.len();
        self.rest = rest;
        self.rest.drain(..self.rest.len() - left);
        Ok(())
    }

    /// Returns chunks that the next chunk is probably similar to. If they cannot be determined, it is stored
    /// without a delta.
    fn like(&mut self, id: &ChunkId, len: u32) -> Result<Vec<(ChunkId, u32)>> {
        let Some(follower) = &mut self.follower else { return Ok(Vec::new()) };
        match follower.next(&mut self.lists, id, len) {
            Err(err) if err.is_damage() => {
                self.follower = None;
                Ok(Vec::new())
            }
            like => like,
        }
    }

    fn part(&mut self, part: Part, chunk_writer: &mut ChunkWriter<'_>) -> Result<()> {
        let repo = self.repo;
        self.list.push(part, &mut |bytes| put_tree(repo, chunk_writer, bytes, &[]))
    }
}
