//! `backup`: walk, compare with the parent, read and cut, dedup, seal, pack, trees, manifest.
//!
//! Threads: the survey walks the sources (`fs::walk`); the caller's compares with the parent (`compare`, `untold`);
//! readers read, cut and name chunks (`read`); one assembler owns dedup and builds trees bottom-up (`assemble`); the
//! sink's workers seal and write. Data flows one way through bounded channels.

mod assemble;
mod commit;
mod compare;
mod count;
mod dedup;
mod parent;
mod read;
mod read_file;
mod reuse;
mod unchanged_dirs;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crossbeam_channel::bounded;
use serde_bytes::ByteBuf;

use crate::error::{Error, Result};
use crate::fs::filter::{Filter, FilterOptions};
use crate::fs::sources;
use crate::fs::sources::SourceTree;
use crate::fs::walk::{Walk, WalkOptions};
use crate::model::entry::{Entry, Time};
use crate::model::id::{ChunkId, SnapshotId};
use crate::model::manifest::{Counts, SnapshotKind};
use crate::ops::backup::parent::ParentChoice;
use crate::progress::{Event, Observer};
use crate::repo::index::Index;
use crate::repo::repository::Repository;
use crate::repo::sessions::session::{RepoState, Session};
use crate::repo::write::delta_writer::Delta;
use crate::repo::write::pack_writer::Deltas;
use crate::util::{host, threads};

/// What standard input or a command's output is stored as.
#[derive(Debug, Clone)]
pub struct Stdin {
    /// Stored path.
    pub name: Vec<u8>,
    /// Run this and store its output; `None`: standard input.
    pub command: Option<Vec<std::ffi::OsString>>,
}

/// What to back up, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Files and directories.
    pub sources: Vec<PathBuf>,
    /// What was asked for.
    pub kind: SnapshotKind,
    /// Labels.
    pub tags: Vec<String>,
    /// What a person says of the snapshot.
    pub description: Option<String>,
    /// When it may go, whatever rules say.
    pub expires: Option<Time>,
    /// Instead of this machine's name.
    pub host: Option<String>,
    /// What to leave out.
    pub filter: FilterOptions,
    /// Stay on each source's file system.
    pub one_file_system: bool,
    /// Compare with this snapshot.
    pub parent: Option<String>,
    /// A file whose ctime alone differs is unchanged.
    pub ignore_ctime: bool,
    /// Write a manifest even where nothing changed.
    pub allow_empty: bool,
    /// Write nothing.
    pub dry_run: bool,
    /// Instead of the repository's compression level.
    pub level: Option<i32>,
    /// Store the one source under this path.
    pub store_as: Option<Vec<u8>>,
    /// Store a stream instead of files.
    pub stdin: Option<Stdin>,
    /// Whether new chunks may become deltas against chunks that are like them.
    pub delta: Delta,
    /// Folders that stay out: what this machine keeps of its runs would change with each of them.
    pub leave_out: Vec<PathBuf>,
    /// Stored paths of sources that need not be there.
    pub optional: Vec<Vec<u8>>,
    /// Count ahead of what is read: somebody watches the progress.
    pub count_ahead: bool,
}

impl Options {
    /// Host and absolute sources: what makes snapshots states of the same thing.
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
            delta: Delta::default(),
            leave_out: Vec::new(),
            optional: Vec::new(),
            count_ahead: false,
        }
    }
}

/// What a run did.
#[derive(Debug)]
pub struct Summary {
    /// The new snapshot; `None`: nothing had changed, or a dry run.
    pub snapshot: Option<SnapshotId>,
    /// What it became.
    pub kind: SnapshotKind,
    /// What it was compared with.
    pub parent: Option<SnapshotId>,
    /// Numbers.
    pub counts: Counts,
    /// How long it took.
    pub seconds: f64,
    /// The run was interrupted.
    pub partial: bool,
    /// What could not be read, and why.
    pub problems: Vec<(Vec<u8>, String)>,
    /// Entries that were gone before they could be read.
    pub vanished: u64,
    /// Files that changed each time they were read: stored, and marked as such.
    pub changing: u64,
    /// The snapshot that an unchanged run equals.
    pub newest: Option<SnapshotId>,
    /// What of the new chunks became deltas.
    pub deltas: Deltas,
    /// Bytes of all packs: those listed at the beginning, and what this run stored.
    pub repository_bytes: u64,
    /// All is as in `newest`.
    pub unchanged: bool,
    /// Patterns that have matched nothing.
    pub unmatched: Vec<String>,
}

/// What all threads of one run share.
struct Run<'a> {
    repo: &'a Repository,
    options: &'a Options,
    begun: &'a Backup,
    observer: &'a dyn Observer,
    stop: &'a AtomicBool,
    basis: &'a ParentChoice,
    /// The listing that the run began with.
    index: Arc<Index>,
    /// Chunks may become deltas.
    deltas: bool,
    started: Time,
    /// The root of the tree is no source, and only leads to them.
    root_only_leads: bool,
    problems: Mutex<Vec<(Vec<u8>, String)>>,
    /// Set by whoever fails first: everybody else stops.
    failed: AtomicBool,
    /// The parent turned out not to vouch for what it holds: begin again, looking everything up.
    weakness: AtomicBool,
    stored: AtomicU64,
    vanished: AtomicU64,
    changing: AtomicU64,
}

