//! What the program asks of the operating system. The only module that names system calls, the crates for
//! them (`rustix`, `uzers`) and `/proc`.
//!
//! The modules here are the same on every system: they document each call once, and pass it on to the file of
//! the system if systems differ in it. A call that is the same on every Unix is re-exported by
//! `sys/posix.rs`. What a system lacks fails with [`io::Errno::NOSYS`], which callers answer with a
//! fallback; docs/platforms.md has a list.
//!
//! For this program's own use: no part of the library's interface, and it changes without notice.

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
