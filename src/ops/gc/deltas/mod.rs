//! `gc --delta`: stores chunks of changed files and directories as deltas against their older versions, in
//! repositories that were written without deltas.
//!
//! `pairs` walks each snapshot together with its predecessor, and `judge` decides which chunks become deltas.
//! Their packs are then repacked by the usual rules: new packs are durable before the old ones are condemned.
//! A base stays in a block that is not a delta, because a root needs it and it was marked to stay.

mod choose_bases;
mod pairs;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::error::Result;
use crate::model::id::SnapshotId;
use crate::ops::gc::deltas::choose_bases::Judge;
use crate::ops::gc::mark::Marker;
use crate::ops::gc::plan::{PackAction, Plan};
use crate::progress::{Event, Observer};
use crate::repo::index::Index;
use crate::repo::repository::Repository;
use crate::repo::snapshots::Snapshot;

/// A pack is rewritten only if that saves at least one byte in this many. Otherwise each run would rewrite
/// much for little.
const LEAST_GAIN: u64 = 20;

/// Result of making deltas.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Similar {
    /// Number of chunks that are stored as deltas.
    pub chunks: u64,
    /// Approximate number of stored bytes that are saved.
    pub saves: u64,
    /// Stored bytes that later runs may save: packs beyond the budget, and chunks that were not compared.
    pub later: u64,
}

/// The input of the search.
pub(super) struct Search<'a> {
    pub(super) repo: &'a Repository,
    pub(super) index: &'a Arc<Index>,
    pub(super) standing: &'a BTreeMap<SnapshotId, Snapshot>,
    pub(super) live: &'a HashSet<SnapshotId>,
    pub(super) observer: &'a dyn Observer,
    pub(super) stop: &'a AtomicBool,
}

impl Search<'_> {
    /// Adds the chunks that become deltas to the plan, and moves their packs, as far as the budget allows.
    ///
    /// # Errors
    /// When the repository cannot be read, or the run is interrupted.
    pub(super) fn extend(&self, plan: &mut Plan, marks: &Marker) -> Result<Similar> {
        let mut judge = Judge::new(self, plan, marks)?;
        let pairs = pairs::with_predecessor(self.standing);
        self.observer.notice(Event::Stage { name: "comparing versions", unit: "snapshots" });
        self.observer.notice(Event::Expect { files: pairs.len() as u64, bytes: 0 });
        for (old, new) in &pairs {
            pairs::walk(self.repo, self.index, (old, new), &mut judge, self.stop)?;
            self.observer.notice(Event::Done { files: 1, bytes: 0 });
        }
        let choose_bases::Found { bases, gains, left } = judge.finish();
        let skipped = self.choose(plan, &gains);
        let mut similar = Similar { later: left + skipped, ..Similar::default() };
        for (pack, gain) in gains {
            if let Some(usage) =
                plan.packs.get_mut(pack as usize).filter(|usage| usage.fate == PackAction::Move)
            {
                usage.saves = gain;
                similar.saves += gain;
            }
        }
        let moves = |row: &usize| {
            let pack = self.index.packs().partition_point(|pack| pack.first <= *row).checked_sub(1);
            pack.and_then(|pack| plan.packs.get(pack)).is_some_and(|usage| usage.fate == PackAction::Move)
        };
        plan.similar = bases.into_iter().filter(|(row, _)| moves(row)).collect();
        similar.chunks = plan.similar.len() as u64;
        Ok(similar)
    }

    /// Moves the packs with the largest savings. Returns the savings that the budget does not allow.
    fn choose(&self, plan: &mut Plan, gains: &HashMap<u32, u64>) -> u64 {
        let mut packs: Vec<(u64, u32, u64)> = Vec::new();
        for (at, gain) in gains {
            let len = self.index.packs().get(*at as usize).map_or(0, |pack| pack.len);
            let stays = plan.packs.get(*at as usize).is_some_and(|usage| usage.fate == PackAction::Keep);
            if stays && gain * LEAST_GAIN >= len {
                packs.push((gain.saturating_mul(1 << 20) / len.max(1), *at, len));
            }
        }
        packs.sort_unstable_by(|one, other| other.cmp(one));
        let mut skipped = 0;
        for (_, at, len) in packs {
            match plan.packs.get_mut(at as usize) {
                Some(usage) if len <= plan.budget => {
                    usage.fate = PackAction::Move;
                    plan.budget -= len;
                }
                _ => skipped += gains.get(&at).copied().unwrap_or(0),
            }
        }
        skipped
    }
}
