//! Bytes to values and back. Pure: no files, no clocks; the targets of fuzzing.

pub mod attributes;
pub mod base;
pub mod block;
pub mod chunker;
pub mod cipher;
pub mod compress;
pub mod envelope;
mod extra;
pub mod gzip;
pub mod hash;
pub mod kdf;
pub mod list;
pub mod pack;
pub mod parity;
pub mod pieces;
mod row;
pub mod segment;
pub mod slot;
pub mod tar;
pub mod tree;
pub mod wire;
