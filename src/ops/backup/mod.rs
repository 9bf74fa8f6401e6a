//! `backup`: walks the sources, compares them with the parent, reads and cuts changed files, deduplicates and
//! stores new chunks, builds trees, and commits a manifest.
//!
//! Threads: the survey walks the sources (`fs::walk`); the caller's compares with the parent (`compare`,
//! `unchanged_dirs`); readers read, cut and hash (`read`); one assembler decides dedup and builds trees
//! bottom-up (`assemble`); the writer's workers seal and write. Data flows one way through bounded channels.

mod alarm;
mod assemble;
mod commit;
mod compare;
mod dedup;
mod messages;
mod parent;
mod read;
mod rot;
pub mod states;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use parking_lot::Mutex;
use serde_bytes::ByteBuf;

use crate::error::{self, Error, ErrorKind, Problem, Result};
use crate::fs::filter::isolated::Isolated;
use crate::fs::filter::{Filter, FilterOptions};
use crate::fs::sources::{self, SourceTree};
use crate::fs::walk::{Walk, WalkOptions};
use crate::model::config::Role;
use crate::model::entry::{Entry, Meta, Time};
use crate::model::id::{ChunkId, SnapshotId};
use crate::model::manifest::{Counts, SnapshotKind};
use crate::model::manifest_ext::MoreCounts;
use crate::model::tripwire::{AlarmReason, Limits};
use crate::ops::backup::parent::ParentChoice;
use crate::ops::backup::states::{Recorded, Supplement};
use crate::progress::{Control, Event, Observer};
use crate::repo::index::Index;
use crate::repo::repository::Repository;
use crate::repo::sessions::session::{RepoState, Session};
use crate::repo::write::delta_writer::Delta;
use crate::repo::write::pack_writer::Deltas;
use crate::storage::ObjectKind;
use crate::storage::rate_limit::RateLimit;
use crate::util::{host, threads};

pub use crate::util::time_limit::TimeLimit;
pub use rot::{Reread, Rereading};

/// How standard input or a command's output is stored.
#[derive(Debug, Clone)]
pub struct Stdin {
    /// Stored path of the file.
    pub name: Vec<u8>,
    /// Command to run, whose output is stored; `None`: standard input.
    pub command: Option<Vec<std::ffi::OsString>>,
}

/// What to back up, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Files and directories to back up.
    pub sources: Vec<PathBuf>,
    /// Requested kind of snapshot.
    pub kind: SnapshotKind,
    /// Tags of the snapshot.
    pub tags: Vec<String>,
    /// The user's description of the snapshot.
    pub description: Option<String>,
    /// Time after which the snapshot is forgotten, regardless of rules.
    pub expires: Option<Time>,
    /// Host name to record instead of this machine's.
    pub host: Option<String>,
    /// Which entries to exclude.
    pub filter: FilterOptions,
    /// Do not leave each source's file system.
    pub one_file_system: bool,
    /// Selector of the parent to compare with.
    pub parent: Option<String>,
    /// Treat a file of which only the ctime differs as unchanged.
    pub ignore_ctime: bool,
    /// Commit a snapshot even if nothing changed, and accept an empty stream.
    pub allow_empty: bool,
    /// Only report.
    pub dry_run: bool,
    /// Compression level to use instead of the repository's.
    pub level: Option<i32>,
    /// Stored path of the only source.
    pub store_as: Option<Vec<u8>>,
    /// Store a stream instead of files.
    pub stdin: Option<Stdin>,
    /// Directories whose files are compressed each by itself.
    pub isolate: Vec<PathBuf>,
    /// Whether new chunks may be stored as deltas against similar ones.
    pub delta: Delta,
    /// Directories to exclude because every run changes them: this machine's run log.
    pub leave_out: Vec<PathBuf>,
    /// Stored paths of sources that may be missing.
    pub optional: Vec<Vec<u8>>,
    /// Count ahead of the readers, for an observer that shows progress.
    pub count_ahead: bool,
    /// Thresholds at which a run raises an alarm; `None` means never.
    pub tripwire: Option<Limits>,
    /// Changes were announced: this run raises an alarm only for bit rot.
    pub expect_change: bool,
    /// Unchanged files that are read all the same, to find bit rot.
    pub reread: Option<Reread>,
    /// The sources are a state of the past: see [`states`], which alone sets it.
    pub recorded: Option<Recorded>,
    /// Time limit, after which the run ends with a partial snapshot.
    pub time_limit: Option<TimeLimit>,
    /// Maximum bytes per second to read from the sources; 0 means unlimited.
    pub limit_read: Option<u64>,
}

