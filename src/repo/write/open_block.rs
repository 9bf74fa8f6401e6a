//! Open blocks: chunks that are being collected.

use crate::codec::crypto::hash::ChunkType;
use crate::model::id::ChunkId;
use crate::repo::write::delta_sealer::DeltaBases;

/// Chunks that are being collected into a block.
#[derive(Debug)]
pub(crate) struct OpenBlock {
    pub(crate) kind: ChunkType,
    /// The plain bytes of the block.
    pub(crate) plain: Vec<u8>,
    /// Length of the block in bytes. Bytes of `plain` after it do not belong to the block.
    pub(crate) len: usize,
    pub(crate) chunks: Vec<(ChunkId, u32)>,
    /// The block is to be compressed at the higher level.
    pub(crate) harder: bool,
    /// The block is to be stored as a delta against these bases, if that saves enough.
    pub(crate) delta_bases: Option<DeltaBases>,
}

impl OpenBlock {
    /// Creates an empty block. The buffer `plain` is reused.
    pub(crate) fn new(kind: ChunkType, mut plain: Vec<u8>) -> Self {
        plain.clear();
        Self { kind, plain, len: 0, chunks: Vec::new(), harder: false, delta_bases: None }
    }
}
