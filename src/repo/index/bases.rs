//! Bases: the chunks that a delta block is made from.
//! A base must lie in a block that is not a delta, so a read follows at most one level and cycles are
//! impossible.

use crate::codec::crypto::hash::ChunkType;
use crate::codec::pack::BlockRow;
use crate::codec::pack::base::{BaseNamer, BaseRef};
use crate::error::Result;
use crate::model::id::ChunkId;
use crate::repo::index::{BlockAt, Copy, Index, entry};

impl Index {
    /// Returns copies of a chunk that can serve as a base for reading a delta, copies in good packs first.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn base_copies(&self, kind: ChunkType, base: &(ChunkId, u32)) -> Result<Vec<Copy>> {
        let (id, len) = base;
        let mut copies = self.copies(kind, id)?;
        copies.retain(|copy| !copy.delta && copy.location.len == *len);
        copies.sort_by_key(|copy| (!copy.in_usable_pack, copy.foreign));
        Ok(copies)
    }

    /// Returns a copy that a new delta may use as a base.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn find_base(&self, kind: ChunkType, base: &(ChunkId, u32)) -> Result<Option<Copy>> {
        if let Some(cached) = self.find_cached_base(kind, base) {
            return Ok(Some(cached));
        }
        Ok(self.base_copies(kind, base)?.first().copied().filter(Copy::may_be_referenced))
    }

    /// Like [`Self::find_base`], but searches cached tables only, without I/O.
    pub(crate) fn find_cached_base(&self, kind: ChunkType, base: &(ChunkId, u32)) -> Option<Copy> {
        let cached = self.catalog.find_cached(kind, &base.0);
        cached.filter(|copy| copy.may_be_referenced() && !copy.delta && copy.location.len == base.1)
    }

    /// Returns the bases of a block; empty if the block is not a delta.
    ///
    /// # Errors
    /// When its pack's table is damaged or cannot be read.
    pub fn bases(&self, at: BlockAt) -> Result<Vec<(ChunkId, u32)>> {
        let pack = self.catalog.table(at.pack)?;
        pack.block(at.block).map_or(Ok(Vec::new()), |(row, _)| self.bases_of(pack.table.kind, row))
    }

    /// Returns the full ids and lengths of a block's bases.
    /// A base that is in no listed pack gets a stand-in id that no chunk has.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn bases_of(&self, kind: ChunkType, row: &BlockRow) -> Result<Vec<(ChunkId, u32)>> {
        if row.bases.is_empty() {
            return Ok(Vec::new());
        }
        let hasher = BaseNamer::of(&row.chunks);
        row.bases.iter().map(|base| self.resolve_base(kind, base, &hasher)).collect()
    }

    fn resolve_base(&self, kind: ChunkType, base: &BaseRef, hasher: &BaseNamer) -> Result<(ChunkId, u32)> {
        let means = |chunk: &(ChunkId, u32)| hasher.means(base, chunk);
        if let Some(cached) = self.catalog.find_cached_chunk(kind, base.prefix()).filter(means) {
            return Ok(cached);
        }
        for row in entry::with_prefix(&self.rows, base.prefix()) {
            if let Some(found) = self.catalog.chunk(*row, kind)?.filter(means) {
                return Ok(found);
            }
        }
        for run in &self.catalog.runs {
            for row in self.catalog.entries_in(run, base.prefix())? {
                if let Some(found) = self.catalog.chunk(row, kind)?.filter(means) {
                    return Ok(found);
                }
            }
        }
        Ok((base.stand_in(), base.len))
    }

    /// Returns whether new data may reference a copy (W2): its pack is writable and not another write key's,
    /// and each of its bases has such a copy.
    pub(super) fn is_sound(&self, copy: &Copy) -> Result<bool> {
        Ok(copy.may_be_referenced() && (!copy.delta || self.has_sound_bases(copy.location.block)?))
    }

    /// Returns whether each base of a block has a copy that new data may reference.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn has_sound_bases(&self, at: BlockAt) -> Result<bool> {
        if let Some(is_sound) = self.sound_blocks.lock().get(&at) {
            return Ok(*is_sound);
        }
        let pack_table = self.catalog.table(at.pack)?;
        let (kind, mut is_sound) = (pack_table.table.kind, true);
        for base in self.bases(at)? {
            is_sound = is_sound && self.find_base(kind, &base)?.is_some();
        }
        self.sound_blocks.lock().insert(at, is_sound);
        Ok(is_sound)
    }
}
