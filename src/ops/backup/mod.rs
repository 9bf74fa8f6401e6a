//! `backup`: walk, compare with the parent, read and cut, dedup, seal, pack, trees, manifest.
//!
//! Threads: the caller's walks and compares (`walk`); readers read, cut and name chunks (`read`); one
//! assembler owns dedup and builds trees bottom-up (`assemble`); the sink's workers seal and write. Data flows
//! one way through bounded channels.

mod assemble;
mod parent;
mod read;
mod walk;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crossbeam_channel::bounded;
use serde_bytes::ByteBuf;

use crate::error::Error;
use crate::error::Result;
use crate::model::entry::Time;
use crate::model::id::ChunkId;
use crate::model::id::SnapshotId;
use crate::model::manifest::Counts;
use crate::model::manifest::Manifest;
use crate::model::manifest::SnapshotKind;
use crate::model::record::SessionKind;
use crate::observe::Event;
use crate::observe::Observer;
use crate::ops::backup::parent::Basis;
use crate::store::index::Index;
use crate::store::repository::Repository;
use crate::store::session;
use crate::store::session::Session;
use crate::store::session::Sight;
use crate::store::snapshots;
use crate::tree::filter::Filter;
use crate::tree::filter::FilterOptions;
use crate::tree::plan;
use crate::tree::plan::Place;
use crate::tree::plan::Plan;

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
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            kind: SnapshotKind::Incremental,
            tags: Vec::new(),
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
    /// The snapshot that an unchanged run equals.
    pub newest: Option<SnapshotId>,
}

/// What all threads of one run share.
struct Run<'a> {
    repo: &'a Repository,
    options: &'a Options,
    observer: &'a dyn Observer,
    stop: &'a AtomicBool,
    filter: Filter,
    basis: &'a Basis,
    /// The listing that the run began with.
    index: Arc<Index>,
    started: Time,
    problems: Mutex<Vec<(Vec<u8>, String)>>,
    /// Set by whoever fails first: everybody else stops.
    failed: AtomicBool,
    /// The parent turned out not to vouch for what it holds: begin again, looking everything up.
    distrust: AtomicBool,
    stored: AtomicU64,
}

impl Run<'_> {
    fn problem(&self, path: &[u8], why: &str) {
        self.observer.notice(Event::Problem { path, why });
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.push((path.to_vec(), why.to_owned()));
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
}

/// Backs up.
///
/// # Errors
/// When nothing could be read, the repository fails, or the run was interrupted before anything was stored.
/// Single entries that cannot be read are listed in the summary.
pub fn run(
    repo: &Repository,
    options: &Options,
    observer: &dyn Observer,
    stop: &AtomicBool,
) -> Result<Summary> {
    let clock = Instant::now();
    let plan = plan_of(options)?;
    let host = options.host.clone().unwrap_or_else(session::host_name);
    let sources: Vec<ByteBuf> = plan.sources.iter().map(|path| ByteBuf::from(path.clone())).collect();
    let mut basis = parent::choose(repo, options, &host, &sources)?;
    if basis.became_full {
        let asked = options.kind;
        observer.notice(Event::Note(&format!(
            "no snapshot to compare with yet: this {asked} backup becomes a full"
        )));
    }
    loop {
        let started = Time::now();
        let sight = Sight::look(repo.storage(), repo.ring(), |_| Ok(()))?;
        basis.trusted &= basis.compare.as_ref().is_none_or(|parent| sight.vouches_for(&parent.id));
        let index = Arc::new(Index::load(repo, sight)?);
        for (pack, why) in &index.unreadable {
            repo.warn(format!("{why}: pack {} is not used", pack.short()));
        }
        let run = Run {
            repo,
            options,
            observer,
            stop,
            filter: Filter::new(&options.filter)?,
            basis: &basis,
            index,
            started,
            problems: Mutex::default(),
            failed: AtomicBool::new(false),
            distrust: AtomicBool::new(false),
            stored: AtomicU64::new(0),
        };
        let assembled = assemble_all(&run, &plan);
        if run.distrust.load(Ordering::Relaxed) {
            basis.trusted = false;
            continue;
        }
        let mut summary = publish(&run, assembled?, &host, &sources)?;
        summary.seconds = clock.elapsed().as_secs_f64();
        return Ok(summary);
    }
}

