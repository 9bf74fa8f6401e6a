//! The trash: `trash/X.S` is the manifest of snapshot X, forgotten by session S, with the same bytes.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::codec::crypto::sealed_object;
use crate::error::{Error, Result};
use crate::model::id::SnapshotId;
use crate::repo::audit::Noted;
use crate::repo::repository::Repository;
use crate::repo::sessions::session::Session;
use crate::repo::sessions::trash_entries::{self, TrashEntry};
use crate::repo::snapshots::{self, Snapshot};
use crate::storage::{CreateOutcome, ObjectKind, Storage};
use crate::util::parallel;

/// Lists all forgotten snapshots.
///
/// # Errors
/// When they cannot be listed.
pub fn list(repo: &Repository) -> Result<Vec<TrashEntry>> {
    trash_entries::entries(repo.storage())
}

/// Reads the manifest of a forgotten snapshot.
///
/// # Errors
/// When it is gone or damaged.
pub fn read(repo: &Repository, entry: &TrashEntry) -> Result<Snapshot> {
    let name = entry.name();
    let bytes = repo.storage().read(ObjectKind::Trash, &name, sealed_object::MAX_OBJECT)?;
    let bound = entry.id.hex();
    let manifest = snapshots::open_manifest(repo, ObjectKind::Trash, (&name, &bound), bytes)?;
    Ok(Snapshot { id: entry.id, manifest })
}

/// Returns whether an entry contains the snapshot's manifest. Anybody who may add objects can create an
/// invalid entry for a snapshot that was not forgotten. Returns false also for an entry that was purged after
/// the listing.
///
/// # Errors
/// When the storage fails.
pub fn is_whole(repo: &Repository, entry: &TrashEntry) -> Result<bool> {
    match read(repo, entry) {
        Ok(_) => Ok(true),
        Err(err) if err.is_missing() || err.is_damage() || err.is_newer() => Ok(false),
        Err(err) => Err(err),
    }
}

/// Number of snapshots to forget in parallel, to hide the latency of the storage.
const MAX_PARALLEL: usize = 8;

/// Forgets a snapshot, readable or not. Its trash entry is durable before the manifest is removed, so that a
/// gc run sees one or the other.
///
/// # Errors
/// When it does not exist, or could not be forgotten.
pub fn forget(repo: &Repository, session: &Session, id: &SnapshotId, noted: &Noted) -> Result<()> {
    if forget_all(repo, session, std::slice::from_ref(id), noted)?.is_empty() {
        Ok(())
    } else {
        Err(Error::Missing { what: ObjectKind::Snapshots.path(&id.hex()) })
    }
}

/// Forgets many snapshots, each as [`forget`] does, with a single sync of the removals. Returns those that no
/// longer existed. `_noted` proves that an audit record was written.
///
/// # Errors
/// When one of them could not be forgotten: then it is unknown how many of the others were.
pub fn forget_all(
    repo: &Repository,
    session: &Session,
    ids: &[SnapshotId],
    _noted: &Noted,
) -> Result<Vec<SnapshotId>> {
    let failed = AtomicBool::new(false);
    let outcomes = parallel::map(ids, MAX_PARALLEL, |id| {
        if failed.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        let outcome = move_to_trash(repo.storage(), session, id);
        failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
        outcome
    });
    let removed = ids.iter().zip(&outcomes).filter(|(_, outcome)| matches!(outcome, Ok(Moved::Removed)));
    let removed: Vec<String> = removed.map(|(id, _)| id.hex()).collect();
    // Sync even if another removal failed: completed removals must persist.
    let durable = if removed.is_empty() { Ok(()) } else { repo.storage().sync(ObjectKind::Snapshots) };
    removed.iter().for_each(|name| repo.cache().drop_object(name));
    repo.cache().note_removed(removed.iter().map(|name| ObjectKind::Snapshots.path(name)));
    repo.note_removed(&removed);
    let mut gone = Vec::new();
    let mut first = None;
    for (id, outcome) in ids.iter().zip(outcomes) {
        match outcome {
            Ok(Moved::Missing) => gone.push(*id),
            Ok(_) => {}
            // `Stopped` only means that another one failed; keep the cause.
            Err(err) if matches!(first, None | Some(Error::Stopped)) => first = Some(err),
            Err(_) => {}
        }
    }
    first.map_or(durable, Err).map(|()| gone)
}

