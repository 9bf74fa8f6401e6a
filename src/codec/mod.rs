//! Bytes to values and back. Pure: no files, no clocks; the targets of fuzzing.

pub mod block;
pub mod chunker;
pub mod cipher;
pub mod compress;
pub mod envelope;
pub mod hash;
pub mod kdf;
pub mod list;
pub mod pack;
pub mod pieces;
pub mod slot;
pub mod tree;
pub mod wire;
