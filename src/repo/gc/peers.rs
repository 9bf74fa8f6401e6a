//! Other sessions: whether they are alive, and how dead ones are fenced and removed (rule C4).

use std::collections::HashSet;

use crate::codec::crypto::sealed_object;
use crate::error::Result;
use crate::model::entry::Time;
use crate::model::id::SnapshotId;
use crate::model::records::{Fence, Heartbeat, Seen, SessionKind, SessionRecord};
use crate::repo::objects;
use crate::repo::repository::Repository;
use crate::repo::snapshots::trash;
use crate::storage::{ObjectKind, names};
use crate::util::{host, parallel};

/// Another session that is in the repository.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The session's id.
    pub id: SnapshotId,
    /// Its session record; `None` if it cannot be read.
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
    fn collects(&self) -> bool {
        self.record.as_ref().is_none_or(|record| record.kind == SessionKind::Collector)
    }

    /// Returns whether it could still commit; assumed if its record cannot be read.
    fn writes(&self) -> bool {
        self.record.as_ref().is_none_or(|record| record.kind == SessionKind::Writer)
    }
}

/// Returns all sessions except `own`. With `note`, records the heartbeats seen, so that a later call can tell
/// which have not changed.
///
/// # Errors
/// When they cannot be listed: then no session may be assumed absent.
pub fn others(repo: &Repository, own: Option<&SnapshotId>, note: bool) -> Result<Vec<Peer>> {
    others_after(repo, own, note, 1)
}

/// Returns the sessions that may be sweeping: gc runs that are not dead, and on untrusted storage every live
/// session. A fence does not stop a sweep that resumes, so its heartbeat must be unchanged for much longer to
/// be considered dead.
///
/// # Errors
/// As [`others`].
pub fn sweepers(repo: &Repository, own: &SnapshotId) -> Result<Vec<Peer>> {
    let distrusted = repo.storage().weakness()?.is_some();
    let mut others = others_after(repo, Some(own), true, DISTRUSTED)?;
    others.retain(|other| !other.dead && (distrusted || other.collects()));
    Ok(others)
}

/// Like [`others`], but a heartbeat must be unchanged for `stale_factor` times `stale_after`.
fn others_after(
    repo: &Repository,
    own: Option<&SnapshotId>,
    note: bool,
    stale_factor: u64,
) -> Result<Vec<Peer>> {
    let listed = repo.storage().list(ObjectKind::Sessions)?;
    let names: HashSet<&str> = listed.iter().map(|found| found.name.as_str()).collect();
    let ids = listed.iter().filter_map(|found| SnapshotId::parse(&found.name).ok());
    let ids: Vec<SnapshotId> = ids.filter(|id| Some(id) != own).collect();
    let looked = parallel::map(&ids, threads(repo), |id| look_at(repo, id, &names, note, stale_factor));
    let others: Vec<Option<Peer>> = looked.into_iter().collect::<Result<_>>()?;
    Ok(others.into_iter().flatten().collect())
}

/// Parallel requests hide the latency of remote storage; a local disk answers faster than threads start.
fn threads(repo: &Repository) -> usize {
    if repo.storage().is_remote() { AT_ONCE } else { 1 }
}

/// Reads a session; `None` if it ended after the listing that contained these `names`.
fn look_at(
    repo: &Repository,
    id: &SnapshotId,
    names: &HashSet<&str>,
    note: bool,
    stale_factor: u64,
) -> Result<Option<Peer>> {
    let record =
        objects::read(repo.storage(), repo.suite(), sealed_object::SESSION, ObjectKind::Sessions, &id.hex());
    let record: Option<SessionRecord> = match record {
        Ok(record) => Some(record),
        Err(err) if err.is_missing() => return Ok(None),
        Err(err) if err.is_damage() => None,
        Err(err) => return Err(err),
    };
    let beat = read_heartbeat(repo, id)?;
    let count = beat.map_or(0, |beat| beat.count);
    let end = format!("{id}{}", names::END_MARKER);
    let ended = names.contains(end.as_str()) && has_ended(repo, &end)?;
    let dead = ended || is_dead(repo, id, record.as_ref(), (count, note), stale_factor)?;
    Ok(Some(Peer { id: *id, record, gc_seen: beat.map_or(0, |beat| beat.gc_seen), dead }))
}

/// Returns whether a session has written a valid end marker. It will not commit, so it is treated as dead.
fn has_ended(repo: &Repository, name: &str) -> Result<bool> {
    match objects::read::<Heartbeat>(
        repo.storage(),
        repo.suite(),
        sealed_object::BEAT,
        ObjectKind::Sessions,
        name,
    ) {
        Ok(_) => Ok(true),
        Err(err) if err.is_damage() => Ok(false),
        Err(err) => Err(err),
    }
}

/// Reads a session's heartbeat. An absent or unreadable one is `None`: it acknowledges no gc run.
fn read_heartbeat(repo: &Repository, id: &SnapshotId) -> Result<Option<Heartbeat>> {
    let name = format!("{id}.beat");
    match objects::read(repo.storage(), repo.suite(), sealed_object::BEAT, ObjectKind::Sessions, &name) {
        Ok(beat) => Ok(Some(beat)),
        Err(err) if err.is_damage() => Ok(None),
        Err(err) => Err(err),
    }
}

