//! Decides which blocks of a run are compressed at the higher level.

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
    /// Plain bytes, at the beginning of a run, that are compressed harder: data at level 9 and deltas at
    /// level 12, unless `level` is higher. Most runs with a parent have little new data, so this costs little
    /// time; the limit bounds the time of the others.
    pub harder: u64,
}

/// Maximum plain bytes that a run may still compress harder: about 15 s of one core.
pub const MAX_HARDER_BYTES: u64 = 1 << 30;

/// Maximum plain bytes of trees whose deltas are made thoroughly, which takes five times as long. They have
/// more than 100 000 files.
const MAX_THOROUGH_TREES: u64 = 8 << 20;

/// Plain bytes that may still be compressed harder.
#[derive(Debug)]
pub(super) struct Budget {
    level: i32,
    harder: u64,
    trees: u64,
}

impl Budget {
    pub(super) fn new(CompressionPolicy { level, harder }: CompressionPolicy) -> Self {
        Self { level, harder, trees: harder.min(MAX_THOROUGH_TREES) }
    }

    /// Allows more bytes to be compressed harder, up to [`MAX_HARDER_BYTES`] in total.
    pub(super) fn add_harder(&mut self, bytes: u64) {
        self.harder = self.harder.saturating_add(bytes).min(MAX_HARDER_BYTES);
    }

    /// Decides whether a block is compressed harder, and sends it to the sealing workers.
    pub(super) fn send(&mut self, mut block: OpenBlock, blocks: &Sender<OpenBlock>) -> Result<()> {
        let is_delta = block.delta_bases.is_some();
        let (remaining, is_allowed) = match block.kind {
            ChunkType::Data => (&mut self.harder, true),
            ChunkType::Tree => (&mut self.trees, is_delta),
        };
        if is_allowed && self.level < HARDER && *remaining > 0 {
            *remaining = remaining.saturating_sub(block.len as u64);
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
        (0..3).for_each(|_| budget.add_harder(MAX_HARDER_BYTES / 2));
        assert_eq!(budget.harder, MAX_HARDER_BYTES);
    }
}