impl Run<'_> {
    fn problem(&self, path: &[u8], why: &str) {
        self.observer.notice(Event::Problem { path, why });
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.push((path.to_vec(), why.to_owned()));
    }

    /// An entry is gone, unless the run is merely ending early.
    fn vanished(&self, path: &[u8]) {
        if !self.stopping() {
            self.vanished.fetch_add(1, Ordering::Relaxed);
            let path = String::from_utf8_lossy(path);
            self.observer.notice(Event::Warning(&format!("{path} vanished before it could be read")));
        }
    }

    /// Attributes of an entry could not be read. Without its ctime the next run asks again.
    fn incomplete(&self, path: &[u8], entry: &mut Entry, problems: &[String]) {
        if !problems.is_empty() {
            entry.meta.ctime = Time::default();
        }
        problems.iter().for_each(|why| self.problem(path, why));
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.failed.load(Ordering::Relaxed)
    }
}

/// What assembling gave.
struct Assembled {
    root: ChunkId,
    session: Option<Session>,
    counts: Counts,
    deltas: Deltas,
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
    /// Begins to walk the sources, while the repository is still to be opened. `own` is the repository's folder,
    /// which stays out. When `stop` becomes true, the run ends early.
    ///
    /// # Errors
    /// When the options contradict one another, or no source exists.
    pub fn begin(options: Options, own: Option<PathBuf>, stop: &Arc<AtomicBool>) -> Result<Self> {
        let clock = Instant::now();
        let plan = plan_of(&options)?;
        let filter = Arc::new(filter_of(&options)?);
        let mut begun = Self { options, plan, own, stop: Arc::clone(stop), filter, survey: None, clock };
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
            own: self.own.iter().chain(&self.options.leave_out).cloned().collect(),
        }
    }

    /// Backs up.
    ///
    /// # Errors
    /// When nothing could be read, the repository fails, or the run was interrupted before anything was stored.
    /// Single entries that cannot be read are listed in the summary.
    pub fn run(mut self, repo: &Repository, observer: &dyn Observer) -> Result<Summary> {
        let host = self.options.host.clone().unwrap_or_else(host::host_name);
        let sources: Vec<ByteBuf> =
            self.plan.sources.iter().map(|path| ByteBuf::from(path.clone())).collect();
        let mut basis = parent::choose(repo, &self.options, &host, &sources)?;
        if basis.became_full {
            let asked = self.options.kind;
            observer.notice(Event::Note(&format!(
                "no snapshot to compare with yet: this {asked} backup becomes a full"
            )));
        }
        if let (Some(before), None) = (&basis.newest, &self.options.stdin) {
            let counts = &before.manifest.counts;
            observer.notice(Event::Estimate { files: counts.files(), bytes: counts.bytes_total });
        }
        loop {
            let repo_state = RepoState::look(repo.storage(), repo.suite(), |_| Ok(()))?;
            basis.trusted &= basis.compare.as_ref().is_none_or(|parent| repo_state.protects(&parent.id));
            let index = Arc::new(Index::load(repo, repo_state)?);
            for (pack, why) in &index.unreadable {
                repo.warn(format!("{why}: pack {} is not used", pack.short()));
            }
            let survey = self.survey.take();
            let (source, started) = match &self.options.stdin {
                Some(stdin) => (Source::Stream(stdin), Time::now()),
                None => {
                    let survey = survey.map_or_else(|| self.survey(), Ok)?;
                    let started = survey.started;
                    (Source::Files(survey), started)
                }
            };
            let deltas = self.options.delta.holds(repo);
            let run = Run {
                repo,
                options: &self.options,
                begun: &self,
                observer,
                stop: &self.stop,
                basis: &basis,
                index,
                deltas,
                started,
                root_only_leads: matches!(self.plan.root, sources::SourceNode::Passage { .. }),
                problems: Mutex::default(),
                failed: AtomicBool::new(false),
                weakness: AtomicBool::new(false),
                stored: AtomicU64::new(0),
                vanished: AtomicU64::new(0),
                changing: AtomicU64::new(0),
            };
            let published = assemble_all(&run, source)
                .and_then(|assembled| commit::publish(&run, assembled, &host, &sources));
            if run.weakness.load(Ordering::Relaxed) {
                if self.options.stdin.is_some() {
                    return Err(Error::Bug { what: "a stream is read once" });
                }
                basis.trusted = false;
                continue;
            }
            let mut summary = published?;
            summary.seconds = self.clock.elapsed().as_secs_f64();
            summary.unmatched = self.filter.unmatched();
            return Ok(summary);
        }
    }
}

fn filter_of(options: &Options) -> Result<Filter> {
    let anchors_in_snapshot = options.store_as.is_some() || options.filter.anchors_in_snapshot;
    Filter::new(&FilterOptions { anchors_in_snapshot, ..options.filter.clone() })
}

fn plan_of(options: &Options) -> Result<SourceTree> {
    let Some(stdin) = &options.stdin else {
        let plan = sources::plan(&options.sources, options.store_as.as_deref())?;
        // One source may be missing; all missing is a mistake.
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
    let readers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let (jobs_in, jobs) = bounded::<read::Job>(8192);
    let (events_in, events) = bounded::<Vec<assemble::Message>>(64);
    let read::Buffers { empty, back } = read::Buffers::new(readers);
    std::thread::scope(|scope| {
        threads::pool(scope, "read", readers, || {
            let (jobs, empty, events) = (jobs.clone(), empty.clone(), events_in.clone());
            move || read::work(run, &jobs, &empty, &events)
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
        match (compared, assembled) {
            (Ok(tally), Ok(mut assembled)) => {
                tally.add_to(&mut assembled.counts);
                Ok(assembled)
            }
            (Err(err), Err(Error::Stopped)) | (_, Err(err)) | (Err(err), Ok(_)) => Err(err),
        }
    })
}
