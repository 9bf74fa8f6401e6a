//! Maps of sparse files, as GNU tar writes them.

use crate::model::decode_error::DecodeError;

/// Maximum number of data segments of one file. It limits the memory that an archive can make the reader
/// use.
pub const MAX_SEGMENTS: usize = 4 << 20;

/// Positions of a file's data: (offset, length), ascending and without overlap.
pub type Segments = Vec<(u64, u64)>;

/// Computes the size of the map that precedes the data of a sparse member, segment by segment. The count
/// must be known before the map can be written.
#[derive(Debug, Default)]
pub struct MapText {
    /// Number of segments so far.
    pub count: u64,
    /// Bytes of their text.
    pub len: u64,
}

impl MapText {
    /// Counts a segment.
    pub fn add(&mut self, offset: u64, len: u64) {
        self.count += 1;
        self.len += line(offset).len() as u64 + line(len).len() as u64;
    }

    /// Returns the first line of the map.
    pub fn head(&self) -> String {
        line(self.count)
    }

    /// Returns the length of the map without padding.
    pub fn bytes(&self) -> u64 {
        self.len + self.head().len() as u64
    }
}

/// Formats a number as a line of the map.
pub fn line(number: u64) -> String {
    format!("{number}\n")
}

/// Checks that a map is valid for a file of this size.
///
/// # Errors
/// Segments are out of order, overlap or reach beyond the end of the file.
pub fn check(segments: &Segments, size: u64) -> Result<(), DecodeError> {
    let mut at = 0;
    for (offset, len) in segments {
        let end = offset.checked_add(*len).filter(|end| *end <= size && *offset >= at);
        at = end.ok_or(DecodeError::because("its sparse map is invalid"))?;
    }
    Ok(())
}

/// Appends a segment to a map.
///
/// # Errors
/// There are more than [`MAX_SEGMENTS`].
pub fn push(segments: &mut Segments, offset: u64, len: u64) -> Result<(), DecodeError> {
    if segments.len() >= MAX_SEGMENTS {
        return Err(DecodeError::because("its sparse map is too long"));
    }
    segments.push((offset, len));
    Ok(())
}
