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
use crate::repo::write::delta_sealer::DeltaBases;
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
    pub fn is_enabled_for(self, repo: &Repository) -> bool {
        let enabled = match self {
            Self::Auto => !repo.storage().is_remote(),
            Self::On => true,
            Self::Off => false,
        };
        enabled && repo.config().has_deltas()
    }
}

/// Distance in bytes from a chunk's expected position in the prefix of a delta block within which the block's
/// bases are used.
const MARGIN: u64 = 64 << 10;

/// The bases chosen for a chunk.
#[derive(Debug, Default)]
pub(crate) struct BaseChoice {
    /// The chunks to use as bases.
    pub(crate) bases: Vec<(ChunkId, u32)>,
    /// Dictionaries of the delta block that contains the most similar chunk.
    dictionaries: Vec<(ChunkId, u32)>,
    /// Whether some of the similar chunks are in delta blocks.
    pub(crate) in_deltas: bool,
    /// Whether a delta is known to be worthwhile.
    is_worthwhile: bool,
}

/// An open block that will be sealed as a delta.
#[derive(Debug)]
pub(crate) struct OpenDelta {
    block: OpenBlock,
    bases: Vec<(ChunkId, u32)>,
    /// The dictionaries, which follow the bases.
    dictionaries: Vec<(ChunkId, u32)>,
    /// Position of each base or dictionary in its list.
    positions: HashMap<ChunkId, usize>,
    /// Position of the first base of the last chunk that was added.
    last_base: usize,
    /// Total length of the bases and dictionaries, in bytes.
    prefix_len: u64,
    probe: Probe,
    /// Whether a delta is known to be worthwhile for one of its chunks.
    is_worthwhile: bool,
    /// Locates the bases; `None` in an empty block.
    index: Option<Arc<Index>>,
}

impl BaseChoice {
    /// Creates it from bases with which a delta is known to be worthwhile.
    pub(crate) fn of(bases: &[(ChunkId, u32)]) -> Self {
        Self { bases: bases.to_vec(), is_worthwhile: true, ..Self::default() }
    }
}

impl OpenDelta {
    pub(crate) fn new(kind: ChunkType) -> Self {
        let block = OpenBlock::new(kind, Vec::new());
        let (bases, dictionaries, positions) = (Vec::new(), Vec::new(), HashMap::new());
        let probe = Probe::default();
        Self {
            block,
            bases,
            dictionaries,
            positions,
            last_base: 0,
            prefix_len: 0,
            probe,
            is_worthwhile: false,
            index: None,
        }
    }

    /// Returns the block, and begins another one, if these bases do not fit into its prefix, or (if a delta
    /// is known to be worthwhile) precede those of the last chunk: later versions infer the bases of a chunk
    /// from its position in the block.
    pub(crate) fn take_unless_fits(&mut self, choice: &BaseChoice) -> Option<OpenBlock> {
        let at = choice.bases.first().and_then(|(id, _)| self.positions.get(id));
        if choice.is_worthwhile && at.is_some_and(|at| *at < self.last_base) {
            return self.take();
        }
        let list = choice.bases.iter().chain(&choice.dictionaries);
        let new = list.filter(|(id, _)| !self.positions.contains_key(id));
        let added: u64 = new.map(|(_, len)| u64::from(*len)).sum();
        if self.prefix_len + added <= u64::from(MAX_PREFIX) { None } else { self.take() }
    }

