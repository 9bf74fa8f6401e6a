//! Walks many trees at once: returns each path that any of them has, with its distinct entries and the trees
//! that have each.
//!
//! Each distinct piece of a directory is read once, however many trees share it. Memory: the distinct entries
//! of one directory and its ancestors; of a directory in many pieces, only those of pieces that overlap.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::codec::crypto::hash::ChunkType;
use crate::codec::tree::dir::DirPiece;
use crate::error::{Error, Result};
use crate::model::entry::{Entry, Kind};
use crate::model::id::ChunkId;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::walk::dir_reader::WalkLimits;
use crate::repo::walk::plausible::{corrupt_tree, decode_piece};
use crate::repo::walk::tree_walk::check_depth;
use crate::util::bitset::BitSet;

/// One distinct entry at a path.
#[derive(Debug, Clone)]
pub struct EntryVersion {
    /// The entry.
    pub entry: Entry,
    /// The trees that have it.
    pub among: Arc<BitSet>,
}

/// A directory's tree.
#[derive(Debug, Clone)]
pub struct Tree {
    /// Id of its root piece.
    pub id: ChunkId,
    /// Which of the walked trees have it at this path.
    pub among: Arc<BitSet>,
}

/// Receives what a walk finds, in order of paths.
pub trait Visitor {
    /// Called for a path with its distinct entries, ordered by the first tree that has each. Returning `true`
    /// descends into its directories.
    ///
    /// # Errors
    /// Ends the walk.
    fn path(&mut self, path: &[u8], versions: &[EntryVersion]) -> Result<bool>;

    /// Called before a piece of a directory is read.
    ///
    /// # Errors
    /// Ends the walk.
    fn piece(&mut self, dir: &[u8], id: &ChunkId, among: &BitSet) -> Result<()> {
        let _ = (dir, id, among);
        Ok(())
    }

    /// Returns whether names of a directory from `first` up to, but not including, `end` are wanted.
    /// Pieces outside are not read.
    fn wants(&self, dir: &[u8], first: &[u8], end: Option<&[u8]>) -> bool {
        let _ = (dir, first, end);
        true
    }

    /// Called at the end of a directory.
    ///
    /// # Errors
    /// Ends the walk.
    fn leave(&mut self, dir: &[u8], trees: &[Tree]) -> Result<()> {
        let _ = (dir, trees);
        Ok(())
    }

    /// Called when a piece of a directory is missing or damaged; its entries are left out.
    ///
    /// # Errors
    /// Ends the walk.
    fn lost(&mut self, dir: &[u8], among: &BitSet, err: Error) -> Result<()> {
        let _ = (dir, among);
        Err(err)
    }
}

/// Limits of a walk.
#[derive(Debug)]
pub struct Bounds<'a> {
    /// Limits on the total size of the trees.
    pub budget: WalkLimits,
    /// Set to interrupt the walk.
    pub stop: &'a AtomicBool,
}

/// Walks trees, each a directory at `base`.
///
/// # Errors
/// What the visitor returns; `Interrupted` when stopped; when the trees hold more than the limits, are nested
/// too deeply, or the storage fails.
pub fn walk(
    reader: &mut ChunkReader,
    base: &[u8],
    trees: Vec<Tree>,
    visitor: &mut dyn Visitor,
    bounds: &mut Bounds<'_>,
) -> Result<()> {
    let mut open = vec![Level::new(base.to_vec(), trees)];
    while let Some(level) = open.last_mut() {
        if bounds.stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let Some((name, versions)) = level.next(reader, visitor)? else {
            if let Some(Level { path, trees, .. }) = open.pop() {
                visitor.leave(&path, &trees)?;
            }
            continue;
        };
        let path = join(&level.path, &name);
        for version in &versions {
            bounds.budget.count(&path, &version.entry)?;
        }
        if !visitor.path(&path, &versions)? {
            continue;
        }
        let trees = trees_of(&versions);
        if !trees.is_empty() {
            check_depth(open.len(), &path)?;
            open.push(Level::new(path, trees));
        }
    }
    Ok(())
}

