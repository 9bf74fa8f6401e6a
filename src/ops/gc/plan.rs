//! Decides what happens to each pack, given what is needed.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::codec::crypto::hash::ChunkType;
use crate::error::Result;
use crate::model::id::{ChunkId, PackId, SnapshotId};
use crate::ops::gc::choose_copy::keep;
use crate::ops::gc::mark::{Bits, Marker};
use crate::ops::gc::{MaxUnused, Options, reencode};
use crate::repo::index::catalog::PackInfo;
use crate::repo::index::{BlockAt, Index};

/// A pack smaller than its target size divided by this is small.
const SMALL: u64 = 4;
/// Minimum number of small packs of one type that are worth merging.
const MANY_SMALL: usize = 32;

/// Bases of the chunks that are moved into deltas, by index entry.
pub(super) type Bases = HashMap<usize, Vec<(ChunkId, u32)>>;

/// What happens to a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PackAction {
    /// It stays as it is.
    Keep,
    /// It is deleted: nothing in it is needed.
    Drop,
    /// Its needed chunks are written to new packs, and it is deleted.
    Move,
}

/// How much of one pack is needed, and what happens to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct PackUsage {
    pub(super) fate: PackAction,
    /// Stored bytes that hold nothing needed, approximately.
    pub(super) dead: u64,
    /// Bytes by which its content grows when moved, approximately.
    pub(super) grows: u64,
    /// Bytes by which its content shrinks when moved, because it becomes deltas, approximately.
    pub(super) saves: u64,
    /// It must not be moved: it is off limits, or some needed chunk in it cannot be read.
    pub(super) fixed: bool,
}

/// The plan for all packs.
pub(super) struct Plan {
    /// In the order of the index.
    pub(super) packs: Vec<PackUsage>,
    /// Index entries of the copies that stay or are moved: one for each needed chunk.
    pub(super) kept: Bits,
    /// Delta blocks that are re-encoded as whole blocks, and the bytes by which each grows, approximately.
    pub(super) anew: HashMap<BlockAt, u64>,
    /// Blocks of copies that were chosen over a duplicate. They must be verified first.
    pub(super) chosen: BTreeSet<BlockAt>,
    /// Unneeded stored bytes in packs that stay, approximately.
    pub(super) unused: u64,
    /// Maximum share of dead bytes at which a block is moved without re-encoding.
    pub(super) whole: f64,
    /// Chunks that are moved into deltas.
    pub(super) similar: Bases,
    /// Bytes of packs that may still be moved.
    pub(super) budget: u64,
}

impl Plan {
    fn with<'a>(&'a self, index: &'a Index, fate: PackAction) -> impl Iterator<Item = &'a PackInfo> {
        let packs = index.packs().iter().zip(&self.packs);
        packs.filter(move |(_, account)| account.fate == fate).map(|(pack, _)| pack)
    }

    /// Returns the packs with this action.
    pub(super) fn packs_of(&self, index: &Index, fate: PackAction) -> Vec<PackId> {
        self.with(index, fate).map(|pack| pack.id).collect()
    }

    /// Returns the total bytes of the packs with this action.
    pub(super) fn bytes_of(&self, index: &Index, fate: PackAction) -> u64 {
        self.with(index, fate).map(|pack| pack.len).sum()
    }
}

/// Plans what happens to each pack, based on the marks.
///
/// # Errors
/// When a table could not be read, or the local index cache contradicts the packs.
pub(super) fn plan(
    index: &Index,
    marks: &mut Marker,
    live: &HashSet<SnapshotId>,
    targets: impl Fn(ChunkType) -> u64,
    (options, epoch): (&Options, u32),
) -> Result<Plan> {
    let whole = match options.max_unused {
        MaxUnused::Share(share) => share,
        MaxUnused::Bytes(0) => 0.0,
        MaxUnused::Bytes(_) | MaxUnused::Unlimited => 0.05,
    };
    // C2: a chunk that is in no listed pack may be a delta against any file data.
    let misses_data = marks.misses_data();
    let stays = |pack: &PackInfo| misses_data && pack.kind == ChunkType::Data || live.contains(&pack.session);
    let may_move =
        |at: u32| index.packs().get(at as usize).is_some_and(|pack| !pack.not_writable && !stays(pack));
    let mut budget = options.max_repack.unwrap_or(u64::MAX);
    let anew = reencode::choose(index, marks, &may_move, whole, &mut budget)?;
    let (kept, chosen) = keep(index, marks, live)?;
    let mut packs = Vec::with_capacity(index.packs().len());
    for (number, pack) in (0..).zip(index.packs()) {
        packs.push(account(index, number, (&kept, &marks.held), stays(pack))?);
    }
    for (at, grows) in &anew {
        if let Some(pack) = packs.get_mut(at.pack as usize).filter(|pack| pack.fate != PackAction::Drop) {
            pack.fate = PackAction::Move;
            pack.grows += grows;
        }
    }
    let total: u64 = index.packs().iter().map(|pack| pack.len).sum();
    let limit = match options.max_unused {
        MaxUnused::Share(share) => (total as f64 * share) as u64,
        MaxUnused::Bytes(bytes) => bytes,
        MaxUnused::Unlimited => u64::MAX,
    };
    let unused = choose(index, &mut packs, live, limit, &mut budget);
    if options.reseal {
        reseal(index, &mut packs, live, epoch, &mut budget)?;
    }
    merge_small(index, &mut packs, live, &targets, &mut budget);
    Ok(Plan { packs, kept, anew, chosen, unused, whole, similar: Bases::new(), budget })
}

