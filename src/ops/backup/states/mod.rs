//! Backups of past states: directories that hold some sources as of earlier times become snapshots with these
//! times. `snap import trees` and imports from mounted repositories of other programs are built on it.
//!
//! Each state is a [`Backup`] like any other: the same walk, the same chunks, the same commit. It differs in
//! what it records (time, host, paths, user), in its parent (the previous snapshot of the same set), and in
//! what is not read again:
//!
//! - A file with several hard links is read once for all states of a run. It is identified by device, inode,
//!   size, mtime and ctime.
//! - A file whose path, size and mtime equal the parent's is not read; with [`Comparison::Originals`] the
//!   ctime must be equal, too.
//!
//! Usage: make a [`PastState`] for each directory, call [`plan`], show the plan, call [`run`]. An interrupted run
//! commits nothing of the state that it was reading; to resume, plan and run the same states again.

mod linked;
mod recorded;
mod supplement;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_bytes::ByteBuf;

use crate::error::{Error, ErrorKind, Problem, Result};
use crate::fs::filter::FilterOptions;
use crate::fs::sources;
use crate::model::entry::Time;
use crate::model::id::SnapshotId;
use crate::model::manifest::{Counts, Manifest};
use crate::ops::backup::{self, Backup};
use crate::progress::{Control, Event};
use crate::repo::repository::Repository;
use crate::repo::snapshots;
use crate::repo::write::delta_writer::Delta;

pub use crate::ops::backup::states::recorded::{Comparison, Recorded};
pub(in crate::ops::backup) use crate::ops::backup::states::recorded::{LinkedFiles, StoredFile, Version};
pub use crate::ops::backup::states::supplement::{Check, Facts, Supplement};

/// Host, sources and time of a state.
type SetAndTime = (String, Vec<ByteBuf>, Time);

/// Maximum number of seconds that a state may lie in the future, because clocks differ.
const MAX_SECONDS_AHEAD: i64 = 600;

/// The location of a source, and its path in the snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateSource {
    /// The directory or file to read.
    pub place: PathBuf,
    /// Its absolute path in the snapshot, which is recorded as the source: `/home/me`; `/` for the root.
    pub stored: Vec<u8>,
}

/// Some sources as of one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastState {
    /// The sources. Missing ones are left out of the snapshot.
    pub sources: Vec<StateSource>,
    /// Time of the state.
    pub time: Time,
    /// Host name to record. With the stored paths of the sources it identifies the set.
    pub host: String,
    /// User name to record instead of the current user's.
    pub user: Option<String>,
    /// Tags of the snapshot.
    pub tags: Vec<String>,
    /// Description of the snapshot.
    pub description: Option<String>,
    /// A permanent identifier of the origin of the state, such as `restic` and a snapshot's id. It is
    /// recorded. A state with an origin has been imported if a snapshot has the same origin; one without, if
    /// a snapshot has its host, sources and time.
    pub origin: Option<String>,
}

impl PastState {
    /// Returns the sources as they are recorded.
    fn recorded_sources(&self) -> Result<Vec<ByteBuf>> {
        let places = self.sources.iter().map(|source| (source.place.clone(), source.stored.clone()));
        Ok(sources::plan_at(&places.collect::<Vec<_>>())?.sources.into_iter().map(ByteBuf::from).collect())
    }

    /// Returns whether a snapshot is an earlier import of the state.
    fn is_imported_by(&self, manifest: &Manifest, sources: &[ByteBuf]) -> bool {
        !manifest.partial
            && match &self.origin {
                Some(origin) => manifest.origin() == Some(origin.as_str()),
                None => manifest.same_set(&self.host, sources) && manifest.started == self.time,
            }
    }

    /// Returns the location of the first source, which stands for the state in messages.
    fn first_place(&self) -> String {
        self.sources.first().map(|source| source.place.display().to_string()).unwrap_or_default()
    }
}

