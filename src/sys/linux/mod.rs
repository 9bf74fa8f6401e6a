//! Linux. Each function is documented in the module of [`crate::sys`] that passes the call on.

mod files;
mod flags;
mod host;
mod inode;
mod process;
mod volume;
mod xattr;

use std::io;
use std::os::linux::net::SocketAddrExt;
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
pub(super) use crate::sys::posix::{node::*, xattr::*};

/// What reading an attribute that is not there returns.
pub const NO_ATTRIBUTE: Errno = Errno::NODATA;

/// Returns whether an error means that the medium, or the file system by its checksums, has lost these bytes.
pub fn is_bad_medium(error: &io::Error) -> bool {
    // EUCLEAN is what ext4, XFS and btrfs return on a checksum mismatch.
    let lost = [Errno::IO, Errno::BADMSG, Errno::UCLEAN];
    Errno::from_io_error(error).is_some_and(|errno| lost.contains(&errno))
}

/// Returns the address of the service manager's socket. A name that begins with `@` is one of Linux's
/// abstract names.
///
/// # Errors
/// The name is too long.
pub fn notify_address(name: &[u8]) -> io::Result<SocketAddr> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(OsStr::from_bytes(name)),
    }
}
