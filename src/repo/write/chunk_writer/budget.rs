//! How hard the blocks of a run are compressed.

use crossbeam_channel::Sender;

use crate::codec::chunk::compress::HARDER;
use crate::codec::crypto::hash::ChunkType;
use crate::error::{Error, Result};
use crate::repo::write::open_block::OpenBlock;

/// How blocks are compressed.
#[derive(Debug, Clone, Copy)]
pub struct CompressionPolicy {
    /// Compression level.
    pub level: i32,
    /// The first bytes, up to this number, are compressed harder: data at level 9 and deltas at level 12,
    /// unless `level` is higher. Most runs with a parent have little new data, so this costs little; the
    /// limit bounds the cost of the others.
    pub harder: u64,
}

/// Maximum bytes to be compressed harder that a run saves up: some 15 s of one core.
pub const MOST_HARDER: u64 = 1 << 30;

/// Plain bytes of trees whose deltas are made thoroughly, which takes five times as long: those of more than
/// 100 000 files in changed directories.
const THOROUGH_TREES: u64 = 8 << 20;

/// What is left of the bytes that are compressed harder.
#[derive(Debug)]
pub(super) struct Budget {
    level: i32,
    harder: u64,
    trees: u64,
}

impl Budget {
    pub(super) fn new(CompressionPolicy { level, harder }: CompressionPolicy) -> Self {
        Self { level, harder, trees: harder.min(THOROUGH_TREES) }
    }

    pub(super) fn add_harder(&mut self, bytes: u64) {
        self.harder = self.harder.saturating_add(bytes).min(MOST_HARDER);
    }

    pub(super) fn send(&mut self, mut block: OpenBlock, blocks: &Sender<OpenBlock>) -> Result<()> {
        let is_delta = block.made_from.is_some();
        let (left, may) = match block.kind {
            ChunkType::Data => (&mut self.harder, true),
            ChunkType::Tree => (&mut self.trees, is_delta),
        };
        if may && self.level < HARDER && *left > 0 {
            *left = left.saturating_sub(block.len as u64);
            block.harder = true;
        }
        blocks.send(block).map_err(|_| Error::Stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_saves_up_a_limited_number_of_bytes_to_be_compressed_harder() {
        let mut budget = Budget::new(CompressionPolicy { level: 3, harder: 0 });
        (0..3).for_each(|_| budget.add_harder(MOST_HARDER / 2));
        assert_eq!(budget.harder, MOST_HARDER);
    }
}
