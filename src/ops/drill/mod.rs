//! `drill`: tests whether backups can be restored. Restores a sample of files with the normal restore, and
//! compares the result with the stored chunk ids and, if the source has not changed since, with the source.
//!
//! Samples rotate. Each path has a position on a ring, determined by its hash. A drill takes the files after
//! a cursor, and the next drill continues there. So every file of a set gets its turn, in an order that is
//! independent of directories.

mod choose;
mod compare;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::{Problem, Result};
use crate::model::entry::Entry;
use crate::progress::Control;
use crate::repo::read::read_session::ReadSession;
use crate::repo::repository::Repository;
use crate::repo::snapshots::Snapshot;
use crate::repo::snapshots::filter::SnapshotFilter;

/// What to restore, and how much.
pub struct Options {
    /// Snapshots by selector. If empty, recent ones of each set.
    pub selectors: Vec<String>,
    /// Filter of snapshots.
    pub selection: SnapshotFilter,
    /// Number of snapshots of each set that count as recent.
    pub recent: usize,
    /// Maximum number of files in total. At least one of each snapshot is taken.
    pub files: u64,
    /// Maximum bytes in total. A larger file is never taken.
    pub bytes: u64,
    /// Also return snapshots of which no file is in the sample.
    pub all_snapshots: bool,
    /// Position where the last drill ended.
    pub cursor: u64,
}

/// Files of one snapshot that are to be restored.
#[derive(Debug)]
pub struct Sample {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// Paths and entries of the files.
    pub files: Vec<(Vec<u8>, Entry)>,
}

impl Sample {
    /// Returns the paths of all files.
    pub fn paths(&self) -> BTreeSet<Vec<u8>> {
        self.files.iter().map(|(path, _)| path.clone()).collect()
    }

    /// Returns the total bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, entry)| entry.size()).fold(0, u64::saturating_add)
    }
}

/// The files chosen for a drill.
#[derive(Debug, Default)]
pub struct Chosen {
    /// One sample for each snapshot.
    pub samples: Vec<Sample>,
    /// Number of files that are larger than the limit.
    pub too_large: u64,
    /// Where the next drill continues.
    pub cursor: u64,
    /// Snapshots whose trees could not be read, and why.
    pub damaged: Vec<(String, String)>,
}

/// Result of a comparison.
#[derive(Debug, Default)]
pub struct Compared {
    /// Files that are intact.
    pub files: u64,
    /// Bytes of the intact files.
    pub bytes: u64,
    /// Intact files that were also compared with the source.
    pub live: u64,
    /// Files that are wrong.
    pub wrong: Vec<Problem>,
}

/// A running drill. While it exists, gc does not delete what it reads.
#[derive(Debug)]
pub struct Drill {
    reading: Arc<ReadSession>,
}

impl Drill {
    /// Begins a drill.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn begin(repo: &Repository, control: &Control<'_>) -> Result<Self> {
        let observer = control.observer();
        Ok(Self { reading: Arc::new(ReadSession::open(repo, observer)?) })
    }

    /// Chooses the files to restore.
    ///
    /// # Errors
    /// When a selector matches nothing, there is no snapshot, the storage fails or `stop` was set. Damage is
    /// reported in the result.
    pub fn choose(&self, options: &Options, control: &Control<'_>) -> Result<Chosen> {
        let stop = control.cancel();
        choose::choose(&self.reading, options, stop)
    }

    /// Compares the files restored to `target`.
    ///
    /// # Errors
    /// When the repository cannot be read or `stop` was set. Wrong files are reported in the result.
    pub fn compare(
        &self,
        sample: &Sample,
        target: &std::path::Path,
        control: &Control<'_>,
    ) -> Result<Compared> {
        let stop = control.cancel();
        compare::compare(&self.reading, sample, target, stop)
    }

    /// Ends the drill.
    ///
    /// # Errors
    /// When its session cannot be removed.
    pub fn end(self) -> Result<()> {
        Arc::into_inner(self.reading).map_or(Ok(()), ReadSession::close)
    }
}
