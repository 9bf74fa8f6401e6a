//! The entries of a tree: files, directories, links and special files, with their metadata.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::decode_error::DecodeError;
use crate::model::id::ChunkId;

/// An instant: seconds since 1970 (negative before) and nanoseconds within the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawTime")]
pub struct Time {
    /// Whole seconds since the epoch.
    pub sec: i64,
    /// Nanoseconds, below 1 000 000 000.
    pub nanos: u32,
}

/// A time as it is stored, before it is checked.
#[derive(Deserialize)]
struct RawTime {
    sec: i64,
    nanos: u32,
}

impl TryFrom<RawTime> for Time {
    type Error = &'static str;

    fn try_from(RawTime { sec, nanos }: RawTime) -> Result<Self, Self::Error> {
        if nanos < 1_000_000_000 {
            Ok(Self { sec, nanos })
        } else {
            Err("a time has more than 999999999 nanoseconds")
        }
    }
}

impl Time {
    /// Returns the time by this machine's clock. For display and for hints; never for safety.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self { sec: since.as_secs().try_into().unwrap_or(i64::MAX), nanos: since.subsec_nanos() }
    }
}

/// A piece of a file's content. The parts of a file are in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ContentPart {
    /// Bytes stored as a chunk.
    Chunk {
        /// Id of the chunk.
        id: ChunkId,
        /// Length of the chunk in bytes.
        len: u32,
    },
    /// A run of zeros that is a hole in the file.
    Hole {
        /// Length of the hole in bytes.
        len: u64,
    },
}

impl ContentPart {
    /// Returns how many bytes of the file this part covers.
    pub fn len(&self) -> u64 {
        match self {
            Self::Chunk { len, .. } => u64::from(*len),
            Self::Hole { len } => *len,
        }
    }

    /// Returns whether the part covers no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where the parts of a file are stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Content {
    /// In the entry itself.
    Parts(Vec<ContentPart>),
    /// In a separate part list, split by content; this is the id of its root chunk.
    List(ChunkId),
}

/// Maximum depth of directories. Deeper ones are neither backed up nor restored.
pub const MAX_NESTING: usize = 8192;
/// Maximum length of a stored path in bytes. Longer paths are not backed up.
pub const MAX_PATH: usize = 64 << 10;

/// Maximum length in bytes of a stored name: one of 255 UTF-16 units, as on NTFS, takes up to 765 bytes.
pub const MAX_NAME: usize = 1024;

/// Maximum size in bytes of all values stored inline in one entry, and of a value that Linux can have.
pub const MAX_XATTR: u64 = 64 << 10;
/// Maximum size in bytes of the names of all extended attributes of one entry. This is the limit of Linux.
pub const MAX_XATTR_NAMES: usize = 64 << 10;

/// An extended attribute. POSIX ACLs and capabilities are stored as extended attributes too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xattr {
    /// Raw bytes with the namespace, as in `user.comment`: 1 to 255 bytes, no NUL.
    pub name: Vec<u8>,
    /// The value, or where it is stored.
    pub value: XattrValue,
}

/// Where the value of an extended attribute is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum XattrValue {
    /// In the entry itself.
    Inline(Vec<u8>),
    /// In data chunks, like a file's content.
    Content {
        /// Size in bytes. Values above [`MAX_XATTR`] come from another system, such as resource forks.
        size: u64,
        /// Parts of the value; their lengths add up to `size`.
        content: Content,
    },
}

impl XattrValue {
    /// Returns whether no file on Linux can have a value of this size.
    pub fn is_too_large(&self) -> bool {
        self.size() > MAX_XATTR
    }

    /// Returns the size of the value in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Content { size, .. } => *size,
        }
    }
}

/// The type of an entry, with the data that only this type has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Size in bytes.
        size: u64,
        /// Parts of the file; their lengths add up to `size`.
        content: Content,
    },
    /// A directory.
    Dir {
        /// Id of the root chunk of the directory's tree.
        tree: ChunkId,
    },
    /// A symbolic link.
    Symlink {
        /// Raw bytes of the target; never interpreted.
        target: Vec<u8>,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
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

/// Metadata of an entry: everything but its name and type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// Permission bits with setuid, setgid and sticky (07777).
    pub mode: u32,
    /// Owner's numeric id.
    pub uid: u32,
    /// Group's numeric id.
    pub gid: u32,
    /// Owner's name, if the system knew one.
    pub user: Option<Arc<str>>,
    /// Group's name, if the system knew one.
    pub group: Option<Arc<str>>,
    /// When the content last changed.
    pub mtime: Time,
    /// When the inode last changed; compared, never restored.
    pub ctime: Time,
    /// Hard link group: entries of one snapshot with the same non-zero number are hard links of one file, if
    /// they also agree in kind and content.
    pub link: u128,
    /// Bits that snap itself defines; see [`flags`].
    pub flags: u32,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<Xattr>,
    /// Birth time of the inode, if known; never restored.
    pub born: Option<Time>,
    /// Inode flags; see [`attrs`].
    pub attrs: u32,
    /// What a repair could not save: for a file, how many bytes are zeros in place of lost content; for a
    /// directory, how many pieces it lacks, at least 1. Otherwise 0.
    pub lost: u64,
    /// Bit rot: when the backup started that found other bytes here than the snapshot before, with the same
    /// size and times. Later snapshots keep the mark as long as they have these bytes.
    pub corrupt_since: Option<Time>,
    /// Later additions: (tag, bytes). An odd tag must be understood, an even one may be ignored.
    pub extra: Vec<(u16, Vec<u8>)>,
}

