//! Reads objects. One that is too long, too short, or that the medium cannot read is damaged.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::{Error, Result};
use crate::model::decode_error::DecodeError;
use crate::storage::{buffer, too_long, too_short};
use crate::sys::io::is_bad_medium;

/// Returns all bytes of an object, which must be at most `limit`. `what` is its name in the repository.
pub(super) fn whole(file: File, path: &Path, what: &str, limit: u64) -> Result<Vec<u8>> {
    let len = file.metadata().map_err(Error::io("read", path))?.len();
    if len > limit {
        return Err(too_long(what));
    }
    let mut bytes = buffer(len).map_err(Error::io("read", path))?;
    let mut bounded = file.take(limit.saturating_add(1));
    bounded.read_to_end(&mut bytes).map_err(|error| {
        if is_bad_medium(&error) {
            let source = DecodeError::with(format!("the disk cannot read it: {error}"));
            Error::Damaged { what: what.to_owned(), source }
        } else {
            Error::io("read", path)(error)
        }
    })?;
    if bytes.len() as u64 > limit {
        return Err(too_long(what));
    }
    Ok(bytes)
}

/// Reads the bytes of an object from `offset` on. `what` is its name in the repository.
pub(super) fn range(file: &File, path: &Path, what: &str, offset: u64, out: &mut [u8]) -> Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    // The system rejects an offset that no file can have; for the caller the object is too short.
    if offset.checked_add(out.len() as u64).is_none_or(|end| end > i64::MAX as u64) {
        return Err(too_short(what));
    }
    file.read_exact_at(out, offset).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => too_short(what),
        _ if is_bad_medium(&error) => {
            let why = format!("the disk cannot read {} bytes at {offset}: {error}", out.len());
            Error::Damaged { what: what.to_owned(), source: DecodeError::with(why) }
        }
        _ => Error::io("read", path)(error),
    })
}
