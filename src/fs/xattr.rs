//! Extended attributes of live files, POSIX ACLs and capabilities among them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use rustix::io::Errno;

use crate::fs::long_path;

/// What nearly all lists and values fit into, so that one call is enough.
const USUAL: usize = 1024;
/// The system has no longer ones.
const MOST: usize = 64 << 10;

/// Attributes by name, ascending, and what is wrong with those that could not be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Names and values.
    pub values: Vec<(Vec<u8>, Vec<u8>)>,
    /// What could not be read, and why.
    pub problems: Vec<String>,
}

/// Of an open file.
pub fn of_open(file: BorrowedFd<'_>) -> Attributes {
    read(
        |buffer| rustix::fs::flistxattr(file, buffer),
        |name, buffer| rustix::fs::fgetxattr(file, name, buffer),
    )
}

/// Of what is at a path of any length, be it a link; nothing is opened for it.
///
/// # Errors
/// When the path cannot be reached.
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

/// There are none: this file system has no such thing, or what was listed is gone again.
fn is_none(err: Errno) -> bool {
    matches!(err, Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODATA | Errno::NOENT)
}

/// A list or a value, however long.
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

/// An entry of an open directory as a path, for calls that know no descriptors. It leads through no link but
/// `/proc`'s own to the directory.
pub fn path_in(dir: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    [format!("/proc/self/fd/{}/", dir.as_raw_fd()).as_bytes(), name].concat()
}
