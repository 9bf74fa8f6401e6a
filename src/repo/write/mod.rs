//! Writing: deduplication, blocks, deltas and packs.

pub mod chunk_writer;
pub mod delta_writer;
pub(crate) mod drift;
pub(crate) mod noise;
pub mod pack_writer;
pub(crate) mod similarity;
