//! State that all threads of a run share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::error::{Error, ErrorKind, Problem};
use crate::model::entry::{Entry, Meta, Time};
use crate::ops::backup::parent::ParentChoice;
use crate::ops::backup::states::Supplement;
use crate::ops::backup::{Backup, Options, rot};
use crate::progress::{Event, Observer};
use crate::repo::index::Index;
use crate::repo::repository::Repository;
use crate::storage::rate_limit::RateLimit;
use crate::util::time_limit::TimeLimit;

/// One run of the pipeline. A backup runs it again if the parent turns out not to guarantee its chunks.
pub(super) struct Run<'a> {
    pub(super) repo: &'a Repository,
    pub(super) options: &'a Options,
    pub(super) backup: &'a Backup,
    pub(super) observer: &'a dyn Observer,
    /// The cancellation of [`Backup::begin`], which also ends the walk.
    pub(super) stop: &'a AtomicBool,
    /// The cancellation of [`Backup::run`].
    pub(super) cancel: &'a AtomicBool,
    pub(super) parent_choice: &'a ParentChoice,
    /// The index as of the start of the run.
    pub(super) index: Arc<Index>,
    /// Whether chunks may become deltas.
    pub(super) may_use_deltas: bool,
    pub(super) started: Time,
    /// The root of the tree is not itself a source, but above all sources.
    pub(super) root_ancestor_only: bool,
    pub(super) problems: Mutex<Vec<Problem>>,
    /// Unchanged files whose stored path is on this arc are read again.
    pub(super) reread_arc: Option<rot::RingArc>,
    pub(super) rot_findings: rot::Findings,
    /// Bytes that the repository may still grow by.
    pub(super) quota: Option<u64>,
    /// Set when the quota is used up: the run ends with a partial snapshot.
    pub(super) quota_reached: AtomicBool,
    /// The time limit was reached.
    pub(super) time_up: AtomicBool,
    /// Rate limit for reading the sources.
    pub(super) read_limit: Option<RateLimit>,
    /// Set by the first thread that fails, to stop the others.
    pub(super) failed: AtomicBool,
    /// Set if the parent turns out not to guarantee its chunks: start over, looking up every chunk.
    pub(super) parent_invalidated: AtomicBool,
    /// Bytes of the packs that this run stored.
    pub(super) stored: AtomicU64,
    pub(super) vanished: AtomicU64,
    /// Number of files that changed each time they were read.
    pub(super) changing: AtomicU64,
}

impl Run<'_> {
    pub(super) fn report_problem(&self, problem: Problem) {
        self.observer.notice(Event::Problem(&problem));
        self.problems.lock().push(problem);
    }

    /// Counts an entry that vanished, unless the run is being interrupted.
    pub(super) fn report_vanished(&self, path: &[u8]) {
        if !self.is_stopping() {
            self.vanished.fetch_add(1, Ordering::Relaxed);
            let path = String::from_utf8_lossy(path);
            self.observer.notice(Event::Warning(&format!("{path} vanished before it could be read")));
        }
    }

    /// Records unreadable attributes of an entry. Clears its ctime, so that the next run reads them again.
    pub(super) fn report_incomplete(&self, path: &[u8], entry: &mut Entry, problems: &[String]) {
        if !problems.is_empty() {
            entry.meta.ctime = Time::default();
        }
        problems.iter().for_each(|why| self.report_problem(Problem::new(path, ErrorKind::Io, why)));
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_interrupted() || self.failed.load(Ordering::Relaxed)
    }

    /// Removes metadata that belongs to the copy that a past state is read from.
    pub(super) fn strip(&self, meta: &mut Meta) {
        self.options.recorded.iter().for_each(|recorded| recorded.strip(meta));
    }

    /// Adds known metadata, except for extended attributes, to an entry of a past state.
    pub(super) fn amend(&self, path: &[u8], entry: &mut Entry) {
        if let Some(supplement) = self.supplement() {
            supplement.amend(path, entry);
        }
    }

    /// Adds known extended attributes to an entry of a past state.
    pub(super) fn add_xattrs(&self, path: &[u8], entry: &mut Entry) {
        if let Some(why) = self.supplement().and_then(|supplement| supplement.add_xattrs(path, entry)) {
            self.report_problem(Problem::new(path, ErrorKind::BadInput, why));
        }
    }

    pub(super) fn supplement(&self) -> Option<&Supplement> {
        self.options.recorded.as_ref()?.supplement.as_deref()
    }

    /// Returns whether the run is to end early. Checks the time limit.
    pub(super) fn is_interrupted(&self) -> bool {
        let limit = &self.options.time_limit;
        if !self.has_ended_early() && limit.as_ref().is_some_and(TimeLimit::is_up) {
            self.time_up.store(true, Ordering::Relaxed);
        }
        self.has_ended_early()
    }

    /// Returns whether it has ended early, without checking the time limit.
    pub(super) fn has_ended_early(&self) -> bool {
        let flags = [self.stop, self.cancel, &self.quota_reached, &self.time_up];
        flags.iter().any(|flag| flag.load(Ordering::Relaxed))
    }

    /// Returns why it ended early, as the error of a run that commits nothing.
    pub(super) fn why_ended(&self) -> Error {
        let quota = self.repo.config().quota().filter(|_| self.quota_reached.load(Ordering::Relaxed));
        match (quota, self.ran_out_of_time()) {
            (Some(quota), _) => Error::Quota { quota },
            (None, true) => Error::TimeUp,
            (None, false) => Error::Interrupted,
        }
    }

    /// Returns whether the time limit was reached. A signal takes precedence.
    pub(super) fn ran_out_of_time(&self) -> bool {
        let is_stopped = [self.stop, self.cancel].iter().any(|flag| flag.load(Ordering::Relaxed));
        self.time_up.load(Ordering::Relaxed) && !is_stopped
    }
}
