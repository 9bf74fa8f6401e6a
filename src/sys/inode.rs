//! Metadata of an inode in one call: `statx`, or `stat` where there is none.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use crate::model::entry::Time;
use crate::sys::fs::{AtFlags, CWD, Stat, file_type, major, minor};
use crate::sys::path::Arg;
use crate::sys::system;

/// Metadata of an inode, as the kernel returns it.
#[derive(Debug, Clone, Copy)]
pub struct Inode {
    /// Type and permission bits.
    pub mode: u32,
    /// Owner's numeric id.
    pub uid: u32,
    /// Group's numeric id.
    pub gid: u32,
    /// Size of a file in bytes.
    pub size: u64,
    /// Allocated space in units of 512 bytes.
    pub blocks: u64,
    /// When the content last changed.
    pub mtime: Time,
    /// When the inode last changed.
    pub ctime: Time,
    /// Birth time, if known.
    pub born: Option<Time>,
    /// Inode flags that are recorded; see [`attrs`](crate::model::entry::attrs).
    pub attrs: u32,
    /// Major and minor number of a device node.
    pub device: (u32, u32),
    /// Device and inode number.
    pub id: (u64, u64),
    /// Number of hard links.
    pub links: u32,
}

impl Inode {
    /// Returns whether it is a regular file.
    pub fn is_file(&self) -> bool {
        file_type(self.mode).is_file()
    }

    /// Returns whether it is a directory.
    pub fn is_dir(&self) -> bool {
        file_type(self.mode).is_dir()
    }

    /// Returns device and inode number if it has several hard links.
    pub fn linked_inode(&self) -> Option<(u64, u64)> {
        (self.links > 1 && !self.is_dir()).then_some(self.id)
    }

    /// Converts the result of a plain `stat`, which has neither birth time nor inode flags.
    pub(super) fn of_stat(found: &Stat) -> Self {
        Self {
            mode: found.st_mode,
            uid: found.st_uid,
            gid: found.st_gid,
            size: u64::try_from(found.st_size).unwrap_or(0),
            blocks: u64::try_from(found.st_blocks).unwrap_or(0),
            mtime: time(found.st_mtime, found.st_mtime_nsec),
            ctime: time(found.st_ctime, found.st_ctime_nsec),
            born: None,
            attrs: 0,
            device: (major(found.st_rdev), minor(found.st_rdev)),
            id: (found.st_dev, found.st_ino),
            links: u32::try_from(found.st_nlink).unwrap_or(u32::MAX),
        }
    }
}

/// Converts a time; invalid nanoseconds become 0.
pub fn time(sec: i64, nanos: u64) -> Time {
    Time { sec, nanos: u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000).unwrap_or(0) }
}

/// Returns the metadata of an entry of a directory without following a link. This is one system call and
/// opens nothing.
///
/// # Errors
/// There is no such entry, or this user may not stat it.
pub fn stat(dir: impl AsFd, name: impl Arg + Copy) -> io::Result<Inode> {
    system::stat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Returns the metadata of an open file.
///
/// # Errors
/// The system call fails.
pub fn stat_open(file: impl AsFd) -> io::Result<Inode> {
    system::stat_open(file)
}

/// Returns the metadata of the file at a path, following symbolic links.
///
/// # Errors
/// As [`stat`].
pub fn follow(path: &Path) -> io::Result<Inode> {
    system::stat(CWD, path, AtFlags::empty())
}
