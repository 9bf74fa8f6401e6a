//! Rebuilds trees without some paths. All snapshots are walked together. Only directories in or below which
//! something is removed are rewritten, once for all snapshots that lose the same entries of the same tree.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use crate::codec::crypto::hash::{ChunkHasher, ChunkType};
use crate::codec::tree::dir::DirBuilder;
use crate::error::Result;
use crate::model::entry::{Entry, Kind};
use crate::model::id::ChunkId;
use crate::ops::rewrite::removal::Removal;
use crate::ops::rewrite::removed_totals::{RemovalReason, RemovedTotals, Taken};
use crate::progress::{Event, Observer};
use crate::repo::commit::write_session;
use crate::repo::index::Index;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::repository::Repository;
use crate::repo::sessions::session::Session;
use crate::repo::walk::dir_reader::DirReader;
use crate::repo::walk::multi_walk::{self, EntryVersion, Tree, Visitor};
use crate::repo::walk::snapshot_set::SnapshotSet;
use crate::repo::write::chunk_writer::{ChunkWriter, CompressionPolicy};
use crate::repo::write::delta_writer::Delta;
use crate::repo::write::put_chunk::{PutChunk, UNKNOWN_OWNER};
use crate::util::bitset::BitSet;

/// The result of rewriting trees.
#[derive(Debug, Default)]
pub(super) struct RewrittenTrees {
    /// The new root of each snapshot, by its number; `None` if it is unchanged.
    pub(super) roots: Vec<Option<ChunkId>>,
    /// What each snapshot loses.
    pub(super) dropped: Vec<RemovedTotals>,
    /// What is removed from which directories.
    pub(super) taken: Taken,
    /// Number of rebuilt directories.
    pub(super) built: u64,
    /// Chunk ids of each new directory, whether stored now or before, and the snapshots that need them.
    pub(super) pieces: Vec<(Vec<ChunkId>, BitSet)>,
    /// Patterns that matched nothing.
    pub(super) unmatched: Vec<String>,
    /// The writer's session. Stays open until all snapshots are committed, so that gc keeps its packs.
    pub(super) session: Option<Session>,
}

/// Writes trees without the removed paths.
pub(super) fn rebuild(
    repo: &Repository,
    past: &mut SnapshotSet,
    removal: &mut dyn Removal,
    dry_run: bool,
    observer: &dyn Observer,
    stop: &AtomicBool,
) -> Result<RewrittenTrees> {
    announce_totals(past, observer);
    let mut run = |past: &mut SnapshotSet, put: &mut TreeStore<'_>| {
        let (trees, mut bounds) = (past.roots(), past.bounds(stop));
        let number = past.snapshots.len();
        let mut builder = Builder {
            removal,
            hasher: repo.hasher(),
            observer,
            reader: past.new_reader()?,
            put,
            open: HashMap::new(),
            dropping: Vec::new(),
            only_if_filled: HashSet::new(),
            made: RewrittenTrees {
                roots: vec![None; number],
                dropped: vec![RemovedTotals::default(); number],
                ..RewrittenTrees::default()
            },
        };
        multi_walk::walk(&mut past.reader, b"", trees, &mut builder, &mut bounds)?;
        builder.made.unmatched = builder.removal.unmatched();
        Ok(builder.made)
    };
    if dry_run {
        return run(past, &mut |bytes, _| Ok(repo.hasher().id_of(ChunkType::Tree, bytes)));
    }
    let (session, repo_state) = write_session::open(repo)?;
    let index = Arc::new(Index::load(repo, repo_state)?);
    let stored = AtomicU64::new(0);
    let policy = CompressionPolicy { level: repo.config().level, harder: HARDER_BYTES };
    let deltas = Delta::Auto.is_enabled_for(repo);
    let mut written = HashSet::new();
    let made = std::thread::scope(|scope| {
        let mut chunk_writer =
            ChunkWriter::start(scope, repo, session.id, Arc::clone(&index), policy, &stored)?;
        let made = run(past, &mut |bytes, old| {
            let id = repo.hasher().id_of(ChunkType::Tree, bytes);
            if written.insert(id) {
                let like = if deltas { index.lengths(ChunkType::Tree, old)? } else { Vec::new() };
                chunk_writer.put_similar(UNKNOWN_OWNER, ChunkType::Tree, id, bytes, &like)?;
            }
            Ok(id)
        });
        chunk_writer.finish(made).map(|(made, _)| made)
    })?;
    Ok(RewrittenTrees { session: Some(session), ..made })
}

