//! The graph of references between chunks below the roots of snapshots. Each distinct tree is read once,
//! however many snapshots share it.
//!
//! A chunk is identified by its row: the number of its first copy in the index. Memory: four bytes per row,
//! and four per reference from a distinct tree.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::codec::chunk::compress::Codec;
use crate::codec::crypto::hash::ChunkType;
use crate::codec::tree::chunk_ref::ChunkRef;
use crate::error::{self, Error, Result};
use crate::model::id::ChunkId;
pub use crate::repo::index::BlockAt;
use crate::repo::index::{Copy, Index};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::repository::Repository;

/// Counts of chunks and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChunkTotals {
    /// Number of chunks.
    pub chunks: u64,
    /// Their plain bytes.
    pub plain: u64,
    /// Their share of the stored bytes of their blocks.
    pub stored: u64,
}

impl ChunkTotals {
    /// Adds other counts.
    pub fn add(&mut self, other: Self) {
        self.chunks += other.chunks;
        self.plain += other.plain;
        self.stored += other.stored;
    }
}

/// The roots that need a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// No root.
    Nobody,
    /// Only the root with this number.
    Only(u32),
    /// The root with this number and at least one later root.
    First(u32),
}

impl Owner {
    /// Combines the owners of a chunk that both need.
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (one, Self::Nobody) | (Self::Nobody, one) => one,
            (Self::Only(one), Self::Only(other)) if one == other => self,
            (Self::Only(one) | Self::First(one), Self::Only(other) | Self::First(other)) => {
                Self::First(one.min(other))
            }
        }
    }
}

/// Records that a root needs a row. Returns `false` if nothing changed.
fn add_owner(owners: &mut Vec<Owner>, row: u32, number: u32) -> bool {
    let at = row as usize;
    if at >= owners.len() {
        owners.resize(at + 1, Owner::Nobody);
    }
    let Some(owner) = owners.get_mut(at) else { return false };
    let more = owner.or(Owner::Only(number));
    std::mem::replace(owner, more) != more
}

/// The references below the roots that were added so far.
#[derive(Debug)]
pub struct RefGraph<'a> {
    index: Arc<Index>,
    reader: ChunkReader,
    stop: &'a AtomicBool,
    /// Row of each tree piece that was read, and the range of its references in `edges`.
    pieces: HashMap<u32, Range<usize>>,
    /// Referenced rows.
    edges: Vec<u32>,
    missing: HashSet<ChunkId>,
    /// Row of each chunk in a delta block, and the range of the block's bases in `bases`.
    delta_bases: HashMap<u32, Range<usize>>,
    /// Rows of bases.
    bases: Vec<u32>,
    /// Delta blocks seen so far, with the range of their bases.
    deltas: HashMap<BlockAt, Range<usize>>,
}

impl<'a> RefGraph<'a> {
    /// Creates an empty graph.
    ///
    /// # Errors
    /// When zstd cannot be set up.
    pub fn new(repo: &Repository, index: &Arc<Index>, stop: &'a AtomicBool) -> Result<Self> {
        let reader = ChunkReader::new(repo, Arc::clone(index))?;
        Ok(Self {
            index: Arc::clone(index),
            reader,
            stop,
            pieces: HashMap::new(),
            edges: Vec::new(),
            missing: HashSet::new(),
            delta_bases: HashMap::new(),
            bases: Vec::new(),
            deltas: HashMap::new(),
        })
    }

