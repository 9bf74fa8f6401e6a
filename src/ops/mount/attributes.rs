//! What `stat` says of things.

use crate::fs::ownership::Owners;
use crate::model::entry::{Content, Entry, Kind, Part, Time, flags};

/// Bytes of the blocks that sizes on disk are told in.
const BLOCK: u64 = 512;

/// What kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
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

/// What `stat` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// Number of the inode.
    pub ino: u64,
    /// Kind of thing.
    pub kind: Type,
    /// Permission bits (07777).
    pub mode: u32,
    /// Names of a file; 1 of a directory, which says that its subdirectories are not counted.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Bytes.
    pub size: u64,
    /// Blocks of 512 bytes; holes are none.
    pub blocks: u64,
    /// Last change of the content.
    pub mtime: Time,
    /// Last change of the inode.
    pub ctime: Time,
    /// Whether it can never be anything else: whoever asks need not ask again.
    pub lasts: bool,
}

impl Type {
    /// That of an entry.
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

/// Of an entry of a snapshot that was begun at this time.
pub(super) fn of_entry(ino: u64, entry: &Entry, owners: &Owners, links: u32, begun: Time) -> Attributes {
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
    // The way to a source has no time of its own.
    let passage = meta.flags & flags::PASSAGE != 0;
    Attributes {
        ino,
        kind: Type::of(entry),
        mode: if entry_is_link(entry) { 0o777 } else { meta.mode & 0o7777 },
        links,
        uid: owners.uid(meta),
        gid: owners.gid(meta),
        device,
        size,
        blocks,
        mtime: if passage { begun } else { meta.mtime },
        ctime: if passage { begun } else { meta.ctime },
        lasts: true,
    }
}

/// Of what is above the snapshots, and of their roots: they are nobody's in the snapshot, so they are whoever's this is.
pub(super) fn of_virtual(ino: u64, kind: Type, size: u64, owners: &Owners, changed: Time) -> Attributes {
    let (uid, gid) = owners.fresh();
    Attributes {
        ino,
        kind,
        mode: if kind == Type::Symlink { 0o777 } else { 0o755 },
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

/// Of a file whose parts are too many to stand in its entry all bytes count.
fn blocks(size: u64, content: &Content) -> u64 {
    let bytes = match content {
        Content::List(_) => size,
        Content::Parts(parts) => {
            let data = parts.iter().filter(|part| matches!(part, Part::Chunk { .. }));
            data.map(Part::len).fold(0, u64::saturating_add)
        }
    };
    bytes.div_ceil(BLOCK)
}
