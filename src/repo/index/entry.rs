//! Rows: which pack holds a chunk, and where in its table. In memory for what is recent or little.

use crate::model::id::ChunkId;

/// Where a chunk may lie: its prefix was seen there. Only the pack's table knows whether it is this chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct IndexEntry {
    /// Of the chunk's id.
    pub prefix: u64,
    /// Number of the pack, as whoever holds the row counts.
    pub pack: u32,
    /// Which of the pack's chunks, counted through its blocks.
    pub nth: u32,
}

/// Bytes of a row in this machine's view.
pub(crate) const ROW_BYTES: usize = 16;

impl IndexEntry {
    /// As the view keeps it.
    pub(crate) fn to_bytes(self) -> [u8; ROW_BYTES] {
        let whole = u128::from(self.prefix) << 64 | u128::from(self.pack) << 32 | u128::from(self.nth);
        whole.to_be_bytes()
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub(crate) fn from_bytes(bytes: [u8; ROW_BYTES]) -> Self {
        let whole = u128::from_be_bytes(bytes);
        Self { prefix: (whole >> 64) as u64, pack: (whole >> 32) as u32, nth: whole as u32 }
    }
}

/// Rows of one pack.
pub(crate) fn of_pack<'a>(
    pack: u32,
    ids: impl Iterator<Item = &'a ChunkId> + 'a,
) -> impl Iterator<Item = IndexEntry> + 'a {
    ids.zip(0..).map(move |(id, nth)| IndexEntry { prefix: id.prefix(), pack, nth })
}

/// The rows of this prefix, in rows that are sorted.
pub(crate) fn with_prefix(rows: &[IndexEntry], prefix: u64) -> &[IndexEntry] {
    let (_, rest) = rows.split_at(rows.partition_point(|row| row.prefix < prefix));
    rest.split_at(rest.iter().take_while(|row| row.prefix == prefix).count()).0
}
