//! The kinds of screens. They form a stack, each on the one from which it was opened.

use snap_backup::model::entry::Entry;
use snap_backup::model::id::{ChunkId, SnapshotId};
use snap_backup::ops::diff::DifferenceKind;
use snap_backup::repo::snapshots::Snapshot;

use super::list::List;

#[derive(Debug)]
pub(super) enum Screen {
    Snapshots(List<Snapshot>),
    Dir(Box<Dir>),
    Versions(Versions),
    Found { title: String, list: List<Found> },
    Diff(Diff),
    Text(Text),
}

/// A directory of a snapshot.
#[derive(Debug)]
pub(super) struct Dir {
    pub(super) snapshot: Snapshot,
    /// Stored path, without slashes around it.
    pub(super) path: Vec<u8>,
    pub(super) tree: ChunkId,
    pub(super) list: List<Entry>,
    /// Name from which to load further entries, if not all are loaded.
    pub(super) next: Option<Vec<u8>>,
}

/// The distinct versions of a path.
#[derive(Debug)]
pub(super) struct Versions {
    pub(super) path: Vec<u8>,
    pub(super) list: List<Found>,
}

/// A path in a snapshot.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) snapshot: Snapshot,
    pub(super) path: Vec<u8>,
    pub(super) entry: Entry,
    /// Number of snapshots that contain this version.
    pub(super) count: u64,
}

/// The differences between two snapshots.
#[derive(Debug)]
pub(super) struct Diff {
    pub(super) before: SnapshotId,
    pub(super) after: SnapshotId,
    pub(super) list: List<Line>,
    pub(super) is_cut: bool,
}

/// A path that differs.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) change: DifferenceKind,
    pub(super) path: Vec<u8>,
    pub(super) size: u64,
}

/// The first part of a file's text.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) title: String,
    pub(super) list: List<String>,
    pub(super) is_cut: bool,
}

impl Dir {
    /// Returns the stored path of an entry.
    pub(super) fn path_of(&self, entry: &Entry) -> Vec<u8> {
        join(&self.path, &entry.name)
    }
}

/// Appends a name to a stored path.
pub(super) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

/// Returns the parent of a stored path.
pub(super) fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').and_then(|at| path.get(..at)).unwrap_or(b"")
}
