//! Segments of packs that were just written.

use crate::codec::envelope;
use crate::codec::segment::Contents;
use crate::error::Result;
use crate::model::id::PackId;
use crate::store::objects;
use crate::store::repository::Repository;
use crate::store::segments::FEWEST;
use crate::store::segments::FULL;
use crate::store::session;
use crate::store::storage::Area;

/// What packs begin with, until there is enough for a segment.
#[derive(Debug, Default)]
pub(in crate::store) struct Gathering {
    contents: Vec<(PackId, u64, u32)>,
    fronts: Vec<Vec<u8>>,
    bytes: usize,
}

impl Gathering {
    /// Adds a pack of so many bytes that begins so; what is full is given away. An empty front is none.
    pub(in crate::store) fn add(&mut self, pack: PackId, len: u64, front: Vec<u8>) -> Option<Self> {
        if front.is_empty() {
            return None;
        }
        self.contents.push((pack, len, front.len() as u32));
        self.bytes += front.len();
        self.fronts.push(front);
        (self.bytes >= FULL).then(|| std::mem::take(self))
    }

    /// Writes the segment.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub(in crate::store) fn write(self, repo: &Repository) -> Result<()> {
        let name = session::new_id()?.hex();
        let head = objects::close(repo.ring(), envelope::SEGMENT, &name, &Contents(self.contents))?;
        let parts = std::iter::once(head).chain(self.fronts).collect();
        repo.storage().create_owned(Area::Index, &name, parts).map(drop)
    }

    /// Writes what is left, if it is worth an object.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(in crate::store) fn finish(self, repo: &Repository) -> Result<()> {
        if self.fronts.len() >= FEWEST { self.write(repo) } else { Ok(()) }
    }
}
