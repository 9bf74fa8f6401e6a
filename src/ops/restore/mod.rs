//! `restore`: compares the target with the snapshot, plans what differs sorted by block, reads and decodes
//! each block once, and writes it to all its places.
//!
//! Files are restored in batches. For each batch, directories are created first (accessible to their owner
//! alone), files are written as their blocks arrive, and hard links follow once the files exist. Directories
//! to which nothing more is written then get their final metadata, deepest first. At the end, `--delete`
//! removes what the snapshot does not hold, and immutable flags are set.
//!
//! `options` says what to restore, and all threads share `job`. `walk` walks the snapshot and creates its
//! directories, `overwrite` decides what may be changed, `selection` applies the user's selection. `batch`
//! collects files and compares them with what exists, `write` fills them block by block, `verify` reads them
//! back. `special` creates everything that is not a regular file or a directory, `delete` removes.

mod batch;
mod delete;
mod job;
mod options;
mod overwrite;
mod selection;
mod special;
mod verify;
mod walk;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::fs::filter::RestoreFilter;
use crate::fs::protected_dirs::{Guard, Protected};
use crate::fs::target::{Target, TargetOptions};
use crate::model::entry::{Entry, Kind, Meta, flags};
use crate::model::id::ChunkId;
use crate::progress::{Control, Event, Observer};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::read::read_session::ReadSession;
use crate::repo::repository::Repository;
use crate::repo::snapshots::{Query, Snapshot};
use crate::repo::walk::dir_reader::WalkLimits;
use crate::repo::walk::{dir_reader, totals};
use crate::repo::{enclosing_repository, snapshots};
use crate::util::threads;

pub use options::{Options, Report};
pub use overwrite::Overwrite;

use job::{Job, Tally};
use selection::Include;
use walk::Walk;

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
    let includes = Include::parse_all(options)?;
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
        match (walk.restore_all(way, alone), self.full().take()) {
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
                "{copied} hard links were restored as separate files: the target's file system has no hard \
                 links, or fewer per file"
            );
            self.observer.notice(Event::Warning(&text));
        }
    }

    /// Reports in one sentence how many of the snapshot's attributes this system cannot restore.
    fn report_not_restorable(&self) {
        let count = self.tally.not_restorable.load(Ordering::Relaxed);
        if count > 0 {
            let text = format!(
                "{count} attributes of restored entries are those of another operating system or a newer \
                 snap: they were not restored"
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
            let why = "the selection matches nothing in the snapshot, so nothing was deleted";
            return Err(Error::Refused(why.into()));
        }
        self.delete(reader, top)
    }
}

/// Opens the target. Returns `None` in a dry run if it does not exist.
fn open_target(repo: &Repository, options: &Options) -> Result<Option<Target>> {
    let mut dirs = protected(repo, &options.protected);
    // Over SFTP or HTTP the repository may be on this very machine.
    let same = enclosing_repository::same_around(&options.target, repo.config().repo);
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
        let why = "`RestoreOptions::delete` with the target / needs `RestoreOptions::include`: otherwise it \
                   would remove everything that is not in the snapshot";
        return Err(Error::Usage(why.into()));
    }
    Ok(())
}
