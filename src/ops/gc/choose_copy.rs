//! Chooses which copy of each needed chunk stays.

use std::collections::{BTreeSet, HashSet};

use crate::codec::crypto::hash::ChunkType;
use crate::error::{Error, Result};
use crate::model::id::{ChunkId, SnapshotId};
use crate::ops::gc::mark::Marker;
use crate::repo::index::{BlockAt, ChunkAt, Copy, Index};
use crate::util::bitset::BitSet;

/// Returns which copy of each needed chunk stays, and the blocks of copies that were preferred to another.
/// These blocks must be verified before the other copies are deleted.
///
/// - A copy in a pack of a running session is preferred, since that pack is left alone. Otherwise the first
///   one stays.
/// - A copy that a write key stored stays only if there is no other.
/// - Copies in condemned or damaged packs do not count, nor do deltas whose bases were not marked.
/// - Of a chunk that is a base, a copy that is not a delta stays.
/// - Unreadable deltas ([`Marker::unreadable`]) stay in addition.
///
/// # Errors
/// When a table could not be read, or the local index cache contradicts the packs.
pub(super) fn choose_copies(
    index: &Index,
    marks: &Marker,
    live_sessions: &HashSet<SnapshotId>,
) -> Result<(BitSet, BTreeSet<BlockAt>)> {
    loop {
        let (kept, preferred) = (BitSet::default(), BTreeSet::new());
        let mut chooser = CopyChooser { index, marks, live_sessions, kept, preferred, needed_found: 0 };
        if !index.for_each_group(&mut |group| chooser.handle_group(group))? {
            continue;
        }
        if chooser.needed_found != marks.needed.count() {
            // Otherwise chunks whose entries are missing would be deleted as unneeded.
            return Err(Error::Refused(
                "the local index cache lacks chunks that snapshots need; nothing was deleted. Remove the \
                 cache's folder `view` and run the garbage collection again"
                    .into(),
            ));
        }
        return Ok((chooser.kept, chooser.preferred));
    }
}

struct CopyChooser<'a> {
    index: &'a Index,
    marks: &'a Marker,
    live_sessions: &'a HashSet<SnapshotId>,
    kept: BitSet,
    preferred: BTreeSet<BlockAt>,
    /// Number of entries seen so far that are marked as needed.
    needed_found: u64,
}

impl CopyChooser<'_> {
    /// Handles entries whose ids share the first eight bytes: nearly always one entry, or copies of one
    /// chunk.
    fn handle_group(&mut self, group: &[ChunkAt]) -> Result<()> {
        let rows: Vec<usize> = group.iter().filter_map(|at| self.row(*at)).collect();
        let needed = rows.iter().filter(|row| self.marks.needed.has(**row)).count() as u64;
        if needed == 0 {
            return Ok(());
        }
        self.needed_found += needed;
        if let ([at], [row]) = (group, rows.as_slice()) {
            if self.index.packs().get(at.pack as usize).is_some_and(|pack| pack.usable) {
                self.kept.insert(*row);
            }
            return Ok(());
        }
        let mut chunks = Vec::with_capacity(group.len());
        for at in group {
            match self.index.chunk(*at)? {
                Some(chunk) => chunks.push(chunk),
                None => {
                    // The pack's table is not available, so it is unknown which are the same chunk: all stay.
                    rows.iter().for_each(|row| _ = self.kept.insert(*row));
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

    /// Chooses the copy of one chunk that stays.
    fn choose(&mut self, copies: &[Copy]) {
        if !copies.iter().any(|copy| self.marks.needed.has(copy.number)) {
            return;
        }
        let unreadable = copies.iter().filter(|copy| self.marks.unreadable.has(copy.number));
        unreadable.for_each(|copy| _ = self.kept.insert(copy.number));
        let is_of_live_session = |copy: &Copy| {
            let pack = self.index.packs().get(copy.location.block.pack as usize);
            pack.is_some_and(|pack| self.live_sessions.contains(&pack.session))
        };
        let is_base = copies.iter().any(|copy| self.marks.bases.has(copy.number));
        let may_stay = |copy: &&Copy| !copy.delta || !is_base && self.marks.needed.has(copy.number);
        let listed: Vec<&Copy> = copies.iter().filter(|copy| copy.in_usable_pack).collect();
        let mut good: Vec<&Copy> = listed.iter().copied().filter(may_stay).collect();
        // Copies that full keys stored come first: any session may refer to them.
        good.sort_by_key(|copy| copy.foreign);
        let is_preferred = |copy: &&&Copy| is_of_live_session(copy) && !copy.foreign;
        if let Some(best) = good.iter().find(is_preferred).or(good.first()) {
            self.kept.insert(best.number);
            if listed.len() > 1 {
                self.preferred.insert(best.location.block);
            }
        }
    }
}
