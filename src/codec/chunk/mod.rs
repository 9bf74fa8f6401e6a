//! Chunks: where to cut, and how blocks of them are compressed and sealed.

pub mod block;
pub mod chunker;
pub mod compress;
pub mod delta_match;
