//! Audit records: who forgot, rewrote, purged or brought back which snapshots, when, from which host and with
//! which command.
//!
//! A record is written before the act: no act happens without a record, and a record of a failed act shows
//! the attempt. [`Noted`] is the proof that a record was written; functions that forget snapshots require it.

use std::collections::HashSet;

use serde_bytes::ByteBuf;

use crate::codec::crypto::{cipher, sealed_object};
use crate::error::{Error, Result};
use crate::model::entry::Time;
use crate::model::id::SnapshotId;
use crate::model::records::{AuditAct, AuditRecord};
use crate::repo::objects;
use crate::repo::repository::Repository;
use crate::storage::{CreateOutcome, ObjectKind};
use crate::util::{host, parallel};

/// Retention of a record in seconds: a year, and a day for differing clocks.
const RETENTION_SECONDS: i64 = 366 * 86_400;
/// Tag of the temporary id of a snapshot while it is brought back.
const TEMPORARY_ID: u16 = 2;
/// Number of records read in parallel, to hide the latency of the storage.
const MAX_PARALLEL: usize = 8;

/// A stored record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its name in `audit/`.
    pub name: String,
    /// Time of its creation by the storage's clock; `None` if the storage reports no times.
    pub arrived: Option<Time>,
    /// Its content.
    pub record: AuditRecord,
}

impl AuditEntry {
    /// Returns the time of the record, by the storage's clock if known. An object store sets it. On a local
    /// disk or over SFTP, anybody with write access can change it.
    pub fn time(&self) -> Time {
        self.arrived.unwrap_or(self.record.at)
    }
}

/// Proof that an act is on record. Only this module creates it; functions that forget snapshots require it.
#[derive(Debug)]
pub struct Noted(());

/// Records an act on snapshots. Does nothing if there are none.
///
/// # Errors
/// As [`note`].
pub fn note_snapshots(repo: &Repository, act: AuditAct, snapshots: &[SnapshotId]) -> Result<Noted> {
    if snapshots.is_empty() {
        return Ok(Noted(()));
    }
    write_record(repo, act, snapshots, String::new(), Vec::new())
}

/// Records that a session brings a snapshot back. In between, the snapshot has the session's name, which gc
/// may take for another snapshot that disappears later.
///
/// # Errors
/// As [`note`].
pub fn note_return(
    repo: &Repository,
    act: AuditAct,
    back: &SnapshotId,
    session: SnapshotId,
) -> Result<Noted> {
    let extra = vec![(TEMPORARY_ID, ByteBuf::from(session.as_bytes().as_slice()))];
    // Only forgotten snapshots are brought back.
    let of = if act == AuditAct::Undelete { std::slice::from_ref(back) } else { &[] };
    let detail = if of.is_empty() { format!("snapshot {back}") } else { String::new() };
    write_record(repo, act, of, detail, extra)
}

/// Records an act that is not about snapshots; `detail` describes its subject.
///
/// # Errors
/// When the record could not be made durable: then the act must not be done.
pub fn note(repo: &Repository, act: AuditAct, detail: &str) -> Result<Noted> {
    write_record(repo, act, &[], detail.to_owned(), Vec::new())
}

fn write_record(
    repo: &Repository,
    act: AuditAct,
    snapshots: &[SnapshotId],
    detail: String,
    extra: Vec<(u16, ByteBuf)>,
) -> Result<Noted> {
    repo.may_write()?;
    let record = AuditRecord {
        act: act.code(),
        at: Time::now(),
        host: host::host_name(),
        user: host::user_name(),
        program: concat!("snap ", env!("CARGO_PKG_VERSION")).to_owned(),
        command: repo.command().to_owned(),
        snapshots: snapshots.to_vec(),
        detail,
        extra,
    };
    match create(repo, &record) {
        // Forgetting frees space, so it may use the space reserve for its record.
        Err(err) if err.is_full() => {
            repo.storage().release_reserve()?;
            create(repo, &record)?;
        }
        other => other?,
    }
    Ok(Noted(()))
}

