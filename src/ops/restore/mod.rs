//! `restore`: compares the target with the snapshot, plans the differing parts sorted by block, reads and
//! decodes each block once, and writes its chunks to every file that needs them.
//!
//! Files are restored in batches. For each batch, directories are created first (accessible to their owner
//! only), files are written as their blocks arrive, and hard links are made when the files exist. Directories
//! in which nothing more is written then get their final metadata, deepest first. At the end, `--delete`
//! removes entries that the snapshot does not contain, and immutable flags are set.
//!
//! `options` defines what to restore, and all threads share `job`. `walk` walks the snapshot and creates its
//! directories, `overwrite` decides which existing files may be changed, `selection` applies the user's
//! selection. `batch` collects files and compares them with existing ones, `write` writes them block by
//! block, `verify` reads them back. `special` creates all other kinds of entries, and `delete` implements
//! `--delete`.

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
    refuse_delete_in_root(options)?;
    // R1: the session is opened before the snapshot is resolved, and packs are listed after that.
    let session = Arc::new(ReadSession::open(repo, observer)?);
    let listed = session.snapshots()?;
    let (snapshot, path) =
        snapshots::resolve(repo, &listed, Query::among(&options.selector, &options.among))?;
    drop(listed);
    let path = path.or_else(|| options.below.clone());
    session.set_snapshots(&[snapshot.id])?;
    let mut reader = ChunkReader::following(&session)?;
    let start_entry = match &path {
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
        session: Arc::clone(&session),
        selection,
        all_matched: AtomicBool::new(includes.is_empty()),
        unmatched: Mutex::new(includes),
        target: open_target(repo, options)?,
        tally: Tally::default(),
        xattr_reader: Mutex::new(ChunkReader::following(&session)?),
        problems: Mutex::default(),
        target_full: Mutex::default(),
        damage: AtomicBool::new(false),
        not_restored: Mutex::default(),
    };
    let counts = &snapshot.manifest.counts;
    if path.is_none() && options.include.is_empty() && options.only.is_none() {
        observer.notice(Event::Expect { files: counts.files(), bytes: counts.bytes_total });
    }
    let finished = AtomicBool::new(false);
    let summary = std::thread::scope(|scope| {
        if let Some(root) = tree_to_count(&snapshot, path.is_some(), start_entry.as_ref(), options) {
            let (session, finished, limits) = (Arc::clone(&session), &finished, WalkLimits::of(counts));
            let count = move || count_part(&session, (root, limits), options, observer, finished);
            // If no thread can be started, nothing is counted.
            let _ = threads::start(scope, "count", count);
        }
        let result = job.run(&snapshot, start_entry, &mut reader);
        finished.store(true, Ordering::Relaxed);
        result
    })?;
    drop(reader);
    if let Some(session) = Arc::into_inner(session) {
        session.close()?;
    }
    Ok(Report { duration: clock.elapsed(), ..summary })
}

/// Returns the tree whose files are counted for the progress display; `None` if everything is restored, since
/// the manifest has the totals of the whole snapshot.
fn tree_to_count(
    snapshot: &Snapshot,
    has_path: bool,
    start_entry: Option<&Entry>,
    options: &Options,
) -> Option<ChunkId> {
    let is_part = has_path || !options.include.is_empty();
    if !is_part || !options.count_ahead || options.only.is_some() {
        return None;
    }
    match start_entry.map(|entry| &entry.kind) {
        None => Some(snapshot.manifest.root),
        Some(Kind::Dir { tree }) => Some(*tree),
        Some(_) => None,
    }
}

/// Counts the selected files of a tree for the progress display, until `finished` is set.
fn count_part(
    session: &Arc<ReadSession>,
    part: (ChunkId, WalkLimits),
    options: &Options,
    observer: &dyn Observer,
    finished: &AtomicBool,
) {
    let selection = RestoreFilter::new(&options.include, &options.exclude);
    if let (Ok(selection), Ok(mut reader)) = (selection, ChunkReader::following(session)) {
        totals::report(&mut reader, part, &|path, is_dir| selection.takes(path, is_dir), observer, finished);
    }
}