/// Options of an import.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Which entries to exclude. Patterns with a slash are relative to the snapshot's root.
    pub filter: FilterOptions,
    /// Do not leave each source's file system.
    pub one_file_system: bool,
    /// How ctimes are compared.
    pub comparison: Comparison,
    /// Read every file of every state, even if its metadata is unchanged. A file with several links is still
    /// read once.
    pub reread: bool,
    /// Compression level to use instead of the repository's.
    pub level: Option<i32>,
    /// Whether new chunks may be stored as deltas against similar ones.
    pub delta: Delta,
    /// Directories to exclude because every run changes them: this machine's run log and cache.
    pub leave_out: Vec<PathBuf>,
    /// Count entries ahead of the readers, for an observer that shows progress.
    pub count_ahead: bool,
    /// Called before each snapshot is committed, to check whether what was read is reliable.
    pub check: Option<Check>,
}

/// A state, and its existing snapshot, if any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The state.
    pub state: PastState,
    /// The snapshot of an earlier import of the state.
    pub there: Option<SnapshotId>,
}

/// Result of an import.
#[derive(Debug, Default)]
pub struct Report {
    /// The new snapshots, oldest first.
    pub made: Vec<SnapshotId>,
    /// Number of states that had been imported before.
    pub there: u64,
    /// Number of states of which nothing could be saved.
    pub failed: u64,
    /// Sums over all new snapshots.
    pub counts: Counts,
    /// Paths that could not be read, and why.
    pub problems: Vec<Problem>,
    /// Entries that vanished before they could be read.
    pub vanished: u64,
    /// Patterns that matched nothing in any state.
    pub unmatched: Vec<String>,
    /// How long it took.
    pub duration: Duration,
}

/// Callbacks for each state.
pub trait Each {
    /// Called before a state is read, for instance to mount it.
    ///
    /// # Errors
    /// Any; it ends the run.
    fn before(&mut self, state: &PastState) -> Result<()> {
        let _ = state;
        Ok(())
    }

    /// Returns metadata of the state's entries that cannot be read from their location. Called after
    /// [`Self::before`].
    ///
    /// # Errors
    /// Any; it ends the run.
    fn supplement(&mut self, state: &PastState) -> Result<Option<Supplement>> {
        let _ = state;
        Ok(None)
    }

    /// Called after a state's snapshot has been committed.
    ///
    /// # Errors
    /// Any; it ends the run.
    fn after(&mut self, state: &PastState, summary: &backup::Report) -> Result<()>;
}

impl Each for () {
    fn after(&mut self, _: &PastState, _: &backup::Report) -> Result<()> {
        Ok(())
    }
}

/// Sorts states by time, and finds out which have been imported before.
///
/// # Errors
/// Two states of one set have the same time, a state is in the future, its paths are invalid, or the
/// snapshots cannot be listed.
pub fn plan(repo: &Repository, mut states: Vec<PastState>) -> Result<Vec<Planned>> {
    states.sort_by_key(|state| state.time);
    let all = snapshots::list(repo)?;
    let latest = Time::now().sec.saturating_add(MAX_SECONDS_AHEAD);
    let mut times: HashMap<SetAndTime, String> = HashMap::new();
    let mut planned = Vec::with_capacity(states.len());
    for state in states {
        let sources = state.recorded_sources()?;
        if state.time.sec > latest {
            return Err(Error::Usage(format!("{} is dated in the future", state.first_place())));
        }
        let key = (state.host.clone(), sources.clone(), state.time);
        let other = times.insert(key, state.first_place()).filter(|_| state.origin.is_none());
        if let Some(other) = other {
            let place = state.first_place();
            return Err(Error::Usage(format!(
                "{other} and {place} have the same time, but the states of a set must have different times"
            )));
        }
        let there = all.iter().find(|old| state.is_imported_by(&old.manifest, &sources)).map(|old| old.id);
        planned.push(Planned { state, there });
    }
    Ok(planned)
}