impl Options {
    /// Saves these files and directories, with the defaults for the rest.
    pub fn of(sources: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        Self { sources: sources.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Returns host and absolute sources, which identify the set.
    ///
    /// # Errors
    /// When the options contradict one another.
    pub fn set(&self) -> Result<(String, Vec<Vec<u8>>)> {
        let sources = match &self.stdin {
            Some(stdin) => SourceTree::stream(&stdin.name).sources,
            None => sources::plan(&self.sources, self.store_as.as_deref())?.sources,
        };
        Ok((self.host.clone().unwrap_or_else(host::host_name), sources))
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            kind: SnapshotKind::Incremental,
            tags: Vec::new(),
            description: None,
            expires: None,
            host: None,
            filter: FilterOptions::default(),
            one_file_system: false,
            parent: None,
            ignore_ctime: false,
            allow_empty: false,
            dry_run: false,
            level: None,
            store_as: None,
            stdin: None,
            isolate: Vec::new(),
            delta: Delta::default(),
            leave_out: Vec::new(),
            optional: Vec::new(),
            count_ahead: false,
            tripwire: None,
            expect_change: false,
            reread: None,
            recorded: None,
            time_limit: None,
            limit_read: None,
        }
    }
}

/// Result of a backup.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// The new snapshot; `None` if nothing changed, and in a dry run.
    pub snapshot: Option<SnapshotId>,
    /// Actual kind of the snapshot.
    pub kind: SnapshotKind,
    /// The snapshot it was compared with.
    pub parent: Option<SnapshotId>,
    /// Statistics of the run.
    pub counts: Counts,
    /// More statistics of the run.
    pub more: MoreCounts,
    /// How long it took.
    pub duration: Duration,
    /// Whether the run ended before it was through.
    pub partial: bool,
    /// Whether that is because its time was up.
    pub time_up: bool,
    /// Paths that could not be read, and why.
    pub problems: Vec<Problem>,
    /// Number of entries that vanished before they could be read.
    pub vanished: u64,
    /// Number of files that changed each time they were read. They are stored and marked.
    pub changing: u64,
    /// The snapshot that an unchanged run equals.
    pub newest: Option<SnapshotId>,
    /// New chunks that were stored as deltas.
    pub deltas: Deltas,
    /// Bytes of all packs: those listed at the start, plus those that this run stored.
    pub repository_bytes: u64,
    /// Whether everything equals `newest`.
    pub unchanged: bool,
    /// Patterns that matched nothing.
    pub unmatched: Vec<String>,
    /// Reasons for an alarm of the snapshot: unusual changes, and bit rot.
    pub alarm: Vec<AlarmReason>,
    /// Result of rereading unchanged files, if that was requested.
    pub reread: Option<Rereading>,
    /// The quota, if the run ended because it was reached.
    pub quota: Option<u64>,
}

