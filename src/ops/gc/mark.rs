//! Marks every chunk that a root needs. Trees that are shared are read once.

use std::collections::HashMap;
use std::sync::Arc;

use crate::codec::crypto::hash::ChunkType;
use crate::codec::tree::chunk_ref::ChunkRef;
use crate::error::{Error, Result};
use crate::model::id::ChunkId;
use crate::repo::index::{BlockAt, Copy, Index};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::repository::Repository;
use crate::util::bitset::BitSet;

/// A chunk that a root needs and of which no usable copy exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) kind: ChunkType,
    pub(super) id: ChunkId,
    /// A copy exists, but in a damaged or condemned pack, or as a delta whose base is in one.
    pub(super) has_unusable_copy: bool,
}

/// The result of marking a chunk.
enum MarkResult {
    New,
    AlreadyMarked,
    Missing,
}

/// Walks the trees of roots and marks the chunks that they need, by index entry (row).
pub(super) struct Marker {
    reader: ChunkReader,
    index: Arc<Index>,
    /// Entries of needed chunks: one or more for each chunk.
    pub(super) needed: BitSet,
    /// Those of them that a root refers to. The others are only bases of deltas.
    pub(super) needed_directly: BitSet,
    /// Entries of bases of needed deltas: these chunks must stay in blocks that are not deltas.
    pub(super) bases: BitSet,
    /// Entries of needed chunks of which only deltas exist that cannot be read. They stay, with those of
    /// their bases that still exist.
    pub(super) unreadable: BitSet,
    /// Entries of trees that were walked. The chunks that a tree refers to are not needed if the tree is only
    /// a base.
    walked: BitSet,
    /// Delta blocks examined so far, and whether all their bases exist. If so, the bases are marked.
    pub(super) delta_blocks: HashMap<BlockAt, bool>,
    /// Needed chunks without a usable copy.
    pub(super) lost: Vec<Lost>,
    /// Plain bytes of the marked entries.
    pub(super) plain_bytes: u64,
}

impl Marker {
    pub(super) fn new(repo: &Repository, index: &Arc<Index>) -> Result<Self> {
        let reader = ChunkReader::new(repo, Arc::clone(index))?;
        let index = Arc::clone(index);
        let (needed, needed_directly, bases, unreadable, walked) = Default::default();
        let (delta_blocks, lost) = (HashMap::new(), Vec::new());
        Ok(Self {
            reader,
            index,
            needed,
            needed_directly,
            bases,
            unreadable,
            walked,
            delta_blocks,
            lost,
            plain_bytes: 0,
        })
    }

    /// Returns whether a needed chunk of a file is in no listed pack. It may be a delta with unknown bases:
    /// its pack may be missing from the listing, unreadable, or brought back later from a copy of the
    /// repository.
    pub(super) fn misses_data(&self) -> bool {
        self.lost.iter().any(|lost| !lost.has_unusable_copy)
    }

    /// Marks a usable copy of a chunk or, if there is none, all deltas and the first copy.
    fn mark(&mut self, kind: ChunkType, id: &ChunkId) -> Result<MarkResult> {
        // Of a file chunk, any usable copy will do; one in a cached table needs no I/O. A tree is always
        // marked at its first usable copy, so that it is walked once.
        let cached = if kind == ChunkType::Data { self.index.find_cached(kind, id) } else { None };
        if let Some(copy) = cached
            && self.is_readable(kind, &copy)?
        {
            return Ok(self.mark_copy(kind, &copy));
        }
        let copies = self.index.copies(kind, id)?;
        let Some(first) = copies.first() else {
            self.lost.push(Lost { kind, id: *id, has_unusable_copy: false });
            return Ok(MarkResult::Missing);
        };
        for copy in &copies {
            if self.is_readable(kind, copy)? {
                return Ok(self.mark_copy(kind, copy));
            }
        }
        if !self.needed.has(first.number) {
            self.lost.push(Lost { kind, id: *id, has_unusable_copy: true });
        }
        for copy in copies.iter().filter(|copy| copy.delta) {
            self.mark_unreadable_delta(kind, copy)?;
        }
        Ok(self.mark_copy(kind, first))
    }

    fn mark_copy(&mut self, kind: ChunkType, copy: &Copy) -> MarkResult {
        let is_new = self.mark_entry(copy);
        self.needed_directly.insert(copy.number);
        let is_new = if kind == ChunkType::Tree { self.walked.insert(copy.number) } else { is_new };
        if is_new { MarkResult::New } else { MarkResult::AlreadyMarked }
    }

    /// Marks an index entry. Returns true if it was not marked before.
    fn mark_entry(&mut self, copy: &Copy) -> bool {
        let is_new = self.needed.insert(copy.number);
        if is_new {
            self.plain_bytes += u64::from(copy.location.len);
        }
        is_new
    }

    /// Returns whether a copy's pack is usable and each of its bases has a usable copy. Marks these bases
    /// (C2).
    fn is_readable(&mut self, kind: ChunkType, copy: &Copy) -> Result<bool> {
        if !copy.in_usable_pack || !copy.delta {
            return Ok(copy.in_usable_pack);
        }
        let block = copy.location.block;
        if let Some(readable) = self.delta_blocks.get(&block) {
            return Ok(*readable);
        }
        let mut found = Vec::new();
        for base in self.index.bases(block)? {
            match self.index.find_base(kind, &base)? {
                Some(copy) => found.push(copy),
                None => {
                    self.delta_blocks.insert(block, false);
                    return Ok(false);
                }
            }
        }
        for base in &found {
            self.bases.insert(base.number);
            self.mark_entry(base);
        }
        self.delta_blocks.insert(block, true);
        Ok(true)
    }

    /// Marks a delta that cannot be read because a base is lost or its pack is damaged, and its remaining
    /// bases: a repair may make it readable again (C2).
    fn mark_unreadable_delta(&mut self, kind: ChunkType, copy: &Copy) -> Result<()> {
        self.mark_entry(copy);
        if !self.unreadable.insert(copy.number) {
            return Ok(());
        }
        for base in self.index.bases(copy.location.block)? {
            if let Some(base) = self.index.find_base(kind, &base)? {
                self.bases.insert(base.number);
                self.mark_entry(&base);
            }
        }
        Ok(())
    }

    /// Marks everything below a root. A missing file chunk is recorded and marking continues.
    ///
    /// # Errors
    /// When a tree cannot be read, since it is unknown what it refers to.
    pub(super) fn mark_root(&mut self, root: &ChunkId) -> Result<()> {
        let mut pending = vec![ChunkRef::Dir(*root)];
        while let Some(piece) = pending.pop() {
            let (kind, id) = piece.type_and_id();
            match self.mark(kind, id)? {
                MarkResult::New => {}
                MarkResult::AlreadyMarked => continue,
                MarkResult::Missing => return Err(Error::Missing { what: format!("tree {}", id.short()) }),
            }
            let bytes = self.reader.get(kind, id)?;
            let damaged = Error::damaged(format!("tree {}", id.short()));
            for child in piece.references_in(&bytes).map_err(damaged)? {
                match child {
                    ChunkRef::Data(id) => {
                        self.mark(ChunkType::Data, &id)?;
                    }
                    piece => pending.push(piece),
                }
            }
        }
        Ok(())
    }
}
