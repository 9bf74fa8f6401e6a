//! Builds trees without some paths. All snapshots are walked together, and only directories in or below which
//! something is removed are rewritten.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use crate::codec::crypto::hash::{ChunkHasher, ChunkType};
use crate::codec::tree::dir::DirBuilder;
use crate::error::Result;
use crate::fs::filter::RestoreFilter;
use crate::model::entry::{Entry, Kind};
use crate::model::id::ChunkId;
use crate::model::records::SessionKind;
use crate::ops::rewrite::Options;
use crate::progress::{Event, Observer};
use crate::repo::index::Index;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::repository::Repository;
use crate::repo::sessions::session::Session;
use crate::repo::walk::dir_reader::DirReader;
use crate::repo::walk::multi_walk;
use crate::repo::walk::multi_walk::{EntryVersion, Tree, Visitor};
use crate::repo::walk::snapshot_set::SnapshotSet;
use crate::repo::write::chunk_writer::{ChunkWriter, CompressionPolicy};
use crate::repo::write::delta_writer::Delta;
use crate::util::bitset::BitSet;

/// Totals of what a snapshot no longer holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemovedTotals {
    /// Files.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Links and special files.
    pub others: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

impl RemovedTotals {
    fn add(&mut self, entry: &Entry) {
        match entry.kind {
            Kind::File { .. } => self.files += 1,
            Kind::Dir { .. } => self.dirs += 1,
            _ => self.others += 1,
        }
        self.bytes = self.bytes.saturating_add(entry.size());
    }
}

/// The result of rewriting trees.
#[derive(Debug, Default)]
pub(super) struct RewrittenTrees {
    /// Maps old roots to new ones.
    pub(super) roots: HashMap<ChunkId, ChunkId>,
    /// What each snapshot loses.
    pub(super) dropped: Vec<RemovedTotals>,
    /// Ids of all new pieces, whether they were stored now or existed before.
    pub(super) written: HashSet<ChunkId>,
    /// Patterns that matched nothing.
    pub(super) unmatched: Vec<String>,
    /// The writer's session. Stays open until all snapshots are committed, so that gc keeps its packs.
    pub(super) session: Option<Session>,
}

/// Writes trees without the excluded paths.
pub(super) fn rebuild(
    repo: &Repository,
    past: &mut SnapshotSet,
    options: &Options,
    observer: &dyn Observer,
    stop: &AtomicBool,
) -> Result<RewrittenTrees> {
    let selection = RestoreFilter::new(&[], &options.exclude)?;
    expect(past, observer);
    let run = |past: &mut SnapshotSet, put: &mut TreeStore<'_>| {
        let (trees, mut bounds) = (past.roots(), past.bounds(stop));
        let mut builder = Builder {
            selection: &selection,
            hasher: repo.hasher(),
            observer,
            reader: past.another_reader()?,
            put,
            open: HashMap::new(),
            dropping: None,
            maybe: HashSet::new(),
            roots: HashMap::new(),
            dropped: vec![RemovedTotals::default(); past.snapshots.len()],
        };
        multi_walk::walk(&mut past.reader, b"", trees, &mut builder, &mut bounds)?;
        Ok((builder.roots, builder.dropped))
    };
    let mut written = HashSet::new();
    if options.dry_run {
        let (roots, dropped) = run(past, &mut |bytes, _| Ok(repo.hasher().name(ChunkType::Tree, bytes)))?;
        let unmatched = selection.unmatched_excludes();
        return Ok(RewrittenTrees { roots, dropped, written, unmatched, session: None });
    }
    let (session, repo_state) = Session::open(repo, SessionKind::Writer)?;
    let index = Arc::new(Index::load(repo, repo_state)?);
    let stored = AtomicU64::new(0);
    let effort = CompressionPolicy { level: repo.config().level, harder: HARDER };
    let deltas = Delta::Auto.holds(repo);
    let (roots, dropped) = std::thread::scope(|scope| {
        let mut chunk_writer =
            ChunkWriter::start(scope, repo, session.id, Arc::clone(&index), effort, &stored)?;
        let made = run(past, &mut |bytes, old| {
            let id = repo.hasher().name(ChunkType::Tree, bytes);
            if written.insert(id) {
                let like = if deltas { index.lengths(ChunkType::Tree, old)? } else { Vec::new() };
                chunk_writer.put_similar(ChunkType::Tree, id, bytes, &like)?;
            }
            Ok(id)
        });
        // A writer that failed reports the cause; the thread that fed it only noticed.
        chunk_writer.finish()?;
        made
    })?;
    let unmatched = selection.unmatched_excludes();
    Ok(RewrittenTrees { roots, dropped, written, unmatched, session: Some(session) })
}

/// Announces the expected totals. Paths that several snapshots share are walked once, so the largest is an
/// estimate.
fn expect(past: &SnapshotSet, observer: &dyn Observer) {
    let largest =
        past.snapshots.iter().map(|one| &one.manifest.counts).max_by_key(|counts| counts.bytes_total);
    let Some(counts) = largest else { return };
    observer.notice(Event::Stage { name: "looking through paths", unit: "files" });
    observer.notice(Event::Estimate { files: counts.files(), bytes: counts.bytes_total });
    observer.notice(Event::Found { files: 0, bytes: 0, complete: false });
}

/// Plain bytes below which trees are compressed at a higher level, as little is written.
const HARDER: u64 = 16 << 20;

