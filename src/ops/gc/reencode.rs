//! Chooses deltas to be stored as whole blocks: if nothing else needs their bases, keeping these may take
//! more space than the deltas save.

use std::collections::{HashMap, HashSet};

use crate::codec::crypto::hash::ChunkType;
use crate::error::Result;
use crate::ops::gc::mark::Marker;
use crate::repo::index::{BlockAt, Copy, Index};
use crate::util::bitset::BitSet;

/// A delta block, and the copies of its bases that are marked.
struct Delta {
    block: BlockAt,
    bases: Vec<Copy>,
}

/// Chooses the delta blocks to store whole, and returns by how many bytes each grows, approximately.
///
/// A block is chosen if the bases that nothing else needs take more space than the delta saves, and the
/// difference is more than `share` of the whole block's size. Only packs that `may_move` are considered, as
/// far as the `budget` in bytes allows. Bases that only the chosen blocks need are unmarked.
///
/// # Errors
/// When a table cannot be read.
pub(super) fn choose(
    index: &Index,
    marks: &mut Marker,
    may_move: &dyn Fn(u32) -> bool,
    share: f64,
    budget: &mut u64,
) -> Result<HashMap<BlockAt, u64>> {
    // A lost chunk may be a delta against a base that would be deleted, and may be recovered later.
    if !marks.lost.is_empty() || marks.delta_blocks.is_empty() {
        return Ok(HashMap::new());
    }
    let mut deltas = Vec::new();
    for block in marks.delta_blocks.keys() {
        deltas.push(Delta { block: *block, bases: bases(index, *block)? });
    }
    deltas.sort_by_key(|delta| delta.block);
    let mut use_counts: HashMap<usize, u32> = HashMap::new();
    deltas
        .iter()
        .flat_map(|delta| &delta.bases)
        .for_each(|base| *use_counts.entry(base.number).or_default() += 1);
    let is_unshared =
        |base: &Copy| use_counts.get(&base.number) == Some(&1) && !marks.needed_directly.has(base.number);
    let (mut chosen, mut moved_packs) = (HashMap::new(), HashSet::new());
    for delta in deltas.iter().filter(|delta| may_move(delta.block.pack)) {
        let Some(growth) = growth(index, marks, delta, &is_unshared, share)? else { continue };
        let len = index.packs().get(delta.block.pack as usize).map_or(0, |pack| pack.len);
        if moved_packs.contains(&delta.block.pack) || len <= *budget {
            *budget -= if moved_packs.insert(delta.block.pack) { len } else { 0 };
            chosen.insert(delta.block, growth);
        }
    }
    if !chosen.is_empty() {
        let (mut needed, mut as_bases) = (marks.needed_directly.clone(), BitSet::default());
        let kept = deltas.iter().filter(|delta| !chosen.contains_key(&delta.block));
        for base in kept.flat_map(|delta| &delta.bases) {
            needed.insert(base.number);
            as_bases.insert(base.number);
        }
        (marks.needed, marks.bases) = (needed, as_bases);
    }
    Ok(chosen)
}

/// Returns the copies of a delta block's bases that still exist.
fn bases(index: &Index, block: BlockAt) -> Result<Vec<Copy>> {
    let kind = index.packs().get(block.pack as usize).map_or(ChunkType::Data, |pack| pack.kind);
    let mut found = Vec::new();
    for base in index.bases(block)? {
        found.extend(index.find_base(kind, &base)?);
    }
    Ok(found)
}

/// Returns by how many bytes a delta grows when stored whole; `None` if it should stay a delta.
fn growth(
    index: &Index,
    marks: &Marker,
    delta: &Delta,
    is_unshared: &dyn Fn(&Copy) -> bool,
    share: f64,
) -> Result<Option<u64>> {
    let (mut bases, mut plain_bases, mut freed) = (0.0, 0.0, 0.0);
    for base in &delta.bases {
        let block_info = index.place(base.location.block)?;
        let len = f64::from(base.location.len);
        let stored = len * f64::from(block_info.stored) / f64::from(block_info.plain.max(1));
        plain_bases += len;
        bases += stored;
        freed += if is_unshared(base) { stored } else { 0.0 };
    }
    let table = index.table(delta.block.pack)?;
    let Some((row, first)) = table.block(delta.block.block) else { return Ok(None) };
    let first = index.packs().get(delta.block.pack as usize).map_or(0, |pack| pack.first) + first as usize;
    let live = row.chunks.iter().zip(first..).filter(|(_, row)| marks.needed.has(*row));
    let live: f64 = live.map(|((_, len), _)| f64::from(*len)).sum();
    // Assumes that the block compresses as well as its bases, which are similar.
    let whole = live * bases / f64::max(plain_bases, 1.0);
    let stored = f64::from(row.stored) * live / f64::from(row.plain.max(1));
    let is_worthwhile = live > 0.0 && freed + stored > whole * (1.0 + share);
    Ok(is_worthwhile.then_some((whole - stored).max(0.0) as u64))
}
