//! What the threads of a backup send each other: the comparer sends jobs to the readers, and both send messages
//! to the assembler.

use std::path::PathBuf;

use crate::codec::tree::stored_xattrs::Value;
use crate::model::entry::{Entry, Meta};
use crate::model::id::ChunkId;
use crate::ops::backup::rot::Expected;
use crate::ops::backup::states::Version;
use crate::repo::write::similarity::Older;

/// What to read.
#[derive(Debug)]
pub(super) enum Input {
    /// A file found by the walk.
    File {
        /// Path to open.
        path: PathBuf,
        /// Size in bytes that the walk found.
        size: u64,
        /// Device and inode, if it has several hard links.
        inode: Option<(u64, u64)>,
    },
    /// Standard input, or the output of this command.
    Stream(Option<Vec<std::ffi::OsString>>),
}

/// One file to read. The assembler knows it as `seq`.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) seq: u64,
    pub(super) input: Input,
    /// An older version that it may be similar to.
    pub(super) older: Option<Older>,
    /// The parent's content of an unchanged file that is read again only for comparison.
    pub(super) expected: Option<Box<Expected>>,
    pub(super) context: Context,
}

/// Determines what may be compressed together: files of equal contexts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Context {
    /// The owner.
    pub(super) owner: u32,
    /// The only file of its context.
    pub(super) file: Option<u64>,
}

/// Result of reading a file.
#[derive(Debug)]
pub(super) enum Outcome {
    /// All its chunks were sent.
    Done {
        /// Bytes read.
        size: u64,
        /// Metadata of the file; `None` for a stream.
        seen: Option<Box<FileStat>>,
        /// Whether it changed during each attempt to read it.
        changed: bool,
        /// Whether its beginning looks random.
        opaque: bool,
    },
    /// It is unchanged: the assembler keeps its entry.
    Unchanged {
        /// Bytes that were read and compared with the parent's; `None` if it was not read.
        read: Option<u64>,
        /// Why it could not be read.
        problem: Option<String>,
    },
    /// Start over: the chunks sent so far are of an obsolete version.
    Again,
    /// It no longer existed.
    Vanished,
    /// It could not be read.
    Failed(String),
    /// An internal invariant was violated: the run ends.
    Bug(&'static str),
}

/// Metadata of a file that was read.
#[derive(Debug)]
pub(super) struct FileStat {
    /// Metadata without the hard link group, from before the file was read.
    pub(super) meta: Meta,
    /// Whether it is the file that the walk saw, if the walk recorded its inode.
    pub(super) same: bool,
    /// Device and inode number, if it has several hard links.
    pub(super) inode: Option<(u64, u64)>,
    /// Attributes that could not be read.
    pub(super) problems: Vec<String>,
}

impl FileStat {
    /// Returns which version of a file with several hard links it is, if all of it could be read.
    pub(super) fn version(&self, size: u64) -> Option<Version> {
        let inode = self.inode.filter(|_| self.problems.is_empty())?;
        Some(Version::new(inode, size, &self.meta))
    }
}

/// The parent's version of a file that is to be read.
#[derive(Debug)]
pub(super) enum Previous {
    /// Nothing.
    New,
    /// This entry, possibly of another type.
    There(Box<Entry>),
}

/// A message from the walk or the readers.
#[derive(Debug)]
pub(super) enum Message {
    /// A directory begins inside `dir`. `known` are the pieces of its tree in a trusted parent.
    Enter { seq: u64, dir: Option<u64>, owner: u32, known: Vec<ChunkId> },
    /// An entry that is complete and counted.
    Entry { dir: u64, entry: Entry },
    /// The whole tree is unchanged.
    Root { tree: ChunkId },
    /// A file whose content a reader sends as `seq`. `pieces` are those of the part list of a file it may be
    /// similar to. `steady` is its path, if bytes that differ from the parent's are bit rot.
    File {
        seq: u64,
        dir: u64,
        entry: Entry,
        path: Vec<u8>,
        was: Previous,
        steady: Option<PathBuf>,
        pieces: Vec<ChunkId>,
    },
    /// A directory ends. `entry` is its own entry without the tree; `None` for the root. `before` is its tree
    /// in the parent, `same` whether the rest of its entry is unchanged.
    Leave { seq: u64, entry: Option<Entry>, before: Option<ChunkId>, same: bool },
    /// Chunks of files.
    Batch(Batch),
    /// The value of an extended attribute of a later entry.
    Value { context: Context, value: Value },
}

/// Chunks of some files of one context, and which of the files ended with them.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) context: Context,
    /// The chunks, followed by unused bytes; empty, or one of the [`Buffers`].
    pub(super) plain: Vec<u8>,
    /// Steps in order.
    pub(super) steps: Vec<Step>,
}

/// One step of reading files.
#[derive(Debug)]
pub(super) enum Step {
    /// The next `len` bytes of the batch are a chunk of this file. `like`: chunks it may be similar to.
    Chunk { seq: u64, id: ChunkId, len: u32, like: Vec<(ChunkId, u32)> },
    /// A hole in this file.
    Hole { seq: u64, len: u64 },
    /// The end of a file.
    End { seq: u64, outcome: Outcome },
}
