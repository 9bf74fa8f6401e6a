//! File flags (`st_flags`), converted to and from the inode flags of Linux, which a snapshot contains.
//!
//! Immutable, append-only and "no dump" exist on both. Others, such as "hidden", are left as they are.

use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::model::entry::attrs;

const NODUMP: u32 = 0x1;
/// Set by the owner.
const USER_LOCKS: [(u32, u32); 2] = [(0x2, attrs::IMMUTABLE), (0x4, attrs::APPEND)];
/// Set by root.
const SYSTEM_LOCKS: [(u32, u32); 2] = [(0x0002_0000, attrs::IMMUTABLE), (0x0004_0000, attrs::APPEND)];

/// Converts from `st_flags`.
pub(crate) fn attrs_of(flags: u32) -> u32 {
    let all = [(NODUMP, attrs::NODUMP)].into_iter().chain(USER_LOCKS).chain(SYSTEM_LOCKS);
    all.filter(|(flag, _)| flags & flag != 0).fold(0, |found, (_, attr)| found | attr)
}

/// Converts to `st_flags`, which are `current` now. A wanted lock that exists stays the owner's or root's; a
/// new one is the owner's.
#[cfg_attr(not(target_vendor = "apple"), allow(dead_code))]
fn flags_for(current: u32, wanted: u32) -> u32 {
    let mut next = current & !NODUMP;
    if wanted & attrs::NODUMP != 0 {
        next |= NODUMP;
    }
    for ((user, attr), (system, _)) in USER_LOCKS.into_iter().zip(SYSTEM_LOCKS) {
        if wanted & attr == 0 {
            next &= !(user | system);
        } else if next & (user | system) == 0 {
            next |= user;
        }
    }
    next
}

pub(crate) fn flags_of(file: impl AsFd) -> Result<u32, Errno> {
    rustix::fs::fstat(file).map(|found| attrs_of(found.st_flags))
}

/// The only safe call takes a path. Whether it was the right file is seen afterwards.
#[cfg(target_vendor = "apple")]
pub(crate) fn set_flags(file: impl AsFd, wanted: u32) -> Result<(), Errno> {
    let current = rustix::fs::fstat(&file)?.st_flags;
    let next = flags_for(current, wanted);
    if next == current {
        return Ok(());
    }
    let path = rustix::fs::getpath(&file)?;
    nix::unistd::chflags(&*path, nix::sys::stat::FileFlag::from_bits_retain(next))
        .map_err(|errno| Errno::from_raw_os_error(errno as i32))?;
    if rustix::fs::fstat(&file)?.st_flags == next { Ok(()) } else { Err(Errno::NOTSUP) }
}

#[cfg(not(target_vendor = "apple"))]
pub(crate) fn set_flags(_: impl AsFd, _: u32) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}
