//! Words of the domain. No I/O, no dependency on the rest.

pub mod change;
pub mod config;
pub mod entry;
pub mod id;
pub mod malformed;
pub mod manifest;
pub mod notes;
pub mod numbers;
pub mod record;
