//! Chunks: where to cut, how blocks of them are compressed.

pub mod block;
pub mod chunker;
pub mod compress;
