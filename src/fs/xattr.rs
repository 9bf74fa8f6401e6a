//! Reads extended attributes of live files, including POSIX ACLs and capabilities.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use rustix::io::Errno;

use crate::fs::long_path;

/// Initial buffer size in bytes: nearly all lists and values fit, so that one call is enough.
const USUAL: usize = 1024;
/// Maximum size in bytes of a list or value in Linux.
const MOST: usize = 64 << 10;

/// Attributes sorted by name, and errors for those that could not be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Names and values.
    pub values: Vec<(Vec<u8>, Vec<u8>)>,
    /// Attributes that could not be read, with reasons.
    pub problems: Vec<String>,
}

/// Reads the attributes of an open file.
pub fn of_open(file: BorrowedFd<'_>) -> Attributes {
    read(
        |buffer| rustix::fs::flistxattr(file, buffer),
        |name, buffer| rustix::fs::fgetxattr(file, name, buffer),
    )
}

/// Reads the attributes at a path of any length without following a link. The file is not opened.
///
/// # Errors
/// The path cannot be reached.
pub fn of_path(path: &Path) -> io::Result<Attributes> {
    let reached = long_path::reach(path)?;
    let path = reached.path();
    Ok(read(
        |buffer| rustix::fs::llistxattr(path, buffer),
        |name, buffer| rustix::fs::lgetxattr(path, name, buffer),
    ))
}

fn read(
    list: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    get: impl Fn(&[u8], &mut [u8]) -> Result<usize, Errno>,
) -> Attributes {
    let mut found = Attributes::default();
    let names = match whole(&list) {
        Ok(names) => names,
        Err(err) if is_none(err) => return found,
        Err(err) => {
            let why = io::Error::from(err);
            found.problems.push(format!("its extended attributes cannot be listed: {why}"));
            return found;
        }
    };
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match whole(&|buffer| get(name, buffer)) {
            Ok(value) => found.values.push((name.to_vec(), value)),
            Err(err) if is_none(err) => {}
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
fn is_none(err: Errno) -> bool {
    matches!(err, Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODATA | Errno::NOENT)
}

/// Reads a list or value of any length.
pub(crate) fn whole(ask: &dyn Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = [0; USUAL];
    match ask(&mut buffer) {
        Err(Errno::RANGE) => {}
        other => return buffer.get(..other?).map(<[u8]>::to_vec).ok_or(Errno::RANGE),
    }
    let mut value = vec![0; MOST];
    let len = ask(&mut value)?;
    value.truncate(len);
    Ok(value)
}

/// Returns a path to an entry of an open directory, for system calls without a directory descriptor. It
/// goes through no link except `/proc`'s own to the directory.
pub fn path_in(dir: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    [format!("/proc/self/fd/{}/", dir.as_raw_fd()).as_bytes(), name].concat()
}
