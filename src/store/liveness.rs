//! Other people's sessions: whether they are alive, and what becomes of those that are not (rule C4).

use crate::codec::envelope;
use crate::error::Result;
use crate::model::entry::Time;
use crate::model::id::SnapshotId;
use crate::model::record::Beat;
use crate::model::record::Fence;
use crate::model::record::Seen;
use crate::model::record::SessionKind;
use crate::model::record::SessionRecord;
use crate::store::objects;
use crate::store::repository::Repository;
use crate::store::session;
use crate::store::storage::Area;
use crate::store::trash;

/// A session that stands in the repository.
#[derive(Debug, Clone)]
pub struct Other {
    /// Which.
    pub id: SnapshotId,
    /// What it says of itself; `None` when that cannot be read.
    pub record: Option<SessionRecord>,
    /// The highest collection that it has seen; 0 while it has not said so.
    pub gc_seen: u64,
    /// Nobody is behind it any more, or nobody has moved for long.
    pub dead: bool,
}

impl Other {
    /// For people.
    pub fn describe(&self) -> String {
        match &self.record {
            Some(record) => format!("process {} on {}", record.pid, record.host),
            None => format!("session {}", self.id.short()),
        }
    }

    /// Whether it may be deleting what a collection condemned; one that cannot be read may.
    fn collects(&self) -> bool {
        self.record.as_ref().is_none_or(|record| record.kind == SessionKind::Collector)
    }

    /// Whether it could still commit; one that cannot be read could.
    fn writes(&self) -> bool {
        self.record.as_ref().is_none_or(|record| record.kind == SessionKind::Writer)
    }
}

/// All sessions but one's own. With `note`, looks are written down, so that a later one can tell who stood still.
///
/// # Errors
/// When they cannot be listed: then nobody may be taken for absent.
pub fn others(repo: &Repository, own: Option<&SnapshotId>, note: bool) -> Result<Vec<Other>> {
    others_after(repo, own, note, 1)
}

/// Who may be in the middle of a sweep: collectors that are not dead, and on a store that is not trusted anybody. A fence
/// does not stop one that wakes up again, so a heart must stand still for long before it is taken for dead.
///
/// # Errors
/// As [`others`].
pub fn sweepers(repo: &Repository, own: &SnapshotId) -> Result<Vec<Other>> {
    let distrusted = repo.storage().distrust()?.is_some();
    let mut others = others_after(repo, Some(own), true, DISTRUSTED)?;
    others.retain(|other| !other.dead && (distrusted || other.collects()));
    Ok(others)
}

/// As [`others`], with a heart that must stand still for so many times as long as the repository says.
fn others_after(
    repo: &Repository,
    own: Option<&SnapshotId>,
    note: bool,
    patience: u64,
) -> Result<Vec<Other>> {
    let mut others = Vec::new();
    let listed = repo.storage().list(Area::Sessions)?;
    for found in &listed {
        let Ok(id) = SnapshotId::parse(&found.name) else { continue };
        if Some(&id) == own {
            continue;
        }
        let record =
            objects::read(repo.storage(), repo.ring(), envelope::SESSION, Area::Sessions, &found.name);
        let record: Option<SessionRecord> = match record {
            Ok(record) => Some(record),
            // It ended since the listing.
            Err(err) if err.is_missing() => continue,
            Err(err) if err.is_damage() => None,
            Err(err) => return Err(err),
        };
        let beat = beat(repo, &id)?;
        let count = beat.map_or(0, |beat| beat.count);
        let end = format!("{id}{}", session::END);
        let ended = listed.iter().any(|other| other.name == end) && has_ended(repo, &end)?;
        let dead = ended || is_dead(repo, &id, record.as_ref(), (count, note), patience)?;
        others.push(Other { id, record, gc_seen: beat.map_or(0, |beat| beat.gc_seen), dead });
    }
    Ok(others)
}

/// Whether a session's last word is its own. It will commit nothing, and cannot: it is buried like any that is dead.
fn has_ended(repo: &Repository, name: &str) -> Result<bool> {
    match objects::read::<Beat>(repo.storage(), repo.ring(), envelope::BEAT, Area::Sessions, name) {
        Ok(_) => Ok(true),
        Err(err) if err.is_damage() => Ok(false),
        Err(err) => Err(err),
    }
}

