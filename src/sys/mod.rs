//! Calls to the operating system. The only module that uses system calls, the crates for them (`rustix`,
//! `uzers`) and `/proc`.
//!
//! The modules here are the same on every system. They document each call once; if systems differ in it, they
//! pass it on to the module of the system. Calls that are the same on every Unix are re-exported, some by
//! `sys/posix.rs`. A call that a system lacks fails with [`io::Errno::NOSYS`], for which callers have a
//! fallback; docs/platforms.md lists them.
//!
//! Not part of the library's interface: it may change without notice.

pub mod fs;
pub mod host;
pub mod inode;
pub mod long_path;
pub mod process;
pub mod users;
pub mod volume;
pub mod xattr;

mod listing;
mod posix;
mod stat;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;

#[cfg(all(unix, not(target_os = "linux")))]
mod unix;
#[cfg(all(unix, not(target_os = "linux")))]
use unix as system;

pub use posix::{event, io, path, stdio};
