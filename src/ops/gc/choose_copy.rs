//! Chooses which copy of each needed chunk stays.

use std::collections::{BTreeSet, HashSet};

use crate::codec::crypto::hash::ChunkType;
use crate::error::{Error, Result};
use crate::model::id::{ChunkId, SnapshotId};
use crate::ops::gc::mark::{Bits, Marker};
use crate::repo::index::{BlockAt, ChunkAt, Copy, Index};

/// Returns which copy of each needed chunk stays, and the blocks of copies chosen over a duplicate.
///
/// Prefers a copy in a pack of a running session, which must not be touched, else takes the first good one. A
/// copy that a write key stored stays only if there is no other.
/// Copies in condemned or damaged packs never count, nor do deltas whose own bases were not marked. Of a
/// chunk that is a delta base, a copy that is not a delta stays. Copies that are held ([`Marker::held`])
/// stay. These blocks must be verified before the duplicates are deleted.
///
/// # Errors
/// When a table could not be read, or the local index cache contradicts the packs.
pub(super) fn keep(
    index: &Index,
    marks: &Marker,
    live: &HashSet<SnapshotId>,
) -> Result<(Bits, BTreeSet<BlockAt>)> {
    loop {
        let (kept, chosen) = (Bits::default(), BTreeSet::new());
        let mut keeper = CopyChooser { index, marks, live, kept, chosen, met: 0 };
        if !index.each_group(&mut |group| keeper.group(group))? {
            continue;
        }
        if keeper.met != marks.needed.count() {
            // Chunks whose entries are missing would be taken for unneeded.
            return Err(Error::Refused(
                "the local index cache lacks chunks that snapshots need; nothing was deleted. Remove the \
                 cache's folder `view` and run the garbage collection again"
                    .into(),
            ));
        }
        return Ok((keeper.kept, keeper.chosen));
    }
}

struct CopyChooser<'a> {
    index: &'a Index,
    marks: &'a Marker,
    live: &'a HashSet<SnapshotId>,
    kept: Bits,
    chosen: BTreeSet<BlockAt>,
    /// Index entries met that are marked as needed.
    met: u64,
}

impl CopyChooser<'_> {
    /// Handles copies whose ids share the first eight bytes: nearly always one copy, or copies of one chunk.
    fn group(&mut self, group: &[ChunkAt]) -> Result<()> {
        let rows: Vec<usize> = group.iter().filter_map(|at| self.row(*at)).collect();
        let needed = rows.iter().filter(|row| self.marks.needed.has(**row)).count() as u64;
        if needed == 0 {
            return Ok(());
        }
        self.met += needed;
        if let ([at], [row]) = (group, rows.as_slice()) {
            if self.index.packs().get(at.pack as usize).is_some_and(|pack| !pack.not_writable) {
                self.kept.set(*row);
            }
            return Ok(());
        }
        let mut chunks = Vec::with_capacity(group.len());
        for at in group {
            match self.index.chunk(*at)? {
                Some(chunk) => chunks.push(chunk),
                None => {
                    // It is unknown which of them are the same chunk: all of them stay.
                    rows.iter().for_each(|row| _ = self.kept.set(*row));
                    return Ok(());
                }
            }
        }
        while let Some((kind, id, _)) = chunks.first().copied() {
            let same = |chunk: &(ChunkType, ChunkId, Copy)| chunk.0 == kind && chunk.1 == id;
            let copies: Vec<Copy> = chunks.iter().filter(|chunk| same(chunk)).map(|chunk| chunk.2).collect();
            chunks.retain(|chunk| !same(chunk));
            self.choose(&copies);
        }
        Ok(())
    }

    fn row(&self, at: ChunkAt) -> Option<usize> {
        self.index.packs().get(at.pack as usize).map(|pack| pack.first + at.nth as usize)
    }

    /// Chooses among all copies of one chunk.
    fn choose(&mut self, copies: &[Copy]) {
        if !copies.iter().any(|copy| self.marks.needed.has(copy.row)) {
            return;
        }
        let held = copies.iter().filter(|copy| self.marks.held.has(copy.row));
        held.for_each(|copy| _ = self.kept.set(copy.row));
        let of_live = |copy: &Copy| {
            let pack = self.index.packs().get(copy.location.block.pack as usize);
            pack.is_some_and(|pack| self.live.contains(&pack.session))
        };
        let is_base = copies.iter().any(|copy| self.marks.bases.has(copy.row));
        let may_stay = |copy: &&Copy| !copy.delta || !is_base && self.marks.needed.has(copy.row);
        let listed: Vec<&Copy> = copies.iter().filter(|copy| !copy.not_writable).collect();
        let mut good: Vec<&Copy> = listed.iter().copied().filter(may_stay).collect();
        // Others may refer to what full keys stored.
        good.sort_by_key(|copy| copy.foreign);
        let own = |copy: &&&Copy| of_live(copy) && !copy.foreign;
        if let Some(best) = good.iter().find(own).or(good.first()) {
            self.kept.set(best.row);
            if listed.len() > 1 {
                self.chosen.insert(best.location.block);
            }
        }
    }
}
