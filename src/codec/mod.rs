//! Conversion between bytes and values. Pure: no files, no clocks. These are the targets of fuzzing.

pub mod chunk;
pub mod crypto;
pub mod gzip;
pub mod pack;
pub mod randomness;
pub mod tar;
pub mod tree;
pub mod wire;
pub mod zip;
