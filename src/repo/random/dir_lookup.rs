//! Finds entries of a directory by name or position without reading those before them. Positions never
//! change, because a tree is named by its content.

use std::sync::Arc;

use crate::error::Result;
use crate::model::entry::Entry;
use crate::model::id::ChunkId;
use crate::repo::random::random_reader::{DirPieceRef, RandomReader};
use crate::repo::walk::plausible::{MAX_DEPTH, check_piece, corrupt_tree};

/// A piece and its position in the directory.
struct PieceCursor {
    piece: Arc<DirPieceRef>,
    /// Number of entries before its first.
    before: u64,
    /// Number of index pieces above it.
    depth: usize,
}

/// Returns the entry with this name and its position in the directory.
///
/// # Errors
/// When a piece is missing or damaged.
pub fn find(reader: &RandomReader, tree: &ChunkId, name: &[u8]) -> Result<Option<(u64, Arc<Entry>)>> {
    let mut cursor = PieceCursor { piece: reader.dir(tree)?, before: 0, depth: 0 };
    loop {
        let number = match &*cursor.piece {
            DirPieceRef::Leaf(entries) => {
                let Ok(at) = entries.binary_search_by(|entry| entry.name[..].cmp(name)) else {
                    return Ok(None);
                };
                return Ok(entries.get(at).map(|entry| (cursor.before + at as u64, Arc::clone(entry))));
            }
            DirPieceRef::Index(kids) => kids.partition_point(|kid| kid.first[..] <= *name),
        };
        // A name before the first of all is not in the directory.
        let Some(number) = number.checked_sub(1) else { return Ok(None) };
        let Some(child) = cursor.child(reader, number)? else { return Ok(None) };
        cursor = child;
    }
}

/// Returns the entry at a position.
///
/// # Errors
/// As [`find`].
pub fn entry_at(reader: &RandomReader, tree: &ChunkId, place: u64) -> Result<Option<Arc<Entry>>> {
    let mut found = None;
    for_each_from(reader, tree, place, &mut |_, entry| {
        found = Some(Arc::clone(entry));
        false
    })?;
    Ok(found)
}

/// Calls `each` for the entries from a position on, in order, until it returns that it has enough.
///
/// # Errors
/// As [`find`].
pub fn for_each_from(
    reader: &RandomReader,
    tree: &ChunkId,
    place: u64,
    each: &mut dyn FnMut(u64, &Arc<Entry>) -> bool,
) -> Result<()> {
    let root = PieceCursor { piece: reader.dir(tree)?, before: 0, depth: 0 };
    root.for_each_from(reader, place, each).map(drop)
}

impl PieceCursor {
    /// Reads a child piece by number, and checks it against its description here.
    fn child(&self, reader: &RandomReader, number: usize) -> Result<Option<Self>> {
        let DirPieceRef::Index(kids) = &*self.piece else { return Ok(None) };
        let Some(kid) = kids.get(number) else { return Ok(None) };
        if self.depth >= MAX_DEPTH {
            return Err(corrupt_tree("the tree is nested too deeply"));
        }
        let entries = kids.iter().take(number).map(|kid| kid.entries);
        let before = entries.fold(self.before, u64::saturating_add);
        let piece = reader.dir(&kid.id)?;
        let (first, count) = match &*piece {
            DirPieceRef::Leaf(entries) => {
                (entries.first().map(|entry| &entry.name[..]), entries.len() as u64)
            }
            DirPieceRef::Index(kids) => {
                let count = kids.iter().map(|kid| kid.entries).fold(0, u64::saturating_add);
                (kids.first().map(|kid| &kid.first[..]), count)
            }
        };
        check_piece((&kid.first, kid.entries), (first, count))?;
        Ok(Some(Self { piece, before, depth: self.depth + 1 }))
    }

    /// Returns whether the caller wants more.
    fn for_each_from(
        &self,
        reader: &RandomReader,
        place: u64,
        each: &mut dyn FnMut(u64, &Arc<Entry>) -> bool,
    ) -> Result<bool> {
        match &*self.piece {
            DirPieceRef::Leaf(entries) => {
                let skip = usize::try_from(place.saturating_sub(self.before)).unwrap_or(usize::MAX);
                let mut rest = (self.before..).zip(entries).skip(skip);
                Ok(rest.all(|(at, entry)| each(at, entry)))
            }
            DirPieceRef::Index(kids) => {
                let mut end = self.before;
                for (number, kid) in kids.iter().enumerate() {
                    end = end.saturating_add(kid.entries);
                    if place < end
                        && let Some(child) = self.child(reader, number)?
                        && !child.for_each_from(reader, place, each)?
                    {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }
}
