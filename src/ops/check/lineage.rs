//! Checks that no snapshot is missing from the middle of a set's history. Each snapshot names the one before
//! it, and whoever forgets or replaces that leaves an audit record.

use std::collections::{HashMap, HashSet};

use crate::error::{Error, Result};
use crate::model::entry::Time;
use crate::model::id::SnapshotId;
use crate::ops::check::{Checker, Subject};
use crate::repo::snapshots::Snapshot;
use crate::repo::{audit, lineage};

/// Seconds for which a snapshot's predecessor is looked for. Audit records stay longer, so each act that can
/// explain its absence has one.
const YOUNG: i64 = 300 * 86_400;

impl Checker<'_> {
    /// Checks the hash chains, and looks for audit records of predecessors that are gone.
    pub(super) fn lineages(&mut self, all: &[Snapshot], unreadable: &[(String, Error)]) -> Result<()> {
        let by_id: HashMap<SnapshotId, &Snapshot> = all.iter().map(|one| (one.id, one)).collect();
        let mut gone: Vec<(&Snapshot, SnapshotId)> = Vec::new();
        for after in all {
            let Some(place) = after.manifest.lineage() else { continue };
            let Some(previous) = place.previous else { continue };
            match by_id.get(&previous).map(|before| before.manifest.lineage()) {
                Some(Some(before)) if lineage::follows(self.repo, &place, (previous, &before)) => {}
                Some(_) => self.error(
                    Subject::Manifest,
                    format!(
                        "snapshot {}: its place in the history of its set does not follow that of {}",
                        after.id.short(),
                        previous.short()
                    ),
                ),
                // It is there, and named as damaged.
                None if unreadable.iter().any(|(name, _)| *name == previous.hex()) => {}
                None => gone.push((after, previous)),
            }
        }
        let now = Time::now().sec;
        gone.retain(|(after, _)| now.saturating_sub(after.manifest.started.sec) < YOUNG);
        if gone.is_empty() {
            return Ok(());
        }
        let explained: HashSet<SnapshotId> = audit::explained(self.repo)?;
        for (after, previous) in gone.into_iter().filter(|(_, previous)| !explained.contains(previous)) {
            self.report.warnings.push(format!(
                "snapshot {} is gone, though {} was made after it and no audit record says who forgot it",
                previous.short(),
                after.id.short()
            ));
        }
        Ok(())
    }
}
