//! A blocked Bloom filter: answers most look-ups of unknown chunks without disk I/O.

/// Bits per chunk; the false-positive rate is about 1 %.
const BITS_PER_CHUNK: u64 = 12;
/// Maximum bytes of one filter. Larger runs get more false positives; each costs one read.
const MAX_BYTES: u64 = 64 << 20;
/// Bits per block. All bits of one chunk lie in one block, which is one CPU cache line.
const BLOCK_BITS: u64 = 512;
/// Bytes per block.
pub(crate) const BLOCK_BYTES: usize = 64;
const PROBES: u32 = 6;

/// A blocked Bloom filter. Chunks with neighbouring prefixes share a block, so building the filter from
/// sorted entries writes memory sequentially.
#[derive(Debug)]
pub(crate) struct BloomFilter {
    blocks: Vec<[u64; 8]>,
}

impl BloomFilter {
    /// Creates an empty filter sized for this many entries.
    pub(crate) fn with_capacity(entries: u64) -> Self {
        let blocks = (entries * BITS_PER_CHUNK).div_ceil(BLOCK_BITS).clamp(1, MAX_BYTES / BLOCK_BYTES as u64);
        Self { blocks: vec![[0; 8]; blocks as usize] }
    }

    pub(crate) fn insert(&mut self, prefix: u64) {
        let at = range_of(prefix, self.blocks.len());
        let Some(block) = self.blocks.get_mut(at) else { return };
        for bit in bits(prefix) {
            if let Some(word) = block.get_mut(bit / 64) {
                *word |= 1 << (bit % 64);
            }
        }
    }

    /// Returns whether the chunk may be present; `false` is certain.
    pub(crate) fn may_contain(&self, prefix: u64) -> bool {
        let Some(block) = self.blocks.get(range_of(prefix, self.blocks.len())) else { return true };
        bits(prefix).all(|bit| block.get(bit / 64).is_some_and(|word| word & 1 << (bit % 64) != 0))
    }

    /// Returns the filter's bytes in pieces of `size` bytes, which must be a multiple of [`BLOCK_BYTES`].
    pub(crate) fn pieces(&self, size: usize) -> impl Iterator<Item = Vec<u8>> {
        let blocks = self.blocks.chunks((size / BLOCK_BYTES).max(1));
        blocks.map(|blocks| blocks.iter().flatten().flat_map(|word| word.to_le_bytes()).collect())
    }

    /// Returns the number of blocks.
    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Rebuilds a filter from its pieces; `None` if a piece is missing or the total length is wrong.
    pub(crate) fn from_pieces(blocks: usize, pieces: impl Iterator<Item = Option<Vec<u8>>>) -> Option<Self> {
        if blocks as u64 > MAX_BYTES / BLOCK_BYTES as u64 {
            return None;
        }
        let mut all = Vec::with_capacity(blocks);
        for piece in pieces {
            for block in piece?.as_chunks::<BLOCK_BYTES>().0 {
                let mut words = [0u64; 8];
                for (word, bytes) in words.iter_mut().zip(block.as_chunks::<8>().0) {
                    *word = u64::from_le_bytes(*bytes);
                }
                all.push(words);
            }
        }
        (all.len() == blocks).then_some(Self { blocks: all })
    }
}

/// Returns which of `count` equal ranges of the prefix space a prefix falls into.
pub(crate) fn range_of(prefix: u64, count: usize) -> usize {
    ((u128::from(prefix) * count as u128) >> 64) as usize
}

/// Returns the bits of a prefix within its block. They come from the low bits of the prefix, the block from
/// the high bits.
fn bits(prefix: u64) -> impl Iterator<Item = usize> {
    let mixed = prefix.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..PROBES).map(move |probe| (mixed >> (10 + 9 * probe)) as usize % BLOCK_BITS as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(from: u64) -> impl Iterator<Item = u64> {
        let id = |number: u64| crate::codec::crypto::hash::sha256(&number.to_le_bytes());
        (from..from + 100_000).map(move |number| crate::model::id::ChunkId::new(id(number)).prefix())
    }

    #[test]
    fn bloom_filter_passes_all_members_and_little_else() {
        let mut bloom = BloomFilter::with_capacity(100_000);
        prefixes(0).for_each(|prefix| bloom.insert(prefix));
        assert!(prefixes(0).all(|prefix| bloom.may_contain(prefix)));
        let others = prefixes(1 << 32).filter(|prefix| bloom.may_contain(*prefix)).count();
        assert!(others < 1500, "{others} of 100000 absent chunks are not excluded");
    }

    #[test]
    fn bloom_filter_is_rebuilt_only_from_all_its_pieces() {
        let mut bloom = BloomFilter::with_capacity(10_000);
        prefixes(0).take(10_000).for_each(|prefix| bloom.insert(prefix));
        let pieces: Vec<_> = bloom.pieces(BLOCK_BYTES * 96).map(Some).collect();
        let again = BloomFilter::from_pieces(bloom.len(), pieces.iter().cloned()).unwrap();
        assert_eq!(again.blocks, bloom.blocks);
        assert!(BloomFilter::from_pieces(bloom.len(), pieces.iter().skip(1).cloned()).is_none());
        assert!(BloomFilter::from_pieces(usize::MAX, pieces.into_iter()).is_none());
    }
}
