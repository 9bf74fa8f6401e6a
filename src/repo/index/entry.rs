//! Index entries: which pack holds a chunk, and the chunk's number in the pack's table.

use crate::model::id::ChunkId;

/// Possible location of a chunk. It has only a prefix of the id; the pack's table has all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct IndexEntry {
    /// The first eight bytes of the chunk's id.
    pub prefix: u64,
    /// The pack's number in the owner of this entry (an index or a run).
    pub pack: u32,
    /// The chunk's number in the pack, counted through its blocks.
    pub nth: u32,
}

/// Bytes of an entry in the local index cache.
pub(crate) const ENTRY_BYTES: usize = 16;

impl IndexEntry {
    /// Encodes an entry as stored in the local index cache.
    pub(crate) fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let whole = u128::from(self.prefix) << 64 | u128::from(self.pack) << 32 | u128::from(self.nth);
        whole.to_be_bytes()
    }

    /// Decodes what [`Self::to_bytes`] wrote.
    pub(crate) fn from_bytes(bytes: [u8; ENTRY_BYTES]) -> Self {
        let whole = u128::from_be_bytes(bytes);
        Self { prefix: (whole >> 64) as u64, pack: (whole >> 32) as u32, nth: whole as u32 }
    }
}

/// Returns the entries of one pack.
pub(crate) fn of_pack<'a>(
    pack: u32,
    ids: impl Iterator<Item = &'a ChunkId> + 'a,
) -> impl Iterator<Item = IndexEntry> + 'a {
    ids.zip(0..).map(move |(id, nth)| IndexEntry { prefix: id.prefix(), pack, nth })
}

/// Returns the slice with this prefix from sorted entries.
pub(crate) fn with_prefix(rows: &[IndexEntry], prefix: u64) -> &[IndexEntry] {
    let (_, rest) = rows.split_at(rows.partition_point(|row| row.prefix < prefix));
    rest.split_at(rest.iter().take_while(|row| row.prefix == prefix).count()).0
}
