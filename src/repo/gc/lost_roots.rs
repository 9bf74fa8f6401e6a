//! Finds snapshots that have disappeared since the last gc run without being forgotten. The gc record names
//! the roots that it kept, so this needs no earlier knowledge on this machine.

use std::collections::HashSet;

use crate::codec::crypto::sealed_object;
use crate::error::Result;
use crate::model::id::SnapshotId;
use crate::model::records::GcRecord;
use crate::repo::repository::Repository;
use crate::repo::sessions::gc_record;
use crate::repo::snapshots::trash;
use crate::repo::{audit, objects};
use crate::storage::ObjectKind;

/// Maximum number of attempts, because another gc run may finish during the search.
const MAX_ATTEMPTS: usize = 8;

/// Snapshots that have disappeared without being forgotten.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LostRoots {
    /// Snapshots that the last gc run kept.
    pub lost: Vec<SnapshotId>,
    /// Whether no other snapshot is left.
    pub all: bool,
}

impl LostRoots {
    /// Returns a message; `None` if no snapshot is lost.
    pub fn describe(&self) -> Option<String> {
        match self.lost.as_slice() {
            [] => None,
            _ if self.all => {
                Some("there are no snapshots, but the last garbage collection kept some".to_owned())
            }
            [id] => Some(format!("the last garbage collection kept snapshot {}, which is gone", id.short())),
            [id, ..] => Some(format!(
                "the last garbage collection kept {} snapshots that are gone, among them {}",
                self.lost.len(),
                id.short()
            )),
        }
    }
}

/// Finds snapshots that the last gc run kept, that are neither in `snapshots/` nor in the trash, and whose
/// absence no audit record explains. Only gc purges the trash, and it records what it purges.
///
/// # Errors
/// When the storage fails.
pub fn find(repo: &Repository) -> Result<LostRoots> {
    let storage = repo.storage();
    for _ in 0..MAX_ATTEMPTS {
        let number = gc_record::highest(storage)?;
        let Some(record) = read(repo, number)? else { return Ok(LostRoots::default()) };
        let mut lost: HashSet<SnapshotId> = record.roots.into_iter().collect();
        for (purged, _) in &record.purged {
            lost.remove(purged);
        }
        // Snapshots are listed first, since a forget creates the trash entry before it removes the manifest.
        let listed = storage.list(ObjectKind::Snapshots)?;
        for found in &listed {
            if let Ok(id) = SnapshotId::parse(&found.name) {
                lost.remove(&id);
            }
        }
        if lost.is_empty() {
            return Ok(LostRoots::default());
        }
        for entry in trash::list(repo)? {
            if lost.contains(&entry.id) && trash::is_whole(repo, &entry)? {
                lost.remove(&entry.id);
            }
        }
        if !lost.is_empty() {
            let explained = audit::explained(repo)?;
            lost.retain(|id| !explained.contains(id));
        }
        // A gc run that has finished in the meantime may have purged some.
        if lost.is_empty() || gc_record::highest(storage)? == number {
            let mut lost: Vec<SnapshotId> = lost.into_iter().collect();
            lost.sort_unstable();
            return Ok(LostRoots { lost, all: listed.is_empty() });
        }
    }
    Ok(LostRoots::default())
}

/// Reads the record of a gc run; `None` if there is none, or it is unreadable (`repair gc` abandons it).
fn read(repo: &Repository, number: u64) -> Result<Option<GcRecord>> {
    if number == 0 {
        return Ok(None);
    }
    let name = gc_record::name_of(number);
    let bytes = match repo.storage().read(ObjectKind::Gc, &name, sealed_object::MAX_OBJECT) {
        Ok(bytes) => bytes,
        Err(err) if err.is_missing() => return Ok(None),
        Err(err) => return Err(err),
    };
    let opened =
        objects::open::<GcRecord>(repo.suite(), sealed_object::GC, ObjectKind::Gc, &name, &name, bytes);
    Ok(opened.ok())
}
