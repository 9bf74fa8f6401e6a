//! Decides which chunks become deltas, and which bases they use.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::codec::chunk::compress::delta::{self, Effort, MAX_PREFIX};
use crate::codec::crypto::hash::ChunkType;
use crate::error::{Error, Result};
use crate::model::id::{ChunkId, SnapshotId};
use crate::ops::gc::deltas::Search;
use crate::ops::gc::mark::Marker;
use crate::ops::gc::plan::{Bases, PackAction, Plan};
use crate::repo::index::{Copy, Index};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::write::delta_writer::choose_bases;
use crate::util::bitset::BitSet;

/// Maximum number of chunks that become deltas in one run; each takes about 200 bytes of memory.
const MAX_CHUNKS: usize = 200_000;

/// Overhead in bytes of a delta that is alone in its block: the seal, and an entry in the list of bases.
/// Without it, deltas would be chosen that save nothing, and each run would rewrite them.
const DELTA_OVERHEAD: u64 = 64;

/// A base (id and length), and the index entry of its copy that stays.
type Base = ((ChunkId, u32), usize);

/// Result of the search.
pub(super) struct Found {
    /// Bases of the chunks that become deltas.
    pub(super) bases: Bases,
    /// Stored bytes that these deltas save, by pack.
    pub(super) savings: HashMap<u32, u64>,
    /// Stored bytes of chunks that were not compared, because the limit of one run was reached.
    pub(super) not_compared: u64,
}

/// Compares chunks with their older versions, and decides which become deltas.
pub(super) struct DeltaChooser<'a> {
    index: &'a Arc<Index>,
    live_sessions: &'a HashSet<SnapshotId>,
    plan: &'a Plan,
    marks: &'a Marker,
    /// Minimum length in bytes of a chunk that does not end its file.
    min_chunk_len: u32,
    reader: ChunkReader,
    found: Found,
    /// Index entries that were compared, so that each is compared once.
    compared: BitSet,
    /// Index entries that serve as bases. They stay in blocks that are not deltas.
    used_as_base: BitSet,
    /// Packs with chunks that become deltas, and their total size in bytes.
    packs: HashSet<u32>,
    bytes: u64,
    /// Buffer for the bytes of the bases.
    prefix: Vec<u8>,
    /// Buffer for a delta.
    compressed: Vec<u8>,
}

impl<'a> DeltaChooser<'a> {
    pub(super) fn new(search: &Search<'a>, plan: &'a Plan, marks: &'a Marker) -> Result<Self> {
        Ok(Self {
            index: search.index,
            live_sessions: search.live_sessions,
            plan,
            marks,
            min_chunk_len: search.repo.config().chunker.min,
            reader: ChunkReader::new(search.repo, Arc::clone(search.index))?,
            found: Found { bases: Bases::new(), savings: HashMap::new(), not_compared: 0 },
            compared: BitSet::default(),
            used_as_base: BitSet::default(),
            packs: HashSet::new(),
            bytes: 0,
            prefix: Vec::new(),
            compressed: Vec::new(),
        })
    }

    pub(super) fn finish(self) -> Found {
        self.found
    }

    /// Returns the copy of a chunk that stays, if it is in a block that is not a delta.
    fn kept_plain_copy(&self, kind: ChunkType, id: &ChunkId) -> Result<Option<Copy>> {
        let cached = self.index.find_cached(kind, id).filter(|copy| self.plan.kept.has(copy.number));
        let kept = match cached {
            Some(copy) => Some(copy),
            None => self.index.copies(kind, id)?.into_iter().find(|copy| self.plan.kept.has(copy.number)),
        };
        Ok(kept.filter(|copy| !copy.delta && copy.may_be_referenced()))
    }