fn create(repo: &Repository, record: &AuditRecord) -> Result<()> {
    let (storage, suite, name) = (repo.storage(), repo.suite(), cipher::new_id()?.hex());
    match objects::create(storage, suite, sealed_object::AUDIT, ObjectKind::Audit, &name, record)? {
        CreateOutcome::New => Ok(()),
        CreateOutcome::Exists => Err(Error::Bug { what: "random names are unique" }),
    }
}

/// Returns all records, oldest first, and the errors of unreadable ones.
///
/// # Errors
/// When they cannot be listed, or the storage fails.
pub fn list(repo: &Repository) -> Result<(Vec<AuditEntry>, Vec<Error>)> {
    let (storage, suite) = (repo.storage(), repo.suite());
    let listed = storage.list(ObjectKind::Audit)?;
    let read = parallel::map(&listed, MAX_PARALLEL, |found| {
        objects::read(storage, suite, sealed_object::AUDIT, ObjectKind::Audit, &found.name)
    });
    let (mut entries, mut unreadable) = (Vec::new(), Vec::new());
    for (found, record) in listed.into_iter().zip(read) {
        match record {
            Ok(record) => entries.push(AuditEntry { name: found.name, arrived: found.modified, record }),
            // Removed after the listing.
            Err(err) if err.is_missing() => {}
            Err(err) if err.is_damage() || err.is_newer() => unreadable.push(err),
            Err(err) => return Err(err),
        }
    }
    entries.sort_by(|a, b| (a.time(), &a.name).cmp(&(b.time(), &b.name)));
    Ok((entries, unreadable))
}

/// Returns whether a record explains the absence of a snapshot: it was forgotten, replaced or deleted, or the
/// id was temporary while a snapshot was brought back. Records cannot be forged without the key, so a storage
/// that hides a manifest has none.
///
/// # Errors
/// When the records cannot be listed.
pub fn explains(repo: &Repository, snapshot: &SnapshotId) -> Result<bool> {
    Ok(explained(repo)?.contains(snapshot))
}

/// Returns all snapshots whose absence is explained by [`explains`].
///
/// # Errors
/// When the records cannot be listed.
pub fn explained(repo: &Repository) -> Result<HashSet<SnapshotId>> {
    use AuditAct::{Forget, Purge, Repair, Rewrite};
    let (entries, _) = list(repo)?;
    let extra = entries.iter().flat_map(|entry| &entry.record.extra);
    let temporary = extra.filter(|(tag, _)| *tag == TEMPORARY_ID);
    let temporary = temporary.filter_map(|(_, id)| id.as_slice().try_into().ok()).map(SnapshotId::new);
    Ok(temporary.chain(named_in(&entries, &[Forget, Rewrite, Purge, Repair])).collect())
}

/// Returns the snapshots that were brought back after they were forgotten, according to records.
///
/// # Errors
/// When the records cannot be listed.
pub fn brought_back(repo: &Repository) -> Result<HashSet<SnapshotId>> {
    Ok(named_in(&list(repo)?.0, &[AuditAct::Undelete]).collect())
}

/// Returns the snapshots in records of these acts.
fn named_in<'a>(entries: &'a [AuditEntry], acts: &'a [AuditAct]) -> impl Iterator<Item = SnapshotId> + 'a {
    let of = |record: &AuditRecord| AuditAct::of_code(record.act).is_some_and(|act| acts.contains(&act));
    let records = entries.iter().map(|entry| &entry.record).filter(move |record| of(record));
    records.flat_map(|record| record.snapshots.iter().copied())
}

/// Removes records that are older than a year by the storage's clock; `now` is by the same clock. If the
/// storage reports no times, all records are kept.
///
/// # Errors
/// When they cannot be listed or removed.
pub fn remove_old(repo: &Repository, now: Time) -> Result<()> {
    let is_old = |at: Option<Time>| at.is_some_and(|at| now.sec.saturating_sub(at.sec) > RETENTION_SECONDS);
    let listed = repo.storage().list(ObjectKind::Audit)?;
    let old: Vec<String> =
        listed.into_iter().filter(|found| is_old(found.modified)).map(|found| found.name).collect();
    if old.is_empty() {
        return Ok(());
    }
    objects::remove_all(repo.storage(), ObjectKind::Audit, &old)?;
    repo.storage().sync(ObjectKind::Audit)
}