/// Sessions that are read, fenced or removed concurrently.
const AT_ONCE: usize = 8;

/// Factor on `stale_after` for storage that cannot guarantee that a fence stops a session that resumes.
const DISTRUSTED: u64 = 24;

/// Returns whether a session is dead: its lock is free though it was taken on this machine since boot, or its
/// heartbeat did not change between two observations that are far enough apart by the observer's own clock.
fn is_dead(
    repo: &Repository,
    id: &SnapshotId,
    record: Option<&SessionRecord>,
    (count, note): (u64, bool),
    stale_factor: u64,
) -> Result<bool> {
    let held = repo.storage().is_held(ObjectKind::Sessions, &id.hex())?;
    let here = |record| is_of_this_boot(record, &host::boot_id(), &host::host_name());
    if held == Some(false) && record.is_some_and(here) {
        return Ok(true);
    }
    let name = format!("{id}.seen");
    let now = Time::now();
    let seen = objects::read(repo.storage(), repo.suite(), sealed_object::SEEN, ObjectKind::Sessions, &name);
    let seen: Option<Seen> = match seen {
        Ok(seen) => Some(seen),
        Err(err) if err.is_damage() => None,
        Err(err) => return Err(err),
    };
    if let Some(seen) = seen.filter(|seen| seen.count == count && seen.at.sec <= now.sec) {
        let times = if repo.storage().weakness()?.is_some() { DISTRUSTED } else { stale_factor };
        let silent = u64::try_from(now.sec.saturating_sub(seen.at.sec)).unwrap_or(0);
        return Ok(silent >= repo.config().stale_after.saturating_mul(times));
    }
    if !note {
        return Ok(false);
    }
    let bytes = objects::close(repo.suite(), sealed_object::SEEN, &name, &Seen { count, at: now })?;
    repo.storage().replace(ObjectKind::Sessions, &name, &bytes)?;
    Ok(false)
}

/// Returns whether a session was started on this machine since boot. `false` if the system provides no boot
/// id.
fn is_of_this_boot(record: &SessionRecord, boot: &str, host: &str) -> bool {
    !record.boot.is_empty() && record.boot == boot && record.host == host
}

/// Creates a fence under a session's name, unless the name is taken.
///
/// # Errors
/// When the fence could not be made durable.
pub fn close_name(repo: &Repository, id: &SnapshotId, by: SnapshotId, gc: u64) -> Result<()> {
    let fence = Fence { by, gc, at: Time::now() };
    objects::create(
        repo.storage(),
        repo.suite(),
        sealed_object::FENCE,
        ObjectKind::Snapshots,
        &id.hex(),
        &fence,
    )?;
    Ok(())
}

/// Fences and removes the dead sessions. Each that could still commit gets a fence in place of its manifest,
/// and all fences are durable before the first session is removed. If its manifest exists or is in the trash,
/// it has committed.
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
        dead.iter().filter(|other| other.writes()).map(|other| other.id).collect();
    if !writers.is_empty() {
        for entry in trash::list(repo)? {
            if writers.contains(&entry.id) && trash::is_whole(repo, &entry)? {
                writers.retain(|id| *id != entry.id);
            }
        }
    }
    // Each fence also waits for the disk.
    let fenced = parallel::map(&writers, AT_ONCE, |id| close_name(repo, id, by, gc));
    fenced.into_iter().collect::<Result<()>>()?;
    let listed = repo.storage().list(ObjectKind::Sessions)?;
    let names: HashSet<&str> = listed.iter().map(|found| found.name.as_str()).collect();
    let removed = parallel::map(&dead, threads(repo), |other| remove(repo, &other.id, &names));
    removed.into_iter().collect()
}

/// Removes the objects of a session. The session itself goes late, so that an interrupted removal is found
/// and repeated, and its end marker last, because it proves that the session is dead.
fn remove(repo: &Repository, id: &SnapshotId, names: &HashSet<&str>) -> Result<()> {
    for name in [format!("{id}.beat"), format!("{id}.seen"), id.hex(), format!("{id}{}", names::END_MARKER)] {
        if names.contains(name.as_str()) {
            repo.storage().remove(ObjectKind::Sessions, &name)?;
        }
    }
    Ok(())
}

/// Removes recorded observations and heartbeats of sessions that have ended.
///
/// # Errors
/// When the storage fails.
pub fn remove_stale_temp_files(repo: &Repository) -> Result<()> {
    let leftover = repo.storage().list(ObjectKind::Sessions)?;
    // List again: a session that has begun in the meantime writes its record before its heartbeat.
    let standing = repo.storage().list(ObjectKind::Sessions)?;
    let standing: HashSet<&str> = standing.iter().map(|found| found.name.as_str()).collect();
    for found in leftover {
        let Some((id, _)) = found.name.split_once('.') else { continue };
        if !standing.contains(id) {
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
