//! Collects chunks to be stored as deltas into blocks, together with their bases.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::codec::chunk::compress::delta::MAX_PREFIX;
use crate::codec::crypto::hash::ChunkType;
use crate::error::Result;
use crate::model::id::ChunkId;
use crate::repo::index::{Index, Location};
use crate::repo::repository::Repository;
use crate::repo::write::delta_sealer::MadeFrom;
use crate::repo::write::drift::{Probe, dictionaries_at};
use crate::repo::write::open_block::OpenBlock;

/// When new chunks become deltas, in repositories whose configuration allows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Delta {
    /// On local storage only: reading bases from remote storage may take longer than sending the chunks
    /// whole.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl Delta {
    /// Returns whether new chunks become deltas in a repository.
    pub fn holds(self, repo: &Repository) -> bool {
        let wanted = match self {
            Self::Auto => !repo.storage().is_remote(),
            Self::On => true,
            Self::Off => false,
        };
        wanted && repo.config().has_deltas()
    }
}

/// Bytes around a chunk's expected origin in the prefix of a delta block within which bases are taken.
const MARGIN: u64 = 64 << 10;

/// The bases for a chunk.
#[derive(Debug, Default)]
pub(crate) struct Like {
    /// The chunks to use as bases.
    pub(crate) bases: Vec<(ChunkId, u32)>,
    /// Dictionaries of the delta block that the most similar chunk is in.
    dictionaries: Vec<(ChunkId, u32)>,
    /// Whether some of the similar chunks are in delta blocks.
    pub(crate) drifts: bool,
    /// Whether a delta is known to be worthwhile.
    is_sure: bool,
}

/// A block that will be a delta.
#[derive(Debug)]
pub(crate) struct Similar {
    block: OpenBlock,
    bases: Vec<(ChunkId, u32)>,
    /// The dictionaries, which follow the bases.
    dictionaries: Vec<(ChunkId, u32)>,
    /// Position of each among the bases or the dictionaries.
    known: HashMap<ChunkId, usize>,
    /// Position of the first base of the last chunk.
    at: usize,
    prefix: u64,
    probe: Probe,
    /// Whether a delta is known to be worthwhile for one of its chunks.
    is_sure: bool,
    /// Locates the bases; `None` in an empty block.
    index: Option<Arc<Index>>,
}

impl Like {
    /// Creates it from bases with which a delta is known to be worthwhile.
    pub(crate) fn of(bases: &[(ChunkId, u32)]) -> Self {
        Self { bases: bases.to_vec(), is_sure: true, ..Self::default() }
    }
}

impl Similar {
    pub(crate) fn new(kind: ChunkType) -> Self {
        let block = OpenBlock::new(kind, Vec::new());
        let (bases, dictionaries, known) = (Vec::new(), Vec::new(), HashMap::new());
        let probe = Probe::default();
        Self { block, bases, dictionaries, known, at: 0, prefix: 0, probe, is_sure: false, index: None }
    }

    /// Returns the current block if it must be closed: these bases do not fit in addition to its own, or (if
    /// a delta is known to be worthwhile) precede those of the last chunk. Later versions infer the bases of
    /// a chunk from its position in the block.
    pub(crate) fn make_room(&mut self, like: &Like) -> Option<OpenBlock> {
        let at = like.bases.first().and_then(|(id, _)| self.known.get(id));
        if like.is_sure && at.is_some_and(|at| *at < self.at) {
            return self.take();
        }
        let all = like.bases.iter().chain(&like.dictionaries);
        let new = all.filter(|(id, _)| !self.known.contains_key(id));
        let more: u64 = new.map(|(_, len)| u64::from(*len)).sum();
        if self.prefix + more <= u64::from(MAX_PREFIX) { None } else { self.take() }
    }

