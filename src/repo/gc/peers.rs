//! Other sessions: whether they are alive, and how dead ones are fenced and removed (rule C4).

use std::collections::HashSet;

use serde::de::DeserializeOwned;

use crate::codec::crypto::sealed_object::{self, Magic};
use crate::error::Result;
use crate::model::entry::Time;
use crate::model::id::SnapshotId;
use crate::model::records::{Fence, Heartbeat, Seen, SessionKind, SessionRecord};
use crate::repo::objects;
use crate::repo::repository::Repository;
use crate::repo::snapshots::trash;
use crate::storage::{ObjectKind, names};
use crate::util::{host, parallel};

/// Another session of the repository.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The session's id.
    pub id: SnapshotId,
    /// The session record; `None` if it cannot be read.
    pub record: Option<SessionRecord>,
    /// The highest gc number that it has acknowledged; 0 if none.
    pub gc_seen: u64,
    /// Whether its process is gone, or its heartbeat has not changed for too long.
    pub dead: bool,
}

impl Peer {
    /// Describes the session for a message to the user.
    pub fn describe(&self) -> String {
        match &self.record {
            Some(record) => format!("process {} on {}", record.pid, record.host),
            None => format!("session {}", self.id.short()),
        }
    }

    /// Returns whether it may be deleting condemned packs; assumed if its record cannot be read.
    fn may_sweep(&self) -> bool {
        self.record.as_ref().is_none_or(|record| record.kind == SessionKind::Collector)
    }

    /// Returns whether it could still commit; assumed if its record cannot be read.
    fn may_commit(&self) -> bool {
        self.record.as_ref().is_none_or(|record| record.kind == SessionKind::Writer)
    }
}

/// Returns all sessions except `own`. With `observe`, the heartbeats are recorded as observations, so that a
/// later call can determine which have not changed.
///
/// # Errors
/// When the sessions cannot be listed or read. Then none may be assumed to be absent.
pub fn others(repo: &Repository, own: Option<&SnapshotId>, observe: bool) -> Result<Vec<Peer>> {
    others_with_factor(repo, own, observe, 1)
}

/// Returns the sessions that may be sweeping: collectors that are not dead and, on a storage with a weakness,
/// all sessions that are not dead. A fence does not stop a collector that resumes a sweep, so its heartbeat
/// must be unchanged for much longer until it is considered dead.
///
/// # Errors
/// As [`others`].
pub fn possible_sweepers(repo: &Repository, own: &SnapshotId) -> Result<Vec<Peer>> {
    let is_weak = repo.storage().weakness()?.is_some();
    let mut others = others_with_factor(repo, Some(own), true, WEAK_STORAGE_FACTOR)?;
    others.retain(|other| !other.dead && (is_weak || other.may_sweep()));
    Ok(others)
}

/// Like [`others`], but a heartbeat must be unchanged for `stale_factor` times `stale_after`.
fn others_with_factor(
    repo: &Repository,
    own: Option<&SnapshotId>,
    observe: bool,
    stale_factor: u64,
) -> Result<Vec<Peer>> {
    let listed = repo.storage().list(ObjectKind::Sessions)?;
    let names: HashSet<&str> = listed.iter().map(|found| found.name.as_str()).collect();
    let ids = listed.iter().filter_map(|found| SnapshotId::parse(&found.name).ok());
    let ids: Vec<SnapshotId> = ids.filter(|id| Some(id) != own).collect();
    let peers = parallel::map(&ids, threads(repo), |id| read_peer(repo, id, &names, observe, stale_factor));
    let others: Vec<Option<Peer>> = peers.into_iter().collect::<Result<_>>()?;
    Ok(others.into_iter().flatten().collect())
}

/// Returns the number of parallel requests. They hide the latency of remote storage; a local disk answers
/// faster than threads start.
fn threads(repo: &Repository) -> usize {
    if repo.storage().is_remote() { MAX_PARALLEL } else { 1 }
}