/// State that all threads of a run share.
struct Run<'a> {
    repo: &'a Repository,
    options: &'a Options,
    begun: &'a Backup,
    isolated: &'a Isolated,
    observer: &'a dyn Observer,
    /// Of [`Backup::begin`]: it also ends the walk.
    stop: &'a AtomicBool,
    /// Of [`Backup::run`].
    cancel: &'a AtomicBool,
    basis: &'a ParentChoice,
    /// The index as of the start of the run.
    index: Arc<Index>,
    /// Whether chunks may become deltas.
    deltas: bool,
    started: Time,
    /// The root of the tree is not a source, and only leads to sources.
    root_only_leads: bool,
    problems: Mutex<Vec<Problem>>,
    /// Unchanged files whose stored path lies on this arc are read again.
    arc: Option<rot::RingArc>,
    findings: rot::Findings,
    /// Bytes that the repository may still grow by.
    quota: Option<u64>,
    /// Set when the quota is used up: the run ends with a partial snapshot.
    full: AtomicBool,
    /// The time limit was reached.
    time_up: AtomicBool,
    /// Rate limit for reading the sources.
    reading: Option<RateLimit>,
    /// Set by the first thread that fails, to stop the others.
    failed: AtomicBool,
    /// Set if the parent turns out not to guarantee its chunks: start over, looking up every chunk.
    parent_invalidated: AtomicBool,
    stored: AtomicU64,
    vanished: AtomicU64,
    changing: AtomicU64,
}

impl Run<'_> {
    fn problem(&self, problem: Problem) {
        self.observer.notice(Event::Problem(&problem));
        self.problems.lock().push(problem);
    }

    /// Counts an entry that vanished, unless the run is being interrupted.
    fn vanished(&self, path: &[u8]) {
        if !self.stopping() {
            self.vanished.fetch_add(1, Ordering::Relaxed);
            let path = String::from_utf8_lossy(path);
            self.observer.notice(Event::Warning(&format!("{path} vanished before it could be read")));
        }
    }

    /// Records unreadable attributes of an entry. Clears its ctime, so that the next run reads them again.
    fn incomplete(&self, path: &[u8], entry: &mut Entry, problems: &[String]) {
        if !problems.is_empty() {
            entry.meta.ctime = Time::default();
        }
        problems.iter().for_each(|why| self.problem(Problem::new(path, ErrorKind::Io, why)));
    }

    fn stopping(&self) -> bool {
        self.interrupted() || self.failed.load(Ordering::Relaxed)
    }

    /// Removes from a state of the past what belongs to the copy of it.
    fn strip(&self, meta: &mut Meta) {
        self.options.recorded.iter().for_each(|recorded| recorded.strip(meta));
    }

    /// Adds known metadata, except for extended attributes, to an entry of a past state.
    fn amend(&self, path: &[u8], entry: &mut Entry) {
        if let Some(supplement) = self.supplement() {
            supplement.amend(path, entry);
        }
    }

    /// Adds known extended attributes to an entry of a past state.
    fn add_xattrs(&self, path: &[u8], entry: &mut Entry) {
        let left_out = self.supplement().and_then(|supplement| supplement.add_xattrs(path, entry));
        left_out.iter().for_each(|why| self.problem(Problem::new(path, ErrorKind::BadInput, why.as_str())));
    }

    fn supplement(&self) -> Option<&Supplement> {
        self.options.recorded.as_ref()?.supplement.as_deref()
    }

    /// Ends early, in good order.
    fn interrupted(&self) -> bool {
        let limit = &self.options.time_limit;
        if !self.ended_early() && limit.as_ref().is_some_and(TimeLimit::is_up) {
            self.time_up.store(true, Ordering::Relaxed);
        }
        self.ended_early()
    }

    /// Returns whether it has ended early, without looking at the clock once more.
    fn ended_early(&self) -> bool {
        [self.stop, self.cancel, &self.full, &self.time_up].iter().any(|flag| flag.load(Ordering::Relaxed))
    }

    /// Returns why it ended early, if nothing of it can be kept.
    fn why_ended(&self) -> Error {
        let quota = self.repo.config().quota().filter(|_| self.full.load(Ordering::Relaxed));
        match (quota, self.ran_out_of_time()) {
            (Some(quota), _) => Error::Quota { quota },
            (None, true) => Error::TimeUp,
            (None, false) => Error::Interrupted,
        }
    }

    /// Returns whether the time limit was reached. A signal takes precedence.
    fn ran_out_of_time(&self) -> bool {
        let is_stopped = [self.stop, self.cancel].iter().any(|flag| flag.load(Ordering::Relaxed));
        self.time_up.load(Ordering::Relaxed) && !is_stopped
    }
}