    /// Chooses a chunk to become a delta if that takes less than half of its current stored size. `similar`
    /// are the ids and lengths of similar chunks.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub(super) fn consider(
        &mut self,
        kind: ChunkType,
        id: &ChunkId,
        similar: &[(ChunkId, u32)],
    ) -> Result<()> {
        let Some(copy) = self.kept_plain_copy(kind, id)? else { return Ok(()) };
        let pack = copy.location.block.pack;
        if !self.may_move(pack) || !self.compared.insert(copy.number) || self.is_base(kind, id)? {
            return Ok(());
        }
        let bases = self.choose_bases(kind, similar)?;
        if bases.is_empty() || bases.iter().any(|(base, _)| base.0 == *id) {
            return Ok(());
        }
        let block_info = self.index.place(copy.location.block)?;
        let (len, plain) = (u64::from(copy.location.len), u64::from(block_info.plain.max(1)));
        let stored = len * u64::from(block_info.stored) / plain;
        if self.limit_reached(pack) {
            self.found.not_compared += stored;
            return Ok(());
        }
        let Some(delta_len) = self.delta_len(kind, id, &bases)? else { return Ok(()) };
        if 2 * (delta_len + DELTA_OVERHEAD) < stored {
            bases.iter().for_each(|(_, row)| _ = self.used_as_base.insert(*row));
            let bases = bases.into_iter().map(|(base, _)| base).collect();
            self.found.bases.insert(copy.number, bases);
            *self.found.savings.entry(pack).or_default() += stored - delta_len;
            if self.packs.insert(pack) {
                self.bytes += self.index.packs().get(pack as usize).map_or(0, |pack| pack.len);
            }
        }
        Ok(())
    }

    /// Returns these tree chunks with their lengths, without those that new data must not refer to.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub(super) fn lengths(&self, ids: &[ChunkId]) -> Result<Vec<(ChunkId, u32)>> {
        self.index.lengths(ChunkType::Tree, ids)
    }

    /// Returns whether any copy of the chunk is a base, which must not become a delta (C2). All copies are
    /// examined, since the marked one need not be the one that stays.
    fn is_base(&self, kind: ChunkType, id: &ChunkId) -> Result<bool> {
        let copies = self.index.copies(kind, id)?;
        Ok(copies.iter().any(|copy| self.used_as_base.has(copy.number) || self.marks.bases.has(copy.number)))
    }

    fn may_move(&self, pack: u32) -> bool {
        let has_ended = |session| !self.live_sessions.contains(session);
        let info =
            self.index.packs().get(pack as usize).filter(|pack| pack.usable && has_ended(&pack.session));
        let usage = self.plan.packs.get(pack as usize).filter(|_| info.is_some());
        usage.is_some_and(|usage| match usage.action {
            PackAction::Move => true,
            PackAction::Keep => !usage.immovable,
            PackAction::Delete => false,
        })
    }

    /// Returns whether one of the limits of a run is reached. The limit of bytes does not apply to a pack
    /// that has a chosen chunk already.
    fn limit_reached(&self, pack: u32) -> bool {
        self.found.bases.len() >= MAX_CHUNKS || self.bytes >= self.plan.budget && !self.packs.contains(&pack)
    }

    /// Returns bases for a delta: those of the similar chunks that stay in blocks that are not deltas. A
    /// similar chunk that is a delta, or becomes one, is replaced by its own bases.
    fn choose_bases(&self, kind: ChunkType, similar: &[(ChunkId, u32)]) -> Result<Vec<Base>> {
        let (mut found, mut bytes) = (Vec::<Base>::new(), 0);
        for chunk in similar {
            let candidates = match self.kept_plain_copy(kind, &chunk.0)? {
                Some(copy) => self.found.bases.get(&copy.number).cloned().unwrap_or_else(|| vec![*chunk]),
                None => choose_bases(self.index, kind, &[*chunk], self.min_chunk_len)?.bases,
            };
            for base in candidates {
                let copy = self.kept_plain_copy(kind, &base.0)?.filter(|copy| copy.location.len == base.1);
                let Some(copy) = copy.filter(|copy| !self.found.bases.contains_key(&copy.number)) else {
                    continue;
                };
                bytes += u64::from(base.1);
                if bytes <= u64::from(MAX_PREFIX) && !found.iter().any(|(known, _)| *known == base) {
                    found.push((base, copy.number));
                }
            }
        }
        Ok(found)
    }

    /// Returns the stored size of a chunk as a delta; `None` if it or a base cannot be read.
    fn delta_len(&mut self, kind: ChunkType, id: &ChunkId, bases: &[Base]) -> Result<Option<u64>> {
        self.prefix.clear();
        for ((base, _), _) in bases {
            match self.reader.get(kind, base) {
                Err(err) if err.is_damage() => return Ok(None),
                bytes => self.prefix.extend(bytes?),
            }
        }
        match self.reader.get(kind, id) {
            Err(err) if err.is_damage() => Ok(None),
            plain => {
                let compressed = delta::compress(&self.prefix, &plain?, Effort::Quick, &mut self.compressed);
                compressed.map_err(Error::making("a delta"))?;
                Ok(Some(self.compressed.len() as u64))
            }
        }
    }
}
