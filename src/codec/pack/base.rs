//! How a table row refers to the bases of a delta: by prefixes of their ids. Even so, these take half of all
//! table bytes of a small backup run.
//!
//! Eight bytes lead to a chunk, and are all that an index sorts by. Where ids can be computed, two chunks
//! that share these bytes can be made on purpose. Therefore four bytes of a hash that also covers the
//! chunks of the delta select the right one.

use serde::{Deserialize, Serialize};

use crate::codec::crypto::hash::Hasher;
use crate::model::id::ChunkId;

/// A reference to a base, as stored in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseRef {
    /// First bytes of its id.
    pub(in crate::codec) start: [u8; 8],
    /// First bytes of a hash of the delta's chunks and its id.
    pub(in crate::codec) tag: [u8; 4],
    /// Length of its plain bytes.
    pub len: u32,
}

impl BaseRef {
    /// Returns the prefix of its id, like [`ChunkId::prefix`].
    pub fn prefix(&self) -> u64 {
        u64::from_be_bytes(self.start)
    }

    /// Returns a placeholder id for a base that is not known: it has the base's prefix and belongs to no
    /// chunk.
    pub fn stand_in(&self) -> ChunkId {
        let mut id = [0; 32];
        id.iter_mut().zip(self.start).for_each(|(to, byte)| *to = byte);
        ChunkId::new(id)
    }
}

/// Creates and matches the base references of one delta.
#[derive(Debug)]
pub struct BaseNamer(Hasher);

impl BaseNamer {
    /// Creates a namer for a delta that contains these chunks.
    pub fn of(chunks: &[(ChunkId, u32)]) -> Self {
        let mut hasher = Hasher::default();
        chunks.iter().for_each(|(id, _)| hasher.update(id.as_bytes()));
        Self(hasher)
    }

    fn tag(&self, id: &ChunkId) -> [u8; 4] {
        let mut hasher = self.0.clone();
        hasher.update(id.as_bytes());
        let [a, b, c, d, ..] = hasher.finish();
        [a, b, c, d]
    }

    /// Returns the reference to a base.
    pub fn name(&self, (id, len): &(ChunkId, u32)) -> BaseRef {
        BaseRef { start: id.prefix().to_be_bytes(), tag: self.tag(id), len: *len }
    }

    /// Returns whether a reference means this chunk.
    pub fn means(&self, base: &BaseRef, (id, len): &(ChunkId, u32)) -> bool {
        base.len == *len && base.prefix() == id.prefix() && base.tag == self.tag(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_with_a_common_id_prefix_are_told_apart() {
        let id = |last: u8| {
            let mut id = [7; 32];
            id[31] = last;
            ChunkId::new(id)
        };
        let namer = BaseNamer::of(&[(ChunkId::new([1; 32]), 9)]);
        let base = namer.name(&(id(1), 5));
        assert!(namer.means(&base, &(id(1), 5)));
        assert!(!namer.means(&base, &(id(2), 5)) && !namer.means(&base, &(id(1), 6)));
        let of_others = BaseNamer::of(&[(ChunkId::new([2; 32]), 9)]);
        assert!(!of_others.means(&base, &(id(1), 5)), "a reference of one delta means nothing in another");
        assert_eq!(base.stand_in().prefix(), id(1).prefix());
    }
}