/// Returns the distinct entries at one path in all of the trees.
///
/// # Errors
/// As [`walk`]; missing or damaged pieces are passed to `lost`.
pub fn look_up(
    reader: &mut ChunkReader,
    trees: Vec<Tree>,
    path: &[u8],
    lost: &mut dyn FnMut(&[u8], Error) -> Result<()>,
    bounds: &mut Bounds<'_>,
) -> Result<Vec<EntryVersion>> {
    let mut search = PathSearch { path, found: Vec::new(), lost };
    walk(reader, b"", trees, &mut search, bounds)?;
    Ok(search.found)
}

/// Returns the distinct directories among the versions of a path.
pub fn trees_of(versions: &[EntryVersion]) -> Vec<Tree> {
    let mut trees: Vec<Tree> = Vec::new();
    for EntryVersion { entry, among } in versions {
        let Kind::Dir { tree: id } = entry.kind else { continue };
        match trees.iter_mut().find(|tree| tree.id == id) {
            Some(tree) => unite(&mut tree.among, among),
            None => trees.push(Tree { id, among: Arc::clone(among) }),
        }
    }
    trees
}

fn join(base: &[u8], name: &[u8]) -> Vec<u8> {
    if base.is_empty() { name.to_vec() } else { [base, b"/", name].concat() }
}

fn unite(set: &mut Arc<BitSet>, other: &Arc<BitSet>) {
    if !Arc::ptr_eq(set, other) {
        Arc::make_mut(set).add(other);
    }
}

/// A visitor that follows one path.
struct PathSearch<'a> {
    path: &'a [u8],
    found: Vec<EntryVersion>,
    lost: &'a mut dyn FnMut(&[u8], Error) -> Result<()>,
}

impl PathSearch<'_> {
    /// Returns the rest of the path below `dir`; `None` if the path does not lead through it.
    fn rest_below(&self, dir: &[u8]) -> Option<&[u8]> {
        match dir {
            b"" => Some(self.path),
            _ => self.path.strip_prefix(dir)?.strip_prefix(b"/"),
        }
    }
}

impl Visitor for PathSearch<'_> {
    fn path(&mut self, path: &[u8], versions: &[EntryVersion]) -> Result<bool> {
        if path == self.path {
            self.found = versions.to_vec();
            return Ok(false);
        }
        Ok(self.rest_below(path).is_some())
    }

    fn wants(&self, dir: &[u8], first: &[u8], end: Option<&[u8]>) -> bool {
        let name = self.rest_below(dir).and_then(|rest| rest.split(|byte| *byte == b'/').next());
        name.is_some_and(|name| first <= name && end.is_none_or(|end| name < end))
    }

    fn lost(&mut self, dir: &[u8], _: &BitSet, err: Error) -> Result<()> {
        (self.lost)(dir, err)
    }
}

/// A piece and what its parent claims of it. Sorts in the order of reading: by first name (that of a root is
/// unknown, and sorts before all), and index pieces before their children.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PieceKey {
    first: Vec<u8>,
    depth: usize,
    id: ChunkId,
    /// Number of its entries; unknown for a root.
    entries: Option<u64>,
}

/// The trees that reference a piece, each with the exclusive upper bound of the piece's names: the first name
/// of the next piece, if any.
type Named = Vec<(Option<Vec<u8>>, Arc<BitSet>)>;

/// An open directory.
struct Level {
    path: Vec<u8>,
    trees: Vec<Tree>,
    pending: BTreeMap<PieceKey, Named>,
    /// Entries read so far; a name is complete once no pending piece can hold it.
    ready: BTreeMap<Vec<u8>, Vec<EntryVersion>>,
}

impl Level {
    fn new(path: Vec<u8>, trees: Vec<Tree>) -> Self {
        let root = |tree: &Tree| {
            let key = PieceKey { first: Vec::new(), depth: 0, id: tree.id, entries: None };
            (key, vec![(None, Arc::clone(&tree.among))])
        };
        Self { pending: trees.iter().map(root).collect(), path, trees, ready: BTreeMap::new() }
    }

