//! `diff`: compares two snapshots, or a snapshot and a live directory. Trees with the same id are not read. A
//! live file's content is always read, regardless of its times, and hashed along the chunk boundaries of the
//! snapshot, so only trees are read from the repository.

mod live;

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Problem, Result};
use crate::model::entry::{Entry, Kind};
use crate::model::entry_diff;
use crate::model::id::SnapshotId;
use crate::ops::diff::live::LiveTree;
use crate::progress::{Control, Event, Observer};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::read::read_session::ReadSession;
use crate::repo::repository::Repository;
use crate::repo::snapshots::filter::SnapshotFilter;
use crate::repo::snapshots::{self, Query};
use crate::repo::walk::diff_walk::{DiffEntry, DiffLimits, SingleEntry, StoredTree, TreeSource};
use crate::repo::walk::{diff_walk, dir_reader};

/// What to compare.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// First side: `SNAPSHOT[:path]`. The path may be any bytes.
    pub before: Vec<u8>,
    /// Second side: `SNAPSHOT[:path]` or a directory. A directory begins with `/`, `./` or `../`, or exists
    /// while no snapshot has that name.
    pub after: PathBuf,
    /// Snapshots among which `latest` and times are resolved.
    pub among: SnapshotFilter,
}

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DifferenceKind {
    /// Only the second has it.
    Added,
    /// Only the first has it.
    Removed,
    /// The kind of entry differs.
    Type,
    /// The content differs: bytes of a file, target of a symbolic link, numbers of a device.
    Content,
    /// Only metadata differs.
    Metadata,
}

impl DifferenceKind {
    /// Returns the letter that restic prints for this change.
    pub const fn letter(self) -> char {
        match self {
            Self::Added => '+',
            Self::Removed => '-',
            Self::Type => 'T',
            Self::Content => 'M',
            Self::Metadata => 'U',
        }
    }
}

/// A path that differs.
#[derive(Debug)]
pub struct Difference<'a> {
    /// Path relative to the roots that are compared.
    pub path: &'a [u8],
    /// How it differs.
    pub change: DifferenceKind,
    /// Names of metadata fields that differ, regardless of other differences.
    pub fields: Vec<&'static str>,
    /// The entry of the second side or, if it was removed, of the first.
    pub entry: &'a Entry,
    /// The entry of the first side, if it has one.
    pub before: Option<&'a Entry>,
}

/// Counts of entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DifferenceTotals {
    /// Files.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Links and special files.
    pub others: u64,
    /// Bytes of files.
    pub bytes: u64,
}

impl DifferenceTotals {
    fn add(&mut self, entry: &Entry) {
        match entry.kind {
            Kind::File { .. } => self.files += 1,
            Kind::Dir { .. } => self.dirs += 1,
            _ => self.others += 1,
        }
        self.bytes += entry.size();
    }

    /// Returns the number of all entries.
    pub fn count(&self) -> u64 {
        self.files + self.dirs + self.others
    }
}

/// Result of a comparison.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// The first snapshot.
    pub before: SnapshotId,
    /// The second snapshot; `None` for a directory.
    pub after: Option<SnapshotId>,
    /// Entries only on the second side.
    pub added: DifferenceTotals,
    /// Entries only on the first side.
    pub removed: DifferenceTotals,
    /// Paths whose content differs.
    pub content: u64,
    /// Paths whose kind differs.
    pub types: u64,
    /// Paths of which only metadata differs.
    pub metadata: u64,
    /// Paths of the live directory that could not be read, and why.
    pub problems: Vec<Problem>,
}

impl Report {
    /// Returns whether nothing differs among what could be read.
    pub fn is_same(&self) -> bool {
        self.added.count() + self.removed.count() + self.content + self.types + self.metadata == 0
    }
}

/// First path of each hard link group on one side. Groups are equal if their first paths are.
#[derive(Debug, Default)]
struct Links(HashMap<u128, Vec<u8>>);

impl Links {
    fn first(&mut self, entry: &Entry, path: &[u8]) -> Vec<u8> {
        match entry.meta.link {
            0 => path.to_vec(),
            link => self.0.entry(link).or_insert_with(|| path.to_vec()).clone(),
        }
    }
}

struct Comparer<'a> {
    repo: &'a Repository,
    reader: ChunkReader,
    stop: &'a AtomicBool,
    /// The live directory, if that is the second side.
    live: Option<PathBuf>,
    links: (Links, Links),
    budgets: DiffLimits,
    summary: Report,
}

/// Calls `each` for every path that differs, in order.
///
/// # Errors
/// When a selector names nothing, a stored object is damaged, or the run was interrupted. Unreadable files of
/// a live directory are listed in the summary.
pub fn run(
    repo: &Repository,
    options: &Options,
    each: &mut dyn FnMut(&Difference<'_>) -> Result<()>,
    control: &Control<'_>,
) -> Result<Report> {
    let (observer, stop) = (control.observer(), control.cancel());
    let session = Arc::new(ReadSession::open(repo, observer)?);
    let all = session.snapshots()?;
    let (before, path) = snapshots::resolve(repo, &all, Query::among(&options.before, &options.among))?;
    let second = second(repo, &all, options)?;
    drop(all);
    let mut read = vec![before.id];
    if let RightSide::Stored(after, _) = &second {
        read.push(after.id);
    }
    session.set_snapshots(&read)?;
    let mut reader = session.chunks()?;
    let mut side =
        |snapshot: &snapshots::Snapshot, path: Option<&[u8]>| side(&session, &mut reader, snapshot, path);
    let mut first = side(&before, path.as_deref())?;
    let mut budgets = DiffLimits::of(Some(&before), None);
    let (mut other, after, live): (Box<dyn TreeSource>, _, _) = match second {
        RightSide::Stored(after, path) => {
            budgets = DiffLimits::of(Some(&before), Some(&after));
            (side(&after, path.as_deref())?, Some(after.id), None)
        }
        RightSide::Live(dir) => (Box::new(LiveTree::new(repo.hasher(), &dir, stop)?), None, Some(dir)),
    };
    let summary = Report {
        before: before.id,
        after,
        added: DifferenceTotals::default(),
        removed: DifferenceTotals::default(),
        content: 0,
        types: 0,
        metadata: 0,
        problems: Vec::new(),
    };
    let mut comparer = Comparer { repo, reader, stop, live, links: Default::default(), budgets, summary };
    diff_walk::walk(&mut *first, &mut *other, &mut |pair| {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        comparer.pair(&pair, each, observer)
    })?;
    for problem in other.problems() {
        observer.notice(Event::Problem(&problem));
        comparer.summary.problems.push(problem);
    }
    session.end()?;
    // An interrupted walk ends as if there were no more entries.
    if stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(comparer.summary) }
}

