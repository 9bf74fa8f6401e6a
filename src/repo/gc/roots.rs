//! The roots of a gc run: the manifests in `snapshots/` and in the trash. The chunks that they need stay.

use std::collections::{BTreeMap, HashSet};

use crate::error::Result;
use crate::model::id::SnapshotId;
use crate::repo::repository::Repository;
use crate::repo::sessions::trash_entries::TrashEntry;
use crate::repo::snapshots;
use crate::repo::snapshots::{Snapshot, trash};
use crate::storage::{Listed, ObjectKind};

/// All roots, as of one instant.
#[derive(Debug, Default)]
pub struct Roots {
    /// Snapshots in `snapshots/`.
    pub snapshots: BTreeMap<SnapshotId, Snapshot>,
    /// Forgotten snapshots in the trash.
    pub trash: Vec<TrashEntry>,
    /// Sessions with a fence in `snapshots/`: they were considered dead and cannot commit.
    pub fenced: HashSet<SnapshotId>,
}

/// Maximum number of attempts to list a repository while objects disappear.
const MAX_ATTEMPTS: usize = 16;

impl Roots {
    /// Returns whether a snapshot is in `snapshots/`.
    pub fn is_listed(&self, id: &SnapshotId) -> bool {
        self.snapshots.contains_key(id)
    }
}

/// Lists snapshots, trash, and snapshots again (C1): a snapshot that is forgotten or undeleted meanwhile is
/// in one of these listings.
///
/// # Errors
/// When a listing fails or a manifest cannot be read: an error is never treated as an empty list.
pub fn load(repo: &Repository) -> Result<Roots> {
    let mut attempts = 1;
    loop {
        match load_once(repo) {
            // A listed snapshot now has neither a manifest nor a trash entry: it was purged, or forgotten and
            // undeleted.
            Err(err) if err.is_missing() && attempts < MAX_ATTEMPTS => attempts += 1,
            other => return other,
        }
    }
}

fn load_once(repo: &Repository) -> Result<Roots> {
    let mut names = list_manifests(repo)?;
    let trash = trash::list(repo)?;
    names.extend(list_manifests(repo)?);
    let (mut snapshots, mut fenced) = (BTreeMap::new(), HashSet::new());
    for (name, found) in names {
        match snapshots::load_listed(repo, &found) {
            Ok(Some(snapshot)) => {
                snapshots.insert(snapshot.id, snapshot);
            }
            Ok(None) => fenced.extend(SnapshotId::parse(&name).ok()),
            // Forgotten after the listing. Its trash entry may be newer than the listing of the trash.
            Err(err) if err.is_missing() => {
                let id = SnapshotId::parse(&name).ok();
                let entry = trash::list(repo)?.into_iter().find(|entry| Some(entry.id) == id).ok_or(err)?;
                let snapshot = trash::read(repo, &entry)?;
                snapshots.insert(snapshot.id, snapshot);
            }
            Err(err) => return Err(err),
        }
    }
    Ok(Roots { snapshots, trash, fenced })
}

fn list_manifests(repo: &Repository) -> Result<BTreeMap<String, Listed>> {
    let listed = repo.storage().list(ObjectKind::Snapshots)?;
    Ok(listed.into_iter().map(|found| (found.name.clone(), found)).collect())
}

/// Lists the roots until two consecutive listings agree (C4).
///
/// # Errors
/// As [`load`].
pub fn load_settled(repo: &Repository) -> Result<Roots> {
    let mut before = load(repo)?;
    loop {
        let now = load(repo)?;
        if now.snapshots.keys().eq(before.snapshots.keys()) && now.trash == before.trash {
            return Ok(now);
        }
        before = now;
    }
}
