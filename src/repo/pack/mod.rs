//! Packs in storage: writing, reading, rebuilding from parity, and bundling their headers for remote storage.

pub mod header_bundles;
pub mod heal;
pub mod packs;
pub mod parity;
