//! Everything that keeps chunks alive: standing snapshots and forgotten ones.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::model::id::SnapshotId;
use crate::repo::repository::Repository;
use crate::repo::snapshots;
use crate::repo::snapshots::trash::TrashEntry;
use crate::repo::snapshots::{Snapshot, trash};
use crate::storage::{Listed, ObjectKind};

/// All roots, as of one look.
#[derive(Debug, Default)]
pub struct Roots {
    /// Snapshots that stand.
    pub standing: BTreeMap<SnapshotId, Snapshot>,
    /// Forgotten ones.
    pub trash: Vec<TrashEntry>,
}

/// Looks at a repository in which something vanishes each time before giving up.
const LOOKS: usize = 16;

impl Roots {
    /// Whether a snapshot stands.
    pub fn stands(&self, id: &SnapshotId) -> bool {
        self.standing.contains_key(id)
    }
}

/// Lists snapshots, trash, snapshots again: one that is forgotten or brought back meanwhile is in one of them.
///
/// # Errors
/// When a listing fails or a manifest cannot be read: an error is never an empty list.
pub fn look(repo: &Repository) -> Result<Roots> {
    let mut looks = 1;
    loop {
        match look_once(repo) {
            // Listed and gone, with its entry: forgotten and purged, or undone. What is there now is to be seen anew.
            Err(err) if err.is_missing() && looks < LOOKS => looks += 1,
            other => return other,
        }
    }
}

fn look_once(repo: &Repository) -> Result<Roots> {
    let mut names = names(repo)?;
    let trash = trash::list(repo)?;
    names.extend(self::names(repo)?);
    let mut standing = BTreeMap::new();
    for (name, found) in names {
        match snapshots::load_listed(repo, &found) {
            Ok(Some(snapshot)) => {
                standing.insert(snapshot.id, snapshot);
            }
            // A fence.
            Ok(None) => {}
            // Forgotten since: it has an entry, which the listing of trash may have come too early for.
            Err(err) if err.is_missing() => {
                let id = SnapshotId::parse(&name).ok();
                let entry = trash::list(repo)?.into_iter().find(|entry| Some(entry.id) == id).ok_or(err)?;
                let snapshot = trash::read(repo, &entry)?;
                standing.insert(snapshot.id, snapshot);
            }
            Err(err) => return Err(err),
        }
    }
    Ok(Roots { standing, trash })
}

fn names(repo: &Repository) -> Result<BTreeMap<String, Listed>> {
    let listed = repo.storage().list(ObjectKind::Snapshots)?;
    Ok(listed.into_iter().map(|found| (found.name.clone(), found)).collect())
}

/// Looks until two looks agree.
///
/// # Errors
/// As [`look`].
pub fn settled(repo: &Repository) -> Result<Roots> {
    let mut before = look(repo)?;
    loop {
        let now = look(repo)?;
        let same = now.standing.keys().eq(before.standing.keys()) && now.trash == before.trash;
        if same {
            return Ok(now);
        }
        before = now;
    }
}
