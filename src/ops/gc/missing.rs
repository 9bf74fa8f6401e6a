//! Finds packs that no snapshot explains in a repository without snapshots. If gc has not run since they were
//! written, no record says that their snapshots were forgotten: `snapshots/` may have been lost, or a copy of
//! the repository is incomplete.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::entry::Time;
use crate::model::id::{PackId, SnapshotId};
use crate::model::records::AuditAct;
use crate::ops::gc::mark::Marker;
use crate::repo::gc::lost_roots::LostRoots;
use crate::repo::gc::peers::Peer;
use crate::repo::gc::roots::Roots;
use crate::repo::gc::{lost_roots, peers, roots};
use crate::repo::index::Index;
use crate::repo::index::catalog::PackInfo;
use crate::repo::lineage::Gap;
use crate::repo::repository::Repository;
use crate::repo::sessions::gc_record;
use crate::repo::sessions::session::RepoState;
use crate::repo::snapshots::trash;
use crate::repo::{audit, lineage, snapshots};
use crate::storage::ObjectKind;

/// Missing snapshots of a repository, even if this machine does not know the repository.
#[derive(Debug, Default)]
pub struct Missing {
    lost: LostRoots,
    /// Sessions that wrote unexplained packs.
    unexplained: Vec<SnapshotId>,
    /// Snapshots that are missing from the middle of a set's history. They do not stop gc; `check` reports
    /// them.
    gaps: Vec<Gap>,
}

impl Missing {
    /// Returns messages about missing snapshots.
    pub fn describe(&self) -> Vec<String> {
        let gaps = self.gaps.iter().map(Gap::describe);
        self.lost.describe().into_iter().chain(describe(&self.unexplained)).chain(gaps).collect()
    }

    /// Allows gc to delete data that only the missing snapshots need, by an audit record that explains their
    /// absence to all machines.
    ///
    /// # Errors
    /// When the record could not be written.
    pub fn accept(&self, repo: &Repository) -> Result<()> {
        let gone: Vec<SnapshotId> = self.gaps.iter().map(|gap| gap.gone).collect();
        let all = [self.lost.lost.as_slice(), &self.unexplained, &gone].concat();
        audit::note_snapshots(repo, AuditAct::Repair, &all).map(drop)
    }
}

/// Finds what would make gc or `check` report missing snapshots. Finds nothing for keys that may not run gc.
///
/// # Errors
/// When the storage fails.
pub fn missing(repo: &Repository) -> Result<Missing> {
    if repo.may_write().is_err() {
        return Ok(Missing::default());
    }
    let gaps = lineage::gaps(repo, &snapshots::list_all(repo)?)?;
    let mut missing = Missing { lost: lost_roots::find(repo)?, unexplained: Vec::new(), gaps };
    // In the same order as gc: first packs, then sessions, then snapshots.
    let repo_state = RepoState::read(repo.storage(), repo.suite(), |_| Ok(()))?;
    let listed = repo_state.packs.iter().map(|(id, _)| *id).collect();
    let others = peers::others(repo, None, false)?;
    let roots = match roots::load(repo) {
        // An unreadable snapshot counts as existing.
        Err(err) if err.is_damage() => return Ok(missing),
        looked => looked?,
    };
    if roots.standing.is_empty() {
        let index = Arc::new(Index::load(repo, repo_state)?);
        missing.unexplained = find(repo, &index, &listed, (&roots, &others))?;
    }
    Ok(missing)
}

fn describe(unexplained: &[SnapshotId]) -> Option<String> {
    let of = match unexplained.len() {
        0 => return None,
        1 => "of one session".to_owned(),
        count => format!("of {count} sessions"),
    };
    Some(format!(
        "the repository has packs {of} but no snapshot: either a backup failed or the snapshots \
                  were lost"
    ))
}

/// Fails if snapshots that the last gc run kept have disappeared.
pub(super) fn refuse_lost(repo: &Repository) -> Result<()> {
    lost_roots::find(repo)?.describe().map_or(Ok(()), |what| Err(diverged(repo, what)))
}

/// Fails if packs are unexplained ([`find`]).
pub(super) fn refuse(
    repo: &Repository,
    index: &Arc<Index>,
    listed: &HashSet<PackId>,
    (roots, others): (&Roots, &[Peer]),
) -> Result<()> {
    let unexplained = find(repo, index, listed, (roots, others))?;
    describe(&unexplained).map_or(Ok(()), |what| Err(diverged(repo, what)))
}

fn diverged(repo: &Repository, what: String) -> Error {
    Error::Diverged { location: repo.location(), what }
}

/// Finds the sessions of unexplained packs if there are no snapshots. A pack is explained by
///
/// - a gc run that ended after it was written: the run kept the pack, and the snapshots that it kept are
///   accounted for ([`refuse_lost`]),
/// - a session that is running or was killed; one that has ended since has a snapshot, unless the pack was
///   `listed` before sessions and snapshots were,
/// - a forgotten snapshot, or an audit record of one, with the id of the session,
/// - a forgotten snapshot that needs one of its chunks: a session that copies or imports writes many.
///
/// # Errors
/// When the storage fails.
fn find(
    repo: &Repository,
    index: &Arc<Index>,
    listed: &HashSet<PackId>,
    (roots, others): (&Roots, &[Peer]),
) -> Result<Vec<SnapshotId>> {
    if !roots.standing.is_empty() || index.packs().is_empty() {
        return Ok(Vec::new());
    }
    let newer = newer_than_the_last_collection(repo)?;
    let is_of_session =
        |id: &SnapshotId| others.iter().any(|other| other.id == *id) || roots.fenced.contains(id);
    let mut packs: Vec<&PackInfo> = index.packs().iter().filter(|pack| listed.contains(&pack.id)).collect();
    packs.retain(|pack| newer.contains(&pack.id) && !is_of_session(&pack.session));
    if packs.is_empty() {
        return Ok(Vec::new());
    }
    let mut explained = audit::explained(repo)?;
    let mut marker = Marker::new(repo, index)?;
    for entry in &roots.trash {
        // An entry need not contain the manifest: anybody who may add objects can create an invalid one.
        let Ok(snapshot) = trash::read(repo, entry) else { continue };
        explained.insert(entry.id);
        match marker.root(&snapshot.manifest.root) {
            // The contents of a lost tree are unknown: packs with them remain unexplained.
            Err(err) if err.is_missing() || err.is_damage() => {}
            other => other?,
        }
    }
    let rows = |pack: &PackInfo| pack.first..pack.first + pack.chunks as usize;
    packs.retain(|pack| !explained.contains(&pack.session) && !rows(pack).any(|row| marker.needed.has(row)));
    let sessions: BTreeSet<SnapshotId> = packs.into_iter().map(|pack| pack.session).collect();
    Ok(sessions.into_iter().collect())
}

fn newer_than_the_last_collection(repo: &Repository) -> Result<HashSet<PackId>> {
    let storage = repo.storage();
    let records = storage.list(ObjectKind::Gc)?.into_iter();
    let runs = records.filter_map(|found| Some((gc_record::number(&found.name)?, found.modified)));
    let last = runs.filter(|(number, _)| *number > 0).max();
    // If the storage reports no times, any gc run explains all packs.
    let is_newer = |at: Option<Time>| match last {
        Some((_, last)) => last.zip(at).is_some_and(|(last, at)| at > last),
        None => true,
    };
    let packs = storage.list(ObjectKind::Packs)?.into_iter().filter(|found| is_newer(found.modified));
    Ok(packs.filter_map(|found| PackId::parse(&found.name).ok()).collect())
}
