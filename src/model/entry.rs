//! What is remembered about one file, directory or link.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::decode_error::DecodeError;
use crate::model::id::ChunkId;

/// An instant: seconds since 1970 (negative before) and nanoseconds within the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize)]
pub struct Time {
    /// Whole seconds since the epoch.
    pub sec: i64,
    /// Nanoseconds, below 1 000 000 000.
    pub nanos: u32,
}

impl Time {
    /// The present, by this machine's clock. For people and for hints; never for safety.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self { sec: since.as_secs().try_into().unwrap_or(i64::MAX), nanos: since.subsec_nanos() }
    }
}

/// A piece of a file's content, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Part {
    /// Bytes stored as a chunk.
    Chunk {
        /// Names the bytes.
        id: ChunkId,
        /// How many bytes.
        len: u32,
    },
    /// A run of zeros that is a hole in the file.
    Hole {
        /// How many bytes.
        len: u64,
    },
}

impl Part {
    /// Bytes of the file that this part covers.
    pub fn len(&self) -> u64 {
        match self {
            Self::Chunk { len, .. } => u64::from(*len),
            Self::Hole { len } => *len,
        }
    }

    /// Whether the part covers nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where a file's parts are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Content {
    /// Here.
    Parts(Vec<Part>),
    /// In a list of their own, split content-defined; this names its root.
    List(ChunkId),
}

/// Directories inside one another; deeper ones are neither backed up nor restored.
pub const MAX_NESTING: usize = 8192;
/// Bytes of a stored path; longer ones are not backed up.
pub const MAX_PATH: usize = 64 << 10;

/// Most bytes of a value of an extended attribute, and of all that stand in one entry: the system's own limit.
pub const MAX_XATTR: u64 = 64 << 10;
/// Most bytes of the names of one entry's extended attributes together: the system's own limit.
pub const MAX_XATTR_NAMES: usize = 64 << 10;

/// An extended attribute. POSIX ACLs and capabilities are such.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xattr {
    /// Raw bytes with the namespace, as in `user.comment`: 1 to 255, no NUL.
    pub name: Vec<u8>,
    /// Its value.
    pub value: XattrValue,
}

/// Where the value of an extended attribute is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum XattrValue {
    /// Here.
    Inline(Vec<u8>),
    /// In chunks of data, as a file's content is.
    Content {
        /// Bytes, at most [`MAX_XATTR`].
        size: u64,
        /// Its parts; their lengths add up to `size`.
        content: Content,
    },
}

impl XattrValue {
    /// Bytes of the value.
    pub fn size(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Content { size, .. } => *size,
        }
    }
}

/// What kind of thing an entry is, with what only that kind has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
        /// Its parts; their lengths add up to `size`.
        content: Content,
    },
    /// A directory.
    Dir {
        /// Root of the tree of its entries.
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

/// Everything about an entry but its name and kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// Permission bits with setuid, setgid and sticky (07777).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Owner's name where the system knew one.
    pub user: Option<Arc<str>>,
    /// Group's name where the system knew one.
    pub group: Option<Arc<str>>,
    /// Last change of the content.
    pub mtime: Time,
    /// Last change of the inode; compared, never restored.
    pub ctime: Time,
    /// Entries of one snapshot with the same non-zero number are hard links of one file.
    pub link: u64,
    /// See [`flags`].
    pub flags: u32,
    /// Extended attributes, names ascending.
    pub xattrs: Vec<Xattr>,
    /// When the file system made it, where that is known; never restored.
    pub born: Option<Time>,
    /// See [`attrs`].
    pub attrs: u32,
    /// 0 but where a repair could not save all of it: then how many bytes of a file are zeros for what was lost, or
    /// how many pieces a directory lacks; at least 1.
    pub lost: u64,
    /// Later additions: (tag, bytes). An odd tag must be understood, an even one may be ignored.
    pub extra: Vec<(u16, Vec<u8>)>,
}

impl Meta {
    /// What to say of an entry that a repair could not save all of.
    pub fn loss(&self) -> Option<&'static str> {
        (self.lost > 0).then_some("not all of it could be saved when the repository was repaired")
    }
}

