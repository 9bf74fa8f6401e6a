//! The survey: visits every entry of the sources once, in order of stored paths, and tells what is there. The walk itself
//! is in `walker`.
//!
//! It knows nothing of repositories, so it can begin while the password is still being turned into a key.

pub(crate) mod walker;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_channel::{Receiver, bounded};

use crate::error::Result;
use crate::fs::filter::Filter;
use crate::fs::sources::SourceTree;
use crate::fs::walk::walker::Walker;
use crate::model::entry::{Entry, Time};
use crate::util::threads;

/// Groups of finds that may wait: what is walked while the repository is opened.
const AHEAD: usize = 256;

/// What is found, in order of stored paths.
#[derive(Debug)]
pub enum WalkEvent {
    /// A directory, whose contents follow; its place in the file system, where that is not its name in the place of
    /// the one above.
    Enter(Entry, Option<PathBuf>),
    /// The directory last entered ends.
    Leave,
    /// Anything else in the open directory; device and inode of what has further names.
    Entry(Entry, Option<(u64, u64)>),
    /// A source that is no directory, and its place: it need not have its stored name.
    Lone(Entry, PathBuf, Option<(u64, u64)>),
    /// Something that cannot be read, and why.
    Problem(Vec<u8>, String),
    /// Something that was gone before it could be looked at.
    Vanished(Vec<u8>),
    /// What its user should know of a source.
    Warning(String),
}

/// Files that a walk has come to.
#[derive(Debug, Default)]
pub struct Totals {
    files: AtomicU64,
    bytes: AtomicU64,
    complete: AtomicBool,
}

impl Totals {
    /// Files and bytes so far, and whether the walk is at its end.
    pub fn get(&self) -> (u64, u64, bool) {
        let complete = self.complete.load(Ordering::Acquire);
        (self.files.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed), complete)
    }

    /// One more.
    pub(super) fn add(&self, bytes: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn close(&self) {
        self.complete.store(true, Ordering::Release);
    }
}

/// How to walk.
pub struct WalkOptions {
    /// What stays out.
    pub filter: Arc<Filter>,
    /// Whether other file systems stay out.
    pub one_file_system: bool,
    /// Whether a source of which nothing is left is no problem.
    pub allow_empty: bool,
    /// Folders of our own, which stay out: the repository, and what this machine keeps. A source that is one is a
    /// problem.
    pub own: Vec<PathBuf>,
}

/// A walk in a thread of its own, bounded in how far it runs ahead; it ends when this is dropped.
#[derive(Debug)]
pub struct Walk {
    /// What is found, in groups; it ends with the walk.
    pub found: Receiver<Vec<WalkEvent>>,
    /// An instant before the first look.
    pub started: Time,
    /// How much there is.
    pub totals: Arc<Totals>,
}

impl Walk {
    /// Walks for the totals alone, as fast as it can, in threads of their own, until `stop` becomes true.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn count(plan: SourceTree, options: WalkOptions, stop: &Arc<AtomicBool>) -> Result<Arc<Totals>> {
        let Self { found, totals, .. } = Self::start(plan, options, stop)?;
        threads::detached("count", move || found.into_iter().for_each(drop))?;
        Ok(totals)
    }

    /// Begins. When `stop` becomes true, the walk ends early, as if there were nothing more.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn start(plan: SourceTree, options: WalkOptions, stop: &Arc<AtomicBool>) -> Result<Self> {
        let started = Time::now();
        let (out, found) = bounded(AHEAD);
        let totals = Arc::<Totals>::default();
        let (stop, counted) = (Arc::clone(stop), Arc::clone(&totals));
        threads::detached("walk", move || {
            let mut walker = Walker::new(&plan, options, stop, Arc::clone(&counted), out);
            // It fails only where nobody listens any more.
            if walker.all(&plan).is_ok() {
                counted.close();
            }
        })?;
        Ok(Self { found, started, totals })
    }
}
