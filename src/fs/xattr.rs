//! Reads extended attributes of live files, including POSIX ACLs and capabilities.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::sys::io::{Errno, NO_ATTRIBUTE};
use crate::sys::xattr::{self, MAX_LEN, Unopened};

/// Initial buffer size in bytes: nearly all lists and values fit, so that one call is enough.
const INITIAL_BUFFER: usize = 1024;
/// If no value can be longer than this many bytes, a buffer for the longest is allocated without asking for
/// the length.
const MAX_BUFFER: usize = 64 << 10;

/// Attributes sorted by name, and errors for those that could not be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FoundXattrs {
    /// Names and values.
    pub values: Vec<(Vec<u8>, Vec<u8>)>,
    /// Attributes that could not be read, with reasons.
    pub problems: Vec<String>,
}

/// Reads the attributes of an open file.
pub fn of_open(file: BorrowedFd<'_>) -> FoundXattrs {
    read(|buffer| xattr::list(file, buffer), |name, buffer| xattr::get(file, name, buffer))
}

/// Reads the attributes at a path of any length without following a link. The file is not opened.
///
/// # Errors
/// The path cannot be reached.
pub fn of_path(path: &Path) -> io::Result<FoundXattrs> {
    let entry = Unopened::by_path(path)?;
    Ok(read(|buffer| entry.list(buffer), |name, buffer| entry.get(name, buffer)))
}

fn read(
    list: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    get: impl Fn(&[u8], &mut [u8]) -> Result<usize, Errno>,
) -> FoundXattrs {
    let mut found = FoundXattrs::default();
    let names = match read_whole(&list) {
        Ok(names) => names,
        Err(err) if is_absent(err) => return found,
        Err(err) => {
            let why = io::Error::from(err);
            found.problems.push(format!("its extended attributes cannot be listed: {why}"));
            return found;
        }
    };
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match read_whole(&|buffer| get(name, buffer)) {
            Ok(value) => found.values.push((name.to_vec(), value)),
            Err(err) if is_absent(err) => {}
            Err(err) => {
                let (name, why) = (String::from_utf8_lossy(name), io::Error::from(err));
                found.problems.push(format!("its extended attribute {name} cannot be read: {why}"));
            }
        }
    }
    found.values.sort();
    found.values.dedup_by(|a, b| a.0 == b.0);
    found
}

/// Returns whether an error means that there is no attribute: the file system does not support them, or it
/// was removed after it was listed.
fn is_absent(err: Errno) -> bool {
    matches!(err, Errno::NOTSUP | Errno::NOSYS | NO_ATTRIBUTE | Errno::NOENT)
}

/// Reads a list or value of any length.
pub(crate) fn read_whole(ask: &dyn Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = [0; INITIAL_BUFFER];
    match ask(&mut buffer) {
        Err(Errno::RANGE) => {}
        other => return buffer.get(..other?).map(<[u8]>::to_vec).ok_or(Errno::RANGE),
    }
    let len = if MAX_LEN > MAX_BUFFER { ask(&mut [])?.min(MAX_LEN) } else { MAX_LEN };
    let mut value = vec![0; len];
    let len = ask(&mut value)?;
    value.truncate(len);
    Ok(value)
}
