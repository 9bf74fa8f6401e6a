//! How the row of a delta names its bases: by the beginnings of their ids, which are half of what the tables of a small run take.
//!
//! Eight bytes lead to a chunk, and are all that an index sorts by. Two chunks that share them can be made on purpose, where
//! ids can be computed; so four bytes of a hash that also covers the chunks of the delta say which one is meant.

use serde::{Deserialize, Serialize};

use crate::codec::crypto::hash::Hasher;
use crate::model::id::ChunkId;

/// A base, as a row has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseRef {
    /// What its id begins with.
    start: [u8; 8],
    /// What a hash of the delta's chunks and its id begins with.
    tag: [u8; 4],
    /// Its plain bytes.
    pub len: u32,
}

impl BaseRef {
    /// What its id begins with, as [`ChunkId::prefix`] has it.
    pub fn prefix(&self) -> u64 {
        u64::from_be_bytes(self.start)
    }

    /// An id for a base that nobody knows: no chunk's, and it begins as the base's does.
    pub fn stand_in(&self) -> ChunkId {
        let mut id = [0; 32];
        id.iter_mut().zip(self.start).for_each(|(to, byte)| *to = byte);
        ChunkId::new(id)
    }
}

/// Names the bases of one delta.
#[derive(Debug)]
pub struct BaseNamer(Hasher);

impl BaseNamer {
    /// For a delta of these chunks.
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

    /// A base, as its row has it.
    pub fn name(&self, (id, len): &(ChunkId, u32)) -> BaseRef {
        BaseRef { start: id.prefix().to_be_bytes(), tag: self.tag(id), len: *len }
    }

    /// Whether a chunk is meant by what its row has.
    pub fn means(&self, base: &BaseRef, (id, len): &(ChunkId, u32)) -> bool {
        base.len == *len && base.prefix() == id.prefix() && base.tag == self.tag(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_chunks_whose_ids_begin_alike_one_is_meant() {
        let id = |last: u8| {
            let mut id = [7; 32];
            id[31] = last;
            ChunkId::new(id)
        };
        let hasher = BaseNamer::of(&[(ChunkId::new([1; 32]), 9)]);
        let base = hasher.name(&(id(1), 5));
        assert!(hasher.means(&base, &(id(1), 5)));
        assert!(!hasher.means(&base, &(id(2), 5)) && !hasher.means(&base, &(id(1), 6)));
        let of_others = BaseNamer::of(&[(ChunkId::new([2; 32]), 9)]);
        assert!(
            !of_others.means(&base, &(id(1), 5)),
            "what is found for one delta does not serve for others"
        );
        assert_eq!(base.stand_in().prefix(), id(1).prefix());
    }
}
