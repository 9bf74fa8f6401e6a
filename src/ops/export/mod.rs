//! `export`: writes a snapshot, or a part of it, as a tar archive. The same snapshot gives the same bytes.
//!
//! One thread walks the tree and plans the order (`walk`), workers read and decode blocks ahead of it
//! (`repo::read::sequential`), and the archive is compressed in pieces on all cores (`pack`).

mod difference;
mod member;
mod pack;
mod walk;

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::model::entry::{Entry, Kind};
use crate::model::id::{ChunkId, SnapshotId};
use crate::ops::export::walk::Walk;
use crate::progress::{Control, Event, Observer};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::read::read_session::ReadSession;
use crate::repo::read::sequential;
use crate::repo::repository::Repository;
use crate::repo::snapshots;
use crate::repo::snapshots::filter::SnapshotFilter;
use crate::repo::snapshots::{Query, Snapshot};
use crate::repo::walk::diff_walk::DiffLimits;
use crate::repo::walk::dir_reader::WalkLimits;
use crate::repo::walk::{dir_reader, totals};
use crate::util::threads;

pub use crate::ops::export::pack::Format;

/// Name of the member of a delta that lists removed paths, each followed by a NUL. It comes first.
pub const DELETED: &[u8] = b".snap-deleted";

/// What to export, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Snapshot to export: `SNAPSHOT[:path]`. The path may be any bytes.
    pub selector: Vec<u8>,
    /// Snapshots among which `latest` and times are resolved, also those of `since`.
    pub among: SnapshotFilter,
    /// Export only changes since the snapshot's parent, and a list of removed paths.
    pub delta: bool,
    /// As `delta`, relative to this snapshot.
    pub since: Option<String>,
    /// Format of the archive.
    pub format: Format,
    /// Compression level; `None`: the format's default.
    pub level: Option<i32>,
    /// Prefix of the path of each member, with a trailing slash.
    pub prefix: Vec<u8>,
    /// Names of the entries to export from the directory; all if `None`.
    pub names: Option<BTreeSet<Vec<u8>>>,
    /// Count the exported entries concurrently, for an observer that shows progress.
    pub count_ahead: bool,
}

/// Statistics of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportCounts {
    /// Number of files.
    pub files: u64,
    /// Number of directories.
    pub dirs: u64,
    /// Number of links and special files.
    pub others: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// Bytes of the archive before compression.
    pub archive_bytes: u64,
    /// Number of sockets, which an archive cannot contain.
    pub left_out: u64,
    /// Number of paths in the list of removed paths.
    pub deleted: u64,
}

/// Result of an export.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Report {
    /// The exported snapshot.
    pub snapshot: SnapshotId,
    /// The snapshot that a delta is relative to.
    pub since: Option<SnapshotId>,
    /// What was exported.
    pub counts: ExportCounts,
    /// How long it took.
    pub duration: Duration,
}

/// Where an export begins.
enum Root {
    /// The entries of a directory.
    Tree(ChunkId),
    /// A single entry.
    Single(Box<Entry>),
}

