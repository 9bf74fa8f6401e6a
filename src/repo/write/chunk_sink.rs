//! Where new chunks go: to a writer or, in a dry run, only into counts.

use std::collections::HashSet;
use std::sync::Arc;

use crate::codec::crypto::hash::{ChunkHasher, ChunkType};
use crate::error::Result;
use crate::model::id::ChunkId;
use crate::repo::index::Index;
use crate::repo::write::chunk_writer::ChunkWriter;
use crate::repo::write::pack_writer::Written;

/// Takes chunks. Each is stored or counted once, however often it is offered.
pub trait PutChunk {
    /// Returns the index that chunks are looked up in.
    fn index(&self) -> &Index;

    /// Stores a chunk unless it is stored already, as a delta against similar chunks if possible. The caller
    /// has computed its id. Returns whether it was new.
    ///
    /// # Errors
    /// As [`ChunkWriter::put`].
    fn put_similar(
        &mut self,
        kind: ChunkType,
        id: ChunkId,
        plain: &[u8],
        like: &[(ChunkId, u32)],
    ) -> Result<bool>;

    /// Stores a piece of a tree or of a part list, as a delta if it is similar to stored ones.
    ///
    /// # Errors
    /// As [`ChunkWriter::put`].
    fn put_tree(&mut self, hasher: &ChunkHasher, bytes: &[u8], like: &[ChunkId]) -> Result<ChunkId> {
        let id = hasher.name(ChunkType::Tree, bytes);
        let like = self.index().lengths(ChunkType::Tree, like)?;
        self.put_similar(ChunkType::Tree, id, bytes, &like)?;
        Ok(id)
    }
}

impl PutChunk for ChunkWriter<'_> {
    fn index(&self) -> &Index {
        self.index()
    }

    fn put_similar(
        &mut self,
        kind: ChunkType,
        id: ChunkId,
        plain: &[u8],
        like: &[(ChunkId, u32)],
    ) -> Result<bool> {
        self.put_similar(kind, id, plain, like)
    }
}

/// Stores chunks, or counts those that would be stored.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
pub enum ChunkSink<'scope> {
    /// Stores them.
    Writer(ChunkWriter<'scope>),
    /// Counts them, and keeps their ids.
    Counter(Arc<Index>, HashSet<ChunkId>, Written),
}

impl ChunkSink<'_> {
    /// Creates a sink that only counts what the index lacks.
    pub fn counting(index: &Arc<Index>) -> Self {
        Self::Counter(Arc::clone(index), HashSet::new(), Written::default())
    }

    /// Announces whose files follow: see [`ChunkWriter::set_owner`].
    pub fn set_owner(&mut self, uid: u32) {
        if let Self::Writer(chunk_writer) = self {
            chunk_writer.set_owner(uid);
        }
    }

    /// Stores new chunks as one block: see [`ChunkWriter::put_whole`]. They cannot be counted together.
    ///
    /// # Errors
    /// As [`ChunkWriter::put_whole`].
    pub fn put_whole(
        &mut self,
        kind: ChunkType,
        chunks: &[(ChunkId, u32)],
        plain: &mut Vec<u8>,
    ) -> Result<bool> {
        match self {
            Self::Writer(chunk_writer) => chunk_writer.put_whole(kind, chunks, plain),
            Self::Counter(..) => Ok(false),
        }
    }

    /// Makes everything durable, unless `producer` failed: see [`ChunkWriter::finish`].
    ///
    /// # Errors
    /// As [`ChunkWriter::finish`].
    pub fn finish<T>(self, producer: Result<T>) -> Result<(T, Written)> {
        match self {
            Self::Writer(chunk_writer) => chunk_writer.finish(producer),
            Self::Counter(_, _, written) => producer.map(|produced| (produced, written)),
        }
    }
}

impl PutChunk for ChunkSink<'_> {
    fn index(&self) -> &Index {
        match self {
            Self::Writer(chunk_writer) => chunk_writer.index(),
            Self::Counter(index, ..) => index,
        }
    }

    fn put_similar(
        &mut self,
        kind: ChunkType,
        id: ChunkId,
        plain: &[u8],
        like: &[(ChunkId, u32)],
    ) -> Result<bool> {
        match self {
            Self::Writer(chunk_writer) => chunk_writer.put_similar(kind, id, plain, like),
            Self::Counter(index, seen, written) => {
                let is_new = index.find(kind, &id)?.is_none() && seen.insert(id);
                if is_new {
                    written.count(kind, 1, plain.len() as u64);
                }
                Ok(is_new)
            }
        }
    }
}
