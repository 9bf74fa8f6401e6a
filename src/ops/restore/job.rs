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
    pub(super) session: Arc<ReadSession>,
    pub(super) selection: RestoreFilter,
    /// Include patterns that have not matched any entry yet.
    pub(super) unmatched: Mutex<Vec<Include>>,
    /// Whether `unmatched` is empty, for checks without the lock.
    pub(super) all_matched: AtomicBool,
    /// `None` in a dry run if the target does not exist.
    pub(super) target: Option<Target>,
    pub(super) tally: Tally,
    /// Reads extended attribute values that are stored in chunks.
    pub(super) xattr_reader: Mutex<ChunkReader>,
    pub(super) problems: Mutex<Vec<Problem>>,
    /// The error of the first write that failed because the target is full. It ends the run, since every
    /// later write would fail as well.
    pub(super) target_full: Mutex<Option<Error>>,
    /// Whether a problem is damage of the repository.
    pub(super) damage: AtomicBool,
    /// Paths at which the first name of a group of hard links was not restored. False if that is no problem:
    /// a device that this user may not create.
    pub(super) not_restored: Mutex<HashMap<Vec<u8>, bool>>,
}

impl Job<'_> {
    /// Records a failure as a problem of `path`. If the target is full, the error ends the run instead.
    pub(super) fn record_error(&self, path: &[u8], err: &Error) {
        if let Some(full) = err.if_full() {
            self.target_full().get_or_insert(full);
            return;
        }
        if err.is_damage() {
            self.damage.store(true, Ordering::Relaxed);
        }
        self.record_problem(Problem::of(path, err));
    }

    /// Adds a problem to the report. Unlike [`Job::record_error`] it does not set `damage`.
    pub(super) fn record_problem(&self, problem: Problem) {
        self.observer.notice(Event::Problem(&problem));
        self.problems.lock().push(problem);
    }

    /// Returns the metadata with those xattr values that are stored in chunks. They are loaded only here,
    /// since they can be large.
    pub(super) fn with_xattr_values<'m>(&self, meta: &'m Meta) -> Result<Cow<'m, Meta>> {
        dir_reader::load_xattrs(&mut self.xattr_reader.lock(), meta)
    }

    /// Runs `operation` on the target, and records a failure as a problem of `path`. Returns whether it
    /// succeeded; always true in a dry run, which skips it.
    pub(super) fn try_on_target(&self, path: &[u8], operation: impl FnOnce(&Target) -> Result<()>) -> bool {
        if self.options.dry_run {
            return true;
        }
        let result = self.target().and_then(operation);
        if let Err(err) = &result {
            self.record_error(path, err);
        }
        result.is_ok()
    }

    pub(super) fn target(&self) -> Result<&Target> {
        self.target.as_ref().ok_or_else(|| Error::Refused("a dry run has no target".into()))
    }

    pub(super) fn check_stop(&self) -> Result<()> {
        match (self.stop.load(Ordering::Relaxed), self.target_full().is_some()) {
            (true, _) => Err(Error::Interrupted),
            // The error itself is reported once, at the end.
            (false, true) => Err(Error::Stopped),
            (false, false) => Ok(()),
        }
    }

    pub(super) fn target_full(&self) -> MutexGuard<'_, Option<Error>> {
        self.target_full.lock()
    }

    /// Counts the action and reports it to the observer.
    pub(super) fn record_action(&self, action: Action, path: &[u8], size: u64) {
        let tally = &self.tally;
        let counter = match action {
            Action::Created => &tally.created,
            Action::Updated => &tally.updated,
            Action::Unchanged => &tally.unchanged,
            Action::Kept => &tally.kept,
            Action::Deleted => &tally.deleted,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.report_action(action, path, size);
    }

    pub(super) fn report_action(&self, action: Action, path: &[u8], size: u64) {
        self.observer.notice(Event::Item { action: action.reported(), path, size });
    }

    /// Records that the entry at this path was not restored, so that no hard link is made to it.
    pub(super) fn mark_not_restored(&self, path: &[u8], link: u128, is_problem: bool) {
        if link != 0 {
            self.not_restored.lock().insert(path.to_vec(), is_problem);
        }
    }

    /// Returns `None` if the entry at this path was restored, otherwise whether its failure is a problem.
    pub(super) fn not_restored(&self, path: &[u8]) -> Option<bool> {
        self.not_restored.lock().get(path).copied()
    }
}
