//! Caches decoded blocks with bases of deltas, for all readers of a repository. Bases of neighbours in a tree
//! are in few blocks, and two readers often need the same ones.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::id::PackId;

/// Bytes of decoded blocks that are cached: two prefixes of maximum length, enough for two concurrent
/// readers.
const CACHE_BYTES: usize = 8 << 20;

/// A pack and the number of a block in it.
type Key = (PackId, u32);

/// Maximum buffers of dropped blocks that are kept for reuse. The system would clear new ones.
const MAX_SPARE: usize = 2;

#[derive(Debug, Default)]
struct CachedBlocks {
    /// The most recently used last.
    blocks: VecDeque<(Key, Arc<Vec<u8>>)>,
    spare: Vec<Vec<u8>>,
}

/// A cache of decoded blocks.
#[derive(Debug, Default)]
pub(crate) struct BaseBlocks(Mutex<CachedBlocks>);

impl BaseBlocks {
    /// Returns a buffer for a block of this length, which is not much too large for it.
    pub(super) fn spare(&self, len: usize) -> Vec<u8> {
        let mut cached = self.0.lock();
        let at = cached.spare.iter().position(|spare| spare.capacity() / 2 <= len);
        at.map_or_else(Vec::new, |at| cached.spare.swap_remove(at))
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Vec<u8>>> {
        let mut cached = self.0.lock();
        let at = cached.blocks.iter().rposition(|(known, _)| known == key)?;
        let found = cached.blocks.remove(at)?;
        let block = Arc::clone(&found.1);
        cached.blocks.push_back(found);
        Some(block)
    }

    pub(super) fn put(&self, key: Key, block: &Arc<Vec<u8>>) {
        let mut cached = self.0.lock();
        cached.blocks.push_back((key, Arc::clone(block)));
        let mut bytes: usize = cached.blocks.iter().map(|(_, block)| block.len()).sum();
        while bytes > CACHE_BYTES
            && cached.blocks.len() > 1
            && let Some((_, oldest)) = cached.blocks.pop_front()
        {
            bytes -= oldest.len();
            if cached.spare.len() < MAX_SPARE && oldest.capacity() <= CACHE_BYTES / 2 {
                cached.spare.extend(Arc::into_inner(oldest));
            }
        }
    }

    pub(super) fn remove(&self, key: &Key) {
        self.0.lock().blocks.retain(|(known, _)| known != key);
    }

    pub(crate) fn clear(&self) {
        *self.0.lock() = CachedBlocks::default();
    }
}