/// Announces the expected totals. Paths that several snapshots share are walked once, so the largest is an
/// estimate.
fn announce_totals(past: &SnapshotSet, observer: &dyn Observer) {
    let largest =
        past.snapshots.iter().map(|found| &found.manifest.counts).max_by_key(|counts| counts.bytes_total);
    let Some(counts) = largest else { return };
    observer.notice(Event::Stage { name: "looking through paths", unit: "files" });
    observer.notice(Event::Estimate { files: counts.files(), bytes: counts.bytes_total });
    observer.notice(Event::Found { files: 0, bytes: 0, complete: false });
}

/// The first plain bytes of trees, which are compressed at a higher level: usually no more are written.
const HARDER_BYTES: u64 = 16 << 20;

/// Stores a tree chunk, given similar chunks of the old tree.
type TreeStore<'a> = dyn FnMut(&[u8], &[ChunkId]) -> Result<ChunkId> + 'a;

/// A tree, `None` if it is removed, and the snapshots that get it.
type NewTree = (Option<ChunkId>, BitSet);

/// State of a directory that the walk is in.
#[derive(Default)]
struct OpenDir {
    /// Snapshots whose tree of this directory changes.
    touched: BitSet,
    /// Names that are removed, and the snapshots that lose them.
    gone: HashMap<Vec<u8>, BitSet>,
    /// New trees of changed subdirectories.
    changed: HashMap<(Vec<u8>, ChunkId), Vec<NewTree>>,
}

/// A directory that snapshots lose with everything below it.
struct Dropping {
    path: Vec<u8>,
    /// Snapshots that lose it, each with the row that counts it.
    here: Vec<(usize, BitSet)>,
    /// These snapshots, and those that have lost a directory above it.
    lost: BitSet,
}

struct Builder<'a, 'p> {
    removal: &'a mut dyn Removal,
    hasher: &'a ChunkHasher,
    observer: &'a dyn Observer,
    reader: ChunkReader,
    put: &'a mut TreeStore<'p>,
    open: HashMap<Vec<u8>, OpenDir>,
    /// From the outermost to the innermost.
    dropping: Vec<Dropping>,
    /// Directories that are kept only if something below them is.
    only_if_filled: HashSet<Vec<u8>>,
    made: RewrittenTrees,
}

impl Visitor for Builder<'_, '_> {
    fn path(&mut self, path: &[u8], versions: &[EntryVersion]) -> Result<bool> {
        self.observer.notice(Event::Working { path });
        let files = versions.iter().map(|version| &version.entry).filter(|entry| entry.is_file());
        if let Some(size) = files.map(Entry::size).max() {
            self.observer.notice(Event::Done { files: 1, bytes: size });
        }
        let mut lost = self.dropping.last().map(|above| above.lost.clone()).unwrap_or_default();
        let verdict = self.removal.decide(path, versions, &lost);
        let above = self.dropping.iter().flat_map(|above| &above.here);
        count_lost(&mut self.made, versions, above);
        let here = self.record_lost(path, verdict.lose);
        count_lost(&mut self.made, versions, here.iter());
        here.iter().for_each(|(_, gone)| lost.add(gone));
        let mut dirs = versions.iter().filter(|version| version.entry.is_dir());
        // The contents of a removed directory are counted.
        let enters = dirs.any(|version| verdict.descend || version.among.meets(&lost));
        if enters && verdict.only_if_filled {
            self.only_if_filled.insert(path.to_vec());
        }
        if enters && !here.is_empty() {
            self.dropping.push(Dropping { path: path.to_vec(), here, lost });
        }
        Ok(enters)
    }

    fn leave(&mut self, dir: &[u8], trees: &[Tree]) -> Result<()> {
        let lost = self.dropping.last().map(|above| above.lost.clone()).unwrap_or_default();
        self.dropping.pop_if(|above| above.path == dir);
        let only_if_filled = self.only_if_filled.remove(dir);
        let open = match self.open.remove(dir) {
            None if !only_if_filled => return Ok(()),
            open => open.unwrap_or_default(),
        };
        let changed = open.changed.values().flatten().map(|(_, among)| among);
        let parts: HashSet<&BitSet> = open.gone.values().chain(changed).collect();
        for Tree { id, among } in trees {
            for class in split_by(among.minus(&lost), &parts) {
                self.leave_tree(dir, id, class, &open, only_if_filled)?;
            }
        }
        Ok(())
    }
}