impl Meta {
    /// Returns how many properties this program keeps and copies, but cannot restore: those of another system
    /// or of a newer program.
    pub fn not_restorable(&self) -> u64 {
        let values = self.xattrs.iter().filter(|xattr| xattr.value.is_too_large());
        (self.extra.len() + values.count()) as u64
    }

    /// Returns a message if a repair could not save all of the entry.
    pub fn loss(&self) -> Option<&'static str> {
        (self.lost > 0).then_some("a part of it was lost when the repository was repaired")
    }
}

/// Bits of [`Meta::flags`].
pub mod flags {
    /// A directory that is stored only because it leads to a source. Its times are not recorded.
    pub const ANCESTOR_ONLY: u32 = 1;
    /// The file changed during every attempt to read it; its content may mix versions.
    pub const CHANGED_WHILE_READ: u32 = 2;
    /// All bits that this version knows.
    pub const KNOWN: u32 = ANCESTOR_ONLY | CHANGED_WHILE_READ;
}

/// Bits of [`Meta::attrs`]: inode flags with their Linux numbers. Other bits are stored but not restored.
pub mod attrs {
    /// `FS_COMPR_FL`: the file system compresses the file.
    pub const COMPRESSED: u32 = 0x04;
    /// `FS_IMMUTABLE_FL`: nothing about the file can be changed.
    pub const IMMUTABLE: u32 = 0x10;
    /// `FS_APPEND_FL`: the file can only grow.
    pub const APPEND: u32 = 0x20;
    /// `FS_NODUMP_FL`: `dump` skips the file.
    pub const NODUMP: u32 = 0x40;
    /// All flags that are recorded and restored.
    pub const KNOWN: u32 = COMPRESSED | IMMUTABLE | APPEND | NODUMP;
    /// Flags that prevent any further change, so they must be set last.
    pub const LOCKS: u32 = IMMUTABLE | APPEND;
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Raw bytes of the name; valid by [`check_name`].
    pub name: Vec<u8>,
    /// Type and content.
    pub kind: Kind,
    /// Metadata.
    pub meta: Meta,
}

impl Entry {
    /// Returns the size for display and statistics: bytes of a file, 0 for everything else.
    pub fn size(&self) -> u64 {
        match &self.kind {
            Kind::File { size, .. } => *size,
            _ => 0,
        }
    }

    /// Returns everything of the entry that is stored in chunks, each with its length: the content of a file,
    /// then values of extended attributes. All code that asks which chunks an entry needs must use this, so
    /// that none is forgotten.
    pub fn contents(&self) -> impl Iterator<Item = (u64, &Content)> {
        let own = match &self.kind {
            Kind::File { size, content } => Some((*size, content)),
            _ => None,
        };
        let values = self.meta.xattrs.iter().filter_map(|xattr| match &xattr.value {
            XattrValue::Content { size, content } => Some((*size, content)),
            XattrValue::Inline(_) => None,
        });
        own.into_iter().chain(values)
    }

    /// Like [`Self::contents`], but mutable.
    pub fn contents_mut(&mut self) -> impl Iterator<Item = (u64, &mut Content)> {
        let own = match &mut self.kind {
            Kind::File { size, content } => Some((*size, content)),
            _ => None,
        };
        let values = self.meta.xattrs.iter_mut().filter_map(|xattr| match &mut xattr.value {
            XattrValue::Content { size, content } => Some((*size, content)),
            XattrValue::Inline(_) => None,
        });
        own.into_iter().chain(values)
    }

    /// Returns whether this is a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self.kind, Kind::Dir { .. })
    }

    /// Returns whether this is a device node.
    pub fn is_device(&self) -> bool {
        matches!(self.kind, Kind::CharDevice { .. } | Kind::BlockDevice { .. })
    }

    /// Returns whether this is a regular file.
    pub fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File { .. })
    }
}

/// Checks that a directory can hold this name: not empty, not `.` or `..`, at most [`MAX_NAME`] bytes, no
/// `/`, no NUL. A file system may allow less.
///
/// # Errors
/// The name is not valid.
pub fn check_name(name: &[u8]) -> Result<(), DecodeError> {
    if name.is_empty() || name == b"." || name == b".." || name.len() > MAX_NAME {
        return Err(DecodeError::because("a name is empty, `.`, `..` or too long"));
    }
    if name.iter().any(|byte| matches!(byte, b'/' | 0)) {
        return Err(DecodeError::because("a name contains a slash or a NUL"));
    }
    Ok(())
}

/// Checks the extended attributes of one entry: valid names in strictly ascending order, all
/// inline values together within [`MAX_XATTR`], and all names together within [`MAX_XATTR_NAMES`].
///
/// # Errors
/// The attributes are not valid.
pub fn check_xattrs(xattrs: &[Xattr]) -> Result<(), DecodeError> {
    let named = |xattr: &Xattr| matches!(xattr.name.len(), 1..=255) && !xattr.name.contains(&0);
    if !xattrs.iter().all(named) || !xattrs.is_sorted_by(|a, b| a.name < b.name) {
        return Err(DecodeError::because("extended attributes have invalid names or are out of order"));
    }
    let names: usize = xattrs.iter().map(|xattr| xattr.name.len()).sum();
    let inline = xattrs.iter().map(|xattr| match &xattr.value {
        XattrValue::Inline(bytes) => bytes.len() as u64,
        XattrValue::Content { .. } => 0,
    });
    if names <= MAX_XATTR_NAMES && inline.sum::<u64>() <= MAX_XATTR {
        Ok(())
    } else {
        Err(DecodeError::because("extended attributes are too large"))
    }
}
