//! `gc --delta`: stores chunks of changed files and directories as deltas against their older versions, in
//! repositories that were written without deltas.
//!
//! `pairs` walks each snapshot together with its predecessor, and `choose_bases` decides which chunks become
//! deltas. Their packs are then repacked by the usual rules: new packs are durable before the old ones are
//! condemned. A base stays in a block that is not a delta, because it is needed and was chosen to stay.

mod choose_bases;
mod pairs;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::error::Result;
use crate::model::id::SnapshotId;
use crate::ops::gc::deltas::choose_bases::DeltaChooser;
use crate::ops::gc::mark::Marker;
use crate::ops::gc::plan::{PackAction, Plan};
use crate::progress::{Event, Observer};
use crate::repo::index::Index;
use crate::repo::repository::Repository;
use crate::repo::snapshots::Snapshot;

/// A pack is rewritten only if that saves at least its size divided by this. Otherwise each run would rewrite
/// many packs for small savings.
const MIN_GAIN_DIVISOR: u64 = 20;

/// The chunks that became deltas.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Similar {
    /// Number of chunks that are stored as deltas.
    pub chunks: u64,
    /// Approximate number of stored bytes that are saved.
    pub saves: u64,
    /// Stored bytes that later runs may save: in packs beyond the budget, and of chunks that were not
    /// compared.
    pub later: u64,
}

/// The search for chunks that can become deltas.
pub(super) struct Search<'a> {
    pub(super) repo: &'a Repository,
    pub(super) index: &'a Arc<Index>,
    pub(super) snapshots: &'a BTreeMap<SnapshotId, Snapshot>,
    pub(super) live_sessions: &'a HashSet<SnapshotId>,
    pub(super) observer: &'a dyn Observer,
    pub(super) stop: &'a AtomicBool,
}

impl Search<'_> {
    /// Adds the chunks that become deltas to the plan, and moves their packs, as far as the budget allows.
    ///
    /// # Errors
    /// When the repository cannot be read, or the run is interrupted.
    pub(super) fn add_to_plan(&self, plan: &mut Plan, marks: &Marker) -> Result<Similar> {
        let mut chooser = DeltaChooser::new(self, plan, marks)?;
        let pairs = pairs::with_predecessor(self.snapshots);
        self.observer.notice(Event::Stage { name: "comparing versions", unit: "snapshots" });
        self.observer.notice(Event::Expect { files: pairs.len() as u64, bytes: 0 });
        for (old, new) in &pairs {
            pairs::walk(self.repo, self.index, (old, new), &mut chooser, self.stop)?;
            self.observer.notice(Event::Done { files: 1, bytes: 0 });
        }
        let choose_bases::Found { bases, savings, not_compared } = chooser.finish();
        let skipped = self.choose_packs(plan, &savings);
        let mut similar = Similar { later: not_compared + skipped, ..Similar::default() };
        for (pack, saving) in savings {
            if let Some(usage) =
                plan.packs.get_mut(pack as usize).filter(|usage| usage.action == PackAction::Move)
            {
                usage.savings = saving;
                similar.saves += saving;
            }
        }
        let is_moved = |row: &usize| {
            let pack = self.index.packs().partition_point(|pack| pack.first <= *row).checked_sub(1);
            pack.and_then(|pack| plan.packs.get(pack)).is_some_and(|usage| usage.action == PackAction::Move)
        };
        plan.new_deltas = bases.into_iter().filter(|(row, _)| is_moved(row)).collect();
        similar.chunks = plan.new_deltas.len() as u64;
        Ok(similar)
    }

    /// Moves the packs with the largest savings. Returns the savings that the budget does not allow.
    fn choose_packs(&self, plan: &mut Plan, savings: &HashMap<u32, u64>) -> u64 {
        let mut packs: Vec<(u64, u32, u64)> = Vec::new();
        for (at, saving) in savings {
            let len = self.index.packs().get(*at as usize).map_or(0, |pack| pack.len);
            let is_kept = plan.packs.get(*at as usize).is_some_and(|usage| usage.action == PackAction::Keep);
            if is_kept && saving * MIN_GAIN_DIVISOR >= len {
                packs.push((saving.saturating_mul(1 << 20) / len.max(1), *at, len));
            }
        }
        packs.sort_unstable_by(|a, b| b.cmp(a));
        let mut skipped = 0;
        for (_, at, len) in packs {
            match plan.packs.get_mut(at as usize) {
                Some(usage) if len <= plan.budget => {
                    usage.action = PackAction::Move;
                    plan.budget -= len;
                }
                _ => skipped += savings.get(&at).copied().unwrap_or(0),
            }
        }
        skipped
    }
}
