//! Maps of files with holes, as GNU tar writes them.

use crate::model::decode_error::DecodeError;

/// Most pieces of data between holes in one file: bounds the memory that an archive can ask for.
pub const MAX_SEGMENTS: usize = 4 << 20;

/// Where the data of a file lies: (offset, length), ascending, no overlap.
pub type Segments = Vec<(u64, u64)>;

/// Writes the map that precedes the data of a sparse member, piece by piece: the count must be known first.
#[derive(Debug, Default)]
pub struct MapText {
    /// Pieces so far.
    pub count: u64,
    /// Bytes of their text.
    pub len: u64,
}

impl MapText {
    /// Counts a piece.
    pub fn add(&mut self, offset: u64, len: u64) {
        self.count += 1;
        self.len += line(offset).len() as u64 + line(len).len() as u64;
    }

    /// First line of the map.
    pub fn head(&self) -> String {
        line(self.count)
    }

    /// Bytes of the map before it is padded.
    pub fn bytes(&self) -> u64 {
        self.len + self.head().len() as u64
    }
}

/// A number as the map has it.
pub fn line(number: u64) -> String {
    format!("{number}\n")
}

/// A map that can be true of a file of this size.
///
/// # Errors
/// When pieces are out of order, overlap or reach beyond the file.
pub fn check(segments: &Segments, size: u64) -> Result<(), DecodeError> {
    let mut at = 0;
    for (offset, len) in segments {
        let end = offset.checked_add(*len).filter(|end| *end <= size && *offset >= at);
        at = end.ok_or(DecodeError::because("a map of holes that cannot be true"))?;
    }
    Ok(())
}

/// Adds a piece to a map that is being read.
///
/// # Errors
/// When there are absurdly many.
pub fn push(segments: &mut Segments, offset: u64, len: u64) -> Result<(), DecodeError> {
    if segments.len() >= MAX_SEGMENTS {
        return Err(DecodeError::because("a map of absurdly many holes"));
    }
    segments.push((offset, len));
    Ok(())
}
