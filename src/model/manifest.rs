//! The manifest: the record that names a snapshot's root tree, its kind and its origin.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::model::entry::Time;
use crate::model::id::{ChunkId, SnapshotId};

/// How a snapshot was made. Every snapshot is complete: restoring it needs no other snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotKind {
    /// All files were read; no timestamp was trusted.
    Full,
    /// Files were compared with the newest snapshot of the set.
    Incremental,
    /// Files were compared with the newest full snapshot of the set.
    Differential,
}

impl fmt::Display for SnapshotKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
            Self::Differential => "differential",
        })
    }
}

/// Statistics of one backup run. Numbers and sizes of files are of regular files only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Files that the parent does not have.
    pub files_new: u64,
    /// Files that differ from the parent's.
    pub files_changed: u64,
    /// Files that are equal to the parent's.
    pub files_unchanged: u64,
    /// Files of the parent that no longer exist.
    pub files_removed: u64,
    /// Directories found.
    pub dirs: u64,
    /// Links and special files found.
    pub others: u64,
    /// Size of all files in bytes.
    pub bytes_total: u64,
    /// Bytes read from files in this run.
    pub bytes_read: u64,
    /// Plain bytes of the chunks that this run stored.
    pub bytes_added: u64,
    /// Bytes of the packs that this run wrote.
    pub bytes_stored: u64,
    /// Entries that could not be read.
    pub errors: u64,
}

impl Counts {
    /// Returns the number of files in the snapshot: new, changed and unchanged.
    pub fn files(&self) -> u64 {
        self.files_new.saturating_add(self.files_changed).saturating_add(self.files_unchanged)
    }
}

/// A snapshot's manifest. The struct is frozen: format version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// How the snapshot was made.
    pub kind: SnapshotKind,
    /// The snapshot that it was compared with. Informational only: a restore never follows it.
    pub parent: Option<SnapshotId>,
    /// The full snapshot at the start of its chain of parents. Informational only.
    pub based_on: Option<SnapshotId>,
    /// When the run began.
    pub started: Time,
    /// When the run ended.
    pub ended: Time,
    /// Host name of the machine.
    pub host: String,
    /// Name of the user who ran the backup.
    pub user: String,
    /// Absolute paths of the sources, sorted. Together with `host` they identify the set of the snapshot.
    pub sources: Vec<ByteBuf>,
    /// Tags given by users.
    pub tags: Vec<String>,
    /// Id of the root chunk of the root tree.
    pub root: ChunkId,
    /// Statistics of the run.
    pub counts: Counts,
    /// Whether the run was interrupted. A partial snapshot speeds up the next run and is never `latest`.
    pub partial: bool,
    /// Name and version of the program that wrote it.
    pub program: String,
    /// Later additions: (tag, bytes). An odd tag must be understood, an even one may be ignored.
    pub extra: Vec<(u16, ByteBuf)>,
}

impl Manifest {
    /// Returns whether the snapshot has this host and these sources.
    pub fn same_set(&self, host: &str, sources: &[ByteBuf]) -> bool {
        self.host == host && self.sources == sources
    }

    /// Returns whether it has all of these tags. An empty tag matches a snapshot without tags.
    pub fn has_tags(&self, tags: &[String]) -> bool {
        tags.iter().all(|tag| if tag.is_empty() { self.tags.is_empty() } else { self.tags.contains(tag) })
    }
}
