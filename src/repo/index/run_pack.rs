//! The fixed-length records in which a run lists its packs.

use crate::model::id::{PackId, SnapshotId};
use crate::repo::index::table_cache::PackTable;

/// Bytes of one record.
pub(crate) const RUN_PACK_BYTES: usize = 84;

/// Location of a copied table in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TableLocation {
    pub(crate) file: u64,
    pub(crate) offset: u64,
    pub(crate) size: u32,
}

/// A pack whose entries are in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunPack {
    pub(crate) id: PackId,
    pub(crate) len: u64,
    pub(crate) kind: u8,
    pub(crate) session: SnapshotId,
    pub(crate) chunks: u32,
    pub(crate) table: Option<TableLocation>,
}

impl RunPack {
    /// Describes a pack of which the cache holds no copy of the table.
    pub(crate) fn of(id: PackId, len: u64, kept: &PackTable) -> Self {
        let (kind, session) = (kept.table.kind.byte(), kept.table.session);
        Self { id, len, kind, session, chunks: kept.chunks(), table: None }
    }

    pub(crate) fn to_bytes(&self) -> [u8; RUN_PACK_BYTES] {
        let mut bytes = Vec::with_capacity(RUN_PACK_BYTES);
        bytes.extend_from_slice(self.id.as_bytes());
        bytes.extend_from_slice(self.session.as_bytes());
        bytes.extend_from_slice(&self.len.to_le_bytes());
        bytes.extend_from_slice(&self.chunks.to_le_bytes());
        bytes.extend_from_slice(&[self.kind, u8::from(self.table.is_some()), 0, 0]);
        let at = self.table.unwrap_or(TableLocation { file: 0, offset: 0, size: 0 });
        bytes.extend_from_slice(&at.file.to_le_bytes());
        bytes.extend_from_slice(&at.offset.to_le_bytes());
        bytes.extend_from_slice(&at.size.to_le_bytes());
        bytes.try_into().unwrap_or([0; RUN_PACK_BYTES])
    }

    pub(crate) fn from_bytes(bytes: &[u8; RUN_PACK_BYTES]) -> Self {
        let four = |at: usize| {
            bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |n| u32::from_le_bytes(*n))
        };
        let eight = |at: usize| {
            bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |n| u64::from_le_bytes(*n))
        };
        let id = bytes.first_chunk().copied().unwrap_or_default();
        let session = bytes.get(32..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
        let [kind, kept] = [bytes[60], bytes[61]];
        let table = TableLocation { file: eight(64), offset: eight(72), size: four(80) };
        Self {
            id: PackId::new(id),
            len: eight(48),
            kind,
            session: SnapshotId::new(session),
            chunks: four(56),
            table: (kept != 0).then_some(table),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_comes_back_as_it_was() {
        let table = TableLocation { file: 9, offset: u64::MAX, size: 7 };
        for table in [None, Some(table)] {
            let (id, session) = (PackId::new([1; 32]), SnapshotId::new([2; 16]));
            let pack = RunPack { id, len: 1 << 40, kind: 2, session, chunks: 77, table };
            assert_eq!(RunPack::from_bytes(&pack.to_bytes()), pack);
        }
    }
}