/// Result of forgetting one snapshot.
enum Moved {
    /// Removed, but the removal is not durable yet.
    Removed,
    /// Another run forgot it in between.
    ByAnother,
    /// It did not exist.
    Missing,
}

fn move_to_trash(storage: &dyn Storage, session: &Session, id: &SnapshotId) -> Result<Moved> {
    let name = id.hex();
    let bytes = match storage.read(ObjectKind::Snapshots, &name, sealed_object::MAX_OBJECT) {
        Err(err) if err.is_missing() => return Ok(Moved::Missing),
        read => read?,
    };
    if bytes.starts_with(&sealed_object::FENCE) {
        return Ok(Moved::Missing);
    }
    let entry = TrashEntry { id: *id, by: session.id, at: None };
    storage.create(ObjectKind::Trash, &entry.name(), &[&bytes])?;
    // Another run may have forgotten it since it was read, and a gc run purged it: a later trash entry must
    // not remain.
    if let Err(err) = storage.read(ObjectKind::Snapshots, &name, sealed_object::MAX_OBJECT) {
        storage.remove(ObjectKind::Trash, &entry.name())?;
        storage.sync(ObjectKind::Trash)?;
        return if err.is_missing() { Ok(Moved::ByAnother) } else { Err(err) };
    }
    storage.remove(ObjectKind::Snapshots, &name)?;
    Ok(Moved::Removed)
}

/// Undeletes a snapshot and returns its id: a new one if a fence has its own. The trash entry stays until gc
/// removes it.
///
/// The manifest is committed under the session's name before it gets its own name back. A gc run that
/// considers the session dead puts a fence there, so that no snapshot returns after its packs were deleted.
/// In between, or if the run is interrupted there, the snapshot exists twice.
///
/// # Errors
/// When the entry is gone or damaged, the session was considered dead, or the manifest could not be made
/// durable.
pub fn undelete(
    repo: &Repository,
    session: &Session,
    entry: &TrashEntry,
    _noted: &Noted,
) -> Result<SnapshotId> {
    let manifest = read(repo, entry)?.manifest;
    if !snapshots::commit_under(repo, session, &manifest)? {
        return Err(Error::Refused("another process considered this run dead: run it again".into()));
    }
    if !snapshots::commit(repo, entry.id, &manifest)?
        && !trash_entries::has_manifest(repo.storage(), &entry.id)?
    {
        return Ok(session.id);
    }
    let own = session.id.hex();
    snapshots::withdraw(repo, &own)?;
    repo.note_removed(&[own]);
    Ok(entry.id)
}

/// Replaces a damaged manifest by its intact `bytes`. They become a trash entry first, so that the snapshot
/// remains a root; then the damaged manifest is moved to quarantine, and the entry is undeleted.
///
/// # Errors
/// When the bytes are not those of the manifest, or as [`undelete`].
pub fn replace_damaged(
    repo: &Repository,
    session: &Session,
    id: &SnapshotId,
    bytes: &[u8],
    noted: &Noted,
) -> Result<SnapshotId> {
    let (storage, name) = (repo.storage(), id.hex());
    snapshots::open_manifest(repo, ObjectKind::Snapshots, (&name, &name), bytes.to_vec())?;
    let entry = TrashEntry { id: *id, by: session.id, at: None };
    storage.create(ObjectKind::Trash, &entry.name(), &[bytes])?;
    match storage.move_to((ObjectKind::Snapshots, &name), (ObjectKind::Quarantine, &name)) {
        // The quarantine has the same object already.
        Ok(CreateOutcome::Exists) => storage.remove(ObjectKind::Snapshots, &name)?,
        Ok(CreateOutcome::New) => {}
        // Forgotten in the meantime; this must not undo it.
        Err(err) if err.is_missing() => return Ok(*id),
        Err(err) => return Err(err),
    }
    storage.sync(ObjectKind::Snapshots)?;
    undelete(repo, session, &entry, noted)
}
