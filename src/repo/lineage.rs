//! Where a snapshot stands in the history of its set: a number, the snapshot before it, and a hash chain.
//! With it a machine that knows one snapshot of a set can tell whether a repository is older than that.

use crate::codec::crypto::hash;
use crate::model::id::SnapshotId;
use crate::model::manifest_ext::Lineage;
use crate::repo::repository::Repository;
use crate::repo::snapshots::Snapshot;

/// Returns the lineage of the next snapshot of a set: after that of the highest number in it.
pub fn next<'a>(repo: &Repository, set: impl Iterator<Item = &'a Snapshot>) -> Lineage {
    let all = set.filter_map(|one| Some((one.id, one.manifest.lineage()?)));
    let last = all.max_by_key(|(id, lineage)| (lineage.number, *id));
    let (previous, number, chain) = match &last {
        Some((id, before)) => (Some(*id), before.number.saturating_add(1), before.chain),
        None => (None, 1, [0; 32]),
    };
    let chain = head(repo, &chain, previous);
    Lineage { generation: repo.config().generation, number, previous, chain }
}

/// Returns whether a snapshot's chain goes on from the one before it.
pub fn follows(repo: &Repository, after: &Lineage, (id, before): (SnapshotId, &Lineage)) -> bool {
    let chain = head(repo, &before.chain, Some(id));
    after.previous != Some(id) || after.chain == chain && after.number == before.number.saturating_add(1)
}

/// Returns the head of a chain after the snapshot `previous`, whose own head is `before`.
fn head(repo: &Repository, before: &[u8; 32], previous: Option<SnapshotId>) -> [u8; 32] {
    let named = previous.map_or([0; 16], |id| *id.as_bytes());
    let linked = [b"chain".as_slice(), before, &named].concat();
    hash::mac(&repo.keyring().naming_keys(repo.config()).id, &linked)
}
