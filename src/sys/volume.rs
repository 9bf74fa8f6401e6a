//! File systems: their kinds, their space, and where they are mounted.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use crate::sys::system;

/// The device by which this user may mount with FUSE; `None` if the system has no such file.
pub const FUSE_DEVICE: Option<&str> = system::FUSE_DEVICE;

/// The command with which a user other than root unmounts, without the directory.
pub const UNMOUNT: &[&str] = system::UNMOUNT;

/// Returns the kind of network file system that a path is on; `None` on a local one. Clients of these cache
/// listings, or their locks are not visible to all clients.
///
/// # Errors
/// The path cannot be examined.
pub fn network_kind(path: &Path) -> io::Result<Option<String>> {
    system::network_kind(path)
}

/// Returns whether an open file is on a file system of a kind that usually takes `a` and `A` for one name.
pub fn is_of_a_folding_kind(file: impl AsFd) -> bool {
    system::is_of_a_folding_kind(file)
}

/// Returns one form of a name of which the file systems of this system treat several forms as equal: on
/// macOS, HFS+ stores the decomposed form (NFD) of every name, and APFS finds a name by any form.
pub fn composed(name: &str) -> String {
    system::composed(name)
}

/// Returns whether a path is on btrfs.
pub fn is_btrfs(path: &Path) -> bool {
    system::is_btrfs(path)
}

/// Returns whether something is mounted on a directory.
///
/// # Errors
/// The directory cannot be examined.
pub fn is_mount_point(dir: &Path) -> io::Result<bool> {
    system::is_mount_point(dir)
}

/// Result of an attempt to unmount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmounted {
    /// It is unmounted, or detached until its last use ends, or nothing was mounted.
    Done,
    /// This user may not; a helper program may.
    NotAllowed,
}

/// Unmounts what is mounted on a directory. If it is in use, it is detached at once.
///
/// # Errors
/// It is in use and cannot be detached.
pub fn unmount(dir: &Path) -> io::Result<Unmounted> {
    system::unmount(dir)
}

/// Free and total space of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this user can still write.
    pub free: u64,
    /// Total bytes.
    pub total: u64,
}

/// Returns the space of the file system that a path is on.
///
/// # Errors
/// The path cannot be examined.
pub fn space(path: &Path) -> io::Result<Space> {
    let found = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Space { free: bytes(found.f_bavail), total: bytes(found.f_blocks) })
}
