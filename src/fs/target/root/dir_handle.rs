//! An open directory of the target.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::fs::stat;
use crate::sys::fs::{AtFlags, OFlags, Stat, errno_of, statat};
use crate::sys::io::Errno;

/// Flags for opening directories.
pub(in crate::fs::target) const DIR_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Flags for opening files to read them or their inode flags. A pipe that somebody has created there must not
/// block.
pub(in crate::fs::target) const READ_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// An open directory of the target.
pub struct Dir {
    pub(in crate::fs::target) fd: OwnedFd,
    /// Whether new entries get its group instead of the process's.
    pub(in crate::fs::target) setgid: bool,
    /// Its inode flags; new entries inherit some of them.
    pub(in crate::fs::target) attrs: u32,
    /// Device and inode.
    pub(in crate::fs::target) id: (u64, u64),
}

impl Dir {
    pub(in crate::fs::target) fn new(fd: OwnedFd) -> Result<Self, Errno> {
        let found = stat::stat_open(&fd).map_err(|err| errno_of(&err))?;
        Ok(Self { fd, setgid: found.mode & 0o2000 != 0, attrs: found.attrs, id: found.id })
    }

    /// Returns the names in it, sorted.
    pub(in crate::fs::target) fn names(&self) -> Result<Vec<Vec<u8>>, Errno> {
        let mut names = Vec::new();
        for entry in crate::sys::fs::Dir::read_from(&self.fd)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Returns the state of an entry without following a link.
    pub(in crate::fs::target) fn stat(&self, name: &[u8]) -> Result<Stat, Errno> {
        statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
