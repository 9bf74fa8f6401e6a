//! Paths longer than PATH_MAX.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::fs::xattr;

/// Length of a path that is passed to one system call. The kernel's limit is 4095 bytes; this leaves room
/// for one more name.
pub const ONE_CALL: usize = 3500;

/// Opens a path of any length.
///
/// # Errors
/// A system call fails.
pub fn open(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let (dir, rest) = descend(path.as_os_str().as_bytes())?;
    let dir = dir.as_ref().map_or(CWD, AsFd::as_fd);
    Ok(retry_on_intr(|| rustix::fs::openat(dir, rest, flags, Mode::empty()))?)
}

/// Opens a file for reading without following a symbolic link that replaced it, and without changing its
/// access time if permitted.
///
/// # Errors
/// A system call fails.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = match open(path, flags | OFlags::NOATIME) {
        Err(err) if err.raw_os_error() == Some(Errno::PERM.raw_os_error()) => open(path, flags),
        opened => opened,
    };
    Ok(opened?.into())
}

/// A short path that leads to the target of a longer one.
#[derive(Debug)]
pub struct Reached {
    path: PathBuf,
    /// Keeps the directory open that the path goes through.
    _dir: Option<OwnedFd>,
}

impl Reached {
    /// Returns the path, which is valid as long as this value lives.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Shortens a path for system calls that take no directory descriptor.
///
/// # Errors
/// A directory on the way cannot be opened.
pub fn reach(path: &Path) -> io::Result<Reached> {
    let (dir, rest) = descend(path.as_os_str().as_bytes())?;
    let path = match &dir {
        None => path.to_path_buf(),
        Some(dir) => PathBuf::from(OsStr::from_bytes(&xattr::path_in(dir.as_fd(), rest))),
    };
    Ok(Reached { path, _dir: dir })
}

/// Opens directories on the way until the rest is short. Symbolic links are followed like in one call with
/// the whole path.
fn descend(mut rest: &[u8]) -> io::Result<(Option<OwnedFd>, &[u8])> {
    let mut dir: Option<OwnedFd> = None;
    while rest.len() > ONE_CALL {
        let slash = rest.iter().take(ONE_CALL).rposition(|byte| *byte == b'/').filter(|at| *at > 0);
        let at = slash.ok_or(rustix::io::Errno::NAMETOOLONG)?;
        let (way, [_, below @ ..]) = rest.split_at(at) else {
            return Err(rustix::io::Errno::NAMETOOLONG.into());
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let above = dir.as_ref().map_or(CWD, AsFd::as_fd);
        let next = retry_on_intr(|| rustix::fs::openat(above, way, flags, Mode::empty()))?;
        dir = Some(next);
        rest = below;
    }
    Ok((dir, rest))
}