/// Reads a session; `None` if it ended after the listing that contained these `names`.
fn read_peer(
    repo: &Repository,
    id: &SnapshotId,
    names: &HashSet<&str>,
    observe: bool,
    stale_factor: u64,
) -> Result<Option<Peer>> {
    let name = id.hex();
    let record =
        objects::read(repo.storage(), repo.suite(), sealed_object::SESSION, ObjectKind::Sessions, &name);
    let record: Option<SessionRecord> = match record {
        Err(err) if err.is_missing() => return Ok(None),
        record => intact(record)?,
    };
    // An absent or unreadable heartbeat acknowledges no gc run.
    let beat: Option<Heartbeat> = read_intact(repo, sealed_object::BEAT, &format!("{id}.beat"))?;
    let count = beat.map_or(0, |beat| beat.count);
    let end = format!("{id}{}", names::END_MARKER);
    // A session with a valid end marker will not commit.
    let ended =
        names.contains(end.as_str()) && read_intact::<Heartbeat>(repo, sealed_object::BEAT, &end)?.is_some();
    let dead = ended || is_dead(repo, id, record.as_ref(), (count, observe), stale_factor)?;
    Ok(Some(Peer { id: *id, record, gc_seen: beat.map_or(0, |beat| beat.gc_seen), dead }))
}

/// Reads a record of a session; `None` if it is absent or damaged.
fn read_intact<T: DeserializeOwned>(repo: &Repository, magic: Magic, name: &str) -> Result<Option<T>> {
    intact(objects::read(repo.storage(), repo.suite(), magic, ObjectKind::Sessions, name))
}

fn intact<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Err(err) if err.is_damage() => Ok(None),
        read => read.map(Some),
    }
}

/// Maximum number of sessions that are read, fenced or removed concurrently.
const MAX_PARALLEL: usize = 8;

/// Factor on `stale_after` where a fence does not reliably stop a session that resumes.
const WEAK_STORAGE_FACTOR: u64 = 24;

/// Returns whether a session is dead: its lock is free although it was taken on this machine since the last
/// boot, or its heartbeat did not change between two observations that are far enough apart by the observer's
/// clock.
fn is_dead(
    repo: &Repository,
    id: &SnapshotId,
    record: Option<&SessionRecord>,
    (count, observe): (u64, bool),
    stale_factor: u64,
) -> Result<bool> {
    let is_locked = repo.storage().is_held(ObjectKind::Sessions, &id.hex())?;
    let was_locked_here = |record| is_of_this_boot(record, &host::boot_id(), &host::host_name());
    if is_locked == Some(false) && record.is_some_and(was_locked_here) {
        return Ok(true);
    }
    let name = format!("{id}.seen");
    let now = Time::now();
    let seen: Option<Seen> = read_intact(repo, sealed_object::SEEN, &name)?;
    if let Some(seen) = seen.filter(|seen| seen.count == count && seen.at.sec <= now.sec) {
        let factor = if repo.storage().weakness()?.is_some() { WEAK_STORAGE_FACTOR } else { stale_factor };
        let silence = u64::try_from(now.sec.saturating_sub(seen.at.sec)).unwrap_or(0);
        return Ok(silence >= repo.config().stale_after.saturating_mul(factor));
    }
    if observe {
        let bytes = objects::seal(repo.suite(), sealed_object::SEEN, &name, &Seen { count, at: now })?;
        repo.storage().replace(ObjectKind::Sessions, &name, &bytes)?;
    }
    Ok(false)
}

/// Returns whether a session was started on this machine since the last boot; false if the system has no boot
/// ids.
fn is_of_this_boot(record: &SessionRecord, boot: &str, host: &str) -> bool {
    !record.boot.is_empty() && record.boot == boot && record.host == host
}

