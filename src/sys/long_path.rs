//! Paths longer than PATH_MAX.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::sys::fs::{CWD, LONG_PATH, Mode, NOATIME, OFlags, SEARCH, openat};
use crate::sys::io::{Errno, retry_on_intr};

/// Opens a path of any length.
///
/// # Errors
/// A system call fails.
pub fn open(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let (dir, rest) = descend(path.as_os_str().as_bytes())?;
    let dir = dir.as_ref().map_or(CWD, AsFd::as_fd);
    Ok(retry_on_intr(|| openat(dir, rest, flags, Mode::empty()))?)
}

/// Opens a file for reading without following a symbolic link that replaced it, and without changing its
/// access time if permitted.
///
/// # Errors
/// A system call fails.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = match open(path, flags | NOATIME) {
        Err(err) if err.raw_os_error() == Some(Errno::PERM.raw_os_error()) => open(path, flags),
        opened => opened,
    };
    Ok(opened?.into())
}

/// Opens directories on the way until the rest is short. Symbolic links are followed like in one call with
/// the whole path.
pub(super) fn descend(mut rest: &[u8]) -> io::Result<(Option<OwnedFd>, &[u8])> {
    let mut dir: Option<OwnedFd> = None;
    while rest.len() > LONG_PATH {
        let slash = rest.iter().take(LONG_PATH).rposition(|byte| *byte == b'/').filter(|at| *at > 0);
        let at = slash.ok_or(Errno::NAMETOOLONG)?;
        let (way, [_, below @ ..]) = rest.split_at(at) else {
            return Err(Errno::NAMETOOLONG.into());
        };
        let above = dir.as_ref().map_or(CWD, AsFd::as_fd);
        let next = retry_on_intr(|| openat(above, way, SEARCH, Mode::empty()))?;
        dir = Some(next);
        rest = below;
    }
    Ok((dir, rest))
}
