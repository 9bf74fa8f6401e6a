//! The record that names a snapshot's root tree, its kind and where it came from.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::model::entry::Time;
use crate::model::id::{ChunkId, SnapshotId};

/// How a snapshot was made. Each restores alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotKind {
    /// Read every byte, trusted no timestamp.
    Full,
    /// Compared with the newest snapshot of the set.
    Incremental,
    /// Compared with the newest full of the set.
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

/// Numbers of one backup run. Files only, but for `dirs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Files not in the parent.
    pub files_new: u64,
    /// Files that differ from the parent's.
    pub files_changed: u64,
    /// Files as in the parent.
    pub files_unchanged: u64,
    /// Files of the parent that are gone.
    pub files_removed: u64,
    /// Directories seen.
    pub dirs: u64,
    /// Links and special files seen.
    pub others: u64,
    /// Bytes of all files.
    pub bytes_total: u64,
    /// Bytes read from files in this run.
    pub bytes_read: u64,
    /// Plain bytes of chunks stored by this run.
    pub bytes_added: u64,
    /// Bytes of packs written by this run.
    pub bytes_stored: u64,
    /// Entries that could not be read.
    pub errors: u64,
}

impl Counts {
    /// Files in the snapshot, whatever they were in the parent.
    pub fn files(&self) -> u64 {
        self.files_new.saturating_add(self.files_changed).saturating_add(self.files_unchanged)
    }
}

/// A snapshot. The struct is frozen: format version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// How it was made.
    pub kind: SnapshotKind,
    /// What it was compared with. Provenance only: restore never follows it.
    pub parent: Option<SnapshotId>,
    /// The full that began its chain. Provenance only.
    pub based_on: Option<SnapshotId>,
    /// When the run began.
    pub started: Time,
    /// When the run ended.
    pub ended: Time,
    /// Name of the machine.
    pub host: String,
    /// Who ran it.
    pub user: String,
    /// Absolute source paths, sorted: with `host`, the set this snapshot belongs to.
    pub sources: Vec<ByteBuf>,
    /// Labels.
    pub tags: Vec<String>,
    /// Root tree.
    pub root: ChunkId,
    /// Numbers of the run.
    pub counts: Counts,
    /// The run was interrupted: a hint for the next one, never `latest`.
    pub partial: bool,
    /// Program and version that wrote it.
    pub program: String,
    /// Later additions: (tag, bytes). An odd tag must be understood, an even one may be ignored.
    pub extra: Vec<(u16, ByteBuf)>,
}

impl Manifest {
    /// Whether both are states of the same thing: same host and same sources.
    pub fn same_set(&self, host: &str, sources: &[ByteBuf]) -> bool {
        self.host == host && self.sources == sources
    }

    /// Whether it has all of these tags; an empty one means that it has none at all.
    pub fn has_tags(&self, tags: &[String]) -> bool {
        tags.iter().all(|tag| if tag.is_empty() { self.tags.is_empty() } else { self.tags.contains(tag) })
    }
}
