//! `restore`: compares the target with the snapshot, plans what differs sorted by block, reads and decodes
//! each block once, and writes it to all its places.
//!
//! Files are restored in batches. For each batch, directories are created first (accessible to their owner
//! alone), files are written as their blocks arrive, and hard links follow once the files exist. Directories
//! to which nothing more is written then get their final metadata, deepest first. At the end, `--delete`
//! removes what the snapshot does not hold, and immutable flags are set.
//!
//! `walk` walks the snapshot, `enter` creates its directories, `overwrite` decides what may be changed,
//! `chosen` applies the user's selection. `batch` collects files, `plan` compares them with what exists,
//! `write` fills them block by block, `verify` reads them back. `special` creates everything that is not a
//! regular file or a directory, `delete` removes.

mod batch;
mod delete;
mod overwrite;
mod selection;
mod special;
mod verify;
mod walk;
mod write;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, Problem, Result};
use crate::fs::filter::RestoreFilter;
use crate::fs::protected_dirs::{Guard, Protected};
use crate::fs::target::{Target, TargetOptions};
use crate::fs::xattr_choice::XattrChoice;
use crate::model::entry::{Entry, Kind, Meta, flags};
use crate::model::id::{ChunkId, SnapshotId};
use crate::progress::{Control, Event, Observer};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::read::read_session::ReadSession;
use crate::repo::repository::Repository;
use crate::repo::snapshots::{Query, Snapshot, filter};
use crate::repo::walk::dir_reader::WalkLimits;
use crate::repo::walk::{dir_reader, totals};
use crate::repo::{enclosing, snapshots};
use crate::util::threads;

pub use overwrite::Overwrite;

use overwrite::Action;
use parking_lot::{Mutex, MutexGuard};
use selection::Include;
use walk::Walk;

/// What to restore, where to, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Snapshot to restore from: `SNAPSHOT[:path]`.
    pub selector: String,
    /// Stored path to restore, if the selector names none. Unlike the selector it may hold any bytes.
    pub below: Option<Vec<u8>>,
    /// Snapshots among which `latest` and times are resolved.
    pub among: filter::SnapshotFilter,
    /// Directory to restore to.
    pub target: PathBuf,
    /// Patterns of entries to restore; all entries if empty.
    pub include: Vec<OsString>,
    /// Patterns of entries to leave out.
    pub exclude: Vec<OsString>,
    /// Replaces the patterns: exactly these stored paths, and the directories above them.
    pub only: Option<BTreeSet<Vec<u8>>>,
    /// Counts the selected part concurrently, for an observer that shows progress. The manifest only has
    /// totals.
    pub count_ahead: bool,
    /// Restores owners by number, not by name.
    pub numeric_ids: bool,
    /// Does not restore owners.
    pub no_owner: bool,
    /// Does not create device nodes.
    pub no_devices: bool,
    /// Does not restore the setuid and setgid bits, nor capabilities.
    pub no_setuid: bool,
    /// Which extended attributes are restored; others are left alone.
    pub xattrs: XattrChoice,
    /// Directories that must not be written to, in addition to the repository and its cache.
    pub protected: Vec<Protected>,
    /// Writes runs of zeros as holes.
    pub sparse: bool,
    /// Which existing files may be changed.
    pub overwrite: Overwrite,
    /// Removes selected entries of the target that are not in the snapshot.
    pub delete: bool,
    /// Writes nothing and does not create the target.
    pub dry_run: bool,
    /// Reads every restored file back and compares it with the snapshot.
    pub verify: bool,
}

impl Options {
    /// Restores what the selector names to `target`, with the defaults for the rest.
    pub fn of(selector: impl Into<String>, target: impl Into<PathBuf>) -> Self {
        Self { selector: selector.into(), target: target.into(), ..Self::default() }
    }
}

/// What was restored, or would be in a dry run.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// The snapshot that was restored.
    pub snapshot: SnapshotId,
    /// Files selected.
    pub files: u64,
    /// Directories selected.
    pub dirs: u64,
    /// Links and special files selected.
    pub others: u64,
    /// Bytes of the files selected.
    pub bytes: u64,
    /// Files selected that changed each time they were read for the snapshot: they may mix versions.
    pub changing: u64,
    /// Files, links and special files that did not exist.
    pub created: u64,
    /// Files, links and special files that existed and differed.
    pub updated: u64,
    /// Files, links and special files that existed and equal the snapshot's.
    pub unchanged: u64,
    /// Files, links and special files that `overwrite` protects.
    pub kept: u64,
    /// Entries removed, including directories.
    pub deleted: u64,
    /// Files written, renamed or given attributes.
    pub files_written: u64,
    /// Bytes written to files.
    pub bytes_written: u64,
    /// How long it took.
    pub duration: Duration,
    /// Exclude patterns that matched nothing. Include patterns that matched nothing are listed as problems.
    pub unmatched: Vec<String>,
    /// Number of problems that are only an include pattern that matched nothing.
    pub unmatched_includes: u64,
    /// Paths that could not be restored, and why.
    pub problems: Vec<Problem>,
    /// Whether some of the problems are damage in the repository.
    pub damage: bool,
    /// Number of owners, modes, times and devices that this user may not set.
    pub left_out: u64,
    /// Hard links that were restored as independent files because the target allows no more links.
    pub copied_links: u64,
}

