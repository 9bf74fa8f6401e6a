//! Walks a snapshot together with its predecessor, and finds the older version of each chunk.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::codec::crypto::hash::ChunkType;
use crate::error::Result;
use crate::model::entry::{Content, ContentPart, Entry, Kind};
use crate::model::id::{ChunkId, SnapshotId};
use crate::ops::gc::deltas::choose_bases::DeltaChooser;
use crate::repo::index::Index;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::repository::Repository;
use crate::repo::snapshots::Snapshot;
use crate::repo::walk::dir_reader::WalkLimits;
use crate::repo::walk::file_parts;
use crate::repo::walk::multi_walk::{Bounds, EntryVersion, Tree, Visitor, trees_of};
use crate::repo::walk::{dir_reader, multi_walk};
use crate::repo::write::siblings::Siblings;
use crate::repo::write::similarity::{Follower, Older};
use crate::util::bitset::BitSet;

/// Indices of the two walked trees.
const OLD: usize = 0;
const NEW: usize = 1;

/// Returns each snapshot, oldest first, with its predecessor: the parent of its backup, otherwise the
/// previous one of the same host and sources. Pairs with equal trees are left out.
pub(super) fn with_predecessor(snapshots: &BTreeMap<SnapshotId, Snapshot>) -> Vec<(&Snapshot, &Snapshot)> {
    let mut by_age: Vec<&Snapshot> = snapshots.values().collect();
    by_age.sort_by_key(|version| (version.manifest.started, version.id));
    let mut last: HashMap<_, &Snapshot> = HashMap::new();
    let mut pairs = Vec::new();
    for new in by_age {
        let set = (&new.manifest.host, &new.manifest.sources);
        let parent = new.manifest.parent.and_then(|parent| snapshots.get(&parent));
        let parent = parent.filter(|parent| parent.manifest.started < new.manifest.started);
        let previous = last.insert(set, new);
        pairs.extend(parent.or(previous).map(|old| (old, new)));
    }
    pairs.retain(|(old, new)| old.manifest.root != new.manifest.root);
    pairs
}

/// Passes each chunk of `new` that `old` lacks to the chooser, with the chunks of `old` that may be similar.
pub(super) fn walk(
    repo: &Repository,
    index: &Arc<Index>,
    (old, new): (&Snapshot, &Snapshot),
    chooser: &mut DeltaChooser<'_>,
    stop: &AtomicBool,
) -> Result<()> {
    let reader = || ChunkReader::new(repo, Arc::clone(index));
    let tree = |snapshot: &Snapshot, number| {
        let among: BitSet = std::iter::once(number).collect();
        Tree { id: snapshot.manifest.root, among: Arc::new(among) }
    };
    let root = Level::of(Some(old.manifest.root));
    let mut pairs = PairWalk { new_lists: reader()?, old_lists: reader()?, chooser, open_dirs: vec![root] };
    let counts = [&old.manifest.counts, &new.manifest.counts].into_iter();
    let mut bounds = Bounds { budget: WalkLimits::of_all(counts), stop };
    multi_walk::walk(&mut reader()?, b"", vec![tree(old, OLD), tree(new, NEW)], &mut pairs, &mut bounds)
}

/// A directory that is being walked.
struct Level {
    /// The old snapshot's files in it, to which new ones may be similar.
    siblings: Option<Siblings>,
    /// Tree chunks that only the old tree has, and those that only the new one has.
    pieces: [Vec<ChunkId>; 2],
}

impl Level {
    /// Returns the level of a directory; `tree` is its tree in the old snapshot.
    fn of(tree: Option<ChunkId>) -> Self {
        Self { siblings: tree.map(Siblings::of), pieces: Default::default() }
    }
}

struct PairWalk<'j, 'a> {
    /// Reads part lists of new versions.
    new_lists: ChunkReader,
    /// Reads part lists of old versions.
    old_lists: ChunkReader,
    chooser: &'j mut DeltaChooser<'a>,
    open_dirs: Vec<Level>,
}

