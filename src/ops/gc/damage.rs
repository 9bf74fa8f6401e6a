//! Damage records: gc writes them for the damage that it finds, and removes those that are resolved.

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::model::id::{PackId, SnapshotId};
use crate::model::records::Damaged;
use crate::repo::index::Index;
use crate::repo::repository::Repository;
use crate::repo::sessions::damage;
use crate::repo::sessions::session::RepoState;

/// Records that packs are damaged, each given by its number and the error. The next mark ignores their
/// copies.
///
/// # Errors
/// When a record cannot be made durable.
pub(super) fn record_damaged_packs(
    repo: &Repository,
    by: SnapshotId,
    index: &Index,
    damaged: &[(usize, Error)],
) -> Result<()> {
    for (at, err) in damaged {
        let Some(pack) = index.packs().get(*at) else { continue };
        repo.control().warn(format!("{}: the pack is kept; run `Repository::repair_packs`", err.chain()));
        damage::record(repo, by, Damaged::Pack(pack.id), err.chain())?;
    }
    Ok(())
}

/// Removes damage records whose pack no longer exists. To be called only if no needed chunk is missing.
///
/// # Errors
/// When the records cannot be read or removed.
pub(super) fn remove_resolved(repo: &Repository, repo_state: &RepoState) -> Result<()> {
    if !repo_state.any_damage {
        return Ok(());
    }
    let listed: HashSet<PackId> = repo_state.packs.iter().map(|(id, _)| *id).collect();
    for (name, record) in damage::list(repo.storage(), repo.suite())? {
        let pack = damage::pack_of(&name, record.as_ref());
        if pack.is_none_or(|pack| !listed.contains(&pack)) {
            damage::remove(repo, &name)?;
        }
    }
    Ok(())
}
