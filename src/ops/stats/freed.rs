//! Estimates what forgetting snapshots would free. If a block holds both needed and unneeded chunks, each
//! part is compressed separately to measure it: a chunk's share of a block does not follow from its length.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::codec::chunk::block::BlockSealer;
use crate::codec::crypto::hash::ChunkType;
use crate::error::{Error, Result};
use crate::model::id::{ChunkId, SnapshotId};
use crate::ops::stats::{LoadedRepository, owner};
use crate::progress::Control;
use crate::repo::index::Index;
use crate::repo::read::chunk_reader::BlockReader;
use crate::repo::repository::Repository;
use crate::repo::walk::ref_graph::{self, ChunkTotals, Owner};

/// What would be freed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freed {
    /// What only these snapshots need, by shares of the blocks that hold it.
    pub only: ChunkTotals,
    /// Bytes of packs freed when these snapshots are purged and all unneeded data is collected.
    pub bytes: u64,
}

/// A repository at one moment, to ask several times what would be freed.
pub struct Foresight<'a> {
    repo: &'a Repository,
    seen: LoadedRepository<'a>,
    stop: &'a AtomicBool,
}

impl<'a> Foresight<'a> {
    /// Loads what every snapshot needs.
    ///
    /// # Errors
    /// When a tree cannot be read, the storage fails or the run was interrupted.
    pub fn load(repo: &'a Repository, control: &'a Control<'_>) -> Result<Self> {
        let stop = control.cancel();
        Ok(Self { repo, seen: LoadedRepository::load(repo, control.observer(), stop)?, stop })
    }

    /// Returns what forgetting these snapshots together frees.
    ///
    /// Assumes that gc then purges them and rewrites all packs that are not entirely needed (`--empty-trash
    /// --max-unused 0`). Space that such a gc run would free anyway is not counted. An id of no snapshot is
    /// ignored. With deltas the result is an estimate: bases count as needed, while gc stores deltas whole if
    /// their bases take more than they save.
    ///
    /// # Errors
    /// When a block cannot be read, the storage fails or the run was interrupted.
    pub fn freed(&self, ids: &[SnapshotId]) -> Result<Freed> {
        let seen = &self.seen;
        let ids: HashSet<SnapshotId> = ids.iter().copied().collect();
        let (mut going, mut staying) = (Vec::new(), Vec::new());
        for (snapshot, root) in seen.all.iter().zip(&seen.roots) {
            if ids.contains(&snapshot.id) { &mut going } else { &mut staying }.push(*root);
        }
        let (going, staying) = (seen.graph.owners(&going)?, seen.graph.owners(&staying)?);
        let fate = |row: u32| match (owner(&staying, row), owner(&going, row)) {
            (Owner::Nobody, Owner::Nobody) => ChunkFate::Waste,
            (Owner::Nobody, _) => ChunkFate::Goes,
            _ => ChunkFate::Stays,
        };
        let mut scale = BlockShrinkEstimator::new(self.repo, &seen.index)?;
        let mut freed = Freed::default();
        let mut mixed = Vec::new();
        ref_graph::each_block(&seen.index, &mut |block| {
            let fates: Vec<ChunkFate> = block.rows.clone().map(fate).collect();
            let goes = fates.iter().filter(|fate| **fate == ChunkFate::Goes).count() as u64;
            if goes == 0 {
                return;
            }
            for (share, fate) in block.shares().zip(&fates) {
                if *fate == ChunkFate::Goes {
                    freed.only.add(share);
                }
            }
            freed.bytes += block.frame * goes / fates.len().max(1) as u64;
            if goes == fates.len() as u64 {
                freed.bytes += block.stored
            } else {
                mixed.push((block.at, block.lens.clone(), fates, block.stored))
            }
        })?;
        for (at, lens, fates, stored) in mixed {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            freed.bytes += scale.weigh(at, &lens, &fates, stored)?;
        }
        Ok(freed)
    }

    /// Ends the session of this reader.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn close(self) -> Result<()> {
        self.seen.close()
    }
}

/// Returns what forgetting these snapshots together frees: [`Foresight::freed`], asked once.
///
/// # Errors
/// When a tree or a block cannot be read, the storage fails or the run was interrupted.
pub fn freed(repo: &Repository, ids: &[SnapshotId], control: &Control<'_>) -> Result<Freed> {
    let seen = Foresight::load(repo, control)?;
    let freed = seen.freed(ids)?;
    seen.close()?;
    Ok(freed)
}

/// What happens to a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChunkFate {
    Stays,
    Goes,
    /// No snapshot needs it, even before the forget.
    Waste,
}

/// Measures the stored size of parts of blocks.
struct BlockShrinkEstimator<'a> {
    index: &'a Index,
    reader: BlockReader,
    sealer: BlockSealer,
    plain: Vec<u8>,
}

impl<'a> BlockShrinkEstimator<'a> {
    fn new(repo: &Repository, index: &'a Index) -> Result<Self> {
        let sealer = BlockSealer::new(repo.suite().clone(), repo.config().level);
        let sealer = sealer.map_err(Error::damaged("a block sealer"))?;
        Ok(Self { index, reader: BlockReader::new(repo)?, sealer, plain: Vec::new() })
    }

    /// Returns by how many bytes the block shrinks.
    fn weigh(
        &mut self,
        at: ref_graph::BlockAt,
        lens: &[u32],
        fates: &[ChunkFate],
        stored: u64,
    ) -> Result<u64> {
        let mut plain = std::mem::take(&mut self.plain);
        self.reader.read(self.index, at, &mut plain)?;
        let place = self.index.place(at)?;
        let prefix = self.reader.prefix(self.index, place.kind, &place.bases)?;
        let made_from = (place.bases.as_slice(), prefix.as_slice());
        let without = self.sealed(place.kind, &plain, (lens, fates), made_from, &[ChunkFate::Stays])?;
        let with = if fates.contains(&ChunkFate::Waste) {
            self.sealed(place.kind, &plain, (lens, fates), made_from, &[ChunkFate::Stays, ChunkFate::Goes])?
        } else {
            stored
        };
        self.plain = plain;
        Ok(with.saturating_sub(without))
    }

    /// Returns the stored size of a block of only these chunks, with the bases that it has now.
    fn sealed(
        &mut self,
        kind: ChunkType,
        plain: &[u8],
        (lens, fates): (&[u32], &[ChunkFate]),
        made_from: (&[(ChunkId, u32)], &[u8]),
        of: &[ChunkFate],
    ) -> Result<u64> {
        let (mut rest, mut part) = (plain, Vec::new());
        for (len, fate) in lens.iter().zip(fates) {
            let Some((chunk, behind)) = rest.split_at_checked(*len as usize) else { break };
            rest = behind;
            if of.contains(fate) {
                part.extend_from_slice(chunk);
            }
        }
        if part.is_empty() {
            return Ok(0);
        }
        let weighed = || Error::damaged("a block being weighed");
        let delta = if made_from.0.is_empty() {
            None
        } else {
            self.sealer.seal_delta(kind, &part, &[], made_from).map_err(weighed())?
        };
        let block = match delta {
            Some(delta) => delta,
            None => self.sealer.seal(kind, &part, Vec::new()).map_err(weighed())?,
        };
        Ok(block.sealed.len() as u64)
    }
}