impl PairWalk<'_, '_> {
    /// Returns the old snapshot's version of a file or, if there is none, a similar file of the same
    /// directory.
    fn older(&mut self, entry: &Entry, old: Option<&Entry>) -> Result<Option<Older>> {
        if let Some(older) = old.and_then(Older::of) {
            return Ok(Some(older));
        }
        match self.open_dirs.last_mut().and_then(|level| level.siblings.as_mut()) {
            Some(siblings) => siblings.older(&mut self.old_lists, entry, entry.size()),
            None => Ok(None),
        }
    }

    fn file(&mut self, size: u64, content: &Content, older: Older) -> Result<()> {
        let Self { new_lists, old_lists, chooser, .. } = self;
        if matches!((content, &older.content), (Content::List(_), Content::List(_))) {
            let old = dir_reader::list_pieces(old_lists, &older.content)?;
            let new = dir_reader::list_pieces(new_lists, content)?;
            compare_pieces(chooser, &old, &new)?;
        }
        let mut follower = Follower::new(older, Some(size));
        file_parts::each_part(new_lists, size, content, &mut |part| match part {
            ContentPart::Hole { len } => {
                follower.hole(len);
                Ok(())
            }
            ContentPart::Chunk { id, len } => {
                let similar = follower.next(old_lists, &id, len)?;
                if similar.is_empty() { Ok(()) } else { chooser.consider(ChunkType::Data, &id, &similar) }
            }
        })
    }
}

/// Passes new chunks of a directory or part list to the chooser, each with the old ones at about its
/// position.
fn compare_pieces(chooser: &mut DeltaChooser<'_>, old: &[ChunkId], new: &[ChunkId]) -> Result<()> {
    for (position, id) in new.iter().enumerate().filter(|(_, id)| !old.contains(id)) {
        let similar: Vec<ChunkId> = old.iter().skip(position.saturating_sub(1)).take(3).copied().collect();
        let similar = chooser.lengths(&similar)?;
        chooser.consider(ChunkType::Tree, id, &similar)?;
    }
    Ok(())
}

/// Ignores damage: other operations report it.
fn unless_damaged(result: Result<()>) -> Result<()> {
    result.or_else(|err| if err.is_damage() { Ok(()) } else { Err(err) })
}

impl Visitor for PairWalk<'_, '_> {
    fn path(&mut self, _: &[u8], versions: &[EntryVersion]) -> Result<bool> {
        let version_in =
            |number| versions.iter().find(|version| version.among.has(number)).map(|version| &version.entry);
        let (old, Some(new)) = (version_in(OLD), version_in(NEW)) else { return Ok(false) };
        if let Kind::File { size, content } = &new.kind
            && old.is_none_or(|old| old.kind != new.kind)
        {
            let older = self.older(new, old);
            let result =
                older.and_then(|older| older.map_or(Ok(()), |older| self.file(*size, content, older)));
            unless_damaged(result)?;
        }
        let tree_of = |entry: Option<&Entry>| match entry.map(|entry| &entry.kind) {
            Some(Kind::Dir { tree }) => Some(*tree),
            _ => None,
        };
        let differs = trees_of(versions).len() > 1 && tree_of(Some(new)).is_some();
        if differs {
            self.open_dirs.push(Level::of(tree_of(old)));
        }
        Ok(differs)
    }

    fn piece(&mut self, _: &[u8], id: &ChunkId, among: &BitSet) -> Result<()> {
        let tree = match (among.has(OLD), among.has(NEW)) {
            (true, false) => OLD,
            (false, true) => NEW,
            _ => return Ok(()),
        };
        if let Some(pieces) = self.open_dirs.last_mut().and_then(|level| level.pieces.get_mut(tree)) {
            pieces.push(*id);
        }
        Ok(())
    }

    fn leave(&mut self, _: &[u8], _: &[Tree]) -> Result<()> {
        let Some(Level { pieces: [old, new], .. }) = self.open_dirs.pop() else { return Ok(()) };
        unless_damaged(compare_pieces(self.chooser, &old, &new))
    }

    fn lost(&mut self, _: &[u8], _: &BitSet, _: crate::error::Error) -> Result<()> {
        Ok(())
    }
}