/// Result of the pipeline.
struct Assembled {
    root: ChunkId,
    session: Option<Session>,
    counts: Counts,
    more: MoreCounts,
    deltas: Deltas,
    read: alarm::statistics::Read,
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
    own: Option<PathBuf>,
    isolated: Isolated,
    stop: Arc<AtomicBool>,
    filter: Arc<Filter>,
    survey: Option<Walk>,
    clock: Instant,
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
    /// Begins to walk the sources while the repository is not open yet. `own` is the repository's directory,
    /// which is excluded. Of `control`, only the cancellation is used: it also ends [`Self::run`].
    ///
    /// # Errors
    /// When the options contradict one another, or no source exists.
    pub fn begin(options: Options, own: Option<PathBuf>, control: &Control<'_>) -> Result<Self> {
        let clock = Instant::now();
        let plan = plan_of(&options)?;
        let filter = Arc::new(filter_of(&options)?);
        let isolated = Isolated::new(&options.isolate, &options.sources)?;
        let mut begun = Self {
            options,
            plan,
            own,
            isolated,
            stop: Arc::clone(control.cancel()),
            filter,
            survey: None,
            clock,
        };
        if begun.options.stdin.is_none() {
            begun.survey = Some(begun.survey()?);
        }
        Ok(begun)
    }

    fn survey(&self) -> Result<Walk> {
        Walk::start(self.plan.clone(), self.survey_options(), &self.stop)
    }

    fn survey_options(&self) -> WalkOptions {
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
        let below = self.own.iter().flat_map(folders);
        self.own.iter().chain(&self.options.leave_out).cloned().chain(below).collect()
    }

