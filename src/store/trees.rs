//! Walking stored trees: a directory's entries in order, piece by piece.

use crate::codec::chunker::MAX_CHUNK;
use crate::codec::hash::ChunkType;
use crate::codec::list::ListPiece;
use crate::codec::tree::DirPiece;
use crate::error::Error;
use crate::error::Result;
use crate::model::entry::Content;
use crate::model::entry::Entry;
use crate::model::entry::Part;
use crate::model::id::ChunkId;
use crate::model::malformed::Malformed;
use crate::store::chunks::ChunkReader;

/// Index pieces above one another: with hundreds of children each, four are beyond any directory.
const MAX_DEPTH: usize = 8;
/// Directories inside one another.
pub const MAX_NESTING: usize = 4096;

/// A directory's entries in order, read piece by piece.
#[derive(Debug)]
pub struct DirStream {
    /// Pieces still to read, last first: (id, index pieces above it).
    todo: Vec<(ChunkId, usize)>,
    entries: std::vec::IntoIter<Entry>,
    last: Option<Vec<u8>>,
    /// Every piece read so far.
    pub pieces: Vec<ChunkId>,
}

impl DirStream {
    /// Of the directory with this root piece.
    pub fn new(tree: ChunkId) -> Self {
        Self { todo: vec![(tree, 0)], entries: Vec::new().into_iter(), last: None, pieces: Vec::new() }
    }

    /// Pieces that are known to follow.
    pub fn announced(&self) -> impl Iterator<Item = ChunkId> {
        self.todo.iter().map(|(id, _)| *id)
    }

    /// The next entry.
    ///
    /// # Errors
    /// When a piece is missing or damaged; what follows in this directory is then lost to the caller.
    pub fn next(&mut self, reader: &mut ChunkReader) -> Result<Option<Entry>> {
        loop {
            if let Some(entry) = self.entries.next() {
                if self.last.as_ref().is_some_and(|last| *last >= entry.name) {
                    return Err(bad("a directory out of order across its pieces"));
                }
                self.last = Some(entry.name.clone());
                return Ok(Some(entry));
            }
            let Some((id, depth)) = self.todo.pop() else { return Ok(None) };
            let bytes = reader.get(ChunkType::Tree, &id)?;
            self.pieces.push(id);
            match DirPiece::decode(&bytes).map_err(Error::damaged(format!("tree {}", id.short())))? {
                DirPiece::Leaf(entries) => self.entries = entries.into_iter(),
                DirPiece::Index(_) if depth >= MAX_DEPTH => return Err(bad("a tree of absurd depth")),
                DirPiece::Index(kids) => self.todo.extend(kids.iter().rev().map(|kid| (kid.id, depth + 1))),
            }
        }
    }
}

/// Calls `each` for every part of a file in order.
///
/// # Errors
/// When a piece of its list is missing or damaged, or the parts do not add up to `size`.
pub fn each_part(
    reader: &mut ChunkReader,
    size: u64,
    content: &Content,
    each: &mut dyn FnMut(Part) -> Result<()>,
) -> Result<()> {
    let root = match content {
        Content::Parts(parts) => return parts.iter().try_for_each(|part| each(*part)),
        Content::List(root) => *root,
    };
    let mut sum = 0u64;
    let mut todo = vec![(root, 0)];
    while let Some((id, depth)) = todo.pop() {
        let bytes = reader.get(ChunkType::Tree, &id)?;
        match ListPiece::decode(&bytes).map_err(Error::damaged(format!("list {}", id.short())))? {
            ListPiece::Leaf(parts) => {
                for part in parts {
                    sum = sum.checked_add(part.len()).ok_or_else(|| bad("a file of absurd size"))?;
                    each(part)?;
                }
            }
            ListPiece::Index(_) if depth >= MAX_DEPTH => return Err(bad("a list of absurd depth")),
            ListPiece::Index(kids) => todo.extend(kids.iter().rev().map(|kid| (kid.id, depth + 1))),
        }
    }
    if sum == size { Ok(()) } else { Err(bad("a file whose parts are not its size")) }
}

/// Pieces of a list, its chunks' ids aside.
///
/// # Errors
/// When a piece is missing or damaged.
pub fn list_pieces(reader: &mut ChunkReader, content: &Content) -> Result<Vec<ChunkId>> {
    let Content::List(root) = content else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    let mut todo = vec![*root];
    while let Some(id) = todo.pop() {
        all.push(id);
        let bytes = reader.get(ChunkType::Tree, &id)?;
        if let ListPiece::Index(kids) =
            ListPiece::decode(&bytes).map_err(Error::damaged(format!("list {}", id.short())))?
        {
            todo.extend(kids.iter().map(|kid| kid.id));
        }
    }
    Ok(all)
}

/// Whether a part's length can be true; readers allocate by it.
pub fn is_bearable(part: &Part) -> bool {
    match part {
        Part::Chunk { len, .. } => *len <= MAX_CHUNK,
        Part::Hole { .. } => true,
    }
}

fn bad(why: &'static str) -> Error {
    Error::Damaged { what: "a tree".into(), source: Malformed::because(why) }
}

/// The entry of this name in a directory.
///
/// # Errors
/// When a piece is missing or damaged.
pub fn child(reader: &mut ChunkReader, tree: ChunkId, name: &[u8]) -> Result<Option<Entry>> {
    let mut dir = DirStream::new(tree);
    while let Some(entry) = dir.next(reader)? {
        if entry.name == name {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// The entry at a path below a root, if there is one.
///
/// # Errors
/// When a piece is missing or damaged.
pub fn lookup(reader: &mut ChunkReader, root: ChunkId, path: &[u8]) -> Result<Option<Entry>> {
    let mut tree = root;
    let mut parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).peekable();
    while let Some(part) = parts.next() {
        match child(reader, tree, part)? {
            Some(entry) if parts.peek().is_none() => return Ok(Some(entry)),
            Some(Entry { kind: crate::model::entry::Kind::Dir { tree: below }, .. }) => tree = below,
            _ => return Ok(None),
        }
    }
    Ok(None)
}
