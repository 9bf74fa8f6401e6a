//! Interactive browsing of snapshots: lists directories page by page, looks up paths, and reads ranges of
//! files. Uses one session (R1) throughout.

mod sorted;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

pub use self::sorted::Order;
use crate::error::Result;
use crate::model::entry::{Content, Entry, Kind, Meta};
use crate::model::id::{ChunkId, SnapshotId};
use crate::progress::Control;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::read::read_session::ReadSession;
use crate::repo::repository::Repository;
use crate::repo::snapshots::{self, ReadBefore, Snapshot};
use crate::repo::walk::dir_reader::{DirReader, WalkLimits};
use crate::repo::walk::plausible;
use crate::repo::walk::tree_walk::{TreeWalk, WalkStep};
use crate::repo::walk::{dir_reader, file_parts};
use crate::util::lru::LruCache;
use crate::util::time_limit::TimeLimit;

/// Maximum number of idle readers that are kept, each with its most recent blocks.
const KEPT: usize = 2;

/// Snapshots that are being browsed.
#[derive(Debug)]
pub struct Browser {
    readers: Mutex<Vec<ChunkReader>>,
    reading: Arc<ReadSession>,
    snapshots: Vec<Snapshot>,
    places: HashMap<SnapshotId, usize>,
}

/// Maximum number of directories whose sizes are cached.
const SIZES: usize = 100_000;

/// Cache of directory sizes. Trees are immutable, so a size never becomes outdated.
#[derive(Debug)]
pub struct DirSizes(LruCache<u64>);

impl Default for DirSizes {
    fn default() -> Self {
        Self(LruCache::new(SIZES))
    }
}

/// Limits for counting sizes.
#[derive(Debug)]
pub struct SizeLimits {
    /// Entries that may still be read.
    pub entries: u64,
    /// When to stop in any case.
    pub time: TimeLimit,
}

impl SizeLimits {
    fn take(&mut self) -> bool {
        let left = self.entries.checked_sub(1).filter(|_| !self.time.is_up());
        self.entries = left.unwrap_or(0);
        left.is_some()
    }
}

/// Bytes of the files in a directory and everything below it. A file with several hard links counts once for
/// each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirSize {
    /// Number of bytes counted so far.
    pub bytes: u64,
    /// Whether everything was counted before a limit was reached.
    pub is_complete: bool,
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
    pub fn open(repo: &Repository, control: &Control<'_>) -> Result<Self> {
        let observer = control.observer();
        // R1: the session exists before the listing.
        let reading = Arc::new(ReadSession::open(repo, observer)?);
        Self::over(reading, snapshots::list(repo)?)
    }

    /// Like [`Self::open`], for a program that opens one browser after another: reads only manifests that are
    /// not in `before`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_again(repo: &Repository, control: &Control<'_>, before: &mut ReadBefore) -> Result<Self> {
        let observer = control.observer();
        // R1, as above.
        let reading = Arc::new(ReadSession::open(repo, observer)?);
        Self::over(reading, snapshots::list_again(repo, before)?)
    }

    fn over(reading: Arc<ReadSession>, snapshots: Vec<Snapshot>) -> Result<Self> {
        let ids: Vec<SnapshotId> = snapshots.iter().map(|snapshot| snapshot.id).collect();
        reading.set_snapshots(&ids)?;
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
            let mut dir = DirReader::starting_at(tree, from);
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

    /// Returns the size of all files below a directory, within the limits. Directories that were counted
    /// completely before are not read again.
    ///
    /// # Errors
    /// As [`Self::entry`].
    pub fn size_below(&self, tree: ChunkId, sizes: &DirSizes, limits: &mut SizeLimits) -> Result<DirSize> {
        if let Some(bytes) = sizes.0.get(&tree) {
            return Ok(DirSize { bytes: *bytes, is_complete: true });
        }
        self.with(|reader| {
            let mut walk = TreeWalk::new(tree, WalkLimits::BOUNDLESS, (tree, 0_u64));
            // Checked before any reading, because a page may ask for many directories after the limit.
            while limits.take() {
                let bytes = match walk.step(reader)? {
                    Some(WalkStep::Entry(Entry { kind: Kind::Dir { tree }, .. })) => match sizes.0.get(&tree)
                    {
                        Some(bytes) => *bytes,
                        None => {
                            walk.enter(tree, (tree, 0))?;
                            continue;
                        }
                    },
                    Some(WalkStep::Entry(entry)) => entry.size(),
                    Some(WalkStep::Left { kept: (tree, bytes), .. }) => {
                        sizes.0.put(tree, bytes, 1);
                        bytes
                    }
                    Some(WalkStep::Damaged(err) | WalkStep::Excess(_, err)) => return Err(err),
                    None => break,
                };
                match walk.kept() {
                    Some((_, sum)) => *sum = sum.saturating_add(bytes),
                    None => return Ok(DirSize { bytes, is_complete: true }),
                }
            }
            let bytes = walk.all_kept().iter().fold(0_u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
            Ok(DirSize { bytes, is_complete: false })
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
            Err(plausible::corrupt_tree("the parts of a file do not add up to its size"))
        }
    }

    /// Sends a heartbeat ahead of schedule.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn write_heartbeat(&self) -> Result<()> {
        self.reading.write_heartbeat()
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
        let kept = self.readers.lock().pop();
        let mut reader = match kept {
            Some(reader) => reader,
            None => ChunkReader::following(&self.reading)?,
        };
        let done = work(&mut reader);
        let mut readers = self.readers.lock();
        if readers.len() < KEPT {
            readers.push(reader);
        }
        done
    }
}
