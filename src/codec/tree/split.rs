//! Content-defined splitting of long sequences of records, so that one changed record rewrites one piece.

/// Minimum bytes of records in a piece. Only the last piece may be smaller.
const MIN_BYTES: usize = 32 << 10;
/// Mean number of bytes beyond the minimum.
const MEAN_EXCESS: u64 = 64 << 10;
/// Maximum bytes of records in a piece, except for a single record that is larger.
const MAX_BYTES: usize = 256 << 10;

/// Decides where a piece ends.
#[derive(Debug, Default)]
pub struct RecordSplitter {
    len: usize,
}

impl RecordSplitter {
    /// Counts a record of `bytes` bytes and returns whether the piece ends after it. `hash` returns the
    /// record's keyed hash; it is called only if it decides. The probability of an end is proportional to the
    /// record's length, so that long records end as many pieces as short ones of the same total length.
    pub fn ends_after(&mut self, bytes: usize, hash: impl FnOnce() -> u64) -> bool {
        self.len += bytes;
        let ends = self.len >= MAX_BYTES || self.len >= MIN_BYTES && hash() % MEAN_EXCESS < bytes as u64;
        if ends {
            self.len = 0;
        }
        ends
    }
}
