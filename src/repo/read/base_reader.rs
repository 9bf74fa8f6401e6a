//! Reads the bases of deltas: caches decoded blocks with bases, shared by all readers of a repository. Bases
//! of neighbours in a tree are in few blocks, and two readers often need the same ones.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::codec::crypto::hash::ChunkType;
use crate::codec::pack::BlockRow;
use crate::error::{Error, Result};
use crate::model::id::{ChunkId, PackId};
use crate::repo::index::{Index, Location};
use crate::repo::read::chunk_reader::{BlockReader, slice};

/// Bytes of decoded blocks that are cached: two prefixes of maximum length, enough for two concurrent
/// readers.
const KEPT_BYTES: usize = 8 << 20;

/// A pack and the number of a block in it.
type Key = (PackId, u32);

/// Maximum buffers of dropped blocks that are kept for the next ones. The system would clear new ones.
const SPARE: usize = 2;

#[derive(Debug, Default)]
struct Kept {
    /// The most recently used last.
    blocks: VecDeque<(Key, Arc<Vec<u8>>)>,
    spare: Vec<Vec<u8>>,
}

/// A cache of decoded blocks.
#[derive(Debug, Default)]
pub(crate) struct BaseBlocks(Mutex<Kept>);

impl BaseBlocks {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock()
    }

    /// Returns a buffer for a block of this length, which is not much too large for it.
    fn spare(&self, len: usize) -> Vec<u8> {
        let mut kept = self.kept();
        let at = kept.spare.iter().position(|spare| spare.capacity() / 2 <= len);
        at.map_or_else(Vec::new, |at| kept.spare.swap_remove(at))
    }

    fn get(&self, key: &Key) -> Option<Arc<Vec<u8>>> {
        let mut kept = self.kept();
        let at = kept.blocks.iter().rposition(|(known, _)| known == key)?;
        let found = kept.blocks.remove(at)?;
        let block = Arc::clone(&found.1);
        kept.blocks.push_back(found);
        Some(block)
    }

    fn put(&self, key: Key, block: &Arc<Vec<u8>>) {
        let mut kept = self.kept();
        kept.blocks.push_back((key, Arc::clone(block)));
        let mut bytes: usize = kept.blocks.iter().map(|(_, block)| block.len()).sum();
        while bytes > KEPT_BYTES
            && kept.blocks.len() > 1
            && let Some((_, oldest)) = kept.blocks.pop_front()
        {
            bytes -= oldest.len();
            if kept.spare.len() < SPARE && oldest.capacity() <= KEPT_BYTES / 2 {
                kept.spare.extend(Arc::into_inner(oldest));
            }
        }
    }

    pub(crate) fn clear(&self) {
        *self.kept() = Kept::default();
    }
}

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
        bases.iter().try_for_each(|base| self.base(index, kind, base, prefix))
    }

    /// Like [`Self::prefix`], for the bases that a block's table row names.
    ///
    /// # Errors
    /// As [`Self::prefix`].
    pub fn prefix_of(&mut self, index: &Index, kind: ChunkType, row: &BlockRow) -> Result<Vec<u8>> {
        self.prefix(index, kind, &index.bases_of(kind, row)?)
    }

    fn base(
        &mut self,
        index: &Index,
        kind: ChunkType,
        base: &(ChunkId, u32),
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let mut failed = None;
        if let Some(copy) = index.near_base(kind, base) {
            match self.append(index, (kind, &base.0), &copy.location, out) {
                Err(err) if err.is_damage() => failed = Some(err),
                other => return other,
            }
        }
        for copy in index.base_copies(kind, base)? {
            match self.append(index, (kind, &base.0), &copy.location, out) {
                Err(err) if err.is_damage() => _ = failed.get_or_insert(err),
                other => return other,
            }
        }
        let what = format!("chunk {}, which others are made from", base.0.short());
        Err(match failed {
            Some(Error::Damaged { source, .. }) => Error::Damaged { what, source },
            _ => Error::Missing { what },
        })
    }

    /// Appends the bytes of a base. They must match its id, unless the caller checks that later: a delta made
    /// against other bytes would be readable only as long as exactly these bytes are kept.
    fn append(
        &mut self,
        index: &Index,
        (kind, id): (ChunkType, &ChunkId),
        location: &Location,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let place = index.place(location.block)?;
        let key = (place.pack, location.block.block);
        let shared = Arc::clone(self.base_blocks());
        let block = match shared.get(&key) {
            Some(block) => block,
            None => {
                let mut plain = shared.spare(place.plain as usize);
                self.read_place(&place, &[], &mut plain)?;
                let block = Arc::new(plain);
                shared.put(key, &block);
                block
            }
        };
        let start = location.start as usize;
        let bytes = if self.names_bases {
            slice(&self.hasher, kind, id, &block, location)?
        } else {
            block
                .get(start..start + location.len as usize)
                .ok_or_else(|| Error::Missing { what: format!("chunk {}, past its block", id.short()) })?
        };
        out.extend_from_slice(bytes);
        Ok(())
    }
}
