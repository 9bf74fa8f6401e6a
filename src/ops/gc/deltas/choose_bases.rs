//! Decides which chunks become deltas, and which bases they use.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::codec::chunk::compress::delta::{self, Effort, MAX_PREFIX};
use crate::codec::crypto::hash::ChunkType;
use crate::error::{Error, Result};
use crate::model::id::{ChunkId, SnapshotId};
use crate::ops::gc::deltas::Search;
use crate::ops::gc::mark::{Bits, Marker};
use crate::ops::gc::plan::{Bases, PackAction, Plan};
use crate::repo::index::{Copy, Index};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::write::delta_writer::bases_of;

/// Maximum number of chunks that become deltas in one run; each takes about 200 bytes of memory.
const MOST: usize = 200_000;

/// Overhead in bytes of a delta that is alone in its block: the seal, and an entry in the list of bases. If
/// less could be saved, each run would try again.
const ALONE: u64 = 64;

/// A base, and the index entry of its copy that stays.
type Base = ((ChunkId, u32), usize);

/// Result of the search.
pub(super) struct Found {
    /// Bases of the chunks that are worth a delta.
    pub(super) bases: Bases,
    /// Stored bytes that these deltas save, by pack.
    pub(super) gains: HashMap<u32, u64>,
    /// Stored bytes of chunks that were not compared, because the limit of one run was reached.
    pub(super) left: u64,
}

