//! Blocks in the making.

use crate::codec::crypto::hash::ChunkType;
use crate::model::id::ChunkId;
use crate::repo::write::delta_sealer::MadeFrom;

/// Chunks that are being collected into a block.
#[derive(Debug)]
pub(crate) struct OpenBlock {
    pub(crate) kind: ChunkType,
    /// The plain bytes of the block.
    pub(crate) plain: Vec<u8>,
    /// Length of the block in `plain`, which may have undefined bytes behind it.
    pub(crate) len: usize,
    pub(crate) chunks: Vec<(ChunkId, u32)>,
    /// To be compressed at the higher level.
    pub(crate) harder: bool,
    /// To be stored as a delta if that saves enough.
    pub(crate) made_from: Option<MadeFrom>,
}

impl OpenBlock {
    /// Creates an empty block, in a reused buffer if there is one.
    pub(crate) fn new(kind: ChunkType, mut plain: Vec<u8>) -> Self {
        plain.clear();
        Self { kind, plain, len: 0, chunks: Vec::new(), harder: false, made_from: None }
    }
}
