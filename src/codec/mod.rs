//! Bytes to values and back. Pure: no files, no clocks; the targets of fuzzing.

pub mod chunk;
pub mod crypto;
pub mod gzip;
pub mod pack;
pub mod tar;
pub mod tree;
pub mod wire;
