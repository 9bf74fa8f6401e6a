//! File attributes, as `stat` returns them.

use crate::fs::ownership::Owners;
use crate::model::entry::{Content, ContentPart, Entry, Kind, Time, flags};

/// Bytes of a block, the unit of sizes on disk.
const BLOCK: u64 = 512;

/// Type of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InodeType {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// Attributes of an inode, as `stat` returns them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InodeAttributes {
    /// Inode number.
    pub ino: u64,
    /// Type of the inode.
    pub kind: InodeType,
    /// Permission bits (07777).
    pub mode: u32,
    /// Number of hard links. Of a directory it is 1: subdirectories are not counted.
    pub links: u32,
    /// Owner's number.
    pub uid: u32,
    /// Group's number.
    pub gid: u32,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Size in bytes.
    pub size: u64,
    /// Allocated blocks of 512 bytes, without holes.
    pub blocks: u64,
    /// Last modification of the content.
    pub mtime: Time,
    /// Last change of the inode.
    pub ctime: Time,
    /// Whether the attributes can never change, so that the kernel may cache them.
    pub lasts: bool,
}

impl InodeType {
    /// Returns the type of an entry.
    pub fn of(entry: &Entry) -> Self {
        match entry.kind {
            Kind::File { .. } => Self::File,
            Kind::Dir { .. } => Self::Dir,
            Kind::Symlink { .. } => Self::Symlink,
            Kind::Fifo => Self::Fifo,
            Kind::Socket => Self::Socket,
            Kind::CharDevice { .. } => Self::CharDevice,
            Kind::BlockDevice { .. } => Self::BlockDevice,
        }
    }
}

/// Returns the attributes of an entry of a snapshot that was started at `begun`.
pub(super) fn of_entry(ino: u64, entry: &Entry, owners: &Owners, links: u32, begun: Time) -> InodeAttributes {
    let meta = &entry.meta;
    let (size, blocks) = match &entry.kind {
        Kind::File { size, content } => (*size, blocks(*size, content)),
        Kind::Symlink { target } => (target.len() as u64, 0),
        _ => (0, 0),
    };
    let device = match entry.kind {
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => (major, minor),
        _ => (0, 0),
    };
    // A directory that only leads to a source has no time of its own.
    let ancestor_only = meta.flags & flags::ANCESTOR_ONLY != 0;
    InodeAttributes {
        ino,
        kind: InodeType::of(entry),
        mode: if entry_is_link(entry) { 0o777 } else { meta.mode & 0o7777 },
        links,
        uid: owners.uid(meta),
        gid: owners.gid(meta),
        device,
        size,
        blocks,
        mtime: if ancestor_only { begun } else { meta.mtime },
        ctime: if ancestor_only { begun } else { meta.ctime },
        lasts: true,
    }
}

/// Returns the attributes of virtual directories and of snapshot roots. They have no recorded owner, so they
/// belong to the user who mounted.
pub(super) fn of_virtual(
    ino: u64,
    kind: InodeType,
    size: u64,
    owners: &Owners,
    changed: Time,
) -> InodeAttributes {
    let (uid, gid) = owners.of_new_files();
    InodeAttributes {
        ino,
        kind,
        mode: if kind == InodeType::Symlink { 0o777 } else { 0o755 },
        links: 1,
        uid,
        gid,
        device: (0, 0),
        size,
        blocks: 0,
        mtime: changed,
        ctime: changed,
        lasts: false,
    }
}

fn entry_is_link(entry: &Entry) -> bool {
    matches!(entry.kind, Kind::Symlink { .. })
}

/// Returns the allocated blocks. For a file with a part list all bytes count, as its holes are not in the
/// entry.
fn blocks(size: u64, content: &Content) -> u64 {
    let bytes = match content {
        Content::List(_) => size,
        Content::Parts(parts) => {
            let data = parts.iter().filter(|part| matches!(part, ContentPart::Chunk { .. }));
            data.map(ContentPart::len).fold(0, u64::saturating_add)
        }
    };
    bytes.div_ceil(BLOCK)
}
