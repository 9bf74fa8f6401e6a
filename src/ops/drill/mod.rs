//! `drill`: whether what was saved comes back. A sample of files is chosen here, restored by the restore that everybody
//! uses, and compared here: with the stored names of its chunks, and where the source has not changed since, with that.
//!
//! Samples rotate. Every path has a place on a ring, by a hash of it; a drill takes what follows a cursor and the next
//! one goes on where it ended, so that in time every file of a set has its turn, in an order that follows no directory.

mod choose;
mod compare;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::error::Result;
use crate::model::entry::Entry;
use crate::progress::Observer;
use crate::repo::read::read_session::ReadSession;
use crate::repo::repository::Repository;
use crate::repo::snapshots::Snapshot;
use crate::repo::snapshots::filter::SnapshotFilter;

/// How much to restore, of what.
pub struct Options {
    /// Snapshots by name; none: recent ones of each set.
    pub selectors: Vec<String>,
    /// Whose.
    pub selection: SnapshotFilter,
    /// How many of each set count as recent.
    pub recent: usize,
    /// Files in all; at least one of each snapshot is taken.
    pub files: u64,
    /// Bytes in all; a larger file is never taken.
    pub bytes: u64,
    /// Where the last drill ended.
    pub cursor: u64,
}

/// Files of one snapshot that are to be restored.
#[derive(Debug)]
pub struct Sample {
    /// Of which.
    pub snapshot: Snapshot,
    /// Which.
    pub files: Vec<(Vec<u8>, Entry)>,
}

impl Sample {
    /// Their paths.
    pub fn paths(&self) -> BTreeSet<Vec<u8>> {
        self.files.iter().map(|(path, _)| path.clone()).collect()
    }

    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, entry)| entry.size()).fold(0, u64::saturating_add)
    }
}

/// What was chosen.
#[derive(Debug, Default)]
pub struct Chosen {
    /// Of each snapshot.
    pub samples: Vec<Sample>,
    /// Files that are larger than all that may be restored.
    pub too_large: u64,
    /// Where the next drill goes on.
    pub cursor: u64,
    /// Trees that could not be read: (snapshot, why).
    pub damaged: Vec<(String, String)>,
}

/// What a comparison found.
#[derive(Debug, Default)]
pub struct Compared {
    /// Files that are what they should be.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of them, those that were compared with the source, too.
    pub live: u64,
    /// What is not what it should be: (path, why).
    pub wrong: Vec<(Vec<u8>, String)>,
}

/// A drill. As long as it lasts no collection takes away what it reads.
#[derive(Debug)]
pub struct Drill {
    reading: Arc<ReadSession>,
}

impl Drill {
    /// Begins.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn begin(repo: &Repository, observer: &dyn Observer) -> Result<Self> {
        Ok(Self { reading: Arc::new(ReadSession::open(repo, observer)?) })
    }

    /// Chooses what is to be restored.
    ///
    /// # Errors
    /// When a selector names nothing, there is no snapshot, the store fails or `stop` was set. Damage is in the answer.
    pub fn choose(&self, options: &Options, stop: &AtomicBool) -> Result<Chosen> {
        choose::choose(&self.reading, options, stop)
    }

    /// Compares what was restored to `target`.
    ///
    /// # Errors
    /// When the repository cannot be read or `stop` was set; what is wrong with a file is in the answer.
    pub fn compare(&self, sample: &Sample, target: &std::path::Path, stop: &AtomicBool) -> Result<Compared> {
        compare::compare(&self.reading, sample, target, stop)
    }

    /// Ends.
    ///
    /// # Errors
    /// When its session is still visible.
    pub fn end(self) -> Result<()> {
        Arc::into_inner(self.reading).map_or(Ok(()), ReadSession::close)
    }
}
