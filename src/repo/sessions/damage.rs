//! Damage records. While one exists, backups do not reuse the parent's entries without checking, and no new
//! data references a pack with a record.

use crate::codec::crypto::sealed_object;
use crate::codec::crypto::suite::CipherSuite;
use crate::error::Result;
use crate::model::entry::Time;
use crate::model::id::{PackId, SnapshotId};
use crate::model::records::{DamageRecord, Damaged};
use crate::repo::objects;
use crate::repo::repository::Repository;
use crate::storage::{CreateOutcome, ObjectKind, Storage};

/// Lists all records by name. The name of an unreadable record still identifies its subject.
///
/// # Errors
/// When they cannot be listed, or the storage fails.
pub fn list(storage: &dyn Storage, suite: &CipherSuite) -> Result<Vec<(String, Option<DamageRecord>)>> {
    let mut all = Vec::new();
    for found in storage.list(ObjectKind::Damage)? {
        match objects::read(storage, suite, sealed_object::DAMAGE, ObjectKind::Damage, &found.name) {
            Ok(record) => all.push((found.name, Some(record))),
            // Removed after the listing.
            Err(err) if err.is_missing() => {}
            Err(err) if err.is_damage() => all.push((found.name, None)),
            Err(err) => return Err(err),
        }
    }
    Ok(all)
}

/// Returns the pack that a record is about. For an unreadable record the id may be a chunk's, which matches
/// no pack.
pub fn pack_of(name: &str, record: Option<&DamageRecord>) -> Option<PackId> {
    match record.map(|record| record.what) {
        Some(Damaged::Pack(pack)) => Some(pack),
        Some(Damaged::Chunk(_)) => None,
        None => PackId::parse(name).ok(),
    }
}

/// Returns the name of the record of a damaged object.
pub fn name_of(what: &Damaged) -> String {
    match what {
        Damaged::Pack(id) => id.hex(),
        Damaged::Chunk(id) => id.hex(),
    }
}

/// Creates a damage record, unless it exists.
///
/// # Errors
/// When it could not be made durable.
pub fn record(repo: &Repository, by: SnapshotId, what: Damaged, why: String) -> Result<CreateOutcome> {
    repo.refuse_rotated()?;
    let record = DamageRecord { what, by, at: Time::now(), why };
    let (storage, suite) = (repo.storage(), repo.suite());
    objects::create(storage, suite, sealed_object::DAMAGE, ObjectKind::Damage, &name_of(&what), &record)
}

/// Removes a record.
///
/// # Errors
/// When it could not be removed.
pub fn remove(repo: &Repository, name: &str) -> Result<()> {
    repo.storage().remove(ObjectKind::Damage, name)?;
    repo.storage().sync(ObjectKind::Damage)
}
