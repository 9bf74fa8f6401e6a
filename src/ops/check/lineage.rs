//! Checks that no snapshot is missing from the middle of a set's history. Each snapshot names its
//! predecessor, and forgetting or replacing that one leaves an audit record.

use std::collections::HashMap;

use crate::error::Result;
use crate::model::id::SnapshotId;
use crate::ops::check::{Checker, Finding, Remark};
use crate::repo::lineage;
use crate::repo::snapshots::{Listing, Snapshot};

impl Checker<'_> {
    /// Checks the hash chains, and looks for audit records of missing predecessors.
    pub(super) fn check_lineages(&mut self, listing: &Listing) -> Result<()> {
        let all = &listing.snapshots;
        let by_id: HashMap<SnapshotId, &Snapshot> = all.iter().map(|found| (found.id, found)).collect();
        for after in all {
            let Some(place) = after.manifest.lineage() else { continue };
            let Some(previous) = place.previous else { continue };
            let Some(before) = by_id.get(&previous).map(|before| before.manifest.lineage()) else { continue };
            if !before.is_some_and(|before| lineage::follows(self.repo, &place, (previous, &before))) {
                self.error(Finding::ForeignPredecessor { snapshot: after.id, previous });
            }
        }
        let gaps = lineage::gaps(self.repo, listing)?;
        self.report.warnings.extend(gaps.into_iter().map(Remark::MissingSnapshot));
        Ok(())
    }
}
