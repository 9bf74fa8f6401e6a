//! Calls on files and directories.

use std::fs::File;
#[cfg(target_vendor = "apple")]
use std::os::fd::BorrowedFd;
use std::os::fd::{AsFd, OwnedFd};

#[cfg(target_vendor = "apple")]
use rustix::fs::FileType;
use rustix::fs::{AtFlags, Dir, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::sys::fs::{file_type, statat};
use crate::sys::listing::until_error;

/// `O_SEARCH` of both systems, which needs no permission to read. (macOS: from 13 on.)
#[cfg(target_vendor = "apple")]
pub(crate) const SEARCH: OFlags = OFlags::from_bits_retain(0x4000_0000);
#[cfg(not(target_vendor = "apple"))]
pub(crate) const SEARCH: OFlags = OFlags::from_bits_retain(0x0004_0000);
pub(crate) const NOATIME: OFlags = OFlags::empty();
/// The limit is 1023 bytes.
pub(crate) const LONG_PATH: usize = 700;

/// Opens a file. FreeBSD returns `EMLINK` for a symbolic link that is not to be followed.
pub(crate) fn openat(dir: impl AsFd, path: impl Arg, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(dir, path, flags, mode).map_err(|errno| match errno {
        Errno::MLINK => Errno::LOOP,
        other => other,
    })
}

pub(crate) fn open(path: impl Arg, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    openat(rustix::fs::CWD, path, flags, mode)
}

/// `renameatx_np` with `RENAME_EXCL`. It returns `ENOTSUP` on file systems that cannot do this.
#[cfg(target_vendor = "apple")]
pub(crate) fn rename_new(
    from_dir: impl AsFd,
    from: impl Arg,
    to_dir: impl AsFd,
    to: impl Arg,
) -> Result<(), Errno> {
    rustix::fs::renameat_with(from_dir, from, to_dir, to, rustix::fs::RenameFlags::NOREPLACE)
}

#[cfg(not(target_vendor = "apple"))]
pub(crate) fn rename_new(_: impl AsFd, _: impl Arg, _: impl AsFd, _: impl Arg) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

/// `renameatx_np` with `RENAME_SWAP`.
#[cfg(target_vendor = "apple")]
pub(crate) fn exchange(dir: impl AsFd, one: impl Arg, other: impl Arg) -> Result<(), Errno> {
    rustix::fs::renameat_with(&dir, one, &dir, other, rustix::fs::RenameFlags::EXCHANGE)
}

#[cfg(not(target_vendor = "apple"))]
pub(crate) fn exchange(_: impl AsFd, _: impl Arg, _: impl Arg) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

pub(crate) fn open_beneath(_: impl AsFd, _: impl Arg, _: OFlags, _: bool) -> Result<OwnedFd, Errno> {
    Err(Errno::NOSYS)
}

pub(crate) fn names(dir: &OwnedFd, _: &mut Vec<u8>) -> (Vec<Vec<u8>>, Option<Errno>) {
    match Dir::read_from(dir) {
        Ok(mut listing) => {
            until_error(|| Some(listing.next()?.map(|entry| entry.file_name().to_bytes().to_vec())))
        }
        Err(errno) => (Vec::new(), Some(errno)),
    }
}

/// `fsync` of macOS leaves the bytes in the drive's cache; `F_FULLFSYNC` does not. On file systems that lack
/// it (SMB, some of FUSE), `fsync` is used.
#[cfg(target_vendor = "apple")]
pub(crate) fn sync(file: impl AsFd) -> Result<(), Errno> {
    match rustix::fs::fcntl_fullfsync(&file) {
        Err(Errno::NOTSUP | Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL | Errno::NODEV) => {
            rustix::fs::fsync(file)
        }
        other => other,
    }
}

#[cfg(not(target_vendor = "apple"))]
pub(crate) fn sync(file: impl AsFd) -> Result<(), Errno> {
    rustix::fs::fsync(file)
}

/// `sync` of macOS does not wait. The full sync of one file that follows makes the drive write its cache.
pub(crate) fn sync_volume(file: impl AsFd) -> Result<(), Errno> {
    rustix::fs::sync();
    sync(file)
}

#[cfg(target_vendor = "apple")]
pub(crate) fn forget_cached(file: &File) {
    let _ = rustix::fs::fcntl_nocache(file, true);
}

#[cfg(not(target_vendor = "apple"))]
pub(crate) fn forget_cached(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
}

/// `fclonefileat` makes a new file, and cannot fill one that is open.
pub(crate) fn share_blocks(_: &File, _: &File) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

pub(crate) fn copy_range(_: &File, _: &File, _: u64, _: usize) -> Result<usize, Errno> {
    Err(Errno::NOSYS)
}

/// macOS: `F_PREALLOCATE`, then the length.
pub(crate) fn allocate(file: &File, len: u64) -> Result<(), Errno> {
    rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len)
}

/// There is no safe call for `F_PUNCHHOLE`: zeros are written.
pub(crate) fn punch_hole(_: &File, _: u64, _: u64) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

/// macOS has these calls with a path only. The name is new, so if the directory was moved at the same moment,
/// this is noticed afterwards.
#[cfg(target_vendor = "apple")]
pub(crate) fn make_node(
    dir: BorrowedFd<'_>,
    name: &str,
    kind: FileType,
    mode: Mode,
    device: u64,
) -> Result<(), Errno> {
    use nix::sys::stat::{Mode as NixMode, SFlag, mknod};
    let path = super::path_at(dir, name.as_bytes())?;
    let bits = NixMode::from_bits_truncate(mode.as_raw_mode());
    let done = match kind {
        FileType::Fifo => nix::unistd::mkfifo(&*path, bits),
        FileType::CharacterDevice => mknod(&*path, SFlag::S_IFCHR, bits, device as rustix::fs::Dev),
        FileType::BlockDevice => mknod(&*path, SFlag::S_IFBLK, bits, device as rustix::fs::Dev),
        // Only a process that listens can create a socket.
        _ => return Err(Errno::NOSYS),
    };
    done.map_err(|errno| Errno::from_raw_os_error(errno as i32))?;
    let found = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if file_type(found.st_mode) == kind { Ok(()) } else { Err(Errno::STALE) }
}

/// The call that does not follow links would change the mode of the link.
pub(crate) fn chmod_at(dir: impl AsFd, name: impl Arg + Copy, mode: Mode) -> Result<(), Errno> {
    if file_type(statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode).is_symlink() {
        return Err(Errno::LOOP);
    }
    rustix::fs::chmodat(dir, name, mode, AtFlags::SYMLINK_NOFOLLOW)
}