    fn next(
        &mut self,
        reader: &mut ChunkReader,
        visitor: &mut dyn Visitor,
    ) -> Result<Option<(Vec<u8>, Vec<EntryVersion>)>> {
        loop {
            let next_first = self.pending.first_key_value().map(|(key, _)| key.first.as_slice());
            if let Some(entry) = self.ready.first_entry()
                && next_first.is_none_or(|first| entry.key().as_slice() < first)
            {
                let (name, mut versions) = entry.remove_entry();
                versions.sort_by_key(|version| version.among.first());
                return Ok(Some((name, versions)));
            }
            let Some((key, named)) = self.pending.pop_first() else { return Ok(None) };
            if !named.iter().any(|(end, _)| visitor.wants(&self.path, &key.first, end.as_deref())) {
                continue;
            }
            let all = union(&named).unwrap_or_default();
            visitor.piece(&self.path, &key.id, &all)?;
            match self.read(reader, &key, named) {
                Ok(None) => {}
                Ok(Some(misordered)) => {
                    let err = corrupt_tree("the entries of a directory are out of order across its pieces");
                    visitor.lost(&self.path, &misordered, err)?;
                }
                Err(err) if err.is_damage() => visitor.lost(&self.path, &all, err)?,
                Err(err) => return Err(err),
            }
        }
    }

    /// Reads a piece. Returns the trees in which its names overlap the next piece; they do not get its
    /// entries.
    fn read(&mut self, reader: &mut ChunkReader, key: &PieceKey, by: Named) -> Result<Option<Arc<BitSet>>> {
        let bytes = reader.get(ChunkType::Tree, &key.id)?;
        let claimed = key.entries.map(|entries| (key.first.as_slice(), entries));
        let piece = decode_piece(&key.id, &bytes, key.depth, claimed)?;
        let last = match &piece {
            DirPiece::Leaf(entries) => entries.last().map(|entry| entry.name.clone()),
            DirPiece::Index(kids) => kids.last().map(|kid| kid.first.to_vec()),
        };
        let in_order = |end: &Option<Vec<u8>>| end.as_ref().is_none_or(|end| last.as_ref() < Some(end));
        let (named, misordered): (Named, Named) = by.into_iter().partition(|(end, _)| in_order(end));
        match piece {
            DirPiece::Leaf(entries) => {
                if let Some(among) = union(&named) {
                    entries.into_iter().for_each(|entry| self.add_entry(entry, &among));
                }
            }
            DirPiece::Index(kids) => {
                let ends = kids.iter().skip(1).map(|kid| Some(kid.first.to_vec())).chain([None]);
                let ends: Vec<Option<Vec<u8>>> = ends.collect();
                for (kid, kid_end) in kids.into_iter().zip(ends) {
                    let (first, entries) = (kid.first.into_vec(), Some(kid.entries));
                    let kid_key = PieceKey { first, depth: key.depth + 1, id: kid.id, entries };
                    let kid_named = self.pending.entry(kid_key).or_default();
                    for (end, among) in &named {
                        add_trees(kid_named, kid_end.as_ref().or(end.as_ref()), among);
                    }
                }
            }
        }
        Ok(union(&misordered))
    }

    fn add_entry(&mut self, entry: Entry, among: &Arc<BitSet>) {
        let versions = match self.ready.get_mut(&entry.name) {
            Some(versions) => versions,
            None => self.ready.entry(entry.name.clone()).or_default(),
        };
        // Consecutive snapshots are mostly alike, so search from the end.
        match versions.iter_mut().rev().find(|version| version.entry == entry) {
            Some(version) => unite(&mut version.among, among),
            None => versions.push(EntryVersion { entry, among: Arc::clone(among) }),
        }
    }
}

fn add_trees(named: &mut Named, end: Option<&Vec<u8>>, among: &Arc<BitSet>) {
    match named.iter_mut().find(|(known, _)| known.as_ref() == end) {
        Some((_, set)) => unite(set, among),
        None => named.push((end.cloned(), Arc::clone(among))),
    }
}

/// Returns the union of the trees; `None` if there are none.
fn union(named: &Named) -> Option<Arc<BitSet>> {
    let mut all = named.iter().map(|(_, among)| among);
    let mut union = Arc::clone(all.next()?);
    all.for_each(|among| unite(&mut union, among));
    Some(union)
}
