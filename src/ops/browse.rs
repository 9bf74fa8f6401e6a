//! Interactive browsing of snapshots: lists directories page by page, looks up paths, and reads ranges of
//! files. Uses one session (R1) throughout.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Result;
use crate::model::entry::{Content, Entry, Kind, Meta};
use crate::model::id::{ChunkId, SnapshotId};
use crate::progress::Observer;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::read::read_session::ReadSession;
use crate::repo::repository::Repository;
use crate::repo::snapshots;
use crate::repo::snapshots::Snapshot;
use crate::repo::walk::dir_reader::DirReader;
use crate::repo::walk::{dir_reader, file_parts};

/// Maximum number of idle readers that are kept, each with the blocks that it read last.
const KEPT: usize = 2;

/// Snapshots that are being browsed.
#[derive(Debug)]
pub struct Browser {
    readers: Mutex<Vec<ChunkReader>>,
    reading: Arc<ReadSession>,
    snapshots: Vec<Snapshot>,
    places: HashMap<SnapshotId, usize>,
}

/// Some entries of a directory.
#[derive(Debug)]
pub struct Page {
    /// Entries, sorted by the bytes of their names.
    pub entries: Vec<Entry>,
    /// Name of the first entry of the next page; `None` on the last page.
    pub next: Option<Vec<u8>>,
}

impl Browser {
    /// Opens a session that reads all existing snapshots.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn open(repo: &Repository, observer: &dyn Observer) -> Result<Self> {
        // R1: the session exists before the listing.
        let reading = Arc::new(ReadSession::open(repo, observer)?);
        let snapshots = snapshots::list(repo)?;
        let ids: Vec<SnapshotId> = snapshots.iter().map(|snapshot| snapshot.id).collect();
        reading.begin(&ids)?;
        let places = ids.into_iter().enumerate().map(|(at, id)| (id, at)).collect();
        Ok(Self { readers: Mutex::default(), reading, snapshots, places })
    }

    /// Returns all snapshots that existed when this was opened, oldest first.
    pub fn snapshots(&self) -> &[Snapshot] {
        &self.snapshots
    }

    /// Returns the snapshot with this id.
    pub fn snapshot(&self, id: &SnapshotId) -> Option<&Snapshot> {
        self.places.get(id).and_then(|at| self.snapshots.get(*at))
    }

    /// Returns the next older snapshot of the same host and sources.
    pub fn before(&self, snapshot: &Snapshot) -> Option<&Snapshot> {
        let manifest = &snapshot.manifest;
        let older = self.places.get(&snapshot.id).and_then(|at| self.snapshots.get(..*at))?;
        older.iter().rev().find(|one| one.manifest.same_set(&manifest.host, &manifest.sources))
    }

    /// Looks up a path in a snapshot; `None` if it does not exist. The empty path is the root.
    ///
    /// # Errors
    /// When a tree is damaged or the repository cannot be read.
    pub fn entry(&self, snapshot: &Snapshot, path: &[u8]) -> Result<Option<Entry>> {
        let tree = snapshot.manifest.root;
        if path.iter().all(|byte| *byte == b'/') {
            return Ok(Some(Entry { name: Vec::new(), kind: Kind::Dir { tree }, meta: Meta::default() }));
        }
        self.with(|reader| dir_reader::lookup(reader, tree, path))
    }

    /// Returns at most `most` entries of a directory, starting at the name `from`.
    ///
    /// # Errors
    /// As [`Self::entry`].
    pub fn page(&self, tree: ChunkId, from: &[u8], most: usize) -> Result<Page> {
        self.with(|reader| {
            let mut dir = DirReader::starting(tree, from);
            let mut page = Page { entries: Vec::new(), next: None };
            while let Some(entry) = dir.next(reader)? {
                if page.entries.len() >= most {
                    page.next = Some(entry.name);
                    break;
                }
                page.entries.push(entry);
            }
            Ok(page)
        })
    }

    /// Returns a range of a file in memory, with holes as zeros.
    ///
    /// # Errors
    /// As [`Self::entry`], and if the file has fewer bytes.
    pub fn read(&self, size: u64, content: &Content, range: Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.with(|reader| {
            file_parts::read_range(reader, size, content, range.clone(), &mut |some| {
                bytes.extend_from_slice(some);
                Ok(())
            })
        })?;
        if bytes.len() as u64 == range.end.saturating_sub(range.start) {
            Ok(bytes)
        } else {
            Err(dir_reader::bad("a file whose parts are not its size"))
        }
    }

    /// Sends a heartbeat before it is due.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn beat(&self) -> Result<()> {
        self.reading.beat()
    }

    /// Ends the session.
    ///
    /// # Errors
    /// When the session cannot be removed.
    pub fn close(self) -> Result<()> {
        drop(self.readers);
        Arc::into_inner(self.reading).map_or(Ok(()), ReadSession::close)
    }

    /// Runs `work` with a reader, an idle one if there is one.
    fn with<T>(&self, work: impl FnOnce(&mut ChunkReader) -> Result<T>) -> Result<T> {
        let kept = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut reader = match kept {
            Some(reader) => reader,
            None => ChunkReader::following(&self.reading)?,
        };
        let done = work(&mut reader);
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < KEPT {
            readers.push(reader);
        }
        done
    }
}
