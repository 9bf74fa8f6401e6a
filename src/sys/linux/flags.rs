//! Inode flags.

use std::os::fd::AsFd;

use rustix::fs::IFlags;
use rustix::io::Errno;

pub(crate) fn flags_of(file: impl AsFd) -> Result<u32, Errno> {
    rustix::fs::ioctl_getflags(file).map(|flags| flags.bits())
}

pub(crate) fn set_flags(file: impl AsFd, flags: u32) -> Result<(), Errno> {
    rustix::fs::ioctl_setflags(file, IFlags::from_bits_retain(flags))
}
