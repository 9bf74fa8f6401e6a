//! Words of the domain. No I/O, no dependency on the rest.

pub mod config;
pub mod entry;
pub mod id;
pub mod malformed;
pub mod manifest;
pub mod record;
