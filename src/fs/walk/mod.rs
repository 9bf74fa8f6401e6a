//! The walk: visits every entry of the sources once, in order of stored paths, and reports it. The
//! traversal itself is in `walker`.
//!
//! It knows nothing of repositories, so it can start while the key is still being derived from the
//! password.

mod named_sources;
pub(crate) mod walker;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_channel::{Receiver, bounded};

use crate::error::{Problem, Result};
use crate::fs::filter::Filter;
use crate::fs::sources::SourceTree;
use crate::fs::walk::walker::Walker;
use crate::model::entry::Entry;
use crate::util::threads;

/// Maximum number of groups of events in the channel. It allows the walk to run ahead while the repository
/// is being opened.
const MAX_GROUPS: usize = 256;

/// An event of a walk. Events are in the order of stored paths.
#[derive(Debug)]
pub enum WalkEvent {
    /// A directory, whose entries follow. With its file system path, if that is not the parent's followed by
    /// its name.
    Enter(Entry, Option<PathBuf>),
    /// The end of the directory that was entered last.
    Leave,
    /// Another entry of the current directory. With device and inode, if it has several hard links.
    Entry(Entry, Option<(u64, u64)>),
    /// A source that is not a directory, with its path, which need not end with its stored name. With device
    /// and inode, if it has several hard links.
    SingleFile(Entry, PathBuf, Option<(u64, u64)>),
    /// A path that cannot be read.
    Problem(Problem),
    /// A path that disappeared before it could be examined.
    Vanished(Vec<u8>),
    /// Information about a source for the user.
    Warning(String),
}

/// Number and size of the files found so far.
#[derive(Debug, Default)]
pub struct WalkTotals {
    files: AtomicU64,
    bytes: AtomicU64,
    complete: AtomicBool,
}

impl WalkTotals {
    /// Returns files and bytes so far, and whether the walk is complete.
    pub fn get(&self) -> (u64, u64, bool) {
        let complete = self.complete.load(Ordering::Acquire);
        (self.files.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed), complete)
    }

    /// Counts one file.
    pub(super) fn add(&self, bytes: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn close(&self) {
        self.complete.store(true, Ordering::Release);
    }
}

/// Options of a walk.
pub struct WalkOptions {
    /// What to exclude.
    pub filter: Arc<Filter>,
    /// Whether to exclude other file systems.
    pub one_file_system: bool,
    /// Whether a source of which everything is excluded is accepted.
    pub allow_empty: bool,
    /// snap's own directories, which are excluded: the repository, and this machine's cache and state. A
    /// source that is one of them is a problem.
    pub own: Vec<PathBuf>,
}

/// A walk in a separate thread. A bounded channel limits how far it runs ahead. It ends when this is
/// dropped.
#[derive(Debug)]
pub struct Walk {
    /// Receives the events in groups; disconnected at the end of the walk.
    pub found: Receiver<Vec<WalkEvent>>,
    /// Number and size of the files found so far.
    pub totals: Arc<WalkTotals>,
}

impl Walk {
    /// Walks only to count, as fast as possible, in separate threads, until `stop` becomes true.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn count(plan: SourceTree, options: WalkOptions, stop: &Arc<AtomicBool>) -> Result<Arc<WalkTotals>> {
        let Self { found, totals } = Self::start(plan, options, stop)?;
        threads::detached("count", move || found.into_iter().for_each(drop))?;
        Ok(totals)
    }

    /// Starts a walk. When `stop` becomes true, it ends early, as if there were no more entries.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(plan: SourceTree, options: WalkOptions, stop: &Arc<AtomicBool>) -> Result<Self> {
        let (out, found) = bounded(MAX_GROUPS);
        let totals = Arc::<WalkTotals>::default();
        let (stop, counted) = (Arc::clone(stop), Arc::clone(&totals));
        threads::detached("walk", move || {
            let mut walker = Walker::new(&plan, options, stop, Arc::clone(&counted), out);
            // The walk fails only if the receiver is gone.
            if walker.walk_sources(&plan).is_ok() {
                counted.close();
            }
        })?;
        Ok(Self { found, totals })
    }
}
