//! Packs in storage: written, read, rebuilt from parity, and their headers bundled for remote machines.

pub mod header_bundles;
pub mod heal;
pub mod packs;
pub mod parity;
