//! `stat`, whose structure has the birth time and the flags here.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Stat};
use rustix::path::Arg;

use crate::sys::inode::{Inode, time};
use crate::sys::stat::widened;

pub(crate) fn stat(dir: impl AsFd, name: impl Arg + Copy, how: AtFlags) -> io::Result<Inode> {
    Ok(inode(&rustix::fs::statat(dir, name, how)?))
}

pub(crate) fn stat_open(file: impl AsFd) -> io::Result<Inode> {
    Ok(inode(&rustix::fs::fstat(file)?))
}

#[allow(clippy::unnecessary_cast, clippy::cast_sign_loss)]
fn inode(found: &Stat) -> Inode {
    // File systems without birth times report -1 or 0.
    let born = Some(time(found.st_birthtime as i64, found.st_birthtime_nsec as u64));
    Inode {
        born: born.filter(|at| at.sec > 0),
        attrs: super::attrs_of(found.st_flags),
        ..Inode::of_stat(&widened(found))
    }
}
