//! Marking: every chunk that a root needs, each distinct tree read once.

use std::sync::Arc;

use crate::codec::hash::ChunkType;
use crate::codec::list::ListPiece;
use crate::codec::tree::DirPiece;
use crate::error::Error;
use crate::error::Result;
use crate::model::entry::Content;
use crate::model::entry::Kind;
use crate::model::entry::Part;
use crate::model::id::ChunkId;
use crate::store::chunks::ChunkReader;
use crate::store::index::Index;
use crate::store::repository::Repository;

/// One bit for each row of an index.
#[derive(Debug, Default, Clone)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// Sets a bit; true when it was not set.
    pub(super) fn set(&mut self, at: usize) -> bool {
        let (word, bit) = (at / 64, 1u64 << (at % 64));
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0.get_mut(word).is_some_and(|word| {
            let fresh = *word & bit == 0;
            *word |= bit;
            fresh
        })
    }

    /// How many bits are set.
    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether a bit is set.
    pub(super) fn has(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word & (1 << (at % 64)) != 0)
    }
}

/// A chunk that a root needs and no good pack holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) kind: ChunkType,
    pub(super) id: ChunkId,
    /// There is a copy, in a pack that is damaged or condemned.
    pub(super) shunned: bool,
}

/// What marking a chunk came to.
enum Found {
    New,
    Before,
    Missing,
}

/// Walks roots and marks what they need.
pub(super) struct Marker {
    reader: ChunkReader,
    index: Arc<Index>,
    /// A row of each needed chunk, sometimes more than one.
    pub(super) needed: Bits,
    /// Chunks without a good copy.
    pub(super) lost: Vec<Lost>,
    /// Plain bytes newly marked.
    pub(super) plain: u64,
}

impl Marker {
    pub(super) fn new(repo: &Repository, index: &Arc<Index>) -> Result<Self> {
        let reader = ChunkReader::new(repo, Arc::clone(index))?;
        let index = Arc::clone(index);
        Ok(Self { reader, index, needed: Bits::default(), lost: Vec::new(), plain: 0 })
    }

    /// Marks a chunk.
    fn mark(&mut self, kind: ChunkType, id: &ChunkId) -> Result<Found> {
        // A tree is walked at its first copy; for a file's chunk any good one will do, and the nearest costs nothing.
        let near = if kind == ChunkType::Data { self.index.near(kind, id) } else { None };
        let copy = match near {
            Some(copy) => copy,
            None => {
                let copies = self.index.copies(kind, id)?;
                let Some(first) = copies.first().copied() else {
                    self.lost.push(Lost { kind, id: *id, shunned: false });
                    return Ok(Found::Missing);
                };
                let shunned = copies.iter().all(|copy| copy.shunned);
                if shunned && !self.needed.has(first.row) {
                    self.lost.push(Lost { kind, id: *id, shunned: true });
                }
                first
            }
        };
        if !self.needed.set(copy.row) {
            return Ok(Found::Before);
        }
        self.plain += u64::from(copy.location.len);
        Ok(Found::New)
    }

    /// Marks everything below a root. A missing file chunk is noted and the mark goes on.
    ///
    /// # Errors
    /// When a tree cannot be read: nobody knows then what lies below it.
    pub(super) fn root(&mut self, root: &ChunkId) -> Result<()> {
        let mut todo = vec![*root];
        while let Some(id) = todo.pop() {
            match self.mark(ChunkType::Tree, &id)? {
                Found::New => {}
                Found::Before => continue,
                Found::Missing => return Err(Error::Missing { what: format!("tree {}", id.short()) }),
            }
            let bytes = self.reader.get(ChunkType::Tree, &id)?;
            match DirPiece::decode(&bytes).map_err(Error::damaged(format!("tree {}", id.short())))? {
                DirPiece::Index(kids) => todo.extend(kids.iter().map(|kid| kid.id)),
                DirPiece::Leaf(entries) => {
                    for entry in &entries {
                        if let Kind::Dir { tree } = &entry.kind {
                            todo.push(*tree);
                        }
                        for (_, content) in entry.contents() {
                            match content {
                                Content::Parts(parts) => self.parts(parts)?,
                                Content::List(list) => self.list(list)?,
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn parts(&mut self, parts: &[Part]) -> Result<()> {
        for part in parts {
            if let Part::Chunk { id, .. } = part {
                self.mark(ChunkType::Data, id)?;
            }
        }
        Ok(())
    }

    fn list(&mut self, root: &ChunkId) -> Result<()> {
        let mut todo = vec![*root];
        while let Some(id) = todo.pop() {
            match self.mark(ChunkType::Tree, &id)? {
                Found::New => {}
                Found::Before => continue,
                Found::Missing => return Err(Error::Missing { what: format!("list {}", id.short()) }),
            }
            let bytes = self.reader.get(ChunkType::Tree, &id)?;
            match ListPiece::decode(&bytes).map_err(Error::damaged(format!("list {}", id.short())))? {
                ListPiece::Index(kids) => todo.extend(kids.iter().map(|kid| kid.id)),
                ListPiece::Leaf(parts) => self.parts(&parts)?,
            }
        }
        Ok(())
    }
}
