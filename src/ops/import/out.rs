//! Destination of chunks: a writer, or nothing in a dry run.

use std::collections::HashSet;
use std::sync::Arc;

use crate::codec::crypto::hash::ChunkType;
use crate::error::Result;
use crate::model::id::ChunkId;
use crate::repo::index::Index;
use crate::repo::repository::Repository;
use crate::repo::write::chunk_writer::ChunkWriter;

/// Takes chunks. Each is stored or counted once, however often it is offered.
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
pub(super) enum Out<'scope> {
    /// Stores chunks.
    Writer(ChunkWriter<'scope>),
    /// Counts what would be stored.
    Dry { index: Arc<Index>, seen: HashSet<ChunkId>, added: u64 },
}

impl Out<'_> {
    pub(super) fn dry(index: Arc<Index>) -> Self {
        Self::Dry { index, seen: HashSet::new(), added: 0 }
    }

    /// Announces whose files follow: see [`ChunkWriter::set_owner`].
    pub(super) fn set_owner(&mut self, uid: u32) {
        if let Self::Writer(chunk_writer) = self {
            chunk_writer.set_owner(uid);
        }
    }

    pub(super) fn put(&mut self, kind: ChunkType, id: ChunkId, plain: &[u8]) -> Result<()> {
        match self {
            Self::Writer(chunk_writer) => chunk_writer.put(kind, id, plain).map(|_| ()),
            Self::Dry { index, seen, added } => {
                if index.find(kind, &id)?.is_none() && seen.insert(id) {
                    *added += plain.len() as u64;
                }
                Ok(())
            }
        }
    }

    /// Stores a piece of a tree or of a part list.
    pub(super) fn put_tree(&mut self, repo: &Repository, bytes: &[u8]) -> Result<ChunkId> {
        let id = repo.hasher().name(ChunkType::Tree, bytes);
        self.put(ChunkType::Tree, id, bytes)?;
        Ok(id)
    }

    /// Makes everything durable, unless `work` failed. Returns its result and the bytes added.
    pub(super) fn finish<T>(self, work: Result<T>) -> Result<(T, u64)> {
        match self {
            Self::Dry { added, .. } => work.map(|done| (done, added)),
            Self::Writer(chunk_writer) => {
                chunk_writer.finish(work).map(|(done, written)| (done, written.added))
            }
        }
    }
}
