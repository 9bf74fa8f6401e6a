//! `stat` with fields of the same width on every system.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Mode, RawMode};
use rustix::io::Errno;
use rustix::path::Arg;

/// State of an inode. The fields have POSIX's names and meaning.
#[allow(missing_docs, clippy::struct_field_names)]
#[derive(Debug, Clone, Copy)]
pub struct Stat {
    pub st_dev: u64,
    pub st_ino: u64,
    pub st_mode: u32,
    pub st_nlink: u64,
    pub st_uid: u32,
    pub st_gid: u32,
    pub st_rdev: u64,
    pub st_size: i64,
    pub st_blocks: i64,
    pub st_mtime: i64,
    pub st_mtime_nsec: u64,
    pub st_ctime: i64,
    pub st_ctime_nsec: u64,
}

/// Returns the state of an open file.
///
/// # Errors
/// The system call fails.
pub fn fstat(file: impl AsFd) -> Result<Stat, Errno> {
    rustix::fs::fstat(file).map(|found| widened(&found))
}

/// Returns the state of an entry of a directory.
///
/// # Errors
/// There is no such entry, or this user may not examine it.
pub fn statat(dir: impl AsFd, name: impl Arg, flags: AtFlags) -> Result<Stat, Errno> {
    rustix::fs::statat(dir, name, flags).map(|found| widened(&found))
}

// The types of the fields differ between systems.
#[allow(clippy::unnecessary_cast, clippy::cast_sign_loss)]
pub(super) fn widened(found: &rustix::fs::Stat) -> Stat {
    Stat {
        st_dev: found.st_dev as u64,
        st_ino: found.st_ino as u64,
        st_mode: found.st_mode as u32,
        st_nlink: found.st_nlink as u64,
        st_uid: found.st_uid,
        st_gid: found.st_gid,
        st_rdev: found.st_rdev as u64,
        st_size: found.st_size as i64,
        st_blocks: found.st_blocks as i64,
        st_mtime: found.st_mtime as i64,
        st_mtime_nsec: found.st_mtime_nsec as u64,
        st_ctime: found.st_ctime as i64,
        st_ctime_nsec: found.st_ctime_nsec as u64,
    }
}

/// Returns the type of file in `st_mode`.
pub fn file_type(mode: u32) -> FileType {
    FileType::from_raw_mode(mode as RawMode)
}

/// Returns the permissions in `st_mode`, with setuid, setgid and the sticky bit.
pub fn mode_of(mode: u32) -> Mode {
    Mode::from_raw_mode((mode & 0o7777) as RawMode)
}

/// Returns permissions as the number that is stored.
#[allow(clippy::unnecessary_cast)]
pub fn bits_of(mode: Mode) -> u32 {
    mode.as_raw_mode() as u32
}

/// Returns this system's number of a device.
#[allow(clippy::unnecessary_cast, clippy::cast_sign_loss)]
pub fn makedev(major: u32, minor: u32) -> u64 {
    rustix::fs::makedev(major, minor) as u64
}

/// Returns the major number of a device.
#[allow(clippy::unnecessary_cast, clippy::cast_possible_truncation)]
pub fn major(device: u64) -> u32 {
    rustix::fs::major(device as rustix::fs::Dev)
}

/// Returns the minor number of a device.
#[allow(clippy::unnecessary_cast, clippy::cast_possible_truncation)]
pub fn minor(device: u64) -> u32 {
    rustix::fs::minor(device as rustix::fs::Dev)
}
