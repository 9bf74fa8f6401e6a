//! The position of a snapshot in the history of its set: a number, the previous snapshot, and a hash chain.
//! With them, a machine that knows one snapshot of a set can detect a rollback of the repository.

use std::collections::HashSet;

use crate::codec::crypto::hash;
use crate::error::Result;
use crate::model::entry::Time;
use crate::model::id::SnapshotId;
use crate::model::manifest_ext::Lineage;
use crate::repo::audit;
use crate::repo::repository::Repository;
use crate::repo::snapshots::{Listing, Snapshot};

/// Age in seconds up to which a snapshot's predecessor is searched. Audit records are kept longer, so a
/// record explains each legitimate absence.
const MAX_AGE: i64 = 300 * 86_400;

/// A snapshot that is missing from the middle of a set's history without an audit record that explains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The missing snapshot.
    pub gone: SnapshotId,
    /// A snapshot that was made after it.
    pub after: SnapshotId,
}

impl Gap {
    /// Returns a message about the gap.
    pub fn describe(&self) -> String {
        format!(
            "snapshot {} is gone, although {} was made after it and no audit record names who forgot it",
            self.gone.short(),
            self.after.short()
        )
    }
}

/// Finds the gaps in the histories of all sets.
///
/// # Errors
/// When the audit records cannot be listed.
pub fn gaps(repo: &Repository, listing: &Listing) -> Result<Vec<Gap>> {
    let listed: HashSet<SnapshotId> = listing.snapshots.iter().map(|one| one.id).collect();
    // An unreadable manifest exists, and is reported as damaged elsewhere.
    let unreadable = |id: &SnapshotId| listing.unreadable.iter().any(|(name, _)| *name == id.hex());
    let now = Time::now().sec;
    let young = listing.snapshots.iter().filter(|one| now.saturating_sub(one.manifest.started.sec) < MAX_AGE);
    let mut gaps: Vec<Gap> = young
        .filter_map(|one| Some(Gap { gone: one.manifest.lineage()?.previous?, after: one.id }))
        .filter(|gap| !listed.contains(&gap.gone) && !unreadable(&gap.gone))
        .collect();
    if !gaps.is_empty() {
        let explained = audit::explained(repo)?;
        gaps.retain(|gap| !explained.contains(&gap.gone));
    }
    Ok(gaps)
}

/// Returns the lineage of the next snapshot of a set, which follows the one with the highest number.
pub fn next<'a>(repo: &Repository, set: impl Iterator<Item = &'a Snapshot>) -> Lineage {
    let all = set.filter_map(|one| Some((one.id, one.manifest.lineage()?)));
    let last = all.max_by_key(|(id, lineage)| (lineage.number, *id));
    let (previous, number, chain) = match &last {
        Some((id, before)) => (Some(*id), before.number.saturating_add(1), before.chain),
        None => (None, 1, [0; 32]),
    };
    let chain = chain_after(repo, &chain, previous);
    Lineage { generation: repo.config().generation, number, previous, chain }
}

/// Returns whether a snapshot's chain continues that of its predecessor.
pub fn follows(repo: &Repository, after: &Lineage, (id, before): (SnapshotId, &Lineage)) -> bool {
    let chain = chain_after(repo, &before.chain, Some(id));
    after.previous != Some(id) || after.chain == chain && after.number == before.number.saturating_add(1)
}

/// Returns the head of a chain after the snapshot `previous`; `before` is the head of that snapshot.
fn chain_after(repo: &Repository, before: &[u8; 32], previous: Option<SnapshotId>) -> [u8; 32] {
    let named = previous.map_or([0; 16], |id| *id.as_bytes());
    let linked = [b"chain".as_slice(), before, &named].concat();
    hash::mac(&repo.keyring().naming_keys(repo.config()).id, &linked)
}
