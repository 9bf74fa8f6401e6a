//! Decides what happens to each pack, based on the marks.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::codec::crypto::hash::ChunkType;
use crate::error::Result;
use crate::model::id::{ChunkId, PackId, SnapshotId};
use crate::ops::gc::choose_copy::choose_copies;
use crate::ops::gc::mark::Marker;
use crate::ops::gc::{MaxUnused, Options, reencode};
use crate::repo::index::catalog::PackInfo;
use crate::repo::index::{BlockAt, Index};
use crate::util::bitset::BitSet;

/// A pack smaller than its target size divided by this is small.
const SMALL_DIVISOR: u64 = 4;
/// Minimum number of small packs of one type that are worth merging.
const MIN_SMALL_PACKS: usize = 32;

/// Bases of the chunks that become deltas, by index entry. Each base is an id and a length.
pub(super) type Bases = HashMap<usize, Vec<(ChunkId, u32)>>;

/// What happens to a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PackAction {
    /// It stays as it is.
    Keep,
    /// Nothing in it is needed: it is deleted.
    Delete,
    /// Its needed chunks are written to new packs, and it is deleted.
    Move,
}

/// How much of a pack is needed, and what happens to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct PackUsage {
    pub(super) action: PackAction,
    /// Stored bytes of chunks that are not needed, approximately.
    pub(super) dead: u64,
    /// Bytes by which its content grows when moved, approximately.
    pub(super) growth: u64,
    /// Bytes by which its content shrinks when moved, because it becomes deltas, approximately.
    pub(super) savings: u64,
    /// It must not be moved: it is condemned, damaged or of a running session, or has an unreadable delta
    /// that must stay.
    pub(super) immovable: bool,
}

/// The plan for all packs.
pub(super) struct Plan {
    /// In the order of the index.
    pub(super) packs: Vec<PackUsage>,
    /// Index entries of the copies that stay or are moved: one for each needed chunk.
    pub(super) kept: BitSet,
    /// Delta blocks that are re-encoded as whole blocks, and the bytes by which each grows, approximately.
    pub(super) reencoded: HashMap<BlockAt, u64>,
    /// Blocks of copies that were preferred to another. They must be verified before the others are deleted.
    pub(super) preferred: BTreeSet<BlockAt>,
    /// Unneeded stored bytes in packs that stay, approximately.
    pub(super) unused: u64,
    /// Maximum share of dead bytes at which a block is moved without re-encoding.
    pub(super) max_dead_share: f64,
    /// Chunks that become deltas.
    pub(super) new_deltas: Bases,
    /// Bytes of packs that may be moved in addition.
    pub(super) budget: u64,
}

impl Plan {
    fn with<'a>(&'a self, index: &'a Index, action: PackAction) -> impl Iterator<Item = &'a PackInfo> {
        let packs = index.packs().iter().zip(&self.packs);
        packs.filter(move |(_, usage)| usage.action == action).map(|(pack, _)| pack)
    }

    /// Returns the packs with this action.
    pub(super) fn packs_of(&self, index: &Index, action: PackAction) -> Vec<PackId> {
        self.with(index, action).map(|pack| pack.id).collect()
    }

    /// Returns the total bytes of the packs with this action.
    pub(super) fn bytes_of(&self, index: &Index, action: PackAction) -> u64 {
        self.with(index, action).map(|pack| pack.len).sum()
    }
}

/// Plans what happens to each pack, based on the marks.
///
/// # Errors
/// When a table could not be read, or the local index cache contradicts the packs.
pub(super) fn plan(
    index: &Index,
    marks: &mut Marker,
    live_sessions: &HashSet<SnapshotId>,
    targets: impl Fn(ChunkType) -> u64,
    (options, epoch): (&Options, u32),
) -> Result<Plan> {
    let max_dead_share = match options.max_unused {
        MaxUnused::Share(share) => share,
        MaxUnused::Bytes(0) => 0.0,
        MaxUnused::Bytes(_) | MaxUnused::Unlimited => 0.05,
    };
    // C2: a chunk that is in no listed pack may be a delta against any file data.
    let misses_data = marks.misses_data();
    let stays = |pack: &PackInfo| {
        misses_data && pack.kind == ChunkType::Data || live_sessions.contains(&pack.session)
    };
    let may_move = |at: u32| index.packs().get(at as usize).is_some_and(|pack| pack.usable && !stays(pack));
    let mut budget = options.max_repack.unwrap_or(u64::MAX);
    let reencoded = reencode::choose(index, marks, &may_move, max_dead_share, &mut budget)?;
    let (kept, preferred) = choose_copies(index, marks, live_sessions)?;
    let mut packs = Vec::with_capacity(index.packs().len());
    for (number, pack) in (0..).zip(index.packs()) {
        packs.push(usage_of(index, number, (&kept, &marks.unreadable), stays(pack))?);
    }
    for (at, growth) in &reencoded {
        if let Some(pack) = packs.get_mut(at.pack as usize).filter(|pack| pack.action != PackAction::Delete) {
            pack.action = PackAction::Move;
            pack.growth += growth;
        }
    }
    let total: u64 = index.packs().iter().map(|pack| pack.len).sum();
    let limit = match options.max_unused {
        MaxUnused::Share(share) => (total as f64 * share) as u64,
        MaxUnused::Bytes(bytes) => bytes,
        MaxUnused::Unlimited => u64::MAX,
    };
    let unused = choose_to_move(index, &mut packs, live_sessions, limit, &mut budget);
    if options.reseal {
        reseal(index, &mut packs, live_sessions, epoch, &mut budget)?;
    }
    merge_small(index, &mut packs, live_sessions, &targets, &mut budget);
    Ok(Plan { packs, kept, reencoded, preferred, unused, max_dead_share, new_deltas: Bases::new(), budget })
}

