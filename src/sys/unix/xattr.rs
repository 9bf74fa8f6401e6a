//! Extended attributes of macOS, among them resource forks (`com.apple.ResourceFork`). rustix has no calls
//! for those of FreeBSD.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::sys::fs::{file_type, statat};
use crate::sys::long_path;

/// Resource forks have no small limit. A larger attribute is reported, and not saved.
pub(crate) const MAX_XATTR: usize = 256 << 20;

/// Namespaces of Linux, whose attributes mean nothing on other systems.
const FOREIGN: [&[u8]; 3] = [b"security.", b"system.", b"trusted."];
/// Maintained by macOS itself.
const SYSTEMS_OWN: [&[u8]; 3] = [b"com.apple.provenance", b"com.apple.rootless", b"com.apple.system."];

pub(crate) fn is_acl(_: &[u8]) -> bool {
    false
}

pub(crate) fn is_removable(name: &[u8]) -> bool {
    !SYSTEMS_OWN.iter().any(|own| name.starts_with(own))
}

pub(crate) fn is_of_this_system(name: &[u8]) -> bool {
    !FOREIGN.iter().any(|space| name.starts_with(space)) && is_removable(name)
}

#[cfg(not(target_vendor = "apple"))]
mod calls {
    use std::os::fd::BorrowedFd;

    use rustix::io::Errno;

    pub(crate) fn list_xattrs(_: BorrowedFd<'_>, _: &mut [u8]) -> Result<usize, Errno> {
        Err(Errno::NOSYS)
    }

    pub(crate) fn get_xattr(_: BorrowedFd<'_>, _: &[u8], _: &mut [u8]) -> Result<usize, Errno> {
        Err(Errno::NOSYS)
    }

    pub(crate) fn set_xattr(_: BorrowedFd<'_>, _: &[u8], _: &[u8]) -> Result<(), Errno> {
        Err(Errno::NOSYS)
    }

    pub(crate) fn remove_xattr(_: BorrowedFd<'_>, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::NOSYS)
    }
}

#[cfg(target_vendor = "apple")]
use crate::sys::posix::xattr as calls;

pub(crate) use calls::{get_xattr, list_xattrs, remove_xattr, set_xattr};

/// The open entry, since the calls with a path take no directory. A symbolic link is opened by `O_SYMLINK`.
/// Pipes and devices are not opened, because that has effects.
#[derive(Debug)]
pub(crate) struct Unopened(Result<OwnedFd, Errno>);

impl Unopened {
    pub(crate) fn new(dir: BorrowedFd<'_>, name: &[u8]) -> Self {
        Self(open(dir, name))
    }

    pub(crate) fn by_path(path: &Path) -> io::Result<Self> {
        let (dir, rest) = long_path::descend(path.as_os_str().as_bytes())?;
        Ok(Self(open(dir.as_ref().map_or(CWD, AsFd::as_fd), rest)))
    }

    fn file(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.0.as_ref().map(AsFd::as_fd).map_err(|errno| *errno)
    }

    pub(crate) fn list(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        list_xattrs(self.file()?, buffer)
    }

    pub(crate) fn get(&self, name: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
        get_xattr(self.file()?, name, buffer)
    }

    pub(crate) fn set(&self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        set_xattr(self.file()?, name, value)
    }

    pub(crate) fn remove(&self, name: &[u8]) -> Result<(), Errno> {
        remove_xattr(self.file()?, name)
    }
}

fn open(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    // FreeBSD opens no symbolic link for this.
    let no_link =
        if cfg!(target_vendor = "apple") { OFlags::from_bits_retain(0x0020_0000) } else { OFlags::NOFOLLOW };
    match file_type(statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode) {
        FileType::RegularFile | FileType::Directory | FileType::Symlink => {}
        _ => return Err(Errno::NOTSUP),
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | no_link;
    super::openat(dir, name, flags, Mode::empty())
}

/// Returns a path to an entry of an open directory, for calls that take none.
#[cfg(target_vendor = "apple")]
pub(crate) fn path_at(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>, Errno> {
    Ok([rustix::fs::getpath(dir)?.as_bytes(), b"/", name].concat())
}
