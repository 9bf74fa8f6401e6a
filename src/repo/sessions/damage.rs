//! Records of what was found damaged. While one stands nobody believes what a parent reuses, and nobody writes against
//! a pack that one names.

use crate::codec::crypto::cipher::CipherSuite;
use crate::codec::crypto::sealed_object;
use crate::error::Result;
use crate::model::entry::Time;
use crate::model::id::{PackId, SnapshotId};
use crate::model::records::{DamageRecord, Damaged};
use crate::repo::objects;
use crate::repo::repository::Repository;
use crate::storage::{CreateOutcome, ObjectKind, Storage};

/// All records by their names. One that cannot be read itself still says by its name what it is about.
///
/// # Errors
/// When they cannot be listed, or the store fails.
pub fn list(storage: &dyn Storage, suite: &CipherSuite) -> Result<Vec<(String, Option<DamageRecord>)>> {
    let mut all = Vec::new();
    for found in storage.list(ObjectKind::Damage)? {
        match objects::read(storage, suite, sealed_object::DAMAGE, ObjectKind::Damage, &found.name) {
            Ok(record) => all.push((found.name, Some(record))),
            // Ended since the listing.
            Err(err) if err.is_missing() => {}
            Err(err) if err.is_damage() => all.push((found.name, None)),
            Err(err) => return Err(err),
        }
    }
    Ok(all)
}

/// The pack that a record is about. Of one that cannot be read it may be a chunk's id: no pack has that.
pub fn pack_of(name: &str, record: Option<&DamageRecord>) -> Option<PackId> {
    match record.map(|record| record.what) {
        Some(Damaged::Pack(pack)) => Some(pack),
        Some(Damaged::Chunk(_)) => None,
        None => PackId::parse(name).ok(),
    }
}

/// The name of a record.
pub fn name_of(what: &Damaged) -> String {
    match what {
        Damaged::Pack(id) => id.hex(),
        Damaged::Chunk(id) => id.hex(),
    }
}

/// Writes down that something is damaged, if that is not written yet.
///
/// # Errors
/// When it could not be made durable.
pub fn note(repo: &Repository, by: SnapshotId, what: Damaged, why: String) -> Result<CreateOutcome> {
    let record = DamageRecord { what, by, at: Time::now(), why };
    let (storage, suite) = (repo.storage(), repo.suite());
    objects::create(storage, suite, sealed_object::DAMAGE, ObjectKind::Damage, &name_of(&what), &record)
}

/// Ends a record.
///
/// # Errors
/// When it is still there.
pub fn end(repo: &Repository, name: &str) -> Result<()> {
    repo.storage().remove(ObjectKind::Damage, name)?;
    repo.storage().sync(ObjectKind::Damage)
}
