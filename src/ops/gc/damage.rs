//! Damage records of gc: recording damage that it meets, and removing records that are resolved.

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::model::id::{PackId, SnapshotId};
use crate::model::records::Damaged;
use crate::repo::index::Index;
use crate::repo::repository::Repository;
use crate::repo::sessions::damage;
use crate::repo::sessions::session::RepoState;

/// Records which packs are damaged. The next mark ignores their copies.
///
/// # Errors
/// When a record cannot be made durable.
pub(super) fn write_down(
    repo: &Repository,
    by: SnapshotId,
    index: &Index,
    damaged: &[(usize, Error)],
) -> Result<()> {
    for (at, err) in damaged {
        let Some(pack) = index.packs().get(*at) else { continue };
        repo.control().warn(format!("{}: the pack is kept; run `Repository::repair_packs`", err.chain()));
        damage::note(repo, by, Damaged::Pack(pack.id), err.chain())?;
    }
    Ok(())
}

/// Removes damage records whose pack no longer exists. To be called only if nothing that is needed is
/// missing.
///
/// # Errors
/// When the records cannot be read or removed.
pub(super) fn end(repo: &Repository, repo_state: &RepoState) -> Result<()> {
    if !repo_state.any_damage {
        return Ok(());
    }
    let there: HashSet<PackId> = repo_state.packs.iter().map(|(id, _)| *id).collect();
    for (name, record) in damage::list(repo.storage(), repo.suite())? {
        let pack = damage::pack_of(&name, record.as_ref());
        if pack.is_none_or(|pack| !there.contains(&pack)) {
            damage::end(repo, &name)?;
        }
    }
    Ok(())
}
