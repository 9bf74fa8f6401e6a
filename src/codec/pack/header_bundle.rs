//! Header bundles: the headers of many packs in one object. See docs/format.md, "Segments".

use serde::{Deserialize, Serialize};

use crate::codec::crypto::suite::CipherSuite;
use crate::codec::pack::{self, MAX_PACK, PREAMBLE_LEN, Table};
use crate::model::decode_error::DecodeError;
use crate::model::id::PackId;

/// The content of a bundle in order: for each pack its id, its length, and the length of its header here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents(pub Vec<(PackId, u64, u32)>);

/// The position of one pack's header in a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BundlePart {
    /// Id of the pack.
    pub pack: PackId,
    /// Length of the pack in bytes.
    pub pack_len: u64,
    /// Offset of the header in the bundle.
    pub at: u64,
    /// Length of the header in bytes.
    pub len: u32,
}

impl Contents {
    /// Returns the parts of a bundle of `file_len` bytes whose headers begin at `start`.
    ///
    /// # Errors
    /// The parts do not fill the bundle, or a length is impossible for a pack.
    pub fn parts(&self, start: u64, file_len: u64) -> Result<Vec<BundlePart>, DecodeError> {
        let wrong = || DecodeError::because("the lengths in a header bundle do not add up");
        let mut parts = Vec::with_capacity(self.0.len());
        let mut at = start;
        for (pack, pack_len, len) in &self.0 {
            if u64::from(*len) > *pack_len || (*len as usize) < PREAMBLE_LEN || *pack_len > MAX_PACK {
                return Err(wrong());
            }
            parts.push(BundlePart { pack: *pack, pack_len: *pack_len, at, len: *len });
            at = at.checked_add(u64::from(*len)).ok_or(wrong())?;
        }
        if at == file_len { Ok(parts) } else { Err(wrong()) }
    }
}

impl BundlePart {
    /// Opens the table in a header.
    ///
    /// # Errors
    /// The header is not what was written, or belongs to a pack of another length.
    pub fn table(&self, suite: &CipherSuite, front: &[u8]) -> Result<Table, DecodeError> {
        pack::open_front(suite, front, self.pack_len)
    }
}
