//! Deltas whose bases nothing else needs: keeping those bases may take more space than the delta saves. Such
//! deltas are stored as whole blocks, and their bases are deleted.

use std::collections::{HashMap, HashSet};

use crate::codec::crypto::hash::ChunkType;
use crate::error::Result;
use crate::ops::gc::mark::{Bits, Marker};
use crate::repo::index::{BlockAt, Copy, Index};

/// A delta block, and the copies of its bases that are marked.
struct Delta {
    at: BlockAt,
    bases: Vec<Copy>,
}

/// Chooses the delta blocks to store whole, and returns by how many bytes each grows, approximately.
///
/// A block is chosen if keeping the bases that nothing else needs takes more than the delta saves, by more
/// than `share` of the whole block's size. Only blocks in packs that `may_move` are considered, as many as
/// the `budget` of bytes allows. Bases that only the chosen blocks needed are unmarked.
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
    // Lost data may be recovered, and may be a delta against a base that would be deleted.
    if !marks.lost.is_empty() || marks.met.is_empty() {
        return Ok(HashMap::new());
    }
    let mut deltas = Vec::new();
    for at in marks.met.keys() {
        deltas.push(Delta { at: *at, bases: bases(index, *at)? });
    }
    deltas.sort_by_key(|delta| delta.at);
    let mut uses: HashMap<usize, u32> = HashMap::new();
    deltas.iter().flat_map(|delta| &delta.bases).for_each(|base| *uses.entry(base.row).or_default() += 1);
    let only_here = |base: &Copy| uses.get(&base.row) == Some(&1) && !marks.direct.has(base.row);
    let (mut chosen, mut moving) = (HashMap::new(), HashSet::new());
    for delta in deltas.iter().filter(|delta| may_move(delta.at.pack)) {
        let Some(grows) = grows(index, marks, delta, &only_here, share)? else { continue };
        let len = index.packs().get(delta.at.pack as usize).map_or(0, |pack| pack.len);
        if moving.contains(&delta.at.pack) || len <= *budget {
            *budget -= if moving.insert(delta.at.pack) { len } else { 0 };
            chosen.insert(delta.at, grows);
        }
    }
    if !chosen.is_empty() {
        let (mut needed, mut as_bases) = (marks.direct.clone(), Bits::default());
        let stay = deltas.iter().filter(|delta| !chosen.contains_key(&delta.at));
        for base in stay.flat_map(|delta| &delta.bases) {
            needed.set(base.row);
            as_bases.set(base.row);
        }
        (marks.needed, marks.bases) = (needed, as_bases);
    }
    Ok(chosen)
}

fn bases(index: &Index, at: BlockAt) -> Result<Vec<Copy>> {
    let kind = index.packs().get(at.pack as usize).map_or(ChunkType::Data, |pack| pack.kind);
    let mut found = Vec::new();
    for base in index.bases(at)? {
        found.extend(index.find_base(kind, &base)?);
    }
    Ok(found)
}

/// Returns by how many bytes a delta grows when stored whole; `None` if that takes more than keeping it and
/// its unshared bases.
fn grows(
    index: &Index,
    marks: &Marker,
    delta: &Delta,
    only_here: &dyn Fn(&Copy) -> bool,
    share: f64,
) -> Result<Option<u64>> {
    let (mut bases, mut plain_bases, mut freed) = (0.0, 0.0, 0.0);
    for base in &delta.bases {
        let place = index.place(base.location.block)?;
        let len = f64::from(base.location.len);
        let stored = len * f64::from(place.stored) / f64::from(place.plain.max(1));
        plain_bases += len;
        bases += stored;
        freed += if only_here(base) { stored } else { 0.0 };
    }
    let table = index.table(delta.at.pack)?;
    let Some((row, first)) = table.block(delta.at.block) else { return Ok(None) };
    let first = index.packs().get(delta.at.pack as usize).map_or(0, |pack| pack.first) + first as usize;
    let live = row.chunks.iter().zip(first..).filter(|(_, row)| marks.needed.has(*row));
    let live: f64 = live.map(|((_, len), _)| f64::from(*len)).sum();
    // It is assumed to compress about as well as its bases, which are similar.
    let whole = live * bases / f64::max(plain_bases, 1.0);
    let stored = f64::from(row.stored) * live / f64::from(row.plain.max(1));
    let pays = live > 0.0 && freed + stored > whole * (1.0 + share);
    Ok(pays.then_some((whole - stored).max(0.0) as u64))
}
