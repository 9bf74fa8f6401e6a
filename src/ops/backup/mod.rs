//! `backup`: walks the sources, compares them with the parent, reads and cuts changed files, deduplicates and
//! stores new chunks, builds trees, and commits a manifest.
//!
//! Threads: the walk visits the sources (`fs::walk`); the calling thread compares them with the parent
//! (`compare`); readers read, cut and hash files (`read`); the assembler decides dedup and builds trees
//! bottom-up (`assemble`); workers seal and write. Data flows one way through bounded channels.

mod alarm;
mod assemble;
mod commit;
mod compare;
mod dedup;
mod messages;
mod options;
mod parent;
mod read;
mod rot;
mod run;
pub mod states;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crossbeam_channel::bounded;
use parking_lot::Mutex;
use serde_bytes::ByteBuf;

use crate::error::{self, Error, Result};
use crate::fs::filter::isolated::Isolated;
use crate::fs::filter::{Filter, FilterOptions};
use crate::fs::sources::{self, SourceTree};
use crate::fs::walk::{Walk, WalkOptions};
use crate::model::config::Role;
use crate::model::entry::Time;
use crate::model::id::ChunkId;
use crate::model::manifest::Counts;
use crate::model::manifest_ext::MoreCounts;
use crate::progress::{Control, Event};
use crate::repo::index::Index;
use crate::repo::repository::Repository;
use crate::repo::sessions::session::{RepoState, Session};
use crate::repo::write::pack_writer::Deltas;
use crate::storage::ObjectKind;
use crate::storage::rate_limit::RateLimit;
use crate::util::{host, threads};

pub use crate::util::time_limit::TimeLimit;
pub use options::{Options, Report, Stdin};
pub use rot::{Reread, Rereading};

use run::Run;

/// Result of the pipeline.
struct Assembled {
    root: ChunkId,
    session: Option<Session>,
    counts: Counts,
    more: MoreCounts,
    deltas: Deltas,
    read: alarm::statistics::ReadCounts,
    tally: alarm::statistics::Tally,
}

/// Where the content comes from.
enum Source<'a> {
    Files(Walk),
    Stream(&'a Stdin),
}

/// A backup whose walk may have begun.
pub struct Backup {
    options: Options,
    plan: SourceTree,
    repo_dir: Option<PathBuf>,
    isolated: Isolated,
    stop: Arc<AtomicBool>,
    filter: Arc<Filter>,
    /// The walk, if it has begun, and a time before it examined the first entry.
    walk: Option<(Walk, Time)>,
    clock: Instant,
    /// Dates the snapshot.
    now: fn() -> Time,
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup")
            .field("options", &self.options)
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

impl Backup {
    /// Begins to walk the sources while the repository is not open yet. `repo_dir` is the repository's
    /// directory, which is excluded. Cancelling `control` also ends [`Self::run`]; its observer is not used.
    ///
    /// # Errors
    /// When the options contradict one another, or no source exists.
    pub fn begin(options: Options, repo_dir: Option<PathBuf>, control: &Control<'_>) -> Result<Self> {
        let clock = Instant::now();
        let plan = plan_sources(&options)?;
        let filter = Arc::new(build_filter(&options)?);
        let isolated = Isolated::new(&options.isolate, &options.sources)?;
        let mut begun = Self {
            options,
            plan,
            repo_dir,
            isolated,
            stop: Arc::clone(control.cancel()),
            filter,
            walk: None,
            clock,
            now: control.clock(),
        };
        if begun.options.stdin.is_none() {
            begun.walk = Some(begun.start_walk()?);
        }
        Ok(begun)
    }

    fn start_walk(&self) -> Result<(Walk, Time)> {
        let started = (self.now)();
        Ok((Walk::start(self.plan.clone(), self.walk_options(), &self.stop)?, started))
    }

    fn walk_options(&self) -> WalkOptions {
        WalkOptions {
            filter: Arc::clone(&self.filter),
            one_file_system: self.options.one_file_system,
            allow_empty: self.options.allow_empty,
            own: self.own_dirs(),
        }
    }