fn plan_of(options: &Options) -> Result<Plan> {
    let Some(stdin) = &options.stdin else {
        let plan = plan::plan(&options.sources, options.store_as.as_deref())?;
        // One source may be missing; all missing is a mistake.
        let there = options.sources.iter().any(|path| path.symlink_metadata().is_ok());
        return if there { Ok(plan) } else { Err(Error::NothingRead(no_source(&options.sources))) };
    };
    if !options.sources.is_empty() {
        return Err(Error::Usage("standard input takes no paths beside it".into()));
    }
    let name = stdin.name.clone();
    crate::model::entry::check_name(&name)
        .map_err(|why| Error::Usage(format!("the name of the stream: {why}")))?;
    let path = PathBuf::from("/").join(std::ffi::OsStr::new(&String::from_utf8_lossy(&name).into_owned()));
    let below = [(name.clone(), Place::Source(path))].into();
    Ok(Plan {
        root: Place::Passage { path: PathBuf::from("/"), below },
        sources: vec![[b"/", &*name].concat()],
    })
}

fn no_source(sources: &[PathBuf]) -> String {
    let names: Vec<String> = sources.iter().map(|path| path.display().to_string()).collect();
    format!("{} cannot be found", names.join(", "))
}

/// Runs the pipeline once.
fn assemble_all(run: &Run<'_>, plan: &Plan) -> Result<Assembled> {
    let readers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let (jobs_in, jobs) = bounded::<read::Job>(8192);
    let (events_in, events) = bounded::<assemble::Message>(256);
    std::thread::scope(|scope| {
        for _ in 0..readers {
            let (jobs, events) = (jobs.clone(), events_in.clone());
            scope.spawn(move || read::work(run, &jobs, &events));
        }
        drop(jobs);
        let assembler = scope.spawn(move || {
            let result = assemble::work(run, &events, scope);
            if result.is_err() {
                run.failed.store(true, Ordering::Relaxed);
            }
            result
        });
        let walked = walk::work(run, plan, &jobs_in, &events_in);
        drop((jobs_in, events_in));
        if walked.is_err() {
            run.failed.store(true, Ordering::Relaxed);
        }
        let assembled = assembler.join().unwrap_or(Err(Error::Stopped));
        match (walked, assembled) {
            (Ok(removed), Ok(mut assembled)) => {
                assembled.counts.files_removed = removed;
                Ok(assembled)
            }
            (Err(err), Err(Error::Stopped)) | (_, Err(err)) | (Err(err), Ok(_)) => Err(err),
        }
    })
}

/// Commits, unless there is nothing to say.
fn publish(run: &Run<'_>, assembled: Assembled, host: &str, sources: &[ByteBuf]) -> Result<Summary> {
    let Assembled { root, session, mut counts } = assembled;
    let problems = std::mem::take(&mut *run.problems.lock().unwrap_or_else(PoisonError::into_inner));
    counts.errors = problems.len() as u64;
    counts.bytes_stored = run.stored.load(Ordering::Relaxed);
    let basis = run.basis;
    let partial = run.stop.load(Ordering::Relaxed);
    let mut summary = Summary {
        snapshot: None,
        kind: basis.kind,
        parent: basis.parent,
        counts,
        seconds: 0.0,
        partial,
        problems,
        newest: basis.newest.as_ref().map(|newest| newest.id),
    };
    let same = basis.newest.as_ref().is_some_and(|newest| newest.manifest.root == root);
    let silent = same && basis.kind != SnapshotKind::Full && !run.options.allow_empty;
    if run.options.dry_run || silent && !partial {
        return Ok(summary);
    }
    if partial && session.is_none() {
        return Err(Error::Interrupted);
    }
    let manifest = Manifest {
        kind: basis.kind,
        parent: basis.parent,
        based_on: basis.based_on,
        started: run.started,
        ended: Time::now(),
        host: host.to_owned(),
        user: session::user_name(),
        sources: sources.to_vec(),
        tags: run.options.tags.clone(),
        root,
        counts,
        partial,
        program: concat!("snap ", env!("CARGO_PKG_VERSION")).to_owned(),
        extra: Vec::new(),
    };
    let session = match session {
        Some(session) => session,
        None => Session::open(run.repo.shared_storage(), run.repo.ring(), SessionKind::Writer)?.0,
    };
    summary.snapshot = Some(commit(run, session, &manifest)?);
    // Off the commit path, best effort: notes what is there now, so that a later check can miss it.
    let _ = run.repo.vanished();
    Ok(summary)
}

/// W3. A fence means that a collector took this session for dead: everything the snapshot needs is looked up
/// again under a new session before it is committed there.
fn commit(run: &Run<'_>, session: Session, manifest: &Manifest) -> Result<SnapshotId> {
    if snapshots::commit(run.repo, session.id, manifest)? {
        let id = session.id;
        session.close()?;
        return Ok(id);
    }
    let (next, sight) = Session::open(run.repo.shared_storage(), run.repo.ring(), SessionKind::Writer)?;
    let index = Arc::new(Index::load(run.repo, sight)?);
    parent::stands(run.repo, &index, &manifest.root)?;
    drop(session);
    commit(run, next, manifest)
}