    /// Runs the backup. It also ends early if the control of [`Self::begin`] is cancelled.
    ///
    /// # Errors
    /// When nothing could be read, the repository fails, or the run was interrupted before anything was
    /// stored. Entries that cannot be read are listed in the summary.
    pub fn run(mut self, repo: &Repository, control: &Control<'_>) -> Result<Report> {
        let observer = control.observer();
        if !self.options.dry_run {
            // The session comes late, or never.
            repo.may_add()?;
        }
        for why in &self.isolated.missing {
            observer.notice(Event::Warning(why));
        }
        let host = self.options.host.clone().unwrap_or_else(host::host_name);
        let sources: Vec<ByteBuf> =
            self.plan.sources.iter().map(|path| ByteBuf::from(path.clone())).collect();
        let mut basis = parent::choose(repo, &self.options, &host, &sources)?;
        if basis.became_full && self.options.recorded.is_none() {
            let asked = self.options.kind;
            observer.notice(Event::Note(&format!(
                "no snapshot to compare with yet: this {asked} backup becomes a full"
            )));
        }
        if let (Some(before), None) = (&basis.newest, &self.options.stdin) {
            let counts = &before.manifest.counts;
            observer.notice(Event::Estimate { files: counts.files(), bytes: counts.bytes_total });
        }
        let arc = match &self.options.reread {
            // A full backup reads everything, and a stream is never unchanged.
            Some(reread) if !basis.rereads && self.options.stdin.is_none() => {
                Some(rot::RingArc::new(reread)?)
            }
            _ => None,
        };
        loop {
            let repo_state = RepoState::read(repo.storage(), repo.suite(), |_| Ok(()))?;
            basis.trusted &= basis.compare.as_ref().is_none_or(|parent| repo_state.protects(&parent.id));
            let index = Arc::new(Index::load(repo, repo_state)?);
            for (pack, why) in &index.unreadable {
                repo.control().warn(format!("{why}: pack {} is not used", pack.short()));
            }
            let quota = left(repo, &index)?;
            let survey = self.survey.take();
            let (source, started) = match &self.options.stdin {
                Some(stdin) => (Source::Stream(stdin), Time::now()),
                None => {
                    let survey = survey.map_or_else(|| self.survey(), Ok)?;
                    let recorded = self.options.recorded.as_ref();
                    let started = recorded.map_or(survey.started, |recorded| recorded.time);
                    (Source::Files(survey), started)
                }
            };
            // A write key reads no bases.
            let deltas = self.options.delta.holds(repo) && repo.role() != Role::Write;
            let run = Run {
                repo,
                options: &self.options,
                begun: &self,
                isolated: &self.isolated,
                observer,
                stop: &self.stop,
                cancel: control.cancel(),
                basis: &basis,
                index,
                deltas,
                started,
                root_only_leads: matches!(self.plan.root, sources::SourceNode::Passage { .. }),
                problems: Mutex::default(),
                arc,
                findings: rot::Findings::default(),
                quota,
                full: AtomicBool::new(false),
                time_up: AtomicBool::new(false),
                reading: self.options.limit_read.and_then(RateLimit::new),
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
                    return Err(Error::Bug { what: "a stream is read once" });
                }
                basis.trusted = false;
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
fn left(repo: &Repository, index: &Index) -> Result<Option<u64>> {
    let Some(quota) = repo.config().quota() else { return Ok(None) };
    let bytes: u64 = index.packs().iter().map(|pack| pack.len).sum();
    match quota.checked_sub(bytes) {
        Some(left @ 1..) => Ok(Some(left)),
        _ => Err(Error::Quota { quota }),
    }
}

fn filter_of(options: &Options) -> Result<Filter> {
    let is_moved = options.store_as.is_some() || options.recorded.is_some();
    let anchors_in_snapshot = is_moved || options.filter.anchors_in_snapshot;
    Filter::new(&FilterOptions { anchors_in_snapshot, ..options.filter.clone() })
}

fn plan_of(options: &Options) -> Result<SourceTree> {
    let Some(stdin) = &options.stdin else {
        let plan = match &options.recorded {
            Some(recorded) => sources::plan_at(&recorded.places(&options.sources))?,
            None => sources::plan(&options.sources, options.store_as.as_deref())?,
        };
        // Single sources may be missing. If all are, it is a mistake.
        let there = options.sources.iter().any(|path| path.symlink_metadata().is_ok());
        return if there { Ok(plan) } else { Err(Error::NothingRead(no_source(&options.sources))) };
    };
    if !options.sources.is_empty() {
        return Err(Error::Usage("standard input takes no paths beside it".into()));
    }
    crate::model::entry::check_name(&stdin.name)
        .map_err(|why| Error::Usage(format!("the name of the stream: {why}")))?;
    Ok(SourceTree::stream(&stdin.name))
}

fn no_source(sources: &[PathBuf]) -> String {
    let names: Vec<String> = sources.iter().map(|path| path.display().to_string()).collect();
    format!("{} cannot be found", names.join(", "))
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
            let result = assemble::work(run, &events, &back, scope);
            if result.is_err() {
                run.failed.store(true, Ordering::Relaxed);
            }
            result
        })?;
        let compared = compare::work(run, &source, &jobs_in, &events_in);
        // After a failure this ends the survey, too.
        drop((jobs_in, events_in, source));
        if compared.is_err() {
            run.failed.store(true, Ordering::Relaxed);
        }
        let assembled = assembler.join().unwrap_or(Err(Error::Stopped));
        // What the assembler says goes first: the comparer may only have noticed that it failed.
        let (mut assembled, tally) = error::fed(assembled, compared)?;
        tally.add_to(&mut assembled.counts, &mut assembled.more);
        assembled.read.moved_files(tally.files_new);
        if !run.basis.rereads {
            assembled.counts.files_removed += tally.removed;
        }
        assembled.tally = tally;
        Ok(assembled)
    })
}
