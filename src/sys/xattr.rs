//! Extended attributes. The calls fill a buffer like those of Linux: they return the length, and
//! [`Errno::RANGE`] if it does not fit.
//!
//! Names are those of the system: Linux has namespaces (`user.`, `security.`), macOS has none.

use std::os::fd::BorrowedFd;

use crate::sys::io::Errno;
use crate::sys::system;

/// Maximum size in bytes of a list or a value that is read.
pub const MAX_LEN: usize = system::MAX_XATTR;

/// Returns whether an attribute is an ACL, which is connected with the mode.
pub fn is_acl(name: &[u8]) -> bool {
    system::is_acl(name)
}

/// Returns whether a restore removes an attribute that the snapshot does not have. Those that the system
/// itself maintains, such as labels, are left alone.
pub fn is_removable(name: &[u8]) -> bool {
    system::is_removable(name)
}

/// Returns whether an attribute means something on this system. If not, it is not set.
pub fn is_of_this_system(name: &[u8]) -> bool {
    system::is_of_this_system(name)
}

/// Lists the names of an open file's attributes, each with a zero byte at its end.
///
/// # Errors
/// The system call fails.
pub fn list(file: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    system::list_xattrs(file, buffer)
}

/// Reads an attribute of an open file.
///
/// # Errors
/// The system call fails.
pub fn get(file: BorrowedFd<'_>, name: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
    system::get_xattr(file, name, buffer)
}

/// Sets an attribute of an open file.
///
/// # Errors
/// The system call fails.
pub fn set(file: BorrowedFd<'_>, name: &[u8], value: &[u8]) -> Result<(), Errno> {
    system::set_xattr(file, name, value)
}

/// Removes an attribute of an open file.
///
/// # Errors
/// The system call fails.
pub fn remove(file: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    system::remove_xattr(file, name)
}

/// An entry that is not opened, if the system can do without: a symbolic link, a pipe. It is an entry of an
/// open directory (`new`), and is not followed, or is at a path of any length (`by_path`). Its other methods
/// are those for open files.
pub(crate) use system::Unopened;