/// Determines how much of a pack is needed. A pack in which nothing is needed is deleted, any other stays.
fn usage_of(
    index: &Index,
    number: u32,
    (kept, unreadable): (&BitSet, &BitSet),
    untouchable: bool,
) -> Result<PackUsage> {
    let stays = PackUsage { action: PackAction::Keep, dead: 0, growth: 0, savings: 0, immovable: true };
    let Some(pack) = index.packs().get(number as usize) else { return Ok(stays) };
    // Condemned packs belong to another gc run; damaged ones wait for repair.
    if !pack.usable || untouchable {
        return Ok(stays);
    }
    let table = match index.table(number) {
        Ok(table) => table,
        Err(err) if err.is_damage() => return Ok(stays),
        Err(err) => return Err(err),
    };
    let (mut dead, mut needed, mut immovable) = (0.0f64, false, false);
    for (block, first) in table.blocks() {
        let chunks = block.chunks.iter().zip(pack.first + first as usize..);
        let live_bytes: u64 =
            chunks.filter(|(_, row)| kept.has(*row)).map(|((_, len), _)| u64::from(*len)).sum();
        needed |= block.chunks.iter().zip(pack.first + first as usize..).any(|(_, row)| kept.has(row));
        immovable |= (pack.first + first as usize..).take(block.chunks.len()).any(|row| unreadable.has(row));
        dead += f64::from(block.stored) * (1.0 - live_bytes as f64 / f64::from(block.plain.max(1)));
    }
    let action = if needed { PackAction::Keep } else { PackAction::Delete };
    Ok(PackUsage { action, dead: dead.max(0.0) as u64, growth: 0, savings: 0, immovable })
}

/// Chooses packs to move, highest share of dead bytes first, until the unneeded bytes in all other packs are
/// within the limit. Returns these bytes.
fn choose_to_move(
    index: &Index,
    packs: &mut [PackUsage],
    live_sessions: &HashSet<SnapshotId>,
    limit: u64,
    budget: &mut u64,
) -> u64 {
    let mut unused: u64 =
        packs.iter().filter(|pack| pack.action == PackAction::Keep).map(|pack| pack.dead).sum();
    let mut candidates: Vec<usize> = (0..packs.len())
        .filter(|at| {
            let touchable = index
                .packs()
                .get(*at)
                .is_some_and(|pack| pack.usable && !live_sessions.contains(&pack.session));
            touchable
                && packs
                    .get(*at)
                    .is_some_and(|pack| pack.action == PackAction::Keep && pack.dead > 0 && !pack.immovable)
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
            pack.action = PackAction::Move;
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
    live_sessions: &HashSet<SnapshotId>,
    epoch: u32,
    budget: &mut u64,
) -> Result<()> {
    let mut older = Vec::new();
    for (number, (pack, usage)) in (0..).zip(index.packs().iter().zip(&mut *packs)) {
        let may_move =
            usage.action == PackAction::Keep && !usage.immovable && !live_sessions.contains(&pack.session);
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
            pack.action = PackAction::Move;
            *budget -= len;
        }
    }
    Ok(())
}

/// Merges small packs, such as those of daily backups, if there are many: smallest first, as far as the
/// budget allows.
fn merge_small(
    index: &Index,
    packs: &mut [PackUsage],
    live_sessions: &HashSet<SnapshotId>,
    targets: &impl Fn(ChunkType) -> u64,
    budget: &mut u64,
) {
    for kind in [ChunkType::Data, ChunkType::Tree] {
        let small = index.packs().iter().enumerate().filter(|(_, pack)| {
            pack.kind == kind
                && pack.usable
                && !live_sessions.contains(&pack.session)
                && pack.len.saturating_mul(SMALL_DIVISOR) < targets(kind)
        });
        let mut small: Vec<(u64, usize)> = small
            .filter(|(at, _)| {
                packs.get(*at).is_some_and(|pack| pack.action == PackAction::Keep && !pack.immovable)
            })
            .map(|(at, pack)| (pack.len, at))
            .collect();
        small.sort_unstable();
        let mut remaining = *budget;
        let affordable = small.iter().take_while(|(len, _)| {
            let after = remaining.checked_sub(*len);
            remaining = after.unwrap_or(remaining);
            after.is_some()
        });
        let affordable: Vec<usize> = affordable.map(|(_, at)| *at).collect();
        if affordable.len() < MIN_SMALL_PACKS {
            continue;
        }
        *budget = remaining;
        for at in affordable {
            if let Some(pack) = packs.get_mut(at) {
                pack.action = PackAction::Move;
            }
        }
    }
}
