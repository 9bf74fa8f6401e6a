//! State that all threads of a restore share: counters, problems, and what ends the run.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::error::{Error, Problem, Result};
use crate::fs::filter::RestoreFilter;
use crate::fs::target::Target;
use crate::model::entry::Meta;
use crate::ops::restore::Options;
use crate::ops::restore::overwrite::Action;
use crate::ops::restore::selection::Include;
use crate::progress::{Event, Observer};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::read::read_session::ReadSession;
use crate::repo::repository::Repository;
use crate::repo::walk::dir_reader;

/// Counters that all threads add to.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) created: AtomicU64,
    pub(super) updated: AtomicU64,
    pub(super) unchanged: AtomicU64,
    pub(super) kept: AtomicU64,
    pub(super) deleted: AtomicU64,
    pub(super) unmatched_includes: AtomicU64,
    pub(super) files_written: AtomicU64,
    pub(super) bytes_written: AtomicU64,
    pub(super) copied_links: AtomicU64,
    pub(super) not_restorable: AtomicU64,
}

/// State that all threads of a restore share.
pub(super) struct Job<'a> {
    pub(super) repo: &'a Repository,
    pub(super) options: &'a Options,
    pub(super) observer: &'a dyn Observer,
    pub(super) stop: &'a AtomicBool,
    pub(super) reading: Arc<ReadSession>,
    pub(super) selection: RestoreFilter,
    /// Include patterns that have matched nothing so far.
    pub(super) unmatched: Mutex<Vec<Include>>,
    pub(super) all_matched: AtomicBool,
    /// `None` in a dry run if the target does not exist.
    pub(super) target: Option<Target>,
    pub(super) tally: Tally,
    /// Reads extended attribute values that are stored in chunks.
    pub(super) values: Mutex<ChunkReader>,
    pub(super) problems: Mutex<Vec<Problem>>,
    /// Set when the target is full. It ends the run, since every later write would fail as well.
    pub(super) full: Mutex<Option<Error>>,
    pub(super) damage: AtomicBool,
    /// First names of hard link groups that were not restored, and whether that is a problem: it is none for
    /// a device that this user may not create.
    pub(super) lost: Mutex<HashMap<Vec<u8>, bool>>,
}

impl Job<'_> {
    pub(super) fn problem(&self, path: &[u8], err: &Error) {
        if let Some(full) = err.if_full() {
            self.full().get_or_insert(full);
            return;
        }
        if err.is_damage() {
            self.damage.store(true, Ordering::Relaxed);
        }
        self.note(Problem::of(path, err));
    }

    /// Records a problem that is not damage to the repository.
    pub(super) fn note(&self, problem: Problem) {
        self.observer.notice(Event::Problem(&problem));
        self.problems.lock().push(problem);
    }

    /// Returns metadata with the xattr values that are stored in chunks. Kept in memory only as long as
    /// needed.
    pub(super) fn whole<'m>(&self, meta: &'m Meta) -> Result<Cow<'m, Meta>> {
        dir_reader::load_xattrs(&mut self.values.lock(), meta)
    }

    /// Runs one step on the target and records a failure as a problem of that path.
    pub(super) fn step(&self, path: &[u8], work: impl FnOnce(&Target) -> Result<()>) -> bool {
        if self.options.dry_run {
            return true;
        }
        let result = self.target().and_then(work);
        if let Err(err) = &result {
            self.problem(path, err);
        }
        result.is_ok()
    }

    pub(super) fn target(&self) -> Result<&Target> {
        self.target.as_ref().ok_or_else(|| Error::Refused("a dry run has no target".into()))
    }

    pub(super) fn check_stop(&self) -> Result<()> {
        match (self.stop.load(Ordering::Relaxed), self.full().is_some()) {
            (true, _) => Err(Error::Interrupted),
            // The error itself is reported once, at the end.
            (false, true) => Err(Error::Stopped),
            (false, false) => Ok(()),
        }
    }

    pub(super) fn full(&self) -> MutexGuard<'_, Option<Error>> {
        self.full.lock()
    }

    /// Counts the action and reports it to the observer.
    pub(super) fn record_action(&self, did: Action, path: &[u8], size: u64) {
        let tally = &self.tally;
        let number = match did {
            Action::Created => &tally.created,
            Action::Updated => &tally.updated,
            Action::Unchanged => &tally.unchanged,
            Action::Kept => &tally.kept,
            Action::Deleted => &tally.deleted,
        };
        number.fetch_add(1, Ordering::Relaxed);
        self.report(did, path, size);
    }

    pub(super) fn report(&self, did: Action, path: &[u8], size: u64) {
        self.observer.notice(Event::Item { action: did.reported(), path, size });
    }

    /// Records that the object at this path is not the snapshot's, so that no hard link is made to it.
    pub(super) fn mark_wrong(&self, path: &[u8], link: u128, is_problem: bool) {
        if link != 0 {
            self.lost.lock().insert(path.to_vec(), is_problem);
        }
    }

    pub(super) fn is_wrong(&self, path: &[u8]) -> Option<bool> {
        self.lost.lock().get(path).copied()
    }
}
