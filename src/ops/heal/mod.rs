//! `heal`: restores the good content of files in which a backup found bit rot.
//!
//! The corrupt entries are marked in the snapshot of that backup, which has an open alarm. The good content
//! is that of the newest older snapshot that has the path with the same size and mtime and without an open
//! mark. It replaces the file only if the file has not changed since the backup.

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

/// State of a file since the backup that found it corrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileState {
    /// It has the content that the backup found.
    Corrupt,
    /// It has the good content.
    Healed,
    /// It has other content, another size or another mtime.
    Changed,
    /// It no longer exists where the backup found it, or is on another machine.
    Missing,
}

/// A file in which a backup found bit rot.
#[derive(Debug, Clone)]
pub struct CorruptFile {
    /// The snapshot of that backup.
    pub snapshot: Snapshot,
    /// The stored path.
    pub path: Vec<u8>,
    /// Its location on this machine, if known.
    pub place: Option<LivePath>,
    /// Its entry in that snapshot.
    pub bad: Entry,
    /// The snapshot with the good bytes and its entry, if there is one.
    pub good: Option<(Snapshot, Entry)>,
    /// Current state of the file.
    pub state: FileState,
}

/// Options for restoring good content.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Suffix that is appended to the name of the bad file.
    pub suffix: String,
    /// Directories that must not be written to.
    pub protected: Vec<Protected>,
    /// Change nothing, only check whether it is possible.
    pub dry_run: bool,
}

/// A running search for corrupt files. While it exists, gc does not delete what it reads.
#[derive(Debug)]
pub struct Healing {
    repo: Repository,
    session: Arc<ReadSession>,
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
        let session = Arc::new(ReadSession::open(repo, control.observer())?);
        let all = session.snapshots()?;
        let ids: Vec<_> = all.iter().map(|snapshot| snapshot.id).collect();
        session.set_snapshots(&ids)?;
        let reader = session.chunks()?;
        let mut healing = Self { repo: repo.clone(), session, reader, cancel: Arc::clone(control.cancel()) };
        let found = find::corrupt_files(&mut healing, &all)?;
        Ok((healing, found))
    }

    /// Replaces a corrupt file by the good version with its metadata. The corrupt file is kept in the
    /// same directory under another name.
    ///
    /// # Errors
    /// When no snapshot has the good version, the file has changed since the backup, or the good version
    /// cannot be read or written with its metadata. The file is unchanged then.
    pub fn heal(&mut self, found: &CorruptFile, options: &Options) -> Result<Healed> {
        replace::replace(self, found, options)
    }

    /// Ends the search.
    ///
    /// # Errors
    /// When its session cannot be removed.
    pub fn end(self) -> Result<()> {
        let Self { session, reader, .. } = self;
        drop(reader);
        Arc::into_inner(session).map_or(Ok(()), ReadSession::close)
    }
}