/// Stores a piece, given pieces of the old tree that it is similar to.
type TreeStore<'a> = dyn FnMut(&[u8], &[ChunkId]) -> Result<ChunkId> + 'a;

/// State of a directory that the walk is in.
#[derive(Default)]
struct Open {
    /// Snapshots whose tree of this directory changes.
    touched: BitSet,
    /// Names that are removed.
    gone: HashSet<Vec<u8>>,
    /// New trees of changed subdirectories; `None` if they are removed.
    changed: HashMap<(Vec<u8>, ChunkId), Option<ChunkId>>,
}

struct Builder<'a, 'p> {
    selection: &'a RestoreFilter,
    hasher: &'a ChunkHasher,
    observer: &'a dyn Observer,
    reader: ChunkReader,
    put: &'a mut TreeStore<'p>,
    open: HashMap<Vec<u8>, Open>,
    /// Everything below this path is removed with it.
    dropping: Option<Vec<u8>>,
    /// Directories that are kept only if something below them is.
    maybe: HashSet<Vec<u8>>,
    roots: HashMap<ChunkId, ChunkId>,
    dropped: Vec<RemovedTotals>,
}

impl Visitor for Builder<'_, '_> {
    fn path(&mut self, path: &[u8], versions: &[EntryVersion]) -> Result<bool> {
        self.observer.notice(Event::Working { path });
        if let Some(size) = versions
            .iter()
            .map(|version| &version.entry)
            .filter(|entry| entry.is_file())
            .map(Entry::size)
            .max()
        {
            self.observer.notice(Event::Done { files: 1, bytes: size });
        }
        if self.dropping.is_some() {
            self.count(versions);
            return Ok(true);
        }
        let has_dir = versions.iter().any(|version| version.entry.is_dir());
        if self.selection.takes(path, has_dir) {
            return Ok(true);
        }
        if has_dir && self.selection.may_hold(path) {
            self.maybe.insert(path.to_vec());
            return Ok(true);
        }
        self.count(versions);
        let (dir, name) = split(path);
        let open = self.open.entry(dir.to_vec()).or_default();
        open.gone.insert(name.to_vec());
        versions.iter().for_each(|version| open.touched.add(&version.among));
        if has_dir {
            self.dropping = Some(path.to_vec());
        }
        Ok(has_dir)
    }

    fn leave(&mut self, dir: &[u8], trees: &[Tree]) -> Result<()> {
        if self.dropping.as_deref() == Some(dir) {
            self.dropping = None;
        }
        let maybe = self.maybe.remove(dir);
        let open = match self.open.remove(dir) {
            None if !maybe => return Ok(()),
            open => open.unwrap_or_default(),
        };
        for Tree { id, among } in trees {
            let touched = among.meets(&open.touched);
            if !touched && !maybe {
                continue;
            }
            let (new, is_empty) = match touched {
                true => self.build(id, &open)?,
                false => (*id, DirReader::new(*id).next(&mut self.reader)?.is_none()),
            };
            if dir.is_empty() {
                self.roots.insert(*id, new);
                continue;
            }
            let goes = maybe && is_empty;
            if !touched && !goes {
                continue;
            }
            if goes {
                among.iter().for_each(|number| {
                    self.dropped.get_mut(number).into_iter().for_each(|one| one.dirs += 1)
                });
            }
            let (above, name) = split(dir);
            let above = self.open.entry(above.to_vec()).or_default();
            above.changed.insert((name.to_vec(), *id), (!goes).then_some(new));
            above.touched.add(among);
        }
        Ok(())
    }
}

impl Builder<'_, '_> {
    fn count(&mut self, versions: &[EntryVersion]) {
        for EntryVersion { entry, among } in versions {
            for number in among.iter() {
                if let Some(dropped) = self.dropped.get_mut(number) {
                    dropped.add(entry);
                }
            }
        }
    }

    /// Returns the new tree, and whether it is empty.
    fn build(&mut self, tree: &ChunkId, open: &Open) -> Result<(ChunkId, bool)> {
        let mut old = DirReader::new(*tree);
        let mut new = DirBuilder::default();
        let mut is_empty = true;
        while let Some(mut entry) = old.next(&mut self.reader)? {
            if open.gone.contains(&entry.name) {
                continue;
            }
            if let Kind::Dir { tree } = &mut entry.kind
                && let Some(changed) = open.changed.get(&(entry.name.clone(), *tree))
            {
                let Some(changed) = changed else { continue };
                *tree = *changed;
            }
            is_empty = false;
            let like = nearest(&old, tree);
            new.push(&entry, self.hasher, &mut |bytes| (self.put)(bytes, &like))?;
        }
        let like = nearest(&old, tree);
        Ok((new.finish(&mut |bytes| (self.put)(bytes, &like))?, is_empty))
    }
}

/// Returns the pieces of the old tree that were read last, and its root.
fn nearest(old: &DirReader, tree: &ChunkId) -> Vec<ChunkId> {
    let mut like: Vec<ChunkId> = old.pieces.iter().rev().take(3).rev().copied().collect();
    if !like.contains(tree) {
        like.push(*tree);
    }
    like
}

/// Splits a path into its directory and name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/').map(|at| path.split_at(at)) {
        Some((dir, [_, name @ ..])) => (dir, name),
        _ => (&[], path),
    }
}
