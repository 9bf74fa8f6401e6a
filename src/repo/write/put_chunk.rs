//! What takes chunks: a writer or, in a dry run, a counter.

use crate::codec::crypto::hash::{ChunkHasher, ChunkType};
use crate::error::Result;
use crate::model::id::ChunkId;
use crate::repo::index::Index;

/// Stands for the owner of chunks that are moved or rewritten: a stored block does not say whose its chunks
/// are.
pub const UNKNOWN_OWNER: u32 = 0;

/// Takes chunks. Each is stored or counted once, however often it is offered.
pub trait PutChunk {
    /// Returns the index that chunks are looked up in.
    fn index(&self) -> &Index;

    /// Stores a chunk of a file or directory of this owner, unless it is stored already: in an encrypted
    /// repository, chunks of different owners share no block. Stores a new chunk as a delta against similar
    /// chunks if possible: they must be stored, be allowed as references of new data, and make the chunk much
    /// smaller. Returns whether it was new. The caller has computed its id.
    ///
    /// # Errors
    /// As [`ChunkWriter::put`](super::chunk_writer::ChunkWriter::put).
    fn put_similar(
        &mut self,
        owner: u32,
        kind: ChunkType,
        id: ChunkId,
        plain: &[u8],
        like: &[(ChunkId, u32)],
    ) -> Result<bool>;

    /// Stores the chunks at the front of `plain` as a block of their own, without copying them. Does so only
    /// if they are enough for a block and all are new; then returns `true`, and `plain` is another buffer.
    /// They must have one owner, and the caller has computed the ids. What stores no blocks returns `false`.
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

    /// Stores a piece of a tree or of a part list, as a delta if it is similar to stored ones.
    ///
    /// # Errors
    /// As [`Self::put_similar`].
    fn put_tree(
        &mut self,
        owner: u32,
        hasher: &ChunkHasher,
        bytes: &[u8],
        like: &[ChunkId],
    ) -> Result<ChunkId> {
        let id = hasher.name(ChunkType::Tree, bytes);
        let like = self.index().lengths(ChunkType::Tree, like)?;
        self.put_similar(owner, ChunkType::Tree, id, bytes, &like)?;
        Ok(id)
    }
}
