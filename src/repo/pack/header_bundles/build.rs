//! Builds header bundles of packs that were just written.

use crate::codec::crypto::{cipher, sealed_object};
use crate::codec::pack::header_bundle::Contents;
use crate::error::Result;
use crate::model::id::PackId;
use crate::repo::objects;
use crate::repo::pack::header_bundles::{FULL_BYTES, MIN_PACKS};
use crate::repo::repository::Repository;
use crate::storage::ObjectKind;

/// Collects packs' fronts until there are enough for a header bundle.
#[derive(Debug, Default)]
pub(crate) struct BundleBuilder {
    contents: Vec<(PackId, u64, u32)>,
    fronts: Vec<Vec<u8>>,
    bytes: usize,
}

impl BundleBuilder {
    /// Adds the front of a pack of `len` bytes. Returns a full builder, to be written. An empty front is
    /// ignored.
    pub(crate) fn add(&mut self, pack: PackId, len: u64, front: Vec<u8>) -> Option<Self> {
        if front.is_empty() {
            return None;
        }
        self.contents.push((pack, len, front.len() as u32));
        self.bytes += front.len();
        self.fronts.push(front);
        (self.bytes >= FULL_BYTES).then(|| std::mem::take(self))
    }

    /// Writes the header bundle.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub(crate) fn write(self, repo: &Repository) -> Result<()> {
        let name = cipher::new_id()?.hex();
        let head = objects::seal(repo.suite(), sealed_object::SEGMENT, &name, &Contents(self.contents))?;
        let parts = std::iter::once(head).chain(self.fronts).collect();
        repo.storage().create_owned(ObjectKind::Index, &name, parts).map(drop)
    }

    /// Writes the remaining fronts, if there are enough for an object.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(crate) fn finish(self, repo: &Repository) -> Result<()> {
        if self.fronts.len() >= MIN_PACKS { self.write(repo) } else { Ok(()) }
    }
}
