//! tar: the header blocks of archives, both ways. Written as POSIX pax; read as pax, GNU, ustar and what came
//! before. Knows members and their bytes, nothing of repositories or files.

pub mod acl;
pub mod flags;
mod number;
pub mod pax;
pub mod read;
pub mod sparse;
pub mod write;

use crate::model::entry::Time;

/// Everything in an archive comes in blocks of this many bytes.
pub const BLOCK: usize = 512;

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A regular file; its content follows.
    File,
    /// A directory.
    Dir,
    /// A symbolic link with its raw target.
    Symlink(Vec<u8>),
    /// Another name of an earlier member.
    HardLink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// A member but for its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Raw bytes, as in the archive but for the slash at a directory's end.
    pub path: Vec<u8>,
    /// What it is.
    pub node: Node,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Owner's name; empty: unknown.
    pub user: Vec<u8>,
    /// Group's name; empty: unknown.
    pub group: Vec<u8>,
    /// Last change of the content.
    pub mtime: Time,
    /// Extended attributes, ACLs among them as the system has them.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// ACLs as text, which only names of users and groups can turn into attributes.
    pub acls: Vec<(&'static [u8], String)>,
    /// Inode flags: [`crate::model::entry::attrs`].
    pub flags: u32,
    /// When the file system made it.
    pub born: Option<Time>,
}

/// The attribute that holds an access ACL.
pub const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
/// The attribute that holds a directory's default ACL.
pub const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";

/// Bytes after `len` up to the next whole block.
pub const fn padding(len: u64) -> u64 {
    (BLOCK as u64 - len % BLOCK as u64) % BLOCK as u64
}

/// Where the fields of a header lie: (start, length).
mod field {
    pub(super) const NAME: (usize, usize) = (0, 100);
    pub(super) const MODE: (usize, usize) = (100, 8);
    pub(super) const UID: (usize, usize) = (108, 8);
    pub(super) const GID: (usize, usize) = (116, 8);
    pub(super) const SIZE: (usize, usize) = (124, 12);
    pub(super) const MTIME: (usize, usize) = (136, 12);
    pub(super) const SUM: (usize, usize) = (148, 8);
    pub(super) const TYPE: (usize, usize) = (156, 1);
    pub(super) const LINK: (usize, usize) = (157, 100);
    pub(super) const MAGIC: (usize, usize) = (257, 8);
    pub(super) const USER: (usize, usize) = (265, 32);
    pub(super) const GROUP: (usize, usize) = (297, 32);
    pub(super) const MAJOR: (usize, usize) = (329, 8);
    pub(super) const MINOR: (usize, usize) = (337, 8);
    pub(super) const PREFIX: (usize, usize) = (345, 155);
}