/// Creates a fence under a session's name, unless the name is taken.
///
/// # Errors
/// When the fence could not be made durable.
pub fn fence_name(repo: &Repository, id: &SnapshotId, by: SnapshotId, gc: u64) -> Result<()> {
    let fence = Fence { by, gc, at: Time::now() };
    let (storage, suite) = (repo.storage(), repo.suite());
    objects::create(storage, suite, sealed_object::FENCE, ObjectKind::Snapshots, &id.hex(), &fence).map(drop)
}

/// Fences and removes the dead sessions. Each one that could still commit gets a fence in place of its
/// manifest, unless it has committed: its manifest exists, or is in the trash. All fences are durable before
/// the first session is removed.
///
/// # Errors
/// When a fence could not be made durable, and then nothing may be deleted; or a session could not be
/// removed.
pub fn remove_dead(repo: &Repository, others: &[Peer], by: SnapshotId, gc: u64) -> Result<()> {
    let dead: Vec<&Peer> = others.iter().filter(|other| other.dead).collect();
    if dead.is_empty() {
        return Ok(());
    }
    let mut writers: Vec<SnapshotId> =
        dead.iter().filter(|other| other.may_commit()).map(|other| other.id).collect();
    if !writers.is_empty() {
        for entry in trash::list(repo)? {
            if writers.contains(&entry.id) && trash::is_whole(repo, &entry)? {
                writers.retain(|id| *id != entry.id);
            }
        }
    }
    // In parallel even on a local disk, since each fence is synced.
    let fenced = parallel::map(&writers, MAX_PARALLEL, |id| fence_name(repo, id, by, gc));
    fenced.into_iter().collect::<Result<()>>()?;
    let listed = repo.storage().list(ObjectKind::Sessions)?;
    let names: HashSet<&str> = listed.iter().map(|found| found.name.as_str()).collect();
    let removed = parallel::map(&dead, threads(repo), |other| remove(repo, &other.id, &names));
    removed.into_iter().collect()
}

/// Removes the objects of a session. The session record is one of the last, so that an interrupted removal is
/// repeated, and the end marker is the last, since it proves that the session is dead.
fn remove(repo: &Repository, id: &SnapshotId, names: &HashSet<&str>) -> Result<()> {
    for name in [format!("{id}.beat"), format!("{id}.seen"), id.hex(), format!("{id}{}", names::END_MARKER)] {
        if names.contains(name.as_str()) {
            repo.storage().remove(ObjectKind::Sessions, &name)?;
        }
    }
    Ok(())
}

/// Removes observations, heartbeats and end markers of sessions that no longer have a record.
///
/// # Errors
/// When the storage fails.
pub fn remove_objects_without_record(repo: &Repository) -> Result<()> {
    let listed = repo.storage().list(ObjectKind::Sessions)?;
    // Listed a second time: a new session writes its record before its heartbeat, so that it is in this
    // listing.
    let listed_again = repo.storage().list(ObjectKind::Sessions)?;
    let listed_again: HashSet<&str> = listed_again.iter().map(|found| found.name.as_str()).collect();
    for found in listed {
        let Some((id, _)) = found.name.split_once('.') else { continue };
        if !listed_again.contains(id) {
            repo.storage().remove(ObjectKind::Sessions, &found.name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_of_this_boot_only_where_boots_have_ids() {
        let record = |boot: &str, host: &str| SessionRecord {
            kind: SessionKind::Writer,
            host: host.to_owned(),
            boot: boot.to_owned(),
            pid: 1,
            started: Time::now(),
        };
        let cases = [
            ("b1", "vm", "b1", "vm", true),
            ("b1", "vm", "b2", "vm", false),
            ("b1", "vm", "b1", "pc", false),
            ("", "vm", "", "vm", false),
            ("", "vm", "b1", "vm", false),
        ];
        for (boot, host, this_boot, this_host, is) in cases {
            let found = is_of_this_boot(&record(boot, host), this_boot, this_host);
            assert_eq!(found, is, "{boot:?} on {host} of {this_boot:?} on {this_host}");
        }
    }
}
