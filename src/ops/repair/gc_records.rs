//! `repair gc`: gives up a gc run whose record cannot be read, so that it is unknown what it condemned.
//!
//! Writes the end of the run (`gc/<n>.done`) and deletes nothing. This is safe:
//!
//! - Condemned packs that still exist are intact, and are in use again from then on.
//! - Packs already deleted were not needed. A sweep starts to delete only after every session that had not
//!   seen the record has ended or was fenced, and what new roots need was rescued; purged trash entries are
//!   removed before the first pack.
//! - Packs must not be deleted after they are in use again. So this run waits for every process that may
//!   still be sweeping, and new sweeps wait for this session, which has seen no gc run.
//!
//! Then an empty gc run takes the next number and removes the unreadable objects: numbers are never reused.

use crate::error::{Error, Result};
use crate::model::entry::Time;
use crate::model::records::{AuditAct, GcRecord, SessionKind};
use crate::ops::repair::excessive_numbers;
use crate::repo::audit;
use crate::repo::gc::peers::{self, Peer};
use crate::repo::repository::Repository;
use crate::repo::sessions::gc_record::{self, Unreadable};
use crate::repo::sessions::session::Session;

/// Result of repairing gc records.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// For each record or end that cannot be read, the reason.
    pub unreadable: Vec<String>,
    /// Number of the gc run that was abandoned, or would be.
    pub given_up: Option<u64>,
    /// Names removed, or to be removed, because no gc run or configuration can have reached their number, or
    /// because the configuration is another repository's.
    pub removed: Vec<String>,
    /// Another gc run is unfinished and readable: the unreadable objects are removed when `gc` finishes it.
    pub left_to_gc: bool,
}

/// Repairs gc records. In a dry run only reports.
///
/// # Errors
/// When the storage fails, a record is newer than this program, or another process may be sweeping.
pub fn run(repo: &Repository, dry_run: bool) -> Result<Report> {
    if !dry_run {
        repo.may_write()?;
    }
    let removed = excessive_numbers::remove(repo, dry_run)?;
    let report = give_up(repo, dry_run)?;
    Ok(Report { removed, ..report })
}

fn give_up(repo: &Repository, dry_run: bool) -> Result<Report> {
    let found = unreadable_records(repo)?;
    if dry_run || found.objects.is_empty() {
        return Ok(report(&found, false));
    }
    let session = Session::open_without_state(repo, SessionKind::Collector)?;
    audit::note(repo, AuditAct::Repair, "unreadable gc records")?;
    let sweepers = peers::possible_sweepers(repo, &session.id)?;
    if !sweepers.is_empty() {
        let names: Vec<String> = sweepers.iter().map(Peer::describe).collect();
        return Err(Error::Refused(format!(
            "{} may be deleting what the unreadable garbage collection condemned: run \
             `Repository::repair_gc_records` again when that has ended",
            names.join(", ")
        )));
    }
    // A process that was sweeping may have finished it meanwhile.
    let found = unreadable_records(repo)?;
    let report = remove_unreadable(repo, &session, &found)?;
    session.close()?;
    Ok(report)
}

fn unreadable_records(repo: &Repository) -> Result<Unreadable> {
    gc_record::unreadable(repo.storage(), repo.suite())
}

fn report(found: &Unreadable, left_to_gc: bool) -> Report {
    let unreadable = found.objects.iter().map(|(_, err)| err.chain()).collect();
    Report { unreadable, given_up: found.open, removed: Vec::new(), left_to_gc }
}

fn remove_unreadable(repo: &Repository, session: &Session, found: &Unreadable) -> Result<Report> {
    let (storage, suite) = (repo.storage(), repo.suite());
    if found.objects.is_empty() {
        return Ok(report(found, false));
    }
    if let Some(number) = found.open {
        gc_record::abandon(storage, suite, number)?;
    }
    match gc_record::unfinished(storage, suite) {
        Ok(Some(_)) => return Ok(report(found, true)),
        // The end of the last one is unreadable: the next number takes its place.
        Err(err) if !err.is_damage() => return Err(err),
        _ => {}
    }
    let number = gc_record::highest(storage)? + 1;
    let nothing = GcRecord {
        by: session.id,
        at: Time::now(),
        condemned: Vec::new(),
        roots: Vec::new(),
        purged: Vec::new(),
    };
    // If the number is taken, that gc run removes them when it ends.
    let is_ours = gc_record::publish(storage, suite, number, &nothing)?;
    if is_ours {
        gc_record::finish(storage, suite, number)?;
    }
    Ok(report(found, !is_ours))
}