/// Imports the missing states of a plan in its order. The parent of each is the newest older snapshot of its
/// set.
///
/// # Errors
/// Nothing could be saved of any state, the repository fails, or the run was interrupted. Committed snapshots
/// remain.
pub fn run(
    repo: &Repository,
    planned: &[Planned],
    options: &Options,
    control: &Control<'_>,
    each: &mut dyn Each,
) -> Result<Report> {
    let observer = control.observer();
    let clock = Instant::now();
    let linked = Arc::<LinkedFiles>::default();
    let mut summary = Report::default();
    let mut nothing_read = None;
    for Planned { state, there } in planned {
        if there.is_some() {
            summary.there += 1;
            continue;
        }
        control.check()?;
        each.before(state)?;
        let supplement = each.supplement(state)?.map(Arc::new);
        observer.notice(Event::Stage { name: "", unit: "files" });
        let made = Backup::begin(
            backup_options(state, options, &linked, supplement),
            Some(repo.location().into()),
            control,
        )
        .and_then(|backup| backup.run(repo, control));
        linked.end_state();
        match made {
            Ok(made) => {
                each.after(state, &made)?;
                summary.add(made);
            }
            Err(Error::NothingRead(why)) => {
                let problem = Problem::new(state.first_place(), ErrorKind::BadInput, &*why);
                observer.notice(Event::Problem(&problem));
                summary.problems.push(problem);
                summary.failed += 1;
                nothing_read = Some(why);
            }
            Err(err) => return Err(err),
        }
    }
    summary.duration = clock.elapsed();
    match nothing_read.filter(|_| summary.made.is_empty()) {
        Some(why) => Err(Error::NothingRead(why)),
        None => Ok(summary),
    }
}

impl Report {
    fn add(&mut self, made: backup::Report) {
        let (sum, counts) = (&mut self.counts, made.counts);
        for (sum, number) in [
            (&mut sum.files_new, counts.files_new),
            (&mut sum.files_changed, counts.files_changed),
            (&mut sum.files_unchanged, counts.files_unchanged),
            (&mut sum.files_removed, counts.files_removed),
            (&mut sum.dirs, counts.dirs),
            (&mut sum.others, counts.others),
            (&mut sum.bytes_total, counts.bytes_total),
            (&mut sum.bytes_read, counts.bytes_read),
            (&mut sum.bytes_added, counts.bytes_added),
            (&mut sum.bytes_stored, counts.bytes_stored),
            (&mut sum.errors, counts.errors),
        ] {
            *sum = sum.saturating_add(number);
        }
        if self.made.is_empty() {
            self.unmatched = made.unmatched
        } else {
            self.unmatched.retain(|pattern| made.unmatched.contains(pattern))
        }
        self.made.extend(made.snapshot);
        self.problems.extend(made.problems);
        self.vanished += made.vanished;
    }
}

fn backup_options(
    state: &PastState,
    options: &Options,
    linked: &Arc<LinkedFiles>,
    supplement: Option<Arc<Supplement>>,
) -> backup::Options {
    let recorded = Recorded {
        stored: state.sources.iter().map(|source| source.stored.clone()).collect(),
        time: state.time,
        user: state.user.clone(),
        origin: state.origin.clone(),
        comparison: options.comparison,
        reread: options.reread,
        linked: Arc::clone(linked),
        supplement,
        check: options.check.clone(),
    };
    backup::Options {
        sources: state.sources.iter().map(|source| source.place.clone()).collect(),
        tags: state.tags.clone(),
        description: state.description.clone(),
        host: Some(state.host.clone()),
        filter: options.filter.clone(),
        one_file_system: options.one_file_system,
        level: options.level,
        delta: options.delta,
        leave_out: options.leave_out.clone(),
        count_ahead: options.count_ahead,
        recorded: Some(recorded),
        ..backup::Options::default()
    }
}
