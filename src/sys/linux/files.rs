//! Calls on files and directories.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Advice, FallocateFlags, FileType, Mode, OFlags, RawDir, RenameFlags, ResolveFlags, fstat};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::sys::listing::until_error;

/// Needs no permission to read.
pub(crate) const SEARCH: OFlags = OFlags::PATH;
pub(crate) const NOATIME: OFlags = OFlags::NOATIME;
/// The limit is 4095 bytes.
pub(crate) const LONG_PATH: usize = 3500;

/// Size in bytes of the buffer for one `getdents` call: the same as in glibc.
const LISTING_BUFFER: usize = 32 << 10;

pub(crate) use rustix::fs::{open, openat};

pub(crate) fn rename_new(
    from_dir: impl AsFd,
    from: impl Arg,
    to_dir: impl AsFd,
    to: impl Arg,
) -> Result<(), Errno> {
    rustix::fs::renameat_with(from_dir, from, to_dir, to, RenameFlags::NOREPLACE)
}

pub(crate) fn exchange(dir: impl AsFd, one: impl Arg, other: impl Arg) -> Result<(), Errno> {
    rustix::fs::renameat_with(&dir, one, &dir, other, RenameFlags::EXCHANGE)
}

pub(crate) fn open_beneath(
    dir: impl AsFd,
    path: impl Arg,
    flags: OFlags,
    same_volume: bool,
) -> Result<OwnedFd, Errno> {
    let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    resolve.set(ResolveFlags::NO_XDEV, same_volume);
    rustix::fs::openat2(dir, path, flags, Mode::empty(), resolve)
}

pub(crate) fn names(dir: &OwnedFd, space: &mut Vec<u8>) -> (Vec<Vec<u8>>, Option<Errno>) {
    space.clear();
    space.reserve(LISTING_BUFFER);
    let mut listing = RawDir::new(dir, space.spare_capacity_mut());
    until_error(|| Some(listing.next()?.map(|entry| entry.file_name().to_bytes().to_vec())))
}

pub(crate) fn sync(file: impl AsFd) -> Result<(), Errno> {
    rustix::fs::fsync(file)
}

pub(crate) fn sync_volume(file: impl AsFd) -> Result<(), Errno> {
    rustix::fs::syncfs(file)
}

pub(crate) fn forget_cached(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
}

pub(crate) fn share_blocks(from: &File, to: &File) -> Result<(), Errno> {
    rustix::fs::ioctl_ficlone(to, from)
}

pub(crate) fn copy_range(from: &File, to: &File, at: u64, len: usize) -> Result<usize, Errno> {
    let (mut read, mut written) = (at, at);
    rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut written), len)
}

pub(crate) fn allocate(file: &File, len: u64) -> Result<(), Errno> {
    rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len)
}

pub(crate) fn punch_hole(file: &File, at: u64, len: u64) -> Result<(), Errno> {
    rustix::fs::fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, len)
}

/// Only Linux 6.6 and later have a call that does not follow links.
pub(crate) fn chmod_at(dir: impl AsFd, name: impl Arg + Copy, mode: Mode) -> Result<(), Errno> {
    let fd = openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&fd)?.st_mode).is_symlink() {
        return Err(Errno::LOOP);
    }
    rustix::fs::chmod(super::path_of(fd.as_raw_fd()), mode)
}