/// Writes an archive to `out`, until it is complete or `control` is cancelled.
///
/// # Errors
/// When the selector names nothing, a stored object is damaged, `out` fails or the run was interrupted. The
/// archive is then incomplete.
pub fn run(
    repo: &Repository,
    options: &Options,
    out: &mut (dyn Write + Send),
    control: &Control<'_>,
) -> Result<Report> {
    let (observer, stop) = (control.observer(), control.cancel());
    let clock = Instant::now();
    let (lowest, default, highest) = options.format.levels();
    let level = options.level.unwrap_or(default);
    if !(lowest..=highest).contains(&level) {
        return Err(Error::Usage(format!("the levels of this format are {lowest} to {highest}")));
    }
    let session = Arc::new(ReadSession::open(repo, observer)?);
    let all = session.snapshots()?;
    let (snapshot, path) = snapshots::resolve(repo, &all, Query::among(&options.selector, &options.among))?;
    let since = resolve_since(repo, &all, options, &snapshot, observer)?;
    drop(all);
    let read: Vec<SnapshotId> = since.iter().chain([&snapshot]).map(|snapshot| snapshot.id).collect();
    session.set_snapshots(&read)?;
    let mut reader = session.chunks()?;
    let path = path.unwrap_or_default();
    let root = root_at(&mut reader, &snapshot, &path)?.ok_or_else(|| Error::no_path(&snapshot.id, &path))?;
    let mut before = None;
    if let Some(since) = &since {
        before = root_at(&mut reader, since, &path)?;
    }
    announce_size(observer, &snapshot, &path, options);
    let limits = DiffLimits::of(since.as_ref(), Some(&snapshot));
    let mut walk = Walk::new(&session, reader, observer, stop, snapshot.manifest.started, limits);
    walk.prefix.clone_from(&options.prefix);
    walk.names.clone_from(&options.names);
    let is_delta = options.delta || options.since.is_some();
    let mut archive_bytes = 0;
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        if let (Root::Tree(tree), false, true) = (&root, is_delta || path.is_empty(), options.count_ahead) {
            let (session, is_done, part) =
                (&session, &is_done, (*tree, WalkLimits::of(&snapshot.manifest.counts)));
            // If no thread can be started, nothing is counted.
            let _ = threads::start(scope, "count", move || {
                if let Ok(mut reader) = session.chunks() {
                    totals::report(&mut reader, part, &|_, _| true, observer, is_done);
                }
            });
        }
        let result = pack::write_compressed(options.format, level, out, |write| {
            let plan =
                |feed: &mut sequential::Feed<'_>| walk.write_all(feed, &root, before.as_ref(), is_delta);
            sequential::run(&session, plan, &mut |bytes| {
                archive_bytes += bytes.len() as u64;
                observer.notice(Event::Done { files: 0, bytes: bytes.len() as u64 });
                write(bytes)
            })
        });
        is_done.store(true, Ordering::Relaxed);
        result
    })?;
    let counts = ExportCounts { archive_bytes, ..walk.counts };
    session.end()?;
    let since = since.map(|since| since.id);
    Ok(Report { snapshot: snapshot.id, since, counts, duration: clock.elapsed() })
}

fn announce_size(observer: &dyn Observer, snapshot: &Snapshot, path: &[u8], options: &Options) {
    let counts = &snapshot.manifest.counts;
    if path.is_empty() && !options.delta && options.since.is_none() {
        observer.notice(Event::Expect { files: counts.files(), bytes: counts.bytes_total });
    }
}

/// Returns the snapshot that a delta is relative to.
fn resolve_since(
    repo: &Repository,
    all: &[Snapshot],
    options: &Options,
    snapshot: &Snapshot,
    observer: &dyn Observer,
) -> Result<Option<Snapshot>> {
    if let Some(since) = &options.since {
        let (since, path) = snapshots::resolve(repo, all, Query::among(since, &options.among))?;
        if path.is_some() {
            return Err(Error::Usage("`ExportOptions::since` takes a snapshot without :path".into()));
        }
        return Ok(Some(since));
    }
    if !options.delta {
        return Ok(None);
    }
    let Some(parent) = snapshot.manifest.parent else {
        observer.notice(Event::Note(&format!(
            "snapshot {} has no parent: the delta contains the whole snapshot",
            snapshot.id.short()
        )));
        return Ok(None);
    };
    let gone = || Error::NoSnapshot {
        selector: parent.short(),
        why: format!(
            "the parent of {} is gone: give another snapshot with `ExportOptions::since`",
            snapshot.id.short()
        ),
    };
    match snapshots::load(repo, &parent.hex()) {
        Ok(found) => found.map(Some).ok_or_else(gone),
        Err(err) if err.is_missing() => Err(gone()),
        Err(err) => Err(err),
    }
}

fn root_at(reader: &mut ChunkReader, snapshot: &Snapshot, path: &[u8]) -> Result<Option<Root>> {
    if path.is_empty() {
        return Ok(Some(Root::Tree(snapshot.manifest.root)));
    }
    let found = dir_reader::lookup(reader, snapshot.manifest.root, path)?;
    Ok(found.map(|entry| match entry.kind {
        Kind::Dir { tree } => Root::Tree(tree),
        _ => Root::Single(Box::new(entry)),
    }))
}
