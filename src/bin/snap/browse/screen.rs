//! What can be on the screen: each screen stands on the one it was opened from.

use snap_backup::model::entry::Entry;
use snap_backup::model::id::{ChunkId, SnapshotId};
use snap_backup::ops::diff::Change;
use snap_backup::repo::snapshots::Snapshot;

use super::list::List;

/// One screen.
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
    /// As stored, without slashes around it.
    pub(super) path: Vec<u8>,
    pub(super) tree: ChunkId,
    pub(super) list: List<Entry>,
    /// Where the entries go on that are not loaded yet.
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
    /// How many snapshots have it so.
    pub(super) count: u64,
}

/// What differs between two snapshots.
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
    pub(super) change: Change,
    pub(super) path: Vec<u8>,
    pub(super) size: u64,
}

/// The beginning of a file.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) title: String,
    pub(super) list: List<String>,
    pub(super) is_cut: bool,
}

impl Dir {
    /// The stored path of an entry.
    pub(super) fn path_of(&self, entry: &Entry) -> Vec<u8> {
        join(&self.path, &entry.name)
    }
}

/// A stored path and a name in it.
pub(super) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

/// The stored path of the directory of a stored path.
pub(super) fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').and_then(|at| path.get(..at)).unwrap_or(b"")
}