    /// Adds a chunk with the bases it is similar to, which `index` locates.
    pub(crate) fn push(
        &mut self,
        id: ChunkId,
        plain: &[u8],
        like: &[(ChunkId, u32)],
        Like { bases, dictionaries, drifts, is_sure }: &Like,
        index: &Arc<Index>,
    ) {
        self.is_sure |= is_sure;
        self.index.get_or_insert_with(|| Arc::clone(index));
        self.probe.add(self.block.len, plain.len(), like, *drifts && self.block.kind == ChunkType::Data);
        for (all, more) in [(&mut self.bases, bases), (&mut self.dictionaries, dictionaries)] {
            for base in more {
                if let Entry::Vacant(place) = self.known.entry(base.0) {
                    place.insert(all.len());
                    self.prefix += u64::from(base.1);
                    all.push(*base);
                }
            }
        }
        self.at = bases.first().and_then(|(id, _)| self.known.get(id)).copied().unwrap_or(self.at);
        self.block.plain.extend_from_slice(plain);
        self.block.len += plain.len();
        self.block.chunks.push((id, plain.len() as u32));
    }

    /// Returns whether it has no buffer yet.
    pub(crate) fn is_new(&self) -> bool {
        self.block.plain.capacity() == 0
    }

    /// Takes a reused buffer and reserves room for `bytes`. Growth by doubling could make it twice as large.
    pub(crate) fn reserve(&mut self, mut plain: Vec<u8>, bytes: usize) {
        plain.clear();
        plain.reserve_exact(bytes);
        self.block.plain = plain;
    }

    /// Returns the block if it has at least `target` bytes.
    pub(crate) fn take_if(&mut self, target: usize) -> Option<OpenBlock> {
        if self.block.len < target { None } else { self.take() }
    }

    /// Returns the block, unless it is empty.
    pub(crate) fn take(&mut self) -> Option<OpenBlock> {
        let index = self.index.take()?;
        let next = Self::new(self.block.kind);
        let Self { mut block, mut bases, dictionaries, probe, is_sure, .. } = std::mem::replace(self, next);
        bases.extend(dictionaries);
        block.made_from = Some(MadeFrom { index, bases, probe, is_sure });
        Some(block)
    }
}

/// W2: returns the bases for a delta against these chunks: the chunks that new data may reference, and for a
/// chunk in a delta block the bases of that block near its position. Dictionaries are shorter than `shortest`
/// bytes.
pub(crate) fn bases_of(
    index: &Index,
    kind: ChunkType,
    like: &[(ChunkId, u32)],
    shortest: u32,
) -> Result<Like> {
    let mut found = Like::default();
    let mut prefix = 0;
    let mut add = |all: &mut Vec<(ChunkId, u32)>, base: (ChunkId, u32)| {
        if !all.contains(&base) && prefix + u64::from(base.1) <= u64::from(MAX_PREFIX) {
            prefix += u64::from(base.1);
            all.push(base);
        }
    };
    for (number, chunk) in like.iter().enumerate() {
        if index.find_base(kind, chunk)?.is_some() {
            add(&mut found.bases, *chunk);
        } else if let Some(location) = index.find(kind, &chunk.0)? {
            found.drifts = true;
            let mut bases = index.bases(location.block)?;
            let dictionaries = bases.split_off(dictionaries_at(kind, &bases, shortest));
            let near = bases_near(index, &location, bases)?;
            near.into_iter().for_each(|base| add(&mut found.bases, base));
            // The other chunks may be in neighbouring blocks.
            if number == like.len() / 2 {
                dictionaries.into_iter().for_each(|base| add(&mut found.dictionaries, base));
            }
        }
    }
    Ok(found)
}

/// Returns the bases of a delta block that lie in its prefix near the chunk's relative position in the block.
fn bases_near(index: &Index, location: &Location, bases: Vec<(ChunkId, u32)>) -> Result<Vec<(ChunkId, u32)>> {
    let plain = u64::from(index.place(location.block)?.plain).max(1);
    let prefix: u64 = bases.iter().map(|(_, len)| u64::from(*len)).sum();
    let (start, end) = (u64::from(location.start), u64::from(location.start) + u64::from(location.len));
    // The prefix has extra bases at either end, which shift the relative position. A margin of more than a
    // quarter of them would let prefixes grow with each version.
    let margin = MARGIN + prefix.saturating_sub(plain) / 4;
    let from = (start * prefix / plain).saturating_sub(margin);
    let to = end * prefix / plain + margin;
    let mut at = 0;
    let near = bases.into_iter().filter(|(_, len)| {
        let begins = at;
        at += u64::from(*len);
        begins < to && at > from
    });
    Ok(near.collect())
}