    /// Returns the directories that snap itself writes to during the run. The repository's folders are listed
    /// as well, for sources within the repository.
    fn own_dirs(&self) -> Vec<PathBuf> {
        let folders = |dir: &PathBuf| ObjectKind::ALL.map(|kind| dir.join(kind.folder())).to_vec();
        let below = self.repo_dir.iter().flat_map(folders);
        self.repo_dir.iter().chain(&self.options.leave_out).cloned().chain(below).collect()
    }

    /// Runs the backup. It also ends early if the control of [`Self::begin`] is cancelled.
    ///
    /// # Errors
    /// When nothing could be read, the repository fails, or the run was interrupted before anything was
    /// stored. Entries that cannot be read are listed in the report.
    pub fn run(mut self, repo: &Repository, control: &Control<'_>) -> Result<Report> {
        let observer = control.observer();
        if !self.options.dry_run {
            // Only opening a session would check this otherwise, at the first new chunk.
            repo.may_add()?;
        }
        for why in &self.isolated.missing {
            observer.notice(Event::Warning(why));
        }
        let host = self.options.host.clone().unwrap_or_else(host::host_name);
        let sources: Vec<ByteBuf> =
            self.plan.sources.iter().map(|path| ByteBuf::from(path.clone())).collect();
        let mut parent_choice = parent::choose(repo, &self.options, &host, &sources)?;
        if parent_choice.became_full && self.options.recorded.is_none() {
            let asked = self.options.kind;
            observer.notice(Event::Note(&format!(
                "there is no snapshot to compare with yet: this {asked} backup becomes a full backup"
            )));
        }
        if let (Some(before), None) = (&parent_choice.newest, &self.options.stdin) {
            let counts = &before.manifest.counts;
            observer.notice(Event::Estimate { files: counts.files(), bytes: counts.bytes_total });
        }
        let reread_arc = match &self.options.reread {
            // A full backup reads everything, and a stream is never unchanged.
            Some(reread) if !parent_choice.rereads && self.options.stdin.is_none() => {
                Some(rot::RingArc::new(reread)?)
            }
            _ => None,
        };
        loop {
            let repo_state = RepoState::read(repo.storage(), repo.suite(), |_| Ok(()))?;
            parent_choice.trusted &=
                parent_choice.compare.as_ref().is_none_or(|parent| repo_state.protects(&parent.id));
            let index = Arc::new(Index::load(repo, repo_state)?);
            for (pack, why) in &index.unreadable {
                repo.control().warn(format!("{why}: pack {} is not used", pack.short()));
            }
            let quota = remaining_quota(repo, &index)?;
            let walk = self.walk.take();
            let (source, started) = match &self.options.stdin {
                Some(stdin) => (Source::Stream(stdin), (self.now)()),
                None => {
                    let (walk, started) = walk.map_or_else(|| self.start_walk(), Ok)?;
                    let recorded = self.options.recorded.as_ref();
                    (Source::Files(walk), recorded.map_or(started, |recorded| recorded.time))
                }
            };
            // A write key cannot read bases.
            let may_use_deltas = self.options.delta.is_enabled_for(repo) && repo.role() != Role::Write;
            let run = Run {
                repo,
                options: &self.options,
                backup: &self,
                observer,
                stop: &self.stop,
                cancel: control.cancel(),
                parent_choice: &parent_choice,
                index,
                may_use_deltas,
                started,
                root_ancestor_only: matches!(self.plan.root, sources::SourceNode::Ancestor { .. }),
                problems: Mutex::default(),
                reread_arc,
                rot_findings: rot::Findings::default(),
                quota,
                quota_reached: AtomicBool::new(false),
                time_up: AtomicBool::new(false),
                read_limit: self.options.limit_read.and_then(RateLimit::new),
                failed: AtomicBool::new(false),
                parent_invalidated: AtomicBool::new(false),
                stored: AtomicU64::new(0),
                vanished: AtomicU64::new(0),
                changing: AtomicU64::new(0),
            };
            let published = assemble_all(&run, source)
                .and_then(|assembled| commit::publish(&run, assembled, &host, &sources));
            if run.parent_invalidated.load(Ordering::Relaxed) {
                if self.options.stdin.is_some() {
                    return Err(Error::Bug { what: "a stream is read only once" });
                }
                parent_choice.trusted = false;
                continue;
            }
            let mut summary = published?;
            summary.duration = self.clock.elapsed();
            summary.unmatched = self.filter.unmatched();
            return Ok(summary);
        }
    }
}

/// Returns the bytes that the repository may still grow by, which may be 0.
fn remaining_quota(repo: &Repository, index: &Index) -> Result<Option<u64>> {
    let Some(quota) = repo.config().quota() else { return Ok(None) };
    let bytes: u64 = index.packs().iter().map(|pack| pack.len).sum();
    match quota.checked_sub(bytes) {
        Some(left @ 1..) => Ok(Some(left)),
        _ => Err(Error::Quota { quota }),
    }
}

fn build_filter(options: &Options) -> Result<Filter> {
    let is_moved = options.store_as.is_some() || options.recorded.is_some();
    let anchors_in_snapshot = is_moved || options.filter.anchors_in_snapshot;
    Filter::new(&FilterOptions { anchors_in_snapshot, ..options.filter.clone() })
}

fn plan_sources(options: &Options) -> Result<SourceTree> {
    let Some(stdin) = &options.stdin else {
        let plan = match &options.recorded {
            Some(recorded) => sources::plan_at(&recorded.places(&options.sources))?,
            None => sources::plan(&options.sources, options.store_as.as_deref())?,
        };
        // Some sources may be missing, but not all.
        let any_exists = options.sources.iter().any(|path| path.symlink_metadata().is_ok());
        return if any_exists { Ok(plan) } else { Err(none_found(&options.sources)) };
    };
    if !options.sources.is_empty() {
        return Err(Error::Usage("paths cannot be combined with standard input".into()));
    }
    crate::model::entry::check_name(&stdin.name)
        .map_err(|why| Error::Usage(format!("the name of the stream: {why}")))?;
    Ok(SourceTree::stream(&stdin.name))
}

fn none_found(sources: &[PathBuf]) -> Error {
    let names: Vec<String> = sources.iter().map(|path| path.display().to_string()).collect();
    Error::NothingRead(format!("{} cannot be found", names.join(", ")))
}

/// Runs the pipeline once.
fn assemble_all(run: &Run<'_>, source: Source<'_>) -> Result<Assembled> {
    let readers = threads::workers();
    let (jobs_in, jobs) = bounded::<messages::Job>(8192);
    let (events_in, events) = bounded::<Vec<messages::Message>>(64);
    let read::Buffers { empty, back } = read::Buffers::new(readers);
    std::thread::scope(|scope| {
        threads::pool(scope, "read", readers, || {
            let (jobs, empty, events) = (jobs.clone(), empty.clone(), events_in.clone());
            move || read::run(run, &jobs, &empty, &events)
        })?;
        drop((jobs, empty));
        let assembler = threads::start(scope, "assemble", move || {
            let result = assemble::assemble_all(run, &events, &back, scope);
            if result.is_err() {
                run.failed.store(true, Ordering::Relaxed);
            }
            result
        })?;
        let compared = compare::compare_all(run, &source, &jobs_in, &events_in);
        // After a failure, dropping the source also ends the walk.
        drop((jobs_in, events_in, source));
        if compared.is_err() {
            run.failed.store(true, Ordering::Relaxed);
        }
        let assembled = assembler.join().unwrap_or(Err(Error::Stopped));
        // The assembler's error takes precedence: the comparer may only have noticed that it failed.
        let (mut assembled, tally) = error::fed(assembled, compared)?;
        tally.add_to(&mut assembled.counts, &mut assembled.more);
        assembled.read.count_moved(tally.files_new);
        if !run.parent_choice.rereads {
            assembled.counts.files_removed += tally.removed;
        }
        assembled.tally = tally;
        Ok(assembled)
    })
}
