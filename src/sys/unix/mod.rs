//! macOS and FreeBSD: Unix without what only Linux has. Each function is documented in the module of
//! [`crate::sys`] that passes the call on.
//!
//! Nothing here has run on either system.

mod files;
mod flags;
mod host;
mod inode;
mod process;
mod volume;
mod xattr;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr;

pub(super) use files::*;
pub(super) use flags::*;
pub(super) use host::*;
pub(super) use inode::*;
pub(super) use process::*;
pub(super) use volume::*;
pub(crate) use xattr::Unopened;
pub(super) use xattr::*;

use crate::sys::io::Errno;
#[cfg(not(target_vendor = "apple"))]
pub(super) use crate::sys::posix::node::*;

/// What reading an attribute that is not there returns.
pub const NO_ATTRIBUTE: Errno = Errno::NOATTR;

/// Returns whether an error means that the medium, or the file system by its checksums, has lost these bytes.
pub fn is_bad_medium(error: &io::Error) -> bool {
    // FreeBSD's ZFS returns EINTEGRITY (97) on a checksum mismatch, which macOS uses otherwise.
    let is_checksum = cfg!(target_os = "freebsd") && error.raw_os_error() == Some(97);
    let lost = [Errno::IO, Errno::BADMSG];
    is_checksum || Errno::from_io_error(error).is_some_and(|errno| lost.contains(&errno))
}

/// Returns the address of a service manager's socket.
///
/// # Errors
/// The name is too long.
pub fn notify_address(name: &[u8]) -> io::Result<SocketAddr> {
    SocketAddr::from_pathname(OsStr::from_bytes(name))
}