/// Counters that all threads add to.
#[derive(Default)]
struct Tally {
    created: AtomicU64,
    updated: AtomicU64,
    unchanged: AtomicU64,
    kept: AtomicU64,
    deleted: AtomicU64,
    unmatched_includes: AtomicU64,
    files_written: AtomicU64,
    bytes_written: AtomicU64,
    copied_links: AtomicU64,
    not_restorable: AtomicU64,
}

struct Job<'a> {
    repo: &'a Repository,
    options: &'a Options,
    observer: &'a dyn Observer,
    stop: &'a AtomicBool,
    reading: Arc<ReadSession>,
    selection: RestoreFilter,
    /// Include patterns that have matched nothing so far.
    unmatched: Mutex<Vec<Include>>,
    all_matched: AtomicBool,
    /// `None` in a dry run if the target does not exist.
    target: Option<Target>,
    tally: Tally,
    /// Reads extended attribute values that are stored in chunks.
    values: Mutex<ChunkReader>,
    problems: Mutex<Vec<Problem>>,
    /// Set when the target is full. It ends the run, since every later write would fail as well.
    full: Mutex<Option<Error>>,
    damage: AtomicBool,
    /// First names of hard link groups that were not restored, and whether that is a problem: it is none for
    /// a device that this user may not create.
    lost: Mutex<HashMap<Vec<u8>, bool>>,
}

impl Job<'_> {
    fn problem(&self, path: &[u8], err: &Error) {
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
    fn note(&self, problem: Problem) {
        self.observer.notice(Event::Problem(&problem));
        self.problems.lock().push(problem);
    }

    /// Returns metadata with the xattr values that are stored in chunks. Kept in memory only as long as
    /// needed.
    fn whole<'m>(&self, meta: &'m Meta) -> Result<Cow<'m, Meta>> {
        dir_reader::load_xattrs(&mut self.values.lock(), meta)
    }

    /// Runs one step on the target and records a failure as a problem of that path.
    fn step(&self, path: &[u8], work: impl FnOnce(&Target) -> Result<()>) -> bool {
        if self.options.dry_run {
            return true;
        }
        let result = self.target().and_then(work);
        if let Err(err) = &result {
            self.problem(path, err);
        }
        result.is_ok()
    }

    fn target(&self) -> Result<&Target> {
        self.target.as_ref().ok_or_else(|| Error::Refused("a dry run has nowhere to write to".into()))
    }

    fn check_stop(&self) -> Result<()> {
        match (self.stop.load(Ordering::Relaxed), self.full().is_some()) {
            (true, _) => Err(Error::Interrupted),
            // The error itself is reported once, at the end.
            (false, true) => Err(Error::Stopped),
            (false, false) => Ok(()),
        }
    }

    fn full(&self) -> MutexGuard<'_, Option<Error>> {
        self.full.lock()
    }

    /// Counts the action and reports it to the observer.
    fn record_action(&self, did: Action, path: &[u8], size: u64) {
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

    fn report(&self, did: Action, path: &[u8], size: u64) {
        self.observer.notice(Event::Item { action: did.reported(), path, size });
    }

    /// Records that the object at this path is not the snapshot's, so that no hard link is made to it.
    fn mark_wrong(&self, path: &[u8], link: u128, is_problem: bool) {
        if link != 0 {
            self.lost.lock().insert(path.to_vec(), is_problem);
        }
    }

    fn is_wrong(&self, path: &[u8]) -> Option<bool> {
        self.lost.lock().get(path).copied()
    }
}

