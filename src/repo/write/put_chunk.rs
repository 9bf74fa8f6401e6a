//! The trait of writers of chunks and, in a dry run, of their counter.

use crate::codec::crypto::hash::{ChunkHasher, ChunkType};
use crate::error::Result;
use crate::model::id::ChunkId;
use crate::repo::index::Index;

/// The owner of chunks that are moved or rewritten: a stored block does not record the owner of its chunks.
pub const UNKNOWN_OWNER: u32 = 0;

/// Stores or counts chunks, each once, however often it is put.
pub trait PutChunk {
    /// Returns the index that chunks are looked up in.
    fn index(&self) -> &Index;

    /// Stores a chunk of a file or directory, unless it is stored already. Returns whether it was new. The
    /// caller has computed its id.
    ///
    /// In an encrypted repository, chunks of different owners share no block. A new chunk is stored as a
    /// delta against `similar` chunks, if new data may refer to these (W2) and the delta is much smaller.
    ///
    /// # Errors
    /// As [`ChunkWriter::put`](super::chunk_writer::ChunkWriter::put).
    fn put_similar(
        &mut self,
        owner: u32,
        kind: ChunkType,
        id: ChunkId,
        plain: &[u8],
        similar: &[(ChunkId, u32)],
    ) -> Result<bool>;

    /// Stores the chunks at the front of `plain` as a block of their own, without copying them, if they fill
    /// a block and all are new. Returns whether it did; `plain` is then another buffer. The chunks must have
    /// one owner, and the caller has computed their ids. The default does nothing.
    ///
    /// # Errors
    /// As [`Self::put_similar`].
    fn put_whole(
        &mut self,
        _kind: ChunkType,
        _chunks: &[(ChunkId, u32)],
        _plain: &mut Vec<u8>,
    ) -> Result<bool> {
        Ok(false)
    }

    /// Stores a piece of a tree or part list, as a delta against `similar` ones if possible. Returns its id.
    ///
    /// # Errors
    /// As [`Self::put_similar`].
    fn put_tree(
        &mut self,
        owner: u32,
        hasher: &ChunkHasher,
        bytes: &[u8],
        similar: &[ChunkId],
    ) -> Result<ChunkId> {
        let id = hasher.id_of(ChunkType::Tree, bytes);
        let similar = self.index().lengths(ChunkType::Tree, similar)?;
        self.put_similar(owner, ChunkType::Tree, id, bytes, &similar)?;
        Ok(id)
    }
}