impl Job<'_> {
    fn run(
        self,
        snapshot: &Snapshot,
        start_entry: Option<Entry>,
        reader: &mut ChunkReader,
    ) -> Result<Report> {
        let (root, ancestor_only, single) = match start_entry {
            None => (snapshot.manifest.root, snapshot.manifest.is_root_ancestor_only(), None),
            Some(Entry { kind: Kind::Dir { tree }, meta, .. }) => {
                (tree, meta.flags & flags::ANCESTOR_ONLY != 0, None)
            }
            Some(entry) => (snapshot.manifest.root, false, Some(entry)),
        };
        let is_dir = single.is_none();
        let mut walk = Walk::new(&self, reader, root, WalkLimits::of(&snapshot.manifest.counts));
        match (walk.restore_all(ancestor_only, single), self.target_full().take()) {
            (Ok(()) | Err(Error::Stopped), Some(full)) => return Err(full),
            (walked, _) => walked?,
        }
        let (files, dirs, others, bytes) = (walk.files, walk.dirs, walk.others, walk.bytes);
        let changing = walk.changing;
        self.report_unmatched(walk.reader(), root, files + dirs + others)?;
        if is_dir && self.options.delete {
            self.delete_if_complete(walk.reader(), (root, ancestor_only), files + dirs + others)?;
        }
        walk.finish();
        self.report_copies();
        self.report_not_restorable();
        if let Some(full) = self.target_full().take() {
            return Err(full);
        }
        let load = |of: &AtomicU64| of.load(Ordering::Relaxed);
        Ok(Report {
            snapshot: snapshot.id,
            files,
            dirs,
            others,
            bytes,
            changing,
            created: load(&self.tally.created),
            updated: load(&self.tally.updated),
            unchanged: load(&self.tally.unchanged),
            kept: load(&self.tally.kept),
            deleted: load(&self.tally.deleted),
            files_written: load(&self.tally.files_written),
            bytes_written: load(&self.tally.bytes_written),
            duration: Duration::ZERO,
            unmatched: self.selection.unmatched_excludes(),
            unmatched_includes: load(&self.tally.unmatched_includes),
            left_out: self.target.as_ref().map_or(0, |target| target.skipped_metadata().total()),
            copied_links: load(&self.tally.copied_links),
            problems: self.problems.into_inner(),
            damage: self.damage.into_inner(),
        })
    }

    fn finish_dir(&self, path: &[u8], meta: &Meta) {
        self.try_on_target(path, |target| target.finish_dir(path, &*self.with_xattr_values(meta)?));
    }

    /// Records attributes that the target could not store, each as a problem of its path.
    fn report_notes(&self) {
        let notes = self.target.as_ref().map(Target::take_notes).unwrap_or_default();
        notes.into_iter().for_each(|problem| self.record_problem(problem));
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

    /// Runs `--delete`, unless the restore had problems.
    ///
    /// # Errors
    /// As [`Job::delete`], and if nothing was selected: everything in the target would be removed.
    fn delete_if_complete(
        &self,
        reader: &mut ChunkReader,
        top: (ChunkId, bool),
        selected: u64,
    ) -> Result<()> {
        let problems = self.problems.lock().len();
        if problems > 0 {
            self.observer.notice(Event::Warning("not everything could be restored, so nothing was deleted"));
            return Ok(());
        }
        if selected == 0 {
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
    let enclosing = enclosing_repository::same_around(&options.target, repo.config().repo);
    dirs.extend(enclosing.map(|path| Protected { what: "a copy of the repository", path }));
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
    let repository = repo.storage().local_dir().map(|path| ("the repository", path));
    let cache = repo.cache().base().map(|path| ("snap's cache", path));
    let named = [repository, cache].into_iter().flatten();
    let named = named.map(|(what, path)| Protected { what, path: path.to_path_buf() });
    named.chain(others.iter().cloned()).collect()
}

/// Refuses `--delete` on `/` without `--include`: it would remove everything that is not in the snapshot.
fn refuse_delete_in_root(options: &Options) -> Result<()> {
    let is_root = std::fs::canonicalize(&options.target).is_ok_and(|target| target.parent().is_none());
    if options.delete && is_root && options.include.is_empty() {
        let why = "`RestoreOptions::delete` with the target / needs `RestoreOptions::include`: otherwise it \
                   would remove everything that is not in the snapshot";
        return Err(Error::Usage(why.into()));
    }
    Ok(())
}
