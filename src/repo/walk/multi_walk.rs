//! Many trees side by side, as if they were one: each path that any of them has, with all that it is, and in which.
//!
//! Each distinct piece of a directory is read once, however many trees share it. Memory: the distinct entries of one
//! directory and of those above it; of a directory in many pieces, those of pieces that overlap.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::codec::crypto::hash::ChunkType;
use crate::codec::tree::dir::DirPiece;
use crate::error::{Error, Result};
use crate::model::decode_error::DecodeError;
use crate::model::entry::{Entry, Kind};
use crate::model::id::ChunkId;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::walk::dir_reader::{MAX_NESTING, WalkLimits};
use crate::util::bitset::BitSet;

/// Index pieces above one another.
const MAX_DEPTH: usize = 8;

/// One of the things that a path is.
#[derive(Debug, Clone)]
pub struct EntryVersion {
    /// What.
    pub entry: Entry,
    /// In which trees.
    pub among: Arc<BitSet>,
}

/// A directory's tree.
#[derive(Debug, Clone)]
pub struct Tree {
    /// Its root piece.
    pub id: ChunkId,
    /// Which of the trees that are walked have it here.
    pub among: Arc<BitSet>,
}

/// Takes what a walk finds, in order of paths.
pub trait Visitor {
    /// A path, with each distinct entry that it is in some tree, in order of the first that has it. True: what is in its
    /// directories is wanted as well.
    ///
    /// # Errors
    /// Ends the walk.
    fn path(&mut self, path: &[u8], versions: &[EntryVersion]) -> Result<bool>;

    /// A piece of a directory, about to be read.
    ///
    /// # Errors
    /// Ends the walk.
    fn piece(&mut self, dir: &[u8], id: &ChunkId, among: &BitSet) -> Result<()> {
        let _ = (dir, id, among);
        Ok(())
    }

    /// Whether names of a directory are wanted, from `first` up to `end` without it. Pieces of others are not read.
    fn wants(&self, dir: &[u8], first: &[u8], end: Option<&[u8]>) -> bool {
        let _ = (dir, first, end);
        true
    }

    /// All of a directory has been told of.
    ///
    /// # Errors
    /// Ends the walk.
    fn leave(&mut self, dir: &[u8], trees: &[Tree]) -> Result<()> {
        let _ = (dir, trees);
        Ok(())
    }

    /// A piece of a directory is missing or damaged: what it holds is not told of.
    ///
    /// # Errors
    /// Ends the walk.
    fn lost(&mut self, dir: &[u8], among: &BitSet, err: Error) -> Result<()> {
        let _ = (dir, among);
        Err(err)
    }
}

/// How far a walk goes.
#[derive(Debug)]
pub struct Bounds<'a> {
    /// What the trees may hold together.
    pub budget: WalkLimits,
    /// Told to stop.
    pub stop: &'a AtomicBool,
}

/// Walks trees, each a directory at `base`.
///
/// # Errors
/// What the visitor returns; `Interrupted` when told to stop; when the trees hold more than they may, are nested
/// absurdly, or the store fails.
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
            bounds.budget.take(&path, &version.entry)?;
        }
        if !visitor.path(&path, &versions)? {
            continue;
        }
        let trees = trees_of(&versions);
        if trees.is_empty() {
            continue;
        }
        if open.len() >= MAX_NESTING {
            let path = String::from_utf8_lossy(&path).into_owned();
            return Err(Error::Refused(format!("{path}: too many directories inside one another")));
        }
        open.push(Level::new(path, trees));
    }
    Ok(())
}

/// What one path is in all of the trees.
///
/// # Errors
/// As [`walk`]; what is missing or damaged is told to `lost`.
pub fn look_up(
    reader: &mut ChunkReader,
    trees: Vec<Tree>,
    path: &[u8],
    lost: &mut dyn FnMut(&[u8], Error) -> Result<()>,
    bounds: &mut Bounds<'_>,
) -> Result<Vec<EntryVersion>> {
    let mut search = Search { path, found: Vec::new(), lost };
    walk(reader, b"", trees, &mut search, bounds)?;
    Ok(search.found)
}