/// Compares chunks with their older versions.
pub(super) struct Judge<'a> {
    index: &'a Arc<Index>,
    live: &'a HashSet<SnapshotId>,
    plan: &'a Plan,
    marks: &'a Marker,
    /// Minimum length in bytes of a chunk that does not end its file.
    shortest: u32,
    reader: ChunkReader,
    found: Found,
    /// Index entries that were compared, so that each is compared once.
    seen: Bits,
    /// Index entries that serve as bases. They stay in blocks that are not deltas.
    used: Bits,
    /// Packs with chunks that become deltas.
    packs: HashSet<u32>,
    bytes: u64,
    /// Buffers.
    prefix: Vec<u8>,
    packed: Vec<u8>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(search: &Search<'a>, plan: &'a Plan, marks: &'a Marker) -> Result<Self> {
        Ok(Self {
            index: search.index,
            live: search.live,
            plan,
            marks,
            shortest: search.repo.config().chunker.min,
            reader: ChunkReader::new(search.repo, Arc::clone(search.index))?,
            found: Found { bases: Bases::new(), gains: HashMap::new(), left: 0 },
            seen: Bits::default(),
            used: Bits::default(),
            packs: HashSet::new(),
            bytes: 0,
            prefix: Vec::new(),
            packed: Vec::new(),
        })
    }

    pub(super) fn finish(self) -> Found {
        self.found
    }

    /// Returns the copy of a chunk that stays, if it is in a block that is not a delta.
    fn kept(&self, kind: ChunkType, id: &ChunkId) -> Result<Option<Copy>> {
        let near = self.index.near(kind, id).filter(|copy| self.plan.kept.has(copy.row));
        let kept = match near {
            Some(copy) => Some(copy),
            None => self.index.copies(kind, id)?.into_iter().find(|copy| self.plan.kept.has(copy.row)),
        };
        Ok(kept.filter(|copy| !copy.delta && copy.may_be_referenced()))
    }

    /// Makes a chunk a delta if that takes less than half of its current stored size.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub(super) fn chunk(&mut self, kind: ChunkType, id: &ChunkId, like: &[(ChunkId, u32)]) -> Result<()> {
        let Some(copy) = self.kept(kind, id)? else { return Ok(()) };
        let pack = copy.location.block.pack;
        if !self.may_move(pack) || !self.seen.set(copy.row) || self.is_base(kind, id)? {
            return Ok(());
        }
        let bases = self.bases(kind, like)?;
        if bases.is_empty() || bases.iter().any(|(base, _)| base.0 == *id) {
            return Ok(());
        }
        let place = self.index.place(copy.location.block)?;
        let (len, plain) = (u64::from(copy.location.len), u64::from(place.plain.max(1)));
        let stored = len * u64::from(place.stored) / plain;
        if self.is_enough(pack) {
            self.found.left += stored;
            return Ok(());
        }
        let Some(taken) = self.as_delta(kind, id, &bases)? else { return Ok(()) };
        if 2 * (taken + ALONE) < stored {
            bases.iter().for_each(|(_, row)| _ = self.used.set(*row));
            let bases = bases.into_iter().map(|(base, _)| base).collect();
            self.found.bases.insert(copy.row, bases);
            *self.found.gains.entry(pack).or_default() += stored - taken;
            if self.packs.insert(pack) {
                self.bytes += self.index.packs().get(pack as usize).map_or(0, |pack| pack.len);
            }
        }
        Ok(())
    }

    /// Returns the lengths of those of these tree chunks that new data may refer to.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub(super) fn lengths(&self, ids: &[ChunkId]) -> Result<Vec<(ChunkId, u32)>> {
        self.index.lengths(ChunkType::Tree, ids)
    }

    /// Returns whether any copy of the chunk is a base. Rule C2: a base stays in a block that is not a delta,
    /// and the marked copy need not be the one that stays.
    fn is_base(&self, kind: ChunkType, id: &ChunkId) -> Result<bool> {
        let copies = self.index.copies(kind, id)?;
        Ok(copies.iter().any(|copy| self.used.has(copy.row) || self.marks.bases.has(copy.row)))
    }

    fn may_move(&self, pack: u32) -> bool {
        let free = |session| !self.live.contains(session);
        let info =
            self.index.packs().get(pack as usize).filter(|pack| !pack.not_writable && free(&pack.session));
        let usage = self.plan.packs.get(pack as usize).filter(|_| info.is_some());
        usage.is_some_and(|usage| match usage.fate {
            PackAction::Move => true,
            PackAction::Keep => !usage.fixed,
            PackAction::Drop => false,
        })
    }

    /// Returns whether the limit of one run is reached and this pack is not yet part of it.
    fn is_enough(&self, pack: u32) -> bool {
        self.found.bases.len() >= MOST || self.bytes >= self.plan.budget && !self.packs.contains(&pack)
    }

    /// Returns bases for a delta of a chunk similar to these, each with its index entry. Bases stay, in
    /// blocks that are not deltas. A similar chunk that is or becomes a delta is replaced by its own bases.
    fn bases(&self, kind: ChunkType, like: &[(ChunkId, u32)]) -> Result<Vec<Base>> {
        let (mut found, mut bytes) = (Vec::<Base>::new(), 0);
        for chunk in like {
            let candidates = match self.kept(kind, &chunk.0)? {
                Some(copy) => self.found.bases.get(&copy.row).cloned().unwrap_or_else(|| vec![*chunk]),
                None => bases_of(self.index, kind, &[*chunk], self.shortest)?.bases,
            };
            for base in candidates {
                let copy = self.kept(kind, &base.0)?.filter(|copy| copy.location.len == base.1);
                let Some(copy) = copy.filter(|copy| !self.found.bases.contains_key(&copy.row)) else {
                    continue;
                };
                bytes += u64::from(base.1);
                if bytes <= u64::from(MAX_PREFIX) && !found.iter().any(|(known, _)| *known == base) {
                    found.push((base, copy.row));
                }
            }
        }
        Ok(found)
    }

    /// Returns the size of a chunk as a delta; `None` if it or a base cannot be read.
    fn as_delta(&mut self, kind: ChunkType, id: &ChunkId, bases: &[Base]) -> Result<Option<u64>> {
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
                let packed = delta::pack(&self.prefix, &plain?, Effort::Quick, &mut self.packed);
                packed.map_err(Error::making("a delta"))?;
                Ok(Some(self.packed.len() as u64))
            }
        }
    }
}