/// Absent or unreadable is none: a session that has not said what it saw has seen nothing.
fn beat(repo: &Repository, id: &SnapshotId) -> Result<Option<Beat>> {
    let name = format!("{id}.beat");
    match objects::read(repo.storage(), repo.ring(), envelope::BEAT, Area::Sessions, &name) {
        Ok(beat) => Ok(Some(beat)),
        Err(err) if err.is_damage() => Ok(None),
        Err(err) => Err(err),
    }
}

/// How much longer a heart must stand still on a store that cannot promise that a fence stops whoever wakes up again.
const DISTRUSTED: u64 = 24;

/// Dead: its lock is free though it was taken on this machine since it booted, or its heart stood still between two
/// looks far enough apart, by the looker's own clock.
fn is_dead(
    repo: &Repository,
    id: &SnapshotId,
    record: Option<&SessionRecord>,
    (count, note): (u64, bool),
    patience: u64,
) -> Result<bool> {
    let held = repo.storage().is_held(Area::Sessions, &id.hex())?;
    let here = record.is_some_and(|record| {
        !record.boot.is_empty() && record.boot == session::boot_id() && record.host == session::host_name()
    });
    if held == Some(false) && here {
        return Ok(true);
    }
    let name = format!("{id}.seen");
    let now = Time::now();
    let seen = objects::read(repo.storage(), repo.ring(), envelope::SEEN, Area::Sessions, &name);
    let seen: Option<Seen> = match seen {
        Ok(seen) => Some(seen),
        Err(err) if err.is_damage() => None,
        Err(err) => return Err(err),
    };
    if let Some(seen) = seen.filter(|seen| seen.count == count && seen.at.sec <= now.sec) {
        let times = if repo.storage().distrust()?.is_some() { DISTRUSTED } else { patience };
        let silent = u64::try_from(now.sec.saturating_sub(seen.at.sec)).unwrap_or(0);
        return Ok(silent >= repo.config().stale_after.saturating_mul(times));
    }
    if !note {
        return Ok(false);
    }
    let bytes = objects::close(repo.ring(), envelope::SEEN, &name, &Seen { count, at: now })?;
    repo.storage().replace(Area::Sessions, &name, &bytes)?;
    Ok(false)
}

/// Puts a fence in place of the manifest that a session might still commit. A manifest that is there, or forgotten,
/// means that it has committed.
///
/// # Errors
/// When the fence could not be made durable: then nothing may be deleted.
pub fn fence(repo: &Repository, id: &SnapshotId, by: SnapshotId, gc: u64) -> Result<()> {
    if trash::list(repo)?.iter().any(|entry| entry.id == *id) {
        return Ok(());
    }
    close_name(repo, id, by, gc)
}

/// Puts a fence there unless the name is taken.
///
/// # Errors
/// When the fence could not be made durable.
pub fn close_name(repo: &Repository, id: &SnapshotId, by: SnapshotId, gc: u64) -> Result<()> {
    let fence = Fence { by, gc, at: Time::now() };
    objects::create(repo.storage(), repo.ring(), envelope::FENCE, Area::Snapshots, &id.hex(), &fence)?;
    Ok(())
}

/// Ends a dead session: it can commit nothing any more, and is gone.
///
/// # Errors
/// When the fence could not be made durable or the session is still there.
pub fn bury(repo: &Repository, dead: &Other, by: SnapshotId, gc: u64) -> Result<()> {
    if dead.writes() {
        fence(repo, &dead.id, by, gc)?;
    }
    let id = dead.id;
    for name in [format!("{id}.beat"), format!("{id}.seen"), id.hex(), format!("{id}{}", session::END)] {
        repo.storage().remove(Area::Sessions, &name)?;
    }
    Ok(())
}

/// Removes looks at sessions that have ended, and beats they left.
///
/// # Errors
/// When the store fails.
pub fn tidy(repo: &Repository) -> Result<()> {
    let leftover = repo.storage().list(Area::Sessions)?;
    // Listed again: a session that began meanwhile has its beat only after itself.
    let standing = repo.storage().list(Area::Sessions)?;
    for found in leftover {
        let Some((id, _)) = found.name.split_once('.') else { continue };
        if !standing.iter().any(|other| other.name == id) {
            repo.storage().remove(Area::Sessions, &found.name)?;
        }
    }
    Ok(())
}