/// The distinct directories among the versions of a path.
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

/// Follows one path.
struct Search<'a> {
    path: &'a [u8],
    found: Vec<EntryVersion>,
    lost: &'a mut dyn FnMut(&[u8], Error) -> Result<()>,
}

impl Search<'_> {
    /// What comes behind a directory on the way.
    fn behind(&self, dir: &[u8]) -> Option<&[u8]> {
        match dir {
            b"" => Some(self.path),
            _ => self.path.strip_prefix(dir)?.strip_prefix(b"/"),
        }
    }
}

impl Visitor for Search<'_> {
    fn path(&mut self, path: &[u8], versions: &[EntryVersion]) -> Result<bool> {
        if path == self.path {
            self.found = versions.to_vec();
            return Ok(false);
        }
        Ok(self.behind(path).is_some())
    }

    fn wants(&self, dir: &[u8], first: &[u8], end: Option<&[u8]>) -> bool {
        let name = self.behind(dir).and_then(|rest| rest.split(|byte| *byte == b'/').next());
        name.is_some_and(|name| first <= name && end.is_none_or(|end| name < end))
    }

    fn lost(&mut self, dir: &[u8], _: &BitSet, err: Error) -> Result<()> {
        (self.lost)(dir, err)
    }
}

/// Where a piece comes among those still to be read: by its first name (that of a root is not known, and before all),
/// index pieces before those that they name. Who says otherwise of it means another one.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    first: Vec<u8>,
    depth: usize,
    id: ChunkId,
    /// Entries that it holds; not known of a root.
    entries: Option<u64>,
}

/// Those who name a piece, by the name before which all of its own come: the first of the next piece, if there is one.
type Named = Vec<(Option<Vec<u8>>, Arc<BitSet>)>;

/// A directory that is open.
struct Level {
    path: Vec<u8>,
    trees: Vec<Tree>,
    todo: BTreeMap<Place, Named>,
    /// What was read; a name is complete once no piece to come may hold it.
    ready: BTreeMap<Vec<u8>, Vec<EntryVersion>>,
}

impl Level {
    fn new(path: Vec<u8>, trees: Vec<Tree>) -> Self {
        let root = |tree: &Tree| {
            let place = Place { first: Vec::new(), depth: 0, id: tree.id, entries: None };
            (place, vec![(None, Arc::clone(&tree.among))])
        };
        Self { todo: trees.iter().map(root).collect(), path, trees, ready: BTreeMap::new() }
    }

    fn next(
        &mut self,
        reader: &mut ChunkReader,
        visitor: &mut dyn Visitor,
    ) -> Result<Option<(Vec<u8>, Vec<EntryVersion>)>> {
        loop {
            let coming = self.todo.first_key_value().map(|(place, _)| place.first.as_slice());
            if let Some(entry) = self.ready.first_entry()
                && coming.is_none_or(|first| entry.key().as_slice() < first)
            {
                let (name, mut versions) = entry.remove_entry();
                versions.sort_by_key(|version| version.among.first());
                return Ok(Some((name, versions)));
            }
            let Some((place, named)) = self.todo.pop_first() else { return Ok(None) };
            if !named.iter().any(|(end, _)| visitor.wants(&self.path, &place.first, end.as_deref())) {
                continue;
            }
            let all = union(&named).unwrap_or_default();
            visitor.piece(&self.path, &place.id, &all)?;
            match self.read(reader, &place, named) {
                Ok(None) => {}
                Ok(Some(liars)) => {
                    let err = bad("a directory out of order across its pieces");
                    visitor.lost(&self.path, &liars, err)?;
                }
                Err(err) if err.is_damage() => visitor.lost(&self.path, &all, err)?,
                Err(err) => return Err(err),
            }
        }
    }

