//! Reads the bases of deltas, through a cache of blocks.

use std::sync::Arc;

use crate::codec::crypto::hash::ChunkType;
use crate::codec::pack::BlockRow;
use crate::error::{Error, Result};
use crate::model::id::ChunkId;
use crate::repo::index::{Index, Location};
use crate::repo::read::chunk_reader::{BlockReader, verified_chunk};

impl BlockReader {
    /// Returns the plain bytes of the bases, concatenated: the prefix of a delta. Damaged data is rebuilt
    /// from parity, or read from another copy.
    ///
    /// # Errors
    /// When a base cannot be read from any block that is not a delta.
    pub fn prefix(&mut self, index: &Index, kind: ChunkType, bases: &[(ChunkId, u32)]) -> Result<Vec<u8>> {
        let mut prefix = Vec::new();
        self.prefix_into(index, kind, bases, &mut prefix)?;
        Ok(prefix)
    }

    /// Like [`Self::prefix`], but replaces `prefix`, a buffer of an earlier one.
    pub(super) fn prefix_into(
        &mut self,
        index: &Index,
        kind: ChunkType,
        bases: &[(ChunkId, u32)],
        prefix: &mut Vec<u8>,
    ) -> Result<()> {
        prefix.clear();
        prefix.reserve_exact(bases.iter().map(|(_, len)| *len as usize).sum());
        bases.iter().try_for_each(|base| self.append_base(index, kind, base, prefix))
    }

    /// Like [`Self::prefix`], for the bases that a block's table row names.
    ///
    /// # Errors
    /// As [`Self::prefix`].
    pub fn prefix_of(&mut self, index: &Index, kind: ChunkType, row: &BlockRow) -> Result<Vec<u8>> {
        self.prefix(index, kind, &index.bases_of(kind, row)?)
    }

    /// Appends the bytes of a base, from the first copy that is intact.
    fn append_base(
        &mut self,
        index: &Index,
        kind: ChunkType,
        base: &(ChunkId, u32),
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let mut failed = None;
        if let Some(copy) = index.find_cached_base(kind, base) {
            match self.append_copy(index, (kind, &base.0), &copy.location, out) {
                Err(err) if err.is_damage() => failed = Some(err),
                other => return other,
            }
        }
        for copy in index.base_copies(kind, base)? {
            match self.append_copy(index, (kind, &base.0), &copy.location, out) {
                Err(err) if err.is_damage() => _ = failed.get_or_insert(err),
                other => return other,
            }
        }
        let what = format!("chunk {}, the base of a delta,", base.0.short());
        Err(match failed {
            Some(Error::Damaged { source, .. }) => Error::Damaged { what, source },
            _ => Error::Missing { what },
        })
    }

    /// Appends the bytes of one copy of a base. They must match its id, unless the caller checks that later: a
    /// delta made against other bytes would be readable only as long as exactly these bytes are kept.
    fn append_copy(
        &mut self,
        index: &Index,
        (kind, id): (ChunkType, &ChunkId),
        location: &Location,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let place = index.place(location.block)?;
        let key = (place.pack, location.block.block);
        let shared = Arc::clone(self.base_blocks());
        if let Some(block) = shared.get(&key) {
            match self.base_bytes(&block, (kind, id), location) {
                Ok(bytes) => {
                    out.extend_from_slice(bytes);
                    return Ok(());
                }
                // The cached copy may be at fault, not the stored block: memory can fail, too. If the stored
                // block is at fault, each delta that needs this chunk reads it again.
                Err(_) => shared.remove(&key),
            }
        }
        let mut plain = shared.spare(place.plain as usize);
        self.read_place(&place, &[], &mut plain)?;
        let block = Arc::new(plain);
        shared.put(key, &block);
        out.extend_from_slice(self.base_bytes(&block, (kind, id), location)?);
        Ok(())
    }

    /// Returns a base's bytes in its block.
    fn base_bytes<'b>(
        &self,
        block: &'b [u8],
        (kind, id): (ChunkType, &ChunkId),
        location: &Location,
    ) -> Result<&'b [u8]> {
        if self.verify_bases {
            return verified_chunk(&self.hasher, kind, id, block, location);
        }
        let start = location.start as usize;
        block.get(start..start + location.len as usize).ok_or_else(|| Error::Missing {
            what: format!("chunk {}, which is outside of its block,", id.short()),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::model::records::SessionKind;
    use crate::repo::options::InitOptions;
    use crate::repo::repository::Repository;
    use crate::repo::sessions::session::Session;
    use crate::repo::write::chunk_writer::{ChunkWriter, CompressionPolicy};
    use crate::storage::memory::MemoryStorage;

    #[test]
    fn cached_base_that_fails_its_id_is_read_again() {
        let repo = Repository::init(Arc::new(MemoryStorage::default()), &InitOptions::default()).unwrap();
        let bytes = vec![7; 4096];
        let id = repo.hasher().id_of(ChunkType::Data, &bytes);
        let (session, repo_state) = Session::open(&repo, SessionKind::Writer).unwrap();
        let index = Arc::new(Index::load(&repo, repo_state).unwrap());
        let (policy, stored) = (CompressionPolicy { level: 1, harder: 0 }, AtomicU64::new(0));
        std::thread::scope(|scope| {
            let mut writer = ChunkWriter::start(scope, &repo, session.id, index, policy, &stored).unwrap();
            writer.put(0, ChunkType::Data, id, &bytes).unwrap();
            writer.finish(Ok(())).unwrap();
        });
        let (_, repo_state) = Session::open(&repo, SessionKind::Writer).unwrap();
        let index = Index::load(&repo, repo_state).unwrap();
        let base = (id, bytes.len() as u32);
        let mut reader = BlockReader::new(&repo).unwrap();
        assert_eq!(reader.prefix(&index, ChunkType::Data, &[base]).unwrap(), bytes);
        let location = index.base_copies(ChunkType::Data, &base).unwrap()[0].location;
        let key = (index.place(location.block).unwrap().pack, location.block.block);
        let wrong = Arc::new(vec![8; bytes.len()]);
        repo.base_blocks().remove(&key);
        repo.base_blocks().put(key, &wrong);
        assert_eq!(reader.prefix(&index, ChunkType::Data, &[base]).unwrap(), bytes);
        assert_ne!(repo.base_blocks().get(&key).unwrap(), wrong);
    }
}