fn account(index: &Index, number: u32, (kept, held): (&Bits, &Bits), untouchable: bool) -> Result<PackUsage> {
    let stays = PackUsage { fate: PackAction::Keep, dead: 0, grows: 0, saves: 0, fixed: true };
    let Some(pack) = index.packs().get(number as usize) else { return Ok(stays) };
    // Condemned packs belong to another gc run; damaged ones wait for repair.
    if pack.not_writable || untouchable {
        return Ok(stays);
    }
    let table = match index.table(number) {
        Ok(table) => table,
        Err(err) if err.is_damage() => return Ok(stays),
        Err(err) => return Err(err),
    };
    let (mut dead, mut needed, mut fixed) = (0.0f64, false, false);
    for (block, first) in table.blocks() {
        let chunks = block.chunks.iter().zip(pack.first + first as usize..);
        let live: u64 = chunks.filter(|(_, row)| kept.has(*row)).map(|((_, len), _)| u64::from(*len)).sum();
        needed |= block.chunks.iter().zip(pack.first + first as usize..).any(|(_, row)| kept.has(row));
        fixed |= (pack.first + first as usize..).take(block.chunks.len()).any(|row| held.has(row));
        dead += f64::from(block.stored) * (1.0 - live as f64 / f64::from(block.plain.max(1)));
    }
    let fate = if needed { PackAction::Keep } else { PackAction::Drop };
    Ok(PackUsage { fate, dead: dead.max(0.0) as u64, grows: 0, saves: 0, fixed })
}

/// Chooses packs to move, highest share of dead bytes first, until the unused rest is within the limit.
/// Returns that rest in bytes.
fn choose(
    index: &Index,
    packs: &mut [PackUsage],
    live: &HashSet<SnapshotId>,
    limit: u64,
    budget: &mut u64,
) -> u64 {
    let mut unused: u64 =
        packs.iter().filter(|pack| pack.fate == PackAction::Keep).map(|pack| pack.dead).sum();
    let mut candidates: Vec<usize> = (0..packs.len())
        .filter(|at| {
            let touchable = index
                .packs()
                .get(*at)
                .is_some_and(|pack| !pack.not_writable && !live.contains(&pack.session));
            touchable
                && packs
                    .get(*at)
                    .is_some_and(|pack| pack.fate == PackAction::Keep && pack.dead > 0 && !pack.fixed)
        })
        .collect();
    let share = |at: &usize| {
        let len = index.packs().get(*at).map_or(1, |pack| pack.len.max(1));
        packs.get(*at).map_or(0, |pack| pack.dead.saturating_mul(1_000_000) / len)
    };
    candidates.sort_by_key(|at| std::cmp::Reverse(share(at)));
    for at in candidates {
        if unused <= limit {
            break;
        }
        let len = index.packs().get(at).map_or(0, |pack| pack.len);
        if len > *budget {
            continue;
        }
        if let Some(pack) = packs.get_mut(at) {
            pack.fate = PackAction::Move;
            unused -= pack.dead;
            *budget -= len;
        }
    }
    unused
}

/// Chooses packs to move that were sealed in an older epoch of the key, oldest first, or by write keys, as
/// far as the budget allows.
fn reseal(
    index: &Index,
    packs: &mut [PackUsage],
    live: &HashSet<SnapshotId>,
    epoch: u32,
    budget: &mut u64,
) -> Result<()> {
    let mut older = Vec::new();
    for (number, (pack, usage)) in (0..).zip(index.packs().iter().zip(&mut *packs)) {
        let may_move = usage.fate == PackAction::Keep && !usage.fixed && !live.contains(&pack.session);
        if !may_move {
            continue;
        }
        let table = index.table(number)?;
        if table.table.epoch < epoch || table.table.by.is_some() {
            older.push((table.table.epoch, number as usize, pack.len));
        }
    }
    older.sort_unstable();
    for (_, at, len) in older {
        if let Some(pack) = packs.get_mut(at).filter(|_| len <= *budget) {
            pack.fate = PackAction::Move;
            *budget -= len;
        }
    }
    Ok(())
}

/// Merges many small packs, as daily runs leave them, into few: smallest first, as far as the budget allows.
/// The rest is left to the next run.
fn merge_small(
    index: &Index,
    packs: &mut [PackUsage],
    live: &HashSet<SnapshotId>,
    targets: &impl Fn(ChunkType) -> u64,
    budget: &mut u64,
) {
    for kind in [ChunkType::Data, ChunkType::Tree] {
        let small = index.packs().iter().enumerate().filter(|(_, pack)| {
            pack.kind == kind
                && !pack.not_writable
                && !live.contains(&pack.session)
                && pack.len.saturating_mul(SMALL) < targets(kind)
        });
        let mut small: Vec<(u64, usize)> = small
            .filter(|(at, _)| packs.get(*at).is_some_and(|pack| pack.fate == PackAction::Keep && !pack.fixed))
            .map(|(at, pack)| (pack.len, at))
            .collect();
        small.sort_unstable();
        let mut left = *budget;
        let affordable = small.iter().take_while(|(len, _)| {
            let after = left.checked_sub(*len);
            left = after.unwrap_or(left);
            after.is_some()
        });
        let affordable: Vec<usize> = affordable.map(|(_, at)| *at).collect();
        if affordable.len() < MANY_SMALL {
            continue;
        }
        *budget = left;
        for at in affordable {
            if let Some(pack) = packs.get_mut(at) {
                pack.fate = PackAction::Move;
            }
        }
    }
}
