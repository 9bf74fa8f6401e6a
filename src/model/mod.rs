//! The types of the domain. No I/O, and no dependency on the rest of snap.

pub mod config;
pub mod decode_error;
pub mod entry;
pub mod entry_diff;
pub mod id;
pub mod manifest;
pub mod manifest_ext;
pub mod records;
pub mod signs;
mod tags;
pub mod tripwire;
