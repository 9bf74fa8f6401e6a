//! tar: reads and writes the headers of archives. Writes POSIX pax; reads pax, GNU, ustar and older
//! formats. Knows members and their bytes, nothing of repositories or files.

pub mod acl;
pub mod flags;
mod number;
pub mod pax;
pub mod read;
pub mod sparse;
pub mod write;

use crate::model::entry::Time;

/// Block size in bytes: an archive consists of blocks.
pub const BLOCK: usize = 512;

/// The type of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A regular file; its content follows.
    File,
    /// A directory.
    Dir,
    /// A symbolic link with its raw target.
    Symlink(Vec<u8>),
    /// Another name of an earlier member: its path.
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

/// A member without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TarMember {
    /// Raw bytes, as in the archive but without the slash at the end of a directory's path.
    pub path: Vec<u8>,
    /// Its type.
    pub node: Node,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner's numeric id.
    pub uid: u32,
    /// Group's numeric id.
    pub gid: u32,
    /// Owner's name; empty if unknown.
    pub user: Vec<u8>,
    /// Group's name; empty if unknown.
    pub group: Vec<u8>,
    /// When the content last changed.
    pub mtime: Time,
    /// Extended attributes. ACLs are included in their binary form.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// ACLs as (attribute name, text). Converting them to attributes needs the ids of users and groups.
    pub acls: Vec<(&'static [u8], String)>,
    /// Inode flags; see [`crate::model::entry::attrs`].
    pub flags: u32,
    /// Birth time of the inode.
    pub born: Option<Time>,
}

/// Name of the attribute that contains an access ACL.
pub const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
/// Name of the attribute that contains a directory's default ACL.
pub const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";

/// Returns the number of padding bytes after `len` bytes of content.
pub const fn padding(len: u64) -> u64 {
    (BLOCK as u64 - len % BLOCK as u64) % BLOCK as u64
}

/// Position of the fields in a header: (start, length).
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
