//! Splitting long sequences of records content-defined, so that one changed record rewrites one piece.

/// No piece but the last is smaller. Bytes of records.
const MIN: usize = 32 << 10;
/// Mean length beyond the minimum.
const SPREAD: u64 = 64 << 10;
/// No piece is larger, but for one record that is.
const MAX: usize = 256 << 10;

/// Decides where a piece ends.
#[derive(Debug, Default)]
pub struct RecordSplitter {
    len: usize,
}

impl RecordSplitter {
    /// Tells of a record of `bytes` bytes, whose keyed hash is asked for only where it decides; true when the piece
    /// ends behind it. A long record is as likely to end a piece as the short ones in its place would be.
    pub fn ends_after(&mut self, bytes: usize, hash: impl FnOnce() -> u64) -> bool {
        self.len += bytes;
        let ends = self.len >= MAX || self.len >= MIN && hash() % SPREAD < bytes as u64;
        if ends {
            self.len = 0;
        }
        ends
    }
}
