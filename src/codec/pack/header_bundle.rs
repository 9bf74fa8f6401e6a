//! Segments: what many packs begin with, in one object. See docs/format.md, "Segments".

use serde::{Deserialize, Serialize};

use crate::codec::crypto::cipher::CipherSuite;
use crate::codec::pack;
use crate::codec::pack::{ENDS, MAX_PACK, Table};
use crate::model::decode_error::DecodeError;
use crate::model::id::PackId;

/// What a segment holds, in order: of each pack its name, its bytes, and how many of them are here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents(pub Vec<(PackId, u64, u32)>);

/// Where a segment holds what a pack begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The pack.
    pub pack: PackId,
    /// All its bytes.
    pub pack_len: u64,
    /// Where its front begins in the segment.
    pub at: u64,
    /// How many bytes its front has.
    pub len: u32,
}

impl Contents {
    /// The parts of a segment of `file_len` bytes whose fronts begin at `start`.
    ///
    /// # Errors
    /// When they do not fill it, or there are lengths that no pack has.
    pub fn parts(&self, start: u64, file_len: u64) -> Result<Vec<Part>, DecodeError> {
        let wrong = || DecodeError::because("a segment whose lengths do not add up");
        let mut parts = Vec::with_capacity(self.0.len());
        let mut at = start;
        for (pack, pack_len, len) in &self.0 {
            if u64::from(*len) > *pack_len || (*len as usize) < ENDS || *pack_len > MAX_PACK {
                return Err(wrong());
            }
            parts.push(Part { pack: *pack, pack_len: *pack_len, at, len: *len });
            at = at.checked_add(u64::from(*len)).ok_or(wrong())?;
        }
        if at == file_len { Ok(parts) } else { Err(wrong()) }
    }
}

impl Part {
    /// The table in a front.
    ///
    /// # Errors
    /// When it is not what was written, or of a pack of another length.
    pub fn table(&self, suite: &CipherSuite, front: &[u8]) -> Result<Table, DecodeError> {
        pack::open_front(suite, front, self.pack_len)
    }
}
