//! Marks every chunk that a root needs. Each distinct tree is read once.

use std::collections::HashMap;
use std::sync::Arc;

use crate::codec::crypto::hash::ChunkType;
use crate::codec::tree::chunk_ref::ChunkRef;
use crate::error::{Error, Result};
use crate::model::id::ChunkId;
use crate::repo::index::{BlockAt, Copy, Index};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::repository::Repository;

/// A bit set with one bit for each entry of an index.
#[derive(Debug, Default, Clone)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// Sets a bit. Returns true if it was not set before.
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

    /// Returns the number of bits that are set.
    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Returns whether a bit is set.
    pub(super) fn has(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word & (1 << (at % 64)) != 0)
    }
}

/// A chunk that a root needs and that no good pack holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) kind: ChunkType,
    pub(super) id: ChunkId,
    /// A copy exists, but in a damaged or condemned pack, or as a delta whose base is in one.
    pub(super) not_writable: bool,
}

/// The result of marking a chunk.
enum Found {
    New,
    Before,
    Missing,
}

/// Walks the trees of roots and marks what they need.
pub(super) struct Marker {
    reader: ChunkReader,
    index: Arc<Index>,
    /// An index entry of each needed chunk, sometimes several.
    pub(super) needed: Bits,
    /// Those entries whose content a root needs, rather than a delta that is made from it.
    pub(super) direct: Bits,
    /// Entries of bases of needed deltas: these chunks must stay in blocks that are not deltas.
    pub(super) bases: Bits,
    /// Entries of needed chunks that only unreadable deltas still have. They stay, together with all that is
    /// left of their bases.
    pub(super) held: Bits,
    /// Entries of trees that were walked. A tree that is only a base is needed, but not what it refers to.
    walked: Bits,
    /// Delta blocks met so far, and whether all their bases exist. If so, the bases are marked.
    pub(super) met: HashMap<BlockAt, bool>,
    /// Needed chunks without a good copy.
    pub(super) lost: Vec<Lost>,
    /// Plain bytes newly marked.
    pub(super) plain: u64,
}

impl Marker {
    pub(super) fn new(repo: &Repository, index: &Arc<Index>) -> Result<Self> {
        let reader = ChunkReader::new(repo, Arc::clone(index))?;
        let index = Arc::clone(index);
        let (needed, direct, bases, held, walked) = Default::default();
        let (met, lost) = (HashMap::new(), Vec::new());
        Ok(Self { reader, index, needed, direct, bases, held, walked, met, lost, plain: 0 })
    }

    /// Returns whether a needed file chunk is in no listed pack. It may be a delta of which the pack was not
    /// listed, is later restored from another copy of the repository, or cannot be read; its bases are then
    /// unknown.
    pub(super) fn misses_data(&self) -> bool {
        self.lost.iter().any(|lost| !lost.not_writable)
    }

    fn mark(&mut self, kind: ChunkType, id: &ChunkId) -> Result<Found> {
        // A tree is walked at its first copy. For a file chunk any good copy will do, and one in a cached
        // table needs no I/O.
        let near = if kind == ChunkType::Data { self.index.near(kind, id) } else { None };
        if let Some(copy) = near
            && self.is_sound(kind, &copy)?
        {
            return Ok(self.found(kind, &copy));
        }
        let copies = self.index.copies(kind, id)?;
        let Some(first) = copies.first() else {
            self.lost.push(Lost { kind, id: *id, not_writable: false });
            return Ok(Found::Missing);
        };
        for copy in &copies {
            if self.is_sound(kind, copy)? {
                return Ok(self.found(kind, copy));
            }
        }
        if !self.needed.has(first.row) {
            self.lost.push(Lost { kind, id: *id, not_writable: true });
        }
        for copy in copies.iter().filter(|copy| copy.delta) {
            self.hold(kind, copy)?;
        }
        Ok(self.found(kind, first))
    }

    fn found(&mut self, kind: ChunkType, copy: &Copy) -> Found {
        let fresh = self.set(copy);
        self.direct.set(copy.row);
        let is_new = if kind == ChunkType::Tree { self.walked.set(copy.row) } else { fresh };
        if is_new { Found::New } else { Found::Before }
    }

    /// Marks an index entry. Returns true if it was not marked.
    fn set(&mut self, copy: &Copy) -> bool {
        let fresh = self.needed.set(copy.row);
        if fresh {
            self.plain += u64::from(copy.location.len);
        }
        fresh
    }

    /// Returns whether a copy's pack is good and each of its bases has a good copy. Marks these bases, too
    /// (C2).
    fn is_sound(&mut self, kind: ChunkType, copy: &Copy) -> Result<bool> {
        if copy.not_writable || !copy.delta {
            return Ok(!copy.not_writable);
        }
        let block = copy.location.block;
        if let Some(sound) = self.met.get(&block) {
            return Ok(*sound);
        }
        let mut found = Vec::new();
        for base in self.index.bases(block)? {
            match self.index.find_base(kind, &base)? {
                Some(copy) => found.push(copy),
                None => {
                    self.met.insert(block, false);
                    return Ok(false);
                }
            }
        }
        for base in &found {
            self.bases.set(base.row);
            self.set(base);
        }
        self.met.insert(block, true);
        Ok(true)
    }

    /// Marks a delta that cannot be read because a base is lost or its pack is damaged. It may become
    /// readable after a repair, provided that the remaining bases are kept (C2).
    fn hold(&mut self, kind: ChunkType, copy: &Copy) -> Result<()> {
        self.set(copy);
        if !self.held.set(copy.row) {
            return Ok(());
        }
        for base in self.index.bases(copy.location.block)? {
            if let Some(base) = self.index.find_base(kind, &base)? {
                self.bases.set(base.row);
                self.set(&base);
            }
        }
        Ok(())
    }

    /// Marks everything below a root. A missing file chunk is recorded and marking continues.
    ///
    /// # Errors
    /// When a tree cannot be read: its contents are then unknown.
    pub(super) fn root(&mut self, root: &ChunkId) -> Result<()> {
        let mut todo = vec![ChunkRef::Dir(*root)];
        while let Some(piece) = todo.pop() {
            let (kind, id) = piece.name();
            match self.mark(kind, id)? {
                Found::New => {}
                Found::Before => continue,
                Found::Missing => return Err(Error::Missing { what: format!("tree {}", id.short()) }),
            }
            let bytes = self.reader.get(kind, id)?;
            let damaged = Error::damaged(format!("tree {}", id.short()));
            for named in piece.named_in(&bytes).map_err(damaged)? {
                match named {
                    ChunkRef::Data(id) => {
                        self.mark(ChunkType::Data, &id)?;
                    }
                    piece => todo.push(piece),
                }
            }
        }
        Ok(())
    }
}