/// Restores a snapshot, or part of one.
///
/// # Errors
/// When the selector names nothing, the target cannot be opened or is full, or the run was interrupted.
/// Failures of single entries are listed in the summary.
pub fn run(repo: &Repository, options: &Options, control: &Control<'_>) -> Result<Report> {
    let (observer, stop) = (control.observer(), control.cancel());
    let clock = Instant::now();
    let selection = match &options.only {
        Some(paths) => RestoreFilter::only(paths.clone())?,
        None => RestoreFilter::new(&options.include, &options.exclude)?,
    };
    refuse_to_empty_the_machine(options)?;
    // R1: the session is opened before the snapshot is resolved, and packs are listed after that.
    let reading = Arc::new(ReadSession::open(repo, observer)?);
    let all = reading.snapshots()?;
    let (snapshot, path) = snapshots::resolve(repo, &all, Query::among(&options.selector, &options.among))?;
    drop(all);
    let path = path.or_else(|| options.below.clone());
    reading.begin(&[snapshot.id])?;
    let mut reader = ChunkReader::following(&reading)?;
    let start = match &path {
        None => None,
        Some(path) => Some(
            dir_reader::lookup(&mut reader, snapshot.manifest.root, path)?
                .ok_or_else(|| Error::no_path(&snapshot.id, path))?,
        ),
    };
    let includes = Include::all(options)?;
    let job = Job {
        repo,
        options,
        observer,
        stop,
        reading: Arc::clone(&reading),
        selection,
        all_matched: AtomicBool::new(includes.is_empty()),
        unmatched: Mutex::new(includes),
        target: open_target(repo, options)?,
        tally: Tally::default(),
        values: Mutex::new(ChunkReader::following(&reading)?),
        problems: Mutex::default(),
        full: Mutex::default(),
        damage: AtomicBool::new(false),
        lost: Mutex::default(),
    };
    let counts = &snapshot.manifest.counts;
    if path.is_none() && options.include.is_empty() && options.only.is_none() {
        observer.notice(Event::Expect { files: counts.files(), bytes: counts.bytes_total });
    }
    let over = AtomicBool::new(false);
    let summary = std::thread::scope(|scope| {
        if let Some(root) = tree_to_count(&snapshot, path.is_some(), start.as_ref(), options) {
            let (reading, over, budget) = (Arc::clone(&reading), &over, WalkLimits::of(counts));
            let count = move || count_part(&reading, (root, budget), options, observer, over);
            // If no thread can be started, nothing is counted.
            let _ = threads::start(scope, "count", count);
        }
        let result = job.run(&snapshot, start, &mut reader);
        over.store(true, Ordering::Relaxed);
        result
    })?;
    drop(reader);
    if let Some(reading) = Arc::into_inner(reading) {
        reading.close()?;
    }
    Ok(Report { duration: clock.elapsed(), ..summary })
}

/// Returns the tree to count if only a part is restored: the manifest has totals of the whole snapshot only.
fn tree_to_count(
    snapshot: &Snapshot,
    has_path: bool,
    start: Option<&Entry>,
    options: &Options,
) -> Option<ChunkId> {
    let is_part = has_path || !options.include.is_empty();
    if !is_part || !options.count_ahead || options.only.is_some() {
        return None;
    }
    match start.map(|entry| &entry.kind) {
        None => Some(snapshot.manifest.root),
        Some(Kind::Dir { tree }) => Some(*tree),
        Some(_) => None,
    }
}

fn count_part(
    reading: &Arc<ReadSession>,
    part: (ChunkId, WalkLimits),
    options: &Options,
    observer: &dyn Observer,
    over: &AtomicBool,
) {
    let selection = RestoreFilter::new(&options.include, &options.exclude);
    if let (Ok(selection), Ok(mut reader)) = (selection, ChunkReader::following(reading)) {
        totals::below(&mut reader, part, &|path, is_dir| selection.takes(path, is_dir), observer, over);
    }
}

