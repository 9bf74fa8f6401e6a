//! `statx`.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, StatxFlags, StatxTimestamp};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::model::entry::attrs;
use crate::sys::fs::{makedev, statat};
use crate::sys::inode::{Inode, time};

pub(crate) fn stat(dir: impl AsFd, name: impl Arg + Copy, how: AtFlags) -> io::Result<Inode> {
    let how = if how.contains(AtFlags::SYMLINK_NOFOLLOW) { how | AtFlags::NO_AUTOMOUNT } else { how };
    ask(dir, name, how)
}

pub(crate) fn stat_open(file: impl AsFd) -> io::Result<Inode> {
    ask(file, "", AtFlags::EMPTY_PATH)
}

fn ask(dir: impl AsFd, name: impl Arg + Copy, how: AtFlags) -> io::Result<Inode> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let found = match rustix::fs::statx(&dir, name, how, wanted) {
        // `statx` is missing before Linux 4.11 and blocked in some sandboxes.
        Err(Errno::NOSYS | Errno::PERM) => return Ok(Inode::of_stat(&statat(&dir, name, how)?)),
        other => other?,
    };
    let instant = |at: StatxTimestamp| time(at.tv_sec, at.tv_nsec.into());
    let has_birth = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
    Ok(Inode {
        mode: found.stx_mode.into(),
        uid: found.stx_uid,
        gid: found.stx_gid,
        size: found.stx_size,
        blocks: found.stx_blocks,
        mtime: instant(found.stx_mtime),
        ctime: instant(found.stx_ctime),
        born: has_birth.then(|| instant(found.stx_btime)),
        // `statx` attributes have the same numbers as the inode flags.
        attrs: found.stx_attributes.bits() as u32 & attrs::KNOWN,
        device: (found.stx_rdev_major, found.stx_rdev_minor),
        id: (makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino),
        links: found.stx_nlink,
    })
}
