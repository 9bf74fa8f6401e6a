//! `heal`: files in which a backup found bit rot, and the bytes that they had before.
//!
//! The entries that a backup marked are found in its snapshot, which has an open alarm. The good bytes are
//! those of the newest older snapshot that has the path with the same size and mtime and without an open
//! mark. They replace the file only if it is still the one that the backup found.

mod find;
mod replace;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub use replace::Healed;

use crate::error::Result;
use crate::fs::protected_dirs::Protected;
use crate::fs::sources::LivePath;
use crate::model::entry::Entry;
use crate::progress::Control;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::read::read_session::ReadSession;
use crate::repo::repository::Repository;
use crate::repo::snapshots::Snapshot;

/// What has become of a file since the backup that found it corrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileState {
    /// It has the bytes that the backup found.
    Corrupt,
    /// It has the good bytes.
    Healed,
    /// It has other bytes, another size or another mtime.
    Changed,
    /// It is not where the backup found it, or on another machine.
    Missing,
}

/// A file in which a backup found bit rot.
#[derive(Debug, Clone)]
pub struct CorruptFile {
    /// The snapshot of that backup.
    pub snapshot: Snapshot,
    /// The stored path.
    pub path: Vec<u8>,
    /// Where it lies on this machine, if that is known.
    pub place: Option<LivePath>,
    /// Its entry in that snapshot.
    pub bad: Entry,
    /// The snapshot with the good bytes and its entry, if there is one.
    pub good: Option<(Snapshot, Entry)>,
    /// What the file is now.
    pub state: FileState,
}

/// How to put good bytes back.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What the name of the bad file ends in from then on.
    pub suffix: String,
    /// Directories that must not be written to.
    pub protected: Vec<Protected>,
    /// Change nothing, only find out whether it could be done.
    pub dry_run: bool,
}

/// A running search for corrupt files. While it exists, gc does not delete what it reads.
#[derive(Debug)]
pub struct Healing {
    repo: Repository,
    reading: Arc<ReadSession>,
    reader: ChunkReader,
    cancel: Arc<AtomicBool>,
}

impl Healing {
    /// Begins the search, and lists all files of open alarms: those of the newest alarm first.
    ///
    /// # Errors
    /// When the repository cannot be read, a snapshot with an alarm is damaged, or the search was cancelled.
    pub fn begin(repo: &Repository, control: &Control<'_>) -> Result<(Self, Vec<CorruptFile>)> {
        // R1: the session exists before the listing.
        let reading = Arc::new(ReadSession::open(repo, control.observer())?);
        let all = reading.snapshots()?;
        let ids: Vec<_> = all.iter().map(|snapshot| snapshot.id).collect();
        reading.begin(&ids)?;
        let reader = reading.chunks()?;
        let mut healing = Self { repo: repo.clone(), reading, reader, cancel: Arc::clone(control.cancel()) };
        let found = find::all(&mut healing, &all)?;
        Ok((healing, found))
    }

    /// Puts the good bytes and the metadata that belong to them in the place of a corrupt file, which stays
    /// beside it under another name.
    ///
    /// # Errors
    /// When no snapshot has the good bytes, the file is not the one that the backup found, or the good one
    /// cannot be read or written with its metadata. Then the file is as it was.
    pub fn heal(&mut self, found: &CorruptFile, options: &Options) -> Result<Healed> {
        replace::replace(self, found, options)
    }

    /// Ends the search.
    ///
    /// # Errors
    /// When its session cannot be removed.
    pub fn end(self) -> Result<()> {
        let Self { reading, reader, .. } = self;
        drop(reader);
        Arc::into_inner(reading).map_or(Ok(()), ReadSession::close)
    }
}