enum RightSide {
    Stored(Box<snapshots::Snapshot>, Option<Vec<u8>>),
    Live(PathBuf),
}

fn second(repo: &Repository, all: &[snapshots::Snapshot], options: &Options) -> Result<RightSide> {
    let given: &Path = &options.after;
    let text = given.to_string_lossy();
    let is_path = text.starts_with('/')
        || text == "."
        || text == ".."
        || text.starts_with("./")
        || text.starts_with("../");
    if is_path {
        return Ok(RightSide::Live(given.to_path_buf()));
    }
    match snapshots::resolve(repo, all, Query::among(given.as_os_str().as_bytes(), &options.among)) {
        Ok((snapshot, path)) => Ok(RightSide::Stored(Box::new(snapshot), path)),
        Err(Error::NoSnapshot { .. }) if given.is_dir() => Ok(RightSide::Live(given.to_path_buf())),
        Err(err) => Err(err),
    }
}

fn side(
    session: &Arc<ReadSession>,
    reader: &mut ChunkReader,
    snapshot: &snapshots::Snapshot,
    path: Option<&[u8]>,
) -> Result<Box<dyn TreeSource>> {
    let Some(path) = path else { return Ok(Box::new(StoredTree::new(session, snapshot.manifest.root)?)) };
    let found = dir_reader::lookup(reader, snapshot.manifest.root, path)?
        .ok_or_else(|| Error::no_path(&snapshot.id, path))?;
    match found.kind {
        Kind::Dir { tree } => Ok(Box::new(StoredTree::new(session, tree)?)),
        // Two single files are compared even if their names differ.
        _ => Ok(Box::new(SingleEntry(Some(Entry { name: b"file".to_vec(), ..found })))),
    }
}

impl Comparer<'_> {
    fn pair(
        &mut self,
        pair: &DiffEntry<'_>,
        each: &mut dyn FnMut(&Difference<'_>) -> Result<()>,
        observer: &dyn Observer,
    ) -> Result<bool> {
        self.budgets.count(pair)?;
        observer.notice(Event::Working { path: pair.path });
        let first = pair.before.map(|entry| self.links.0.first(entry, pair.path));
        let second = pair.after.map(|entry| self.links.1.first(entry, pair.path));
        let (change, fields, entry) = match (pair.before, pair.after) {
            (Some(before), None) => (Some(DifferenceKind::Removed), Vec::new(), before),
            (None, Some(after)) => (Some(DifferenceKind::Added), Vec::new(), after),
            (Some(before), Some(after)) => {
                let mut fields = entry_diff::metadata(&before.meta, &after.meta);
                if first != second {
                    fields.push("links");
                }
                let change = self.change(pair.path, before, after, !fields.is_empty(), observer)?;
                (change, fields, after)
            }
            (None, None) => return Ok(false),
        };
        if let Some(change) = change {
            self.count(change, entry);
            each(&Difference { path: pair.path, change, fields, entry, before: pair.before })?;
        }
        Ok(!pair.same_tree())
    }

    fn count(&mut self, change: DifferenceKind, entry: &Entry) {
        let summary = &mut self.summary;
        match change {
            DifferenceKind::Added => summary.added.add(entry),
            DifferenceKind::Removed => summary.removed.add(entry),
            DifferenceKind::Type => summary.types += 1,
            DifferenceKind::Content => summary.content += 1,
            DifferenceKind::Metadata => summary.metadata += 1,
        }
    }

    fn change(
        &mut self,
        path: &[u8],
        before: &Entry,
        after: &Entry,
        metadata: bool,
        observer: &dyn Observer,
    ) -> Result<Option<DifferenceKind>> {
        if !entry_diff::same_type(before, after) {
            return Ok(Some(DifferenceKind::Type));
        }
        let same = match (&self.live, &before.kind) {
            (Some(dir), Kind::File { size, content }) => {
                observer.notice(Event::Done { files: 1, bytes: after.size() });
                let read = *size == after.size();
                match read
                    .then(|| live::holds(self.repo, &mut self.reader, dir, path, *size, content, self.stop))
                {
                    None => false,
                    Some(Ok(same)) => same,
                    Some(Err(err)) if err.is_damage() || matches!(err, Error::Interrupted) => {
                        return Err(err);
                    }
                    Some(Err(err)) => {
                        let problem = Problem::of(path, &err);
                        observer.notice(Event::Problem(&problem));
                        self.summary.problems.push(problem);
                        true
                    }
                }
            }
            _ => entry_diff::same_content(before, after),
        };
        Ok(match (same, metadata) {
            (false, _) => Some(DifferenceKind::Content),
            (true, true) => Some(DifferenceKind::Metadata),
            (true, false) => None,
        })
    }
}
