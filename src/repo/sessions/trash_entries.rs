//! Entries of the trash, as listed, and whether one keeps a snapshot's data. Nothing here needs a session, so
//! that sessions can use it.

use crate::codec::crypto::sealed_object;
use crate::error::Result;
use crate::model::entry::Time;
use crate::model::id::SnapshotId;
use crate::model::records::GcRecord;
use crate::storage::{ObjectKind, Storage};

/// A forgotten snapshot, as listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrashEntry {
    /// The snapshot's id.
    pub id: SnapshotId,
    /// The session that forgot it.
    pub by: SnapshotId,
    /// When it was forgotten, by the storage's clock; `None` if the storage reports no times.
    pub at: Option<Time>,
}

impl TrashEntry {
    /// Returns its name in `trash/`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.id, self.by)
    }

    /// Returns the seconds since it was forgotten; `None` if the storage reports no times.
    pub fn age(&self, now: Time) -> Option<u64> {
        self.at.map(|at| now.sec.saturating_sub(at.sec).try_into().unwrap_or(0))
    }
}

/// Lists all forgotten snapshots.
///
/// # Errors
/// When they cannot be listed.
pub(in crate::repo) fn entries(storage: &dyn Storage) -> Result<Vec<TrashEntry>> {
    let listed = storage.list(ObjectKind::Trash)?;
    let entries = listed.iter().filter_map(|found| {
        let (id, by) = found.name.split_once('.')?;
        let (id, by) = (SnapshotId::parse(id).ok()?, SnapshotId::parse(by).ok()?);
        Some(TrashEntry { id, by, at: found.modified })
    });
    Ok(entries.collect())
}

/// Returns whether a snapshot that a gc run did not mark from is still a root: it is in `snapshots/`, or has
/// a trash entry that the gc run does not purge.
///
/// # Errors
/// When the storage fails.
pub(crate) fn is_protected_from(storage: &dyn Storage, id: &SnapshotId, record: &GcRecord) -> Result<bool> {
    let kept = |entry: &TrashEntry| entry.id == *id && !record.purged.contains(&(entry.id, entry.by));
    // Check `snapshots/` twice, because it may be undeleted or forgotten in between.
    Ok(has_manifest(storage, id)? || entries(storage)?.iter().any(kept) || has_manifest(storage, id)?)
}

/// Returns whether the name belongs to a manifest, not to a fence or to nothing.
pub(in crate::repo) fn has_manifest(storage: &dyn Storage, id: &SnapshotId) -> Result<bool> {
    match storage.read(ObjectKind::Snapshots, &id.hex(), sealed_object::MAX_OBJECT) {
        Ok(bytes) => Ok(!bytes.starts_with(&sealed_object::FENCE)),
        Err(err) if err.is_missing() => Ok(false),
        Err(err) => Err(err),
    }
}
