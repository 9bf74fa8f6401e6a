//! Files and directories.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::io::{Errno, retry_on_intr};
use crate::sys::path::Arg;
pub use crate::sys::stat::{Stat, bits_of, file_type, fstat, major, makedev, minor, mode_of, statat};
use crate::sys::system;
pub use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Gid, Mode, OFlags, SeekFrom, Timespec, Timestamps,
    UTIME_OMIT, Uid, chownat, fchmod, fchown, flock, futimens, linkat, mkdirat, readlinkat, renameat, seek,
    symlinkat, unlinkat, utimensat,
};

/// Opens a file. With `NOFOLLOW`, a symbolic link is [`Errno::LOOP`].
///
/// # Errors
/// The system call fails.
pub fn openat(dir: impl AsFd, path: impl Arg, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    system::openat(dir, path, flags, mode)
}

/// As [`openat`], from the working directory.
///
/// # Errors
/// As [`openat`].
pub fn open(path: impl Arg, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    system::open(path, flags, mode)
}

/// Flags for opening a directory only to go through it, without permission to read it if the system allows
/// that.
pub const SEARCH: OFlags = system::SEARCH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Flag for reading a file without changing its access time; empty if the system has none. It is refused
/// ([`Errno::PERM`]) for files of other users.
pub const NOATIME: OFlags = system::NOATIME;

/// Length in bytes of a path for one call. The limit of the system is higher by at least one name.
pub const LONG_PATH: usize = system::LONG_PATH;

/// Renames an entry if the new name is free.
///
/// # Errors
/// [`Errno::EXIST`] if it is taken. [`Errno::INVAL`], [`Errno::NOSYS`] or [`Errno::NOTSUP`] if the file system
/// or the system cannot do this in one step; then nothing has changed.
pub fn rename_new(from_dir: impl AsFd, from: impl Arg, to_dir: impl AsFd, to: impl Arg) -> Result<(), Errno> {
    system::rename_new(from_dir, from, to_dir, to)
}

/// Exchanges two entries of a directory in one step.
///
/// # Errors
/// As [`rename_new`], except `EXIST`.
pub fn exchange(dir: impl AsFd, one: impl Arg, other: impl Arg) -> Result<(), Errno> {
    system::exchange(dir, one, other)
}

/// Opens what a path leads to, without following a symbolic link on it and without leaving the directory;
/// with `same_volume` also without entering another file system.
///
/// # Errors
/// [`Errno::NOSYS`] if the system cannot do this in one call: then open one name after the other with
/// `NOFOLLOW`. Sandboxes return [`Errno::PERM`] instead. [`Errno::AGAIN`] if directories are being moved.
pub fn open_beneath(
    dir: impl AsFd,
    path: impl Arg,
    flags: OFlags,
    same_volume: bool,
) -> Result<OwnedFd, Errno> {
    system::open_beneath(dir, path, flags, same_volume)
}

/// Returns the names in an open directory, sorted by their bytes, without `.` and `..`, and the error that ended
/// the listing early. `space` is a buffer that is reused.
pub fn names(dir: &OwnedFd, space: &mut Vec<u8>) -> (Vec<Vec<u8>>, Option<Errno>) {
    system::names(dir, space)
}

/// Makes sure that a file, or the names in a directory, are on the medium and not only in its cache.
///
/// # Errors
/// The system call fails. Some file systems cannot sync directories.
pub fn sync(file: impl AsFd) -> Result<(), Errno> {
    retry_on_intr(|| system::sync(&file))
}

/// Writes all files of the file system that `file` is on to the medium. Where there is no such call, those of
/// all file systems are written, and the system may not wait for the medium.
///
/// # Errors
/// The system call fails.
pub fn sync_volume(file: impl AsFd) -> Result<(), Errno> {
    system::sync_volume(file)
}

/// Drops a file's pages from the cache, so that it is read from the medium next. This is only advice.
pub fn forget_cached(file: &File) {
    system::forget_cached(file);
}

/// Makes `to` share all blocks of `from`.
///
/// # Errors
/// The file system does not share blocks, or the system cannot do this with open files.
pub fn share_blocks(from: &File, to: &File) -> Result<(), Errno> {
    system::share_blocks(from, to)
}

/// Copies up to `len` bytes at the same offset of both files, within the kernel. Returns how many were copied;
/// 0 at the end of `from`.
///
/// # Errors
/// As in [`rename_new`] if it cannot be done here; also [`Errno::XDEV`] and [`Errno::PERM`].
pub fn copy_range(from: &File, to: &File, at: u64, len: usize) -> Result<usize, Errno> {
    system::copy_range(from, to, at, len)
}

/// Allocates blocks from the beginning of a file, and makes it that long.
///
/// # Errors
/// The disk is full. As in [`rename_new`] if it cannot be done here: then write zeros.
pub fn allocate(file: &File, len: u64) -> Result<(), Errno> {
    system::allocate(file, len)
}

/// Makes a range of a file a hole. Its size stays.
///
/// # Errors
/// As [`allocate`].
pub fn punch_hole(file: &File, at: u64, len: u64) -> Result<(), Errno> {
    system::punch_hole(file, at, len)
}

/// Creates a pipe, a socket or a device node (`device` is its number).
///
/// # Errors
/// The name is taken, this user may not do it, or [`Errno::NOSYS`].
pub fn make_node(
    dir: BorrowedFd<'_>,
    name: &str,
    kind: FileType,
    mode: Mode,
    device: u64,
) -> Result<(), Errno> {
    system::make_node(dir, name, kind, mode, device)
}

/// Changes the mode of an entry, even if it cannot be opened.
///
/// # Errors
/// [`Errno::LOOP`] for a symbolic link, and whatever the system call returns.
pub fn chmod_at(dir: impl AsFd, name: impl Arg + Copy, mode: Mode) -> Result<(), Errno> {
    system::chmod_at(dir, name, mode)
}

/// Returns the inode flags of an open file, as numbers of [`attrs`](crate::model::entry::attrs) and others of
/// the system.
///
/// # Errors
/// The file system has none.
pub fn flags_of(file: impl AsFd) -> Result<u32, Errno> {
    system::flags_of(file)
}

/// Sets all inode flags of an open file.
///
/// # Errors
/// This user may not, or the file system has none.
pub fn set_flags(file: impl AsFd, flags: u32) -> Result<(), Errno> {
    system::set_flags(file, flags)
}

/// Converts an error of the standard library.
pub fn errno_of(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
