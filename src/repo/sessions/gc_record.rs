//! Records of gc runs: numbered lists of what each run condemns, and markers of finished runs.

use std::collections::BTreeSet;

use crate::codec::crypto::sealed_object;
use crate::codec::crypto::suite::CipherSuite;
use crate::error::{Error, Result};
use crate::model::records::GcRecord;
use crate::repo::objects;
use crate::storage::names::LAST_GC_RUN;
use crate::storage::{CreateOutcome, Listed, ObjectKind, Storage, names};

/// Suffix of the marker of a finished gc run.
const DONE: &str = ".done";

/// A published gc run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcRun {
    /// Its number. Numbers increase without gaps and are never reused.
    pub number: u64,
    /// What it condemns.
    pub record: GcRecord,
}

/// Parses the number from the name of a record or of a finish marker.
pub fn number(name: &str) -> Option<u64> {
    names::gc_run(name).filter(|number| *number <= names::LAST_GC_RUN)
}

pub(crate) fn name_of(number: u64) -> String {
    format!("{number:016x}")
}

fn done_name(number: u64) -> String {
    format!("{number:016x}{DONE}")
}

/// Returns the highest number in use; 0 before the first gc run.
///
/// # Errors
/// When they cannot be listed.
pub fn highest(storage: &dyn Storage) -> Result<u64> {
    Ok(storage.list(ObjectKind::Gc)?.iter().filter_map(|found| number(&found.name)).max().unwrap_or(0))
}

/// Returns the unfinished gc run, if there is one: the one with the highest number. A number is taken only when
/// every lower one has finished. So a record below the highest is finished, or was published under a number
/// that had been used and removed; such a record is never valid.
///
/// # Errors
/// When they cannot be listed, or the record with the highest number or its finish marker cannot be read: what
/// it condemns would then be unknown.
pub fn unfinished(storage: &dyn Storage, suite: &CipherSuite) -> Result<Option<GcRun>> {
    let listed = storage.list(ObjectKind::Gc)?;
    let Some(number) = listed.iter().filter_map(|found| self::number(&found.name)).max() else {
        return Ok(None);
    };
    let (name, done) = (name_of(number), done_name(number));
    let has = |name: &str| listed.iter().any(|found| found.name == name);
    if has(&done) {
        // The marker must be authentic: otherwise anybody who may add objects could end a run that another
        // process is still sweeping.
        return match objects::read::<()>(storage, suite, sealed_object::GC_DONE, ObjectKind::Gc, &done) {
            Err(err) if !err.is_missing() => Err(err),
            _ => Ok(None),
        };
    }
    match objects::read(storage, suite, sealed_object::GC, ObjectKind::Gc, &name) {
        Ok(record) => Ok(Some(GcRun { number, record })),
        // Finished and removed after the listing.
        Err(err) if err.is_missing() => Ok(None),
        Err(err) => Err(err),
    }
}

/// Unreadable records and finish markers.
#[derive(Debug, Default)]
pub struct Unreadable {
    /// Their names, and the error of each.
    pub objects: Vec<(String, Error)>,
    /// The number of the unfinished gc run, if its record is among them.
    pub open: Option<u64>,
}

/// Reads every record and every finish marker.
///
/// # Errors
/// When they cannot be listed, or one is newer than this program, or the storage fails.
pub fn unreadable(storage: &dyn Storage, suite: &CipherSuite) -> Result<Unreadable> {
    let listed = storage.list(ObjectKind::Gc)?;
    let mut found = Unreadable::default();
    for Listed { name, .. } in &listed {
        let read = if name.ends_with(DONE) {
            objects::read(storage, suite, sealed_object::GC_DONE, ObjectKind::Gc, name)
        } else {
            objects::read::<GcRecord>(storage, suite, sealed_object::GC, ObjectKind::Gc, name).map(|_| ())
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

/// Marks a gc run with an unreadable record as finished. Condemned packs that were not deleted yet may be
/// used again. No process may be sweeping it.
///
/// # Errors
/// When the marker could not be made durable.
pub fn abandon(storage: &dyn Storage, suite: &CipherSuite, number: u64) -> Result<()> {
    let name = done_name(number);
    objects::create(storage, suite, sealed_object::GC_DONE, ObjectKind::Gc, &name, &()).map(|_| ())
}

/// Returns whether the listing has this record, unfinished, and no higher number.
fn is_open(listed: &[Listed], number: u64) -> bool {
    let has = |name: &str| listed.iter().any(|found| found.name == name);
    listed.iter().all(|found| self::number(&found.name).is_none_or(|other| other <= number))
        && has(&name_of(number))
        && !has(&done_name(number))
}

/// Returns whether a gc run is valid, unfinished, and as it was published. On storage that lets two processes
/// create one name, another process's record may be under its number.
///
/// # Errors
/// When they cannot be listed or the record cannot be read.
pub fn is_unfinished(storage: &dyn Storage, suite: &CipherSuite, gc_run: &GcRun) -> Result<bool> {
    Ok(unfinished(storage, suite)?.as_ref() == Some(gc_run))
}

/// C3: publishes a gc run under exactly this number. `false` if the number is taken.
///
/// # Errors
/// When it could not be made durable, or no number is left.
pub fn publish(storage: &dyn Storage, suite: &CipherSuite, number: u64, record: &GcRecord) -> Result<bool> {
    if number > LAST_GC_RUN {
        let why = "there is no free number for a garbage collection: gc/ contains a record with the highest \
                   number";
        return Err(Error::Refused(format!("{why}; run `Repository::repair_gc_records`")));
    }
    let created =
        objects::create(storage, suite, sealed_object::GC, ObjectKind::Gc, &name_of(number), record)?;
    Ok(created == CreateOutcome::New)
}

/// Marks a gc run as finished, and removes all records and markers below the highest number: they are
/// finished or were never valid. Only the highest must never be removed.
///
/// # Errors
/// When the marker could not be made durable.
pub fn finish(storage: &dyn Storage, suite: &CipherSuite, number: u64) -> Result<()> {
    abandon(storage, suite, number)?;
    let listed = storage.list(ObjectKind::Gc)?;
    let numbers: BTreeSet<u64> = listed.iter().filter_map(|found| self::number(&found.name)).collect();
    let Some(highest) = numbers.last() else { return Ok(()) };
    for old in numbers.iter().filter(|old| *old < highest) {
        // Remove the record before its marker: a marker without its record condemns nothing.
        storage.remove(ObjectKind::Gc, &name_of(*old))?;
        storage.remove(ObjectKind::Gc, &done_name(*old))?;
    }
    Ok(())
}
