//! Where chunks go: to a sink, or in a dry run nowhere.

use std::collections::HashSet;
use std::sync::Arc;

use crate::codec::crypto::hash::ChunkType;
use crate::error::{Error, Result};
use crate::model::id::ChunkId;
use crate::repo::index::Index;
use crate::repo::repository::Repository;
use crate::repo::write::chunk_writer::ChunkWriter;

/// Takes chunks, each once however often it is offered.
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
pub(super) enum Out<'scope> {
    /// Stores them.
    Writer(ChunkWriter<'scope>),
    /// Counts what would be stored.
    Dry { index: Arc<Index>, seen: HashSet<ChunkId>, added: u64 },
}

impl Out<'_> {
    pub(super) fn dry(index: Arc<Index>) -> Self {
        Self::Dry { index, seen: HashSet::new(), added: 0 }
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

    /// Stores a piece of a tree or of a list.
    pub(super) fn put_tree(&mut self, repo: &Repository, bytes: &[u8]) -> Result<ChunkId> {
        let id = repo.hasher().name(ChunkType::Tree, bytes);
        self.put(ChunkType::Tree, id, bytes)?;
        Ok(id)
    }

    /// Makes everything durable, unless `work` on it failed; bytes added beside what it gave.
    pub(super) fn finish<T>(self, work: Result<T>) -> Result<(T, u64)> {
        match self {
            Self::Dry { added, .. } => work.map(|done| (done, added)),
            Self::Writer(chunk_writer) => {
                let added = chunk_writer.added();
                match (work, chunk_writer.finish()) {
                    // A sink that failed says so itself; whoever fed it only noticed.
                    (Err(Error::Stopped), Err(err)) | (Err(err), _) | (Ok(_), Err(err)) => Err(err),
                    (Ok(done), Ok(_)) => Ok((done, added)),
                }
            }
        }
    }
}