impl Job<'_> {
    fn run(self, snapshot: &Snapshot, start: Option<Entry>, reader: &mut ChunkReader) -> Result<Report> {
        let (root, way, alone) = match start {
            None => (snapshot.manifest.root, snapshot.manifest.root_only_leads(), None),
            Some(Entry { kind: Kind::Dir { tree }, meta, .. }) => {
                (tree, meta.flags & flags::PASSAGE != 0, None)
            }
            Some(entry) => (snapshot.manifest.root, false, Some(entry)),
        };
        let is_dir = alone.is_none();
        let mut walk = Walk::new(&self, reader, root, WalkLimits::of(&snapshot.manifest.counts));
        match (walk.all(way, alone), self.full().take()) {
            (Ok(()) | Err(Error::Stopped), Some(full)) => return Err(full),
            (walked, _) => walked?,
        }
        let (files, dirs, others, bytes) = (walk.files, walk.dirs, walk.others, walk.bytes);
        let changing = walk.changing;
        self.tell_unmatched(walk.reader(), root, files + dirs + others)?;
        if is_dir && self.options.delete {
            self.delete_if_all_is_well(walk.reader(), (root, way), files + dirs + others)?;
        }
        walk.close();
        self.report_copies();
        self.report_not_restorable();
        if let Some(full) = self.full().take() {
            return Err(full);
        }
        let number = |of: &AtomicU64| of.load(Ordering::Relaxed);
        Ok(Report {
            snapshot: snapshot.id,
            files,
            dirs,
            others,
            bytes,
            changing,
            created: number(&self.tally.created),
            updated: number(&self.tally.updated),
            unchanged: number(&self.tally.unchanged),
            kept: number(&self.tally.kept),
            deleted: number(&self.tally.deleted),
            files_written: number(&self.tally.files_written),
            bytes_written: number(&self.tally.bytes_written),
            duration: Duration::ZERO,
            unmatched: self.selection.unmatched_excludes(),
            unmatched_includes: number(&self.tally.unmatched_includes),
            left_out: self.target.as_ref().map_or(0, |target| target.left_out().total()),
            copied_links: number(&self.tally.copied_links),
            problems: self.problems.into_inner(),
            damage: self.damage.into_inner(),
        })
    }

    /// Sets a directory's final attributes.
    fn finish_dir(&self, path: &[u8], meta: &Meta) {
        self.step(path, |target| target.finish_dir(path, &*self.whole(meta)?));
    }

    /// Records what the target could not represent as a problem of each path.
    fn report_notes(&self) {
        let notes = self.target.as_ref().map(Target::take_notes).unwrap_or_default();
        notes.into_iter().for_each(|problem| self.note(problem));
    }

    fn report_copies(&self) {
        let copied = self.tally.copied_links.load(Ordering::Relaxed);
        if copied > 0 {
            let text = format!(
                "{copied} hard links became files of their own: the target's file system has no hard links, or not \
                 so many of one file"
            );
            self.observer.notice(Event::Warning(&text));
        }
    }

    /// Reports in one sentence how many of the snapshot's attributes this system cannot restore.
    fn report_not_restorable(&self) {
        let count = self.tally.not_restorable.load(Ordering::Relaxed);
        if count > 0 {
            let text = format!(
                "{count} properties of what was restored are of another system, or of a newer snap: they were left out, and \
                 stay in the snapshot"
            );
            self.observer.notice(Event::Warning(&text));
        }
    }

    /// Runs `--delete`. Removes nothing if the restore was incomplete, and fails if it selected nothing.
    fn delete_if_all_is_well(
        &self,
        reader: &mut ChunkReader,
        top: (ChunkId, bool),
        taken: u64,
    ) -> Result<()> {
        let problems = self.problems.lock().len();
        if problems > 0 {
            self.observer.notice(Event::Warning("not everything could be restored, so nothing was deleted"));
            return Ok(());
        }
        if taken == 0 {
            let why = "the selection takes nothing from the snapshot, so nothing was deleted either";
            return Err(Error::Refused(why.into()));
        }
        self.delete(reader, top)
    }
}

/// Opens the target. Returns `None` in a dry run if it does not exist.
fn open_target(repo: &Repository, options: &Options) -> Result<Option<Target>> {
    let mut dirs = protected(repo, &options.protected);
    // Over SFTP or HTTP the repository may be on this very machine.
    let same = enclosing::same_around(&options.target, repo.config().repo);
    dirs.extend(same.map(|path| Protected { what: "a copy of the repository", path }));
    let guard = Guard::new(dirs);
    if options.dry_run && std::fs::metadata(&options.target).is_err() {
        return guard.check(&options.target).map(|()| None);
    }
    let target = TargetOptions {
        numeric_ids: options.numeric_ids,
        owner: !options.no_owner,
        sparse: options.sparse,
        xattrs: options.xattrs.clone(),
        writes: !options.dry_run,
    };
    Target::open_guarded(&options.target, target, guard).map(Some)
}

/// Returns the directories that an operation must not write to: the repository, its local cache, and
/// `others`.
pub fn protected(repo: &Repository, others: &[Protected]) -> Vec<Protected> {
    let own = repo.storage().local_dir().map(|path| ("the repository", path));
    let cache = repo.cache().base().map(|path| ("snap's cache", path));
    let named = [own, cache].into_iter().flatten();
    let named = named.map(|(what, path)| Protected { what, path: path.to_path_buf() });
    named.chain(others.iter().cloned()).collect()
}

/// Refuses `--delete` on `/` without `--include`: it would remove everything that is not in the snapshot.
fn refuse_to_empty_the_machine(options: &Options) -> Result<()> {
    let is_root = std::fs::canonicalize(&options.target).is_ok_and(|target| target.parent().is_none());
    if options.delete && is_root && options.include.is_empty() {
        let why = "`RestoreOptions::delete` with / as the target needs `RestoreOptions::include`: it would remove all that is not in the snapshot";
        return Err(Error::Usage(why.into()));
    }
    Ok(())
}