    /// Those to whom its names come after what they name next, and who are not told of it therefore.
    fn read(&mut self, reader: &mut ChunkReader, place: &Place, named: Named) -> Result<Option<Arc<BitSet>>> {
        let bytes = reader.get(ChunkType::Tree, &place.id)?;
        let damaged = Error::damaged(format!("tree {}", place.id.short()));
        let piece = DirPiece::decode(&bytes).map_err(damaged)?;
        place.check(&piece)?;
        let last = match &piece {
            DirPiece::Leaf(entries) => entries.last().map(|entry| entry.name.clone()),
            DirPiece::Index(kids) => kids.last().map(|kid| kid.first.to_vec()),
        };
        let in_order = |end: &Option<Vec<u8>>| end.as_ref().is_none_or(|end| last.as_ref() < Some(end));
        let (named, liars): (Named, Named) = named.into_iter().partition(|(end, _)| in_order(end));
        match piece {
            DirPiece::Leaf(entries) => {
                if let Some(among) = union(&named) {
                    entries.into_iter().for_each(|entry| self.take(entry, &among));
                }
            }
            DirPiece::Index(kids) => {
                let nexts = kids.iter().skip(1).map(|kid| Some(kid.first.to_vec())).chain([None]);
                let nexts: Vec<Option<Vec<u8>>> = nexts.collect();
                for (kid, next) in kids.into_iter().zip(nexts) {
                    let first = kid.first.into_vec();
                    let (depth, entries) = (place.depth + 1, Some(kid.entries));
                    let sayers = self.todo.entry(Place { first, depth, id: kid.id, entries }).or_default();
                    for (end, among) in &named {
                        say(sayers, next.as_ref().or(end.as_ref()), among);
                    }
                }
            }
        }
        Ok(union(&liars))
    }

    fn take(&mut self, entry: Entry, among: &Arc<BitSet>) {
        let versions = match self.ready.get_mut(&entry.name) {
            Some(versions) => versions,
            None => self.ready.entry(entry.name.clone()).or_default(),
        };
        // Neighbours in time are alike.
        match versions.iter_mut().rev().find(|version| version.entry == entry) {
            Some(version) => unite(&mut version.among, among),
            None => versions.push(EntryVersion { entry, among: Arc::clone(among) }),
        }
    }
}

impl Place {
    /// Whether a piece is what is said of it. Without this, pieces that hold nothing could be named without end.
    fn check(&self, piece: &DirPiece) -> Result<()> {
        let (first, entries) = match piece {
            DirPiece::Index(_) if self.depth >= MAX_DEPTH => return Err(bad("a tree of absurd depth")),
            DirPiece::Index(kids) => {
                let entries = kids.iter().map(|kid| kid.entries).fold(0, u64::saturating_add);
                (kids.first().map(|kid| kid.first.as_slice()), entries)
            }
            DirPiece::Leaf(all) => (all.first().map(|entry| entry.name.as_slice()), all.len() as u64),
        };
        let right = self.entries.is_none_or(|said| said == entries && first == Some(self.first.as_slice()));
        right.then_some(()).ok_or_else(|| bad("a piece that is not what its index says"))
    }
}

fn say(sayers: &mut Named, end: Option<&Vec<u8>>, among: &Arc<BitSet>) {
    match sayers.iter_mut().find(|(known, _)| known.as_ref() == end) {
        Some((_, set)) => unite(set, among),
        None => sayers.push((end.cloned(), Arc::clone(among))),
    }
}

/// `None` of nobody.
fn union(named: &Named) -> Option<Arc<BitSet>> {
    let mut all = named.iter().map(|(_, among)| among);
    let mut union = Arc::clone(all.next()?);
    all.for_each(|among| unite(&mut union, among));
    Some(union)
}

fn bad(why: &'static str) -> Error {
    Error::Damaged { what: "a tree".into(), source: DecodeError::because(why) }
}
