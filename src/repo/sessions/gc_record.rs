//! Collections: numbered records of what is condemned, and their ends.

use std::collections::BTreeSet;

use crate::codec::crypto::cipher::CipherSuite;
use crate::codec::crypto::sealed_object;
use crate::error::{Error, Result};
use crate::model::records::GcRecord;
use crate::repo::objects;
use crate::storage::names::LAST_COLLECTION;
use crate::storage::{CreateOutcome, Listed, ObjectKind, Storage, names};

/// Ends the name of a collection's end.
const DONE: &str = ".done";

/// A collection that was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcRun {
    /// Counts up, without gaps; never used twice.
    pub number: u64,
    /// What it condemns.
    pub record: GcRecord,
}

/// The number of a collection's record or of its end.
pub fn number(name: &str) -> Option<u64> {
    names::gc_run(name).filter(|number| *number <= names::LAST_COLLECTION)
}

pub(crate) fn name_of(number: u64) -> String {
    format!("{number:016x}")
}

/// The highest number there is; 0 before the first collection.
///
/// # Errors
/// When they cannot be listed.
pub fn highest(storage: &dyn Storage) -> Result<u64> {
    Ok(storage.list(ObjectKind::Gc)?.iter().filter_map(|found| number(&found.name)).max().unwrap_or(0))
}

/// Collections without an end: the highest, or none. The next number is taken only when every lower one has ended, so a
/// record below the highest is finished, or was published under a number that had been used and tidied away: such a
/// one never counts.
///
/// # Errors
/// When they cannot be listed or one cannot be read: what it condemns would then be unknown.
pub fn unfinished(storage: &dyn Storage, suite: &CipherSuite) -> Result<Vec<GcRun>> {
    let listed = storage.list(ObjectKind::Gc)?;
    let mut unfinished = Vec::new();
    for found in &listed {
        let Some(number) = number(&found.name).filter(|number| is_open(&listed, *number)) else { continue };
        match objects::read(storage, suite, sealed_object::GC, ObjectKind::Gc, &found.name) {
            Ok(record) => unfinished.push(GcRun { number, record }),
            // Finished and tidied up since the listing.
            Err(err) if err.is_missing() => {}
            Err(err) => return Err(err),
        }
    }
    Ok(unfinished)
}

/// What of all this cannot be read.
#[derive(Debug, Default)]
pub struct Unreadable {
    /// Names of records and ends, and why.
    pub objects: Vec<(String, Error)>,
    /// The number of the one that has not ended, if it is among them.
    pub open: Option<u64>,
}

/// Looks at every record and every end.
///
/// # Errors
/// When they cannot be listed, or one is newer than this program, or the store fails.
pub fn unreadable(storage: &dyn Storage, suite: &CipherSuite) -> Result<Unreadable> {
    let listed = storage.list(ObjectKind::Gc)?;
    let mut found = Unreadable::default();
    for Listed { name, .. } in &listed {
        let read = match name.ends_with(DONE) {
            true => objects::read(storage, suite, sealed_object::GC_DONE, ObjectKind::Gc, name),
            false => {
                objects::read::<GcRecord>(storage, suite, sealed_object::GC, ObjectKind::Gc, name).map(|_| ())
            }
        };
        match read {
            Err(err) if err.is_missing() => {}
            Err(err) if err.is_damage() => {
                found.open = found.open.or(number(name).filter(|number| is_open(&listed, *number)));
                found.objects.push((name.clone(), err));
            }
            other => other?,
        }
    }
    Ok(found)
}

/// Ends a collection whose record cannot be read: what it condemned, and was not deleted yet, is in use again. Nobody
/// may be sweeping it.
///
/// # Errors
/// When the end could not be made durable.
pub fn give_up(storage: &dyn Storage, suite: &CipherSuite, number: u64) -> Result<()> {
    let name = format!("{}{DONE}", name_of(number));
    objects::create(storage, suite, sealed_object::GC_DONE, ObjectKind::Gc, &name, &()).map(|_| ())
}

/// Whether the listing holds this record, without an end, and none of a higher number.
fn is_open(listed: &[Listed], number: u64) -> bool {
    let has = |name: &str| listed.iter().any(|found| found.name == name);
    let name = name_of(number);
    listed.iter().all(|found| self::number(&found.name).is_none_or(|other| other <= number))
        && has(&name)
        && !has(&format!("{name}{DONE}"))
}

/// Whether a collection counts, has not ended, and is what was published: a store that lets two create one name may hold
/// another's record under its number.
///
/// # Errors
/// When they cannot be listed or the record cannot be read.
pub fn stands(storage: &dyn Storage, suite: &CipherSuite, gc_run: &GcRun) -> Result<bool> {
    Ok(unfinished(storage, suite)?.contains(gc_run))
}

/// C3: publishes a collection under exactly this number. False when the number is taken.
///
/// # Errors
/// When it could not be made durable, or no number is left.
pub fn publish(storage: &dyn Storage, suite: &CipherSuite, number: u64, record: &GcRecord) -> Result<bool> {
    if number > LAST_COLLECTION {
        let why = "no number is left for a collection: somebody put the highest one into gc/";
        return Err(Error::Refused(format!("{why}; run `snap repair gc`")));
    }
    let created =
        objects::create(storage, suite, sealed_object::GC, ObjectKind::Gc, &name_of(number), record)?;
    Ok(created == CreateOutcome::New)
}

/// Writes the end of a collection, and removes all below the highest number: they have ended or never counted. Only
/// the highest must never go.
///
/// # Errors
/// When the end could not be made durable.
pub fn finish(storage: &dyn Storage, suite: &CipherSuite, number: u64) -> Result<()> {
    let name = format!("{}{DONE}", name_of(number));
    objects::create(storage, suite, sealed_object::GC_DONE, ObjectKind::Gc, &name, &())?;
    let listed = storage.list(ObjectKind::Gc)?;
    let numbers: BTreeSet<u64> = listed.iter().filter_map(|found| self::number(&found.name)).collect();
    let Some(highest) = numbers.last() else { return Ok(()) };
    for old in numbers.iter().filter(|old| *old < highest) {
        // The record first: an end without its record condemns nothing.
        storage.remove(ObjectKind::Gc, &name_of(*old))?;
        storage.remove(ObjectKind::Gc, &format!("{}{DONE}", name_of(*old)))?;
    }
    Ok(())
}