/// Bits of [`Meta::flags`].
pub mod flags {
    /// A directory that is only the way to a source: its times are not recorded.
    pub const PASSAGE: u32 = 1;
    /// The file changed each time it was read; the content may mix versions.
    pub const CHANGED_WHILE_READ: u32 = 2;
    /// All bits this version knows.
    pub const KNOWN: u32 = PASSAGE | CHANGED_WHILE_READ;
}

/// Bits of [`Meta::attrs`], inode flags with the numbers that Linux gives them. Others are kept and not restored.
pub mod attrs {
    /// The file system compresses it.
    pub const COMPRESSED: u32 = 0x04;
    /// Nothing about it can be changed.
    pub const IMMUTABLE: u32 = 0x10;
    /// It can only grow.
    pub const APPEND: u32 = 0x20;
    /// `dump` passes it by.
    pub const NODUMP: u32 = 0x40;
    /// All that are recorded and restored.
    pub const KNOWN: u32 = COMPRESSED | IMMUTABLE | APPEND | NODUMP;
    /// Those that stand in the way of any further change.
    pub const LOCKS: u32 = IMMUTABLE | APPEND;
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Raw bytes of the name: see [`check_name`].
    pub name: Vec<u8>,
    /// Kind and content.
    pub kind: Kind,
    /// The rest.
    pub meta: Meta,
}

impl Entry {
    /// Size for people and summaries: bytes of a file, 0 for everything else.
    pub fn size(&self) -> u64 {
        match &self.kind {
            Kind::File { size, .. } => *size,
            _ => 0,
        }
    }

    /// Everything of it that lies in chunks: the content of a file, then values of extended attributes, each with
    /// its length. Whoever asks what an entry needs must ask here, so that nothing is forgotten.
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

    /// The same, to be changed.
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

    /// Whether this is a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self.kind, Kind::Dir { .. })
    }

    /// Whether this is a device node.
    pub fn is_device(&self) -> bool {
        matches!(self.kind, Kind::CharDevice { .. } | Kind::BlockDevice { .. })
    }

    /// Whether this is a regular file.
    pub fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File { .. })
    }
}

/// A name that may stand in a directory: not empty, not `.` or `..`, at most 255 bytes, no `/`, no NUL.
///
/// # Errors
/// When it is none.
pub fn check_name(name: &[u8]) -> Result<(), DecodeError> {
    if name.is_empty() || name == b"." || name == b".." || name.len() > 255 {
        return Err(DecodeError::because("a name that no directory can hold"));
    }
    if name.iter().any(|byte| matches!(byte, b'/' | 0)) {
        return Err(DecodeError::because("a name with a slash or a NUL in it"));
    }
    Ok(())
}

/// Extended attributes that may stand in an entry: their names 1 to 255 bytes without a NUL and ascending, values
/// and all together within [`MAX_XATTR`] and [`MAX_XATTR_NAMES`].
///
/// # Errors
/// When they may not.
pub fn check_xattrs(xattrs: &[Xattr]) -> Result<(), DecodeError> {
    let named = |xattr: &Xattr| matches!(xattr.name.len(), 1..=255) && !xattr.name.contains(&0);
    if !xattrs.iter().all(named) || !xattrs.is_sorted_by(|a, b| a.name < b.name) {
        return Err(DecodeError::because("extended attributes with impossible names or out of order"));
    }
    let names: usize = xattrs.iter().map(|xattr| xattr.name.len()).sum();
    let mut inline = 0;
    for xattr in xattrs {
        if let XattrValue::Inline(bytes) = &xattr.value {
            inline += bytes.len() as u64;
        }
        if xattr.value.size() > MAX_XATTR {
            return Err(DecodeError::because("an extended attribute of absurd size"));
        }
    }
    match names <= MAX_XATTR_NAMES && inline <= MAX_XATTR {
        true => Ok(()),
        false => Err(DecodeError::because("extended attributes of absurd size")),
    }
}
