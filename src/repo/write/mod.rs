//! Writes chunks: deduplication, blocks, deltas and packs.

pub(crate) mod blocks_by_owner;
pub mod chunk_sink;
pub mod chunk_writer;
pub(crate) mod content_writer;
pub(crate) mod delta_backoff;
pub(crate) mod delta_sealer;
pub mod delta_writer;
pub(crate) mod drift;
pub(crate) mod open_block;
pub mod pack_writer;
pub mod put_chunk;
pub(crate) mod seal;
pub(crate) mod siblings;
pub(crate) mod similarity;
