//! Calls that are the same on every Unix, under the names that POSIX gives them, and those that two of the
//! three systems share.

/// Waiting for descriptors.
pub mod event {
    pub use rustix::event::{PollFd, PollFlags, Timespec, poll};
}

/// Error numbers, and calls on descriptors of any kind.
///
/// File systems without an operation return [`io::Errno::NOTSUP`]. On Linux that is the same number as
/// `EOPNOTSUPP`; on macOS the latter is for sockets only.
pub mod io {
    pub use rustix::io::{Errno, fcntl_dupfd_cloexec, retry_on_intr};

    pub use crate::sys::system::{NO_ATTRIBUTE, is_bad_medium, notify_address};
}

/// Paths in the forms that calls take.
pub mod path {
    pub use rustix::path::Arg;
}

/// The three standard streams.
pub mod stdio {
    pub use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout, stderr, stdout};
}

/// Extended attributes of an open file. rustix has no calls for those of FreeBSD.
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
pub(super) mod xattr {
    use std::os::fd::BorrowedFd;

    use rustix::fs::XattrFlags;
    use rustix::io::Errno;

    pub(crate) fn list_xattrs(file: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
        rustix::fs::flistxattr(file, buffer)
    }

    pub(crate) fn get_xattr(file: BorrowedFd<'_>, name: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
        rustix::fs::fgetxattr(file, name, buffer)
    }

    pub(crate) fn set_xattr(file: BorrowedFd<'_>, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        rustix::fs::fsetxattr(file, name, value, XattrFlags::empty())
    }

    pub(crate) fn remove_xattr(file: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
        rustix::fs::fremovexattr(file, name)
    }
}

/// Pipes, sockets and devices. macOS has these calls with a path only.
#[cfg(not(target_vendor = "apple"))]
pub(super) mod node {
    use std::os::fd::BorrowedFd;

    use rustix::fs::{FileType, Mode};
    use rustix::io::Errno;

    pub(crate) fn make_node(
        dir: BorrowedFd<'_>,
        name: &str,
        kind: FileType,
        mode: Mode,
        device: u64,
    ) -> Result<(), Errno> {
        rustix::fs::mknodat(dir, name, kind, mode, device as rustix::fs::Dev)
    }
}
