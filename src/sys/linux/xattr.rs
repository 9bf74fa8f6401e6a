//! Extended attributes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::sys::long_path;

/// The kernel's limit for lists and values.
pub(crate) const MAX_XATTR: usize = 64 << 10;

/// Attributes that a restore removes if the snapshot lacks them. Others, such as labels, belong to the
/// system.
const REMOVABLE: [&[u8]; 4] = [b"user.", b"trusted.", b"security.capability", b"system.posix_acl_"];

pub(crate) fn is_acl(name: &[u8]) -> bool {
    name.starts_with(b"system.posix_acl_")
}

pub(crate) fn is_removable(name: &[u8]) -> bool {
    REMOVABLE.iter().any(|space| name.starts_with(space))
}

/// The kernel refuses what it does not know.
pub(crate) fn is_of_this_system(_: &[u8]) -> bool {
    true
}

/// A path to the entry: because no call for attributes takes a directory, it goes through `/proc`'s link to
/// the directory, and through no other link.
#[derive(Debug)]
pub(crate) struct Unopened {
    path: Vec<u8>,
    /// Keeps the directory open that the path goes through.
    _dir: Option<OwnedFd>,
}

impl Unopened {
    pub(crate) fn new(dir: BorrowedFd<'_>, name: &[u8]) -> Self {
        Self { path: path_in(dir, name), _dir: None }
    }

    pub(crate) fn by_path(path: &Path) -> io::Result<Self> {
        let (dir, rest) = long_path::descend(path.as_os_str().as_bytes())?;
        let path = match &dir {
            None => path.as_os_str().as_bytes().to_vec(),
            Some(dir) => path_in(dir.as_fd(), rest),
        };
        Ok(Self { path, _dir: dir })
    }

    pub(crate) fn list(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        rustix::fs::llistxattr(&*self.path, buffer)
    }

    pub(crate) fn get(&self, name: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
        rustix::fs::lgetxattr(&*self.path, name, buffer)
    }

    pub(crate) fn set(&self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        rustix::fs::lsetxattr(&*self.path, name, value, XattrFlags::empty())
    }

    pub(crate) fn remove(&self, name: &[u8]) -> Result<(), Errno> {
        rustix::fs::lremovexattr(&*self.path, name)
    }
}

fn path_in(dir: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    [super::path_of(dir.as_raw_fd()).as_bytes(), b"/", name].concat()
}