impl Builder<'_, '_> {
    /// Records that snapshots lose a path. Returns them with the rows that count it.
    fn record_lost(&mut self, path: &[u8], lose: Vec<(RemovalReason, BitSet)>) -> Vec<(usize, BitSet)> {
        let (dir, name) = split(path);
        let mut here = Vec::new();
        for (reason, gone) in lose {
            let open = self.open.entry(dir.to_vec()).or_default();
            open.touched.add(&gone);
            open.gone.entry(name.to_vec()).or_default().add(&gone);
            here.push((self.made.taken.add(dir, path, reason, &gone), gone));
        }
        here
    }

    /// Ends a directory for the snapshots that have the same tree and lose the same entries of it. The new
    /// tree is built once for all of them.
    fn leave_tree(
        &mut self,
        dir: &[u8],
        id: &ChunkId,
        class: BitSet,
        open: &OpenDir,
        only_if_filled: bool,
    ) -> Result<()> {
        let Some(snapshot) = class.first() else { return Ok(()) };
        let (new, is_empty) = match open.touched.has(snapshot) {
            true => self.build(id, open, &class)?,
            false if only_if_filled => (*id, DirReader::new(*id).next(&mut self.reader)?.is_none()),
            false => return Ok(()),
        };
        let is_removed = only_if_filled && is_empty;
        if new == *id && !is_removed {
            return Ok(());
        }
        if dir.is_empty() {
            let roots = &mut self.made.roots;
            for number in class.iter() {
                roots.get_mut(number).into_iter().for_each(|root| *root = Some(new));
            }
            return Ok(());
        }
        if is_removed {
            let dropped = &mut self.made.dropped;
            class.iter().for_each(|number| dropped.get_mut(number).into_iter().for_each(|one| one.dirs += 1));
        }
        let (above, name) = split(dir);
        let above = self.open.entry(above.to_vec()).or_default();
        above.touched.add(&class);
        let news = above.changed.entry((name.to_vec(), *id)).or_default();
        news.push(((!is_removed).then_some(new), class));
        Ok(())
    }

    /// Returns the new tree for snapshots that lose the same entries, and whether it is empty.
    fn build(&mut self, tree: &ChunkId, open: &OpenDir, class: &BitSet) -> Result<(ChunkId, bool)> {
        let snapshot = class.first().unwrap_or_default();
        self.made.built += 1;
        let mut pieces = Vec::new();
        let mut put = |bytes: &[u8], like: &[ChunkId]| {
            let id = (self.put)(bytes, like)?;
            pieces.push(id);
            Ok(id)
        };
        let mut old = DirReader::new(*tree);
        let mut new = DirBuilder::default();
        let mut is_empty = true;
        while let Some(mut entry) = old.next(&mut self.reader)? {
            if open.gone.get(&entry.name).is_some_and(|among| among.has(snapshot)) {
                continue;
            }
            if let Kind::Dir { tree } = &mut entry.kind
                && let Some(changed) = open.changed.get(&(entry.name.clone(), *tree))
                && let Some((changed, _)) = changed.iter().find(|(_, among)| among.has(snapshot))
            {
                let Some(changed) = changed else { continue };
                *tree = *changed;
            }
            is_empty = false;
            let like = nearest(&old, tree);
            new.push(&entry, self.hasher, &mut |bytes| put(bytes, &like))?;
        }
        let like = nearest(&old, tree);
        let root = new.finish(&mut |bytes| put(bytes, &like))?;
        self.made.pieces.push((pieces, class.clone()));
        Ok((root, is_empty))
    }
}

/// Counts the entries of a path for the snapshots that lose it, each with its row.
fn count_lost<'b>(
    made: &mut RewrittenTrees,
    versions: &[EntryVersion],
    lost: impl Iterator<Item = &'b (usize, BitSet)>,
) {
    for (row, gone) in lost {
        made.taken.count(*row, versions, gone);
        for EntryVersion { entry, among } in versions {
            for number in among.and(gone).iter() {
                if let Some(dropped) = made.dropped.get_mut(number) {
                    dropped.add(entry);
                }
            }
        }
    }
}

/// Splits a set so that each part is either contained in or disjoint from each of the others.
fn split_by(set: BitSet, others: &HashSet<&BitSet>) -> Vec<BitSet> {
    let mut parts = vec![set];
    for other in others {
        parts = parts.iter().flat_map(|part| [part.and(other), part.minus(other)]).collect();
        parts.retain(|part| !part.is_empty());
    }
    parts
}

/// Returns the chunks of the old tree that were read last, and its root.
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