    /// Reads the trees below a root that are not known yet, and returns the root's row.
    ///
    /// # Errors
    /// When a tree is missing or damaged: then its contents are unknown. Also when interrupted.
    pub fn add_root(&mut self, root: &ChunkId) -> Result<u32> {
        let first = ChunkRef::Dir(*root);
        let found = self.find(&first)?.ok_or_else(|| missing_tree(root))?;
        let mut pending = vec![(found, first)];
        while let Some((piece, chunk_ref)) = pending.pop() {
            if self.pieces.contains_key(&piece.row) {
                continue;
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let start = self.edges.len();
            let (kind, id) = chunk_ref.type_and_id();
            let bytes = self.reader.get(kind, id)?;
            let named =
                chunk_ref.references_in(&bytes).map_err(Error::damaged(format!("tree {}", id.short())))?;
            for chunk_ref in named {
                match (self.find(&chunk_ref)?, chunk_ref) {
                    (Some(found), ChunkRef::Data(_)) => {
                        self.edges.push(found.row);
                        self.add_delta(ChunkType::Data, &found)?;
                    }
                    (Some(found), chunk_ref) => {
                        self.edges.push(found.row);
                        pending.push((found, chunk_ref));
                    }
                    (None, ChunkRef::Data(id)) => {
                        self.missing.insert(id);
                    }
                    (None, ChunkRef::Dir(id) | ChunkRef::List(id)) => return Err(missing_tree(&id)),
                }
            }
            self.add_delta(kind, &piece)?;
            self.pieces.insert(piece.row, start..self.edges.len());
        }
        Ok(found.row)
    }

    /// Records the bases of a chunk in a delta block; all chunks of the block share them.
    fn add_delta(&mut self, kind: ChunkType, found: &Found) -> Result<()> {
        let Some(at) = found.delta else { return Ok(()) };
        if self.delta_bases.contains_key(&found.row) {
            return Ok(());
        }
        let range = match self.deltas.get(&at) {
            Some(range) => range.clone(),
            None => {
                let start = self.bases.len();
                for base in self.index.bases(at)? {
                    let copy = self.index.base_copies(kind, &base)?.into_iter().next();
                    self.bases.extend(copy.and_then(|copy| u32::try_from(copy.number).ok()));
                }
                self.deltas.insert(at, start..self.bases.len());
                start..self.bases.len()
            }
        };
        self.delta_bases.insert(found.row, range);
        Ok(())
    }

    /// Returns the number of data chunks that trees reference and no pack holds.
    pub fn missing(&self) -> u64 {
        self.missing.len() as u64
    }

    /// Returns which of the roots, numbered in this order, need each row, also as a base. Rows beyond the end
    /// have no owner.
    ///
    /// # Errors
    /// A bug.
    pub fn owners(&self, roots: &[u32]) -> Result<Vec<Owner>> {
        let (mut owners, bases) = self.owners_apart(roots)?;
        if owners.len() < bases.len() {
            owners.resize(bases.len(), Owner::Nobody);
        }
        owners.iter_mut().zip(bases).for_each(|(owner, base)| *owner = owner.or(base));
        Ok(owners)
    }

    /// Returns the owners of each row twice: those that need its content, and those that need it as a base.
    ///
    /// # Errors
    /// A bug.
    pub fn owners_apart(&self, roots: &[u32]) -> Result<(Vec<Owner>, Vec<Owner>)> {
        self.owners_by((0..).zip(roots.iter().copied()))
    }

    /// Like [`Self::owners_apart`], with a number for each root. Roots with the same number count as one
    /// owner.
    pub fn owners_by(&self, roots: impl Iterator<Item = (u32, u32)>) -> Result<(Vec<Owner>, Vec<Owner>)> {
        let (mut owners, mut bases) = (Vec::new(), Vec::new());
        for (number, root) in roots {
            let mut pending = vec![root];
            while let Some(row) = pending.pop() {
                // Everything below an unchanged row has been visited with the same result.
                if !add_owner(&mut owners, row, number) {
                    continue;
                }
                if let Some(named) = self.pieces.get(&row) {
                    let edges =
                        error::part(&self.edges, named.clone(), "the references of a piece are kept")?;
                    pending.extend(edges);
                }
                if let Some(range) = self.delta_bases.get(&row) {
                    let of_delta = error::part(&self.bases, range.clone(), "the bases of a delta are kept")?;
                    of_delta.iter().for_each(|base| _ = add_owner(&mut bases, *base, number));
                }
            }
        }
        Ok((owners, bases))
    }

    fn find(&self, chunk_ref: &ChunkRef) -> Result<Option<Found>> {
        let (kind, id) = chunk_ref.type_and_id();
        let first = self.index.copies(kind, id)?.into_iter().next();
        let found = |copy: Copy| {
            let delta = copy.delta.then_some(copy.location.block);
            u32::try_from(copy.number).ok().map(|row| Found { row, delta })
        };
        Ok(first.and_then(found))
    }
}

/// The first copy of a chunk.
#[derive(Debug, Clone, Copy)]
struct Found {
    row: u32,
    /// Its block, if that is a delta.
    delta: Option<BlockAt>,
}

/// A block of a listed pack.
#[derive(Debug)]
pub struct Block {
    /// Its location.
    pub at: BlockAt,
    /// Rows of its chunks.
    pub rows: Range<u32>,
    /// Plain length of each chunk.
    pub lens: Vec<u32>,
    /// Stored bytes.
    pub stored: u64,
    /// Plain bytes.
    pub plain: u64,
    /// How it is compressed.
    pub codec: Codec,
    /// Its share, by number of chunks, of the bytes of its pack outside of blocks (tables and framing).
    pub frame: u64,
}

impl Block {
    /// Returns each chunk's share of the stored bytes, by its length; the shares add up to all stored bytes.
    pub fn shares(&self) -> impl Iterator<Item = ChunkTotals> {
        let (stored, plain) = (self.stored, self.plain.max(1));
        let share = move |upto: u64| stored * upto / plain;
        let mut start = 0;
        self.lens.iter().map(move |len| {
            let (before, len) = (share(start), u64::from(*len));
            start += len;
            ChunkTotals { chunks: 1, plain: len, stored: share(start) - before }
        })
    }
}

/// Calls `each` for every block of the listed packs.
///
/// # Errors
/// When a table could not be read. A damaged table counts as having no blocks.
pub fn each_block(index: &Index, each: &mut dyn FnMut(&Block)) -> Result<()> {
    for (number, pack) in (0..).zip(index.packs()) {
        let table = match index.table(number) {
            Ok(table) => table,
            Err(err) if err.is_damage() => continue,
            Err(err) => return Err(err),
        };
        let stored: u64 = table.blocks().map(|(block, _)| u64::from(block.stored)).sum();
        let frame = pack.len.saturating_sub(stored);
        let all = u64::from(pack.chunks).max(1);
        for (nth, (block, first)) in (0..).zip(table.blocks()) {
            let (first, chunks) = (pack.first + first as usize, block.chunks.len());
            let (Ok(first), Ok(end)) = (u32::try_from(first), u32::try_from(first + chunks)) else {
                continue;
            };
            each(&Block {
                at: BlockAt { pack: number, block: nth },
                rows: first..end,
                lens: block.chunks.iter().map(|(_, len)| *len).collect(),
                stored: u64::from(block.stored),
                plain: u64::from(block.plain),
                codec: block.codec,
                frame: frame * chunks as u64 / all,
            });
        }
    }
    Ok(())
}

/// Calls `each` for every copy of a chunk in the listed packs: its row, and its share of its block.
///
/// # Errors
/// As [`each_block`].
pub fn each_copy(index: &Index, each: &mut dyn FnMut(u32, ChunkTotals)) -> Result<()> {
    each_block(index, &mut |block| {
        block.rows.clone().zip(block.shares()).for_each(|(row, share)| each(row, share));
    })
}

fn missing_tree(id: &ChunkId) -> Error {
    Error::Missing { what: format!("tree {}", id.short()) }
}
