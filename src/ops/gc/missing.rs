//! Finds unexplained packs in a repository without snapshots. If no gc has run since they were written and no
//! record says that their snapshots were forgotten, then `snapshots/` may have been lost, or this is an
//! incomplete copy of a repository.

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

/// Missing snapshots of a repository, found without any earlier knowledge on this machine.
#[derive(Debug, Default)]
pub struct Missing {
    /// Snapshots that the last gc run kept.
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

/// Finds missing snapshots. With a key that may not run gc, it finds none.
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
        loaded => loaded?,
    };
    if roots.snapshots.is_empty() {
        let index = Arc::new(Index::load(repo, repo_state)?);
        missing.unexplained = find_unexplained(repo, &index, &listed, (&roots, &others))?;
    }
    Ok(missing)
}

fn describe(unexplained: &[SnapshotId]) -> Option<String> {
    let whose = match unexplained.len() {
        0 => return None,
        1 => "of one session".to_owned(),
        count => format!("of {count} sessions"),
    };
    Some(format!(
        "the repository has packs {whose} but no snapshot: either a backup failed or the snapshots \
                  were lost"
    ))
}

/// Fails if snapshots that the last gc run kept have disappeared.
pub(super) fn refuse_lost(repo: &Repository) -> Result<()> {
    lost_roots::find(repo)?.describe().map_or(Ok(()), |what| Err(diverged(repo, what)))
}

/// Fails if packs are unexplained ([`find_unexplained`]).
pub(super) fn refuse_unexplained(
    repo: &Repository,
    index: &Arc<Index>,
    listed: &HashSet<PackId>,
    (roots, others): (&Roots, &[Peer]),
) -> Result<()> {
    let unexplained = find_unexplained(repo, index, listed, (roots, others))?;
    describe(&unexplained).map_or(Ok(()), |what| Err(diverged(repo, what)))
}

fn diverged(repo: &Repository, what: String) -> Error {
    Error::Diverged { location: repo.location(), what }
}

/// Returns the sessions that wrote unexplained packs, if there are no snapshots. Only packs that were
/// `listed` before sessions and snapshots count: later ones may be of a backup that is running. A pack is
/// explained by
///
/// - a gc run that ended after it was written: the run kept the pack, and [`refuse_lost`] accounts for the
///   snapshots that it kept,
/// - a session that is running or was killed,
/// - a forgotten snapshot, or an audit record of one, with the id of the session,
/// - a forgotten snapshot that needs one of its chunks: a copy or an import writes the packs of many
///   snapshots in one session.
///
/// # Errors
/// When the storage fails.
fn find_unexplained(
    repo: &Repository,
    index: &Arc<Index>,
    listed: &HashSet<PackId>,
    (roots, others): (&Roots, &[Peer]),
) -> Result<Vec<SnapshotId>> {
    if !roots.snapshots.is_empty() || index.packs().is_empty() {
        return Ok(Vec::new());
    }
    let newer = packs_since_last_gc(repo)?;
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
        // Whoever may add objects can create an invalid entry, which explains nothing.
        let Ok(snapshot) = trash::read(repo, entry) else { continue };
        explained.insert(entry.id);
        match marker.mark_root(&snapshot.manifest.root) {
            // It is unknown what a lost tree refers to, so these packs remain unexplained.
            Err(err) if err.is_missing() || err.is_damage() => {}
            other => other?,
        }
    }
    let rows = |pack: &PackInfo| pack.first..pack.first + pack.chunks as usize;
    packs.retain(|pack| !explained.contains(&pack.session) && !rows(pack).any(|row| marker.needed.has(row)));
    let sessions: BTreeSet<SnapshotId> = packs.into_iter().map(|pack| pack.session).collect();
    Ok(sessions.into_iter().collect())
}

/// Returns the packs that were written after the last gc run ended, by the storage's times; all if there was
/// none.
fn packs_since_last_gc(repo: &Repository) -> Result<HashSet<PackId>> {
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