    /// Adds a chunk with its similar chunks and the bases chosen for it, which `index` locates.
    pub(crate) fn push(
        &mut self,
        id: ChunkId,
        plain: &[u8],
        similar: &[(ChunkId, u32)],
        BaseChoice { bases, dictionaries, in_deltas, is_worthwhile }: &BaseChoice,
        index: &Arc<Index>,
    ) {
        self.is_worthwhile |= is_worthwhile;
        self.index.get_or_insert_with(|| Arc::clone(index));
        self.probe.add(
            self.block.len,
            plain.len(),
            similar,
            *in_deltas && self.block.kind == ChunkType::Data,
        );
        for (list, chosen) in [(&mut self.bases, bases), (&mut self.dictionaries, dictionaries)] {
            for base in chosen {
                if let Entry::Vacant(slot) = self.positions.entry(base.0) {
                    slot.insert(list.len());
                    self.prefix_len += u64::from(base.1);
                    list.push(*base);
                }
            }
        }
        self.last_base =
            bases.first().and_then(|(id, _)| self.positions.get(id)).copied().unwrap_or(self.last_base);
        self.block.plain.extend_from_slice(plain);
        self.block.len += plain.len();
        self.block.chunks.push((id, plain.len() as u32));
    }

    /// Returns whether the block has no buffer yet.
    pub(crate) fn is_new(&self) -> bool {
        self.block.plain.capacity() == 0
    }

    /// Sets a reused buffer with a capacity of `bytes`. Without that, it would grow by doubling, to almost
    /// twice the size.
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
        let Self { mut block, mut bases, dictionaries, probe, is_worthwhile, .. } =
            std::mem::replace(self, next);
        bases.extend(dictionaries);
        block.delta_bases = Some(DeltaBases { index, bases, probe, is_worthwhile });
        Some(block)
    }
}

/// Chooses the bases for a delta of a chunk that is similar to these: those of them that new data may refer
/// to (W2) or, for one in a delta block, the bases of that block near its position. `min_chunk_len`
/// distinguishes the dictionaries, whose chunks are shorter.
pub(crate) fn choose_bases(
    index: &Index,
    kind: ChunkType,
    similar: &[(ChunkId, u32)],
    min_chunk_len: u32,
) -> Result<BaseChoice> {
    let mut found = BaseChoice::default();
    let mut prefix_len = 0;
    let mut add = |list: &mut Vec<(ChunkId, u32)>, base: (ChunkId, u32)| {
        if !list.contains(&base) && prefix_len + u64::from(base.1) <= u64::from(MAX_PREFIX) {
            prefix_len += u64::from(base.1);
            list.push(base);
        }
    };
    for (number, chunk) in similar.iter().enumerate() {
        if index.find_base(kind, chunk)?.is_some() {
            add(&mut found.bases, *chunk);
        } else if let Some(location) = index.find(kind, &chunk.0)? {
            found.in_deltas = true;
            let mut bases = index.bases(location.block)?;
            let dictionaries = bases.split_off(dictionaries_at(kind, &bases, min_chunk_len));
            let nearby = bases_near(index, &location, bases)?;
            nearby.into_iter().for_each(|base| add(&mut found.bases, base));
            // Only those of the middle chunk, which is the most similar: others may be in neighbouring
            // blocks.
            if number == similar.len() / 2 {
                dictionaries.into_iter().for_each(|base| add(&mut found.dictionaries, base));
            }
        }
    }
    Ok(found)
}

/// Returns those bases of a delta block whose relative position in its prefix is near that of the chunk in
/// the block.
fn bases_near(index: &Index, location: &Location, bases: Vec<(ChunkId, u32)>) -> Result<Vec<(ChunkId, u32)>> {
    let plain = u64::from(index.place(location.block)?.plain).max(1);
    let prefix_len: u64 = bases.iter().map(|(_, len)| u64::from(*len)).sum();
    let (start, end) = (u64::from(location.start), u64::from(location.start) + u64::from(location.len));
    // The prefix may have extra bases at either end, which shift the relative positions. If the margin were
    // larger than a quarter of them, prefixes would grow with each version.
    let margin = MARGIN + prefix_len.saturating_sub(plain) / 4;
    let from = (start * prefix_len / plain).saturating_sub(margin);
    let to = end * prefix_len / plain + margin;
    let mut at = 0;
    let nearby = bases.into_iter().filter(|(_, len)| {
        let start_of_base = at;
        at += u64::from(*len);
        start_of_base < to && at > from
    });
    Ok(nearby.collect())
}
