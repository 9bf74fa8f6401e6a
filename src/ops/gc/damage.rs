//! Damage that a collection meets, and damage that is over.

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::model::id::{PackId, SnapshotId};
use crate::model::records::Damaged;
use crate::repo::index::Index;
use crate::repo::repository::Repository;
use crate::repo::sessions::damage;
use crate::repo::sessions::session::RepoState;

/// Writes down which packs are damaged: the next mark counts none of their copies.
///
/// # Errors
/// When that cannot be made durable.
pub(super) fn write_down(
    repo: &Repository,
    by: SnapshotId,
    index: &Index,
    damaged: &[(usize, Error)],
) -> Result<()> {
    for (at, err) in damaged {
        let Some(pack) = index.packs().get(*at) else { continue };
        repo.warn(format!("{}: it is left where it is; run `snap repair packs`", err.chain()));
        damage::note(repo, by, Damaged::Pack(pack.id), err.chain())?;
    }
    Ok(())
}

/// A damage record ends when its pack is gone; to be called when nothing that is needed is missing.
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
