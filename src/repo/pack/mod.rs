//! Packs in storage: writing, reading, rebuilding from parity, and bundling their headers for remote storage.

pub mod header_bundles;
pub mod heal;
pub mod packs;
pub mod parity;

use crate::error::Error;
use crate::model::id::PackId;
use crate::storage::ObjectKind;

/// Returns the error for a pack whose bytes do not hash to its name.
pub fn not_its_name(id: &PackId) -> Error {
    Error::because(ObjectKind::Packs.path(&id.hex()), "its hash differs from its name")
}
