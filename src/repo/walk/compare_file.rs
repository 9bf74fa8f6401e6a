//! Compares a file on disk with stored content.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use crate::codec::crypto::hash::{ChunkHasher, ChunkType};
use crate::error::{Error, Result};
use crate::fs::target;
use crate::model::entry::{Content, ContentPart};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::walk::file_parts;
use crate::repo::walk::plausible;

/// Returns whether the rest of a file, from its current position, equals the stored content. Each part is
/// hashed and compared with the stored id; stored data is not read, only the part list.
///
/// # Errors
/// When the file cannot be read, the list is missing or damaged, or `is_stopped` returns true, which is
/// called before each part and within long holes.
pub fn matches(
    hasher: &ChunkHasher,
    reader: &mut ChunkReader,
    (file, path): (&mut File, &Path),
    size: u64,
    content: &Content,
    is_stopped: &dyn Fn() -> bool,
) -> Result<bool> {
    let mut same = true;
    let mut buffer = Vec::new();
    file_parts::each_part(reader, size, content, &mut |part| {
        if is_stopped() {
            return Err(Error::Interrupted);
        }
        if !same {
            return Ok(());
        }
        match part {
            ContentPart::Chunk { id, len } => {
                if !plausible::has_valid_len(&part) {
                    return Err(Error::Refused("a chunk is too large".into()));
                }
                buffer.resize(len as usize, 0);
                same = fill(file, &mut buffer).map_err(Error::io("read", path))?
                    && hasher.id_of(ChunkType::Data, &buffer) == id;
            }
            ContentPart::Hole { len } => {
                same = skip_zeros(file, len, is_stopped).map_err(Error::io("read", path))?;
            }
        }
        Ok(())
    })?;
    if is_stopped() {
        return Err(Error::Interrupted);
    }
    Ok(same && !fill(file, &mut [0]).map_err(Error::io("read", path))?)
}

/// Bytes of zeros that are skipped between two calls of `is_stopped`.
const STRIDE_BYTES: u64 = 256 << 20;

/// Returns whether the next `len` bytes exist and are zeros, and moves behind them. Holes are not read.
fn skip_zeros(file: &mut File, len: u64, is_stopped: &dyn Fn() -> bool) -> io::Result<bool> {
    let mut at = file.stream_position()?;
    let end = at.saturating_add(len);
    if file.metadata()?.len() < end {
        return Ok(false);
    }
    while at < end {
        if is_stopped() {
            return Ok(false);
        }
        let len = (end - at).min(STRIDE_BYTES);
        if !target::is_zero(file, at, len)? {
            return Ok(false);
        }
        at += len;
    }
    file.seek(io::SeekFrom::Start(end)).map(|_| true)
}

/// Fills the buffer. Returns `false` if the file ends first.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        other => other.map(|()| true),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::Cell;
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn hole_is_skipped_without_reading_and_bytes_in_it_found() {
        let mut file = tempfile::tempfile().unwrap();
        // Reading so much would take minutes.
        let len = 1 << 40;
        file.set_len(len).unwrap();
        let asked = Cell::new(0);
        let go_on = || {
            asked.set(asked.get() + 1);
            false
        };
        assert!(skip_zeros(&mut file, len, &go_on).unwrap());
        assert_eq!((file.stream_position().unwrap(), asked.get()), (len, len / STRIDE_BYTES));
        assert!(!skip_zeros(&mut file, 1, &go_on).unwrap(), "the file ends");
        file.rewind().unwrap();
        assert!(!skip_zeros(&mut file, len, &|| true).unwrap(), "it was stopped");
        file.write_all_at(b"x", len - 1).unwrap();
        assert!(skip_zeros(&mut file, len - 1, &go_on).unwrap());
        file.rewind().unwrap();
        assert!(!skip_zeros(&mut file, len, &go_on).unwrap());
    }
}
