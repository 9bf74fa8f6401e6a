//! Forgotten manifests: `trash/X.S` is what session S forgot of snapshot X, with the same bytes.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::codec::crypto::sealed_object;
use crate::error::{Error, Result};
use crate::model::entry::Time;
use crate::model::id::SnapshotId;
use crate::model::manifest::Manifest;
use crate::model::records::GcRecord;
use crate::repo::repository::Repository;
use crate::repo::sessions::session::Session;
use crate::repo::snapshots::Snapshot;
use crate::repo::{objects, snapshots};
use crate::storage::{CreateOutcome, ObjectKind, Storage};
use crate::util::parallel;

/// A forgotten snapshot, as listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrashEntry {
    /// Which snapshot.
    pub id: SnapshotId,
    /// Which session forgot it.
    pub by: SnapshotId,
    /// When, by the store's clock.
    pub at: Option<Time>,
}

impl TrashEntry {
    /// Its name in `trash/`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.id, self.by)
    }

    /// Seconds since it was forgotten; `None` where the store does not say.
    pub fn age(&self, now: Time) -> Option<u64> {
        self.at.map(|at| now.sec.saturating_sub(at.sec).try_into().unwrap_or(0))
    }
}

/// All of them.
///
/// # Errors
/// When they cannot be listed.
pub fn list(repo: &Repository) -> Result<Vec<TrashEntry>> {
    list_in(repo.storage())
}

fn list_in(storage: &dyn Storage) -> Result<Vec<TrashEntry>> {
    let listed = storage.list(ObjectKind::Trash)?;
    let entries = listed.iter().filter_map(|found| {
        let (id, by) = found.name.split_once('.')?;
        let (id, by) = (SnapshotId::parse(id).ok()?, SnapshotId::parse(by).ok()?);
        Some(TrashEntry { id, by, at: found.modified })
    });
    Ok(entries.collect())
}

/// The manifest of a forgotten snapshot.
///
/// # Errors
/// When it is gone or damaged.
pub fn read(repo: &Repository, entry: &TrashEntry) -> Result<Snapshot> {
    let name = entry.name();
    let bytes = repo.storage().read(ObjectKind::Trash, &name, sealed_object::MAX_OBJECT)?;
    let bound = entry.id.hex();
    let manifest: Manifest =
        objects::open(repo.suite(), sealed_object::MANIFEST, ObjectKind::Trash, &name, &bound, bytes)?;
    Ok(Snapshot { id: entry.id, manifest })
}

/// Snapshots that are forgotten at once: most of the time goes by in waiting for the store.
const AT_ONCE: usize = 8;

/// Forgets a snapshot, readable or not: its entry is durable before the manifest goes, so that a collector sees one
/// or the other.
///
/// # Errors
/// When it is not there, or could not be forgotten.
pub fn forget(repo: &Repository, session: &Session, id: &SnapshotId) -> Result<()> {
    match forget_all(repo, session, std::slice::from_ref(id))?.is_empty() {
        true => Ok(()),
        false => Err(Error::Missing { what: ObjectKind::Snapshots.path(&id.hex()) }),
    }
}

/// Forgets many, each as [`forget`] does; their removal is made durable once for all. Returns those that were not there
/// any more.
///
/// # Errors
/// When one of them could not be forgotten: nobody knows then how many of the others were.
pub fn forget_all(repo: &Repository, session: &Session, ids: &[SnapshotId]) -> Result<Vec<SnapshotId>> {
    let failed = AtomicBool::new(false);
    let outcomes = parallel::map(ids, AT_ONCE, |id| {
        if failed.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        let outcome = move_to_trash(repo.storage(), session, id);
        failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
        outcome
    });
    let moved = |outcome: &Result<Moved>| matches!(outcome, Ok(Moved::Here));
    let removed: Vec<String> =
        ids.iter().zip(&outcomes).filter(|(_, outcome)| moved(outcome)).map(|(id, _)| id.hex()).collect();
    // Also where another failed: what was removed is to stay so.
    let durable = if removed.is_empty() { Ok(()) } else { repo.storage().sync(ObjectKind::Snapshots) };
    removed.iter().for_each(|name| repo.cache().drop_object(name));
    repo.cache().note_removed(removed.iter().map(|name| ObjectKind::Snapshots.path(name)));
    repo.note_removed(&removed);
    let mut gone = Vec::new();
    let mut first = None;
    for (id, outcome) in ids.iter().zip(outcomes) {
        match outcome {
            Ok(Moved::Gone) => gone.push(*id),
            Ok(_) => {}
            // One that was not tried any more only says that another failed.
            Err(err) if matches!(first, None | Some(Error::Stopped)) => first = Some(err),
            Err(_) => {}
        }
    }
    first.map_or(durable, Err).map(|()| gone)
}

/// What forgetting one came to.
enum Moved {
    /// It went, and its removal is not durable yet.
    Here,
    /// Another run forgot it in between.
    Meanwhile,
    /// It was not there.
    Gone,
}

fn move_to_trash(storage: &dyn Storage, session: &Session, id: &SnapshotId) -> Result<Moved> {
    let name = id.hex();
    let bytes = match storage.read(ObjectKind::Snapshots, &name, sealed_object::MAX_OBJECT) {
        Err(err) if err.is_missing() => return Ok(Moved::Gone),
        read => read?,
    };
    if bytes.starts_with(&sealed_object::FENCE) {
        return Ok(Moved::Gone);
    }
    let entry = TrashEntry { id: *id, by: session.id, at: None };
    storage.create(ObjectKind::Trash, &entry.name(), &[&bytes])?;
    // Whoever else forgot it since it was read may have had it purged: an entry made after that must not stay.
    if let Err(err) = storage.read(ObjectKind::Snapshots, &name, sealed_object::MAX_OBJECT) {
        storage.remove(ObjectKind::Trash, &entry.name())?;
        storage.sync(ObjectKind::Trash)?;
        return if err.is_missing() { Ok(Moved::Meanwhile) } else { Err(err) };
    }
    storage.remove(ObjectKind::Snapshots, &name)?;
    Ok(Moved::Here)
}

/// Brings a snapshot back; the entry stays, and the collector removes it. Returns its name: another one where a fence
/// has its own.
///
/// It is committed under the session's name before it gets its own back: whoever takes the session for dead puts a
/// fence there, so that nothing comes back after its packs have gone. In between, or when the run is cut short there,
/// it stands twice.
///
/// # Errors
/// When the entry is gone or damaged, the session was taken for dead, or the manifest could not be made durable.
pub fn undelete(repo: &Repository, session: &Session, entry: &TrashEntry) -> Result<SnapshotId> {
    let manifest = read(repo, entry)?.manifest;
    if !snapshots::commit_under(repo, session, &manifest)? {
        return Err(Error::Refused("another process took this run for dead: run it again".into()));
    }
    if !snapshots::commit(repo, entry.id, &manifest)? && !stands_in(repo.storage(), &entry.id)? {
        return Ok(session.id);
    }
    let own = session.id.hex();
    repo.storage().remove(ObjectKind::Snapshots, &own)?;
    repo.storage().sync(ObjectKind::Snapshots)?;
    repo.cache().drop_object(&own);
    repo.cache().note(&ObjectKind::Snapshots.path(&own), false);
    repo.note_removed(&[own]);
    Ok(entry.id)
}

/// Puts a manifest that is damaged back as it was, from these `bytes` of it. They become an entry of the trash first, so that
/// the snapshot is a root all the time; the damaged one is moved to quarantine; then the entry is brought back.
///
/// # Errors
/// When the bytes are not the manifest's, or as [`undelete`].
pub fn put_back(repo: &Repository, session: &Session, id: &SnapshotId, bytes: &[u8]) -> Result<SnapshotId> {
    let (storage, name) = (repo.storage(), id.hex());
    let _: Manifest = objects::open(
        repo.suite(),
        sealed_object::MANIFEST,
        ObjectKind::Snapshots,
        &name,
        &name,
        bytes.to_vec(),
    )?;
    let entry = TrashEntry { id: *id, by: session.id, at: None };
    storage.create(ObjectKind::Trash, &entry.name(), &[bytes])?;
    match storage.move_to((ObjectKind::Snapshots, &name), (ObjectKind::Quarantine, &name)) {
        // One like it was moved there before.
        Ok(CreateOutcome::Exists) => storage.remove(ObjectKind::Snapshots, &name)?,
        Ok(CreateOutcome::New) => {}
        // Forgotten meanwhile: then it is to stay so.
        Err(err) if err.is_missing() => return Ok(*id),
        Err(err) => return Err(err),
    }
    storage.sync(ObjectKind::Snapshots)?;
    undelete(repo, session, &entry)
}

/// Whether a snapshot that a collection did not mark from is a root none the less: it stands, or has an entry that the
/// collection does not purge.
///
/// # Errors
/// When the store fails.
pub fn is_root_beside(storage: &dyn Storage, id: &SnapshotId, record: &GcRecord) -> Result<bool> {
    let kept = |entry: &TrashEntry| entry.id == *id && !record.purged.contains(&(entry.id, entry.by));
    // Twice, as it may be brought back or forgotten in between.
    Ok(stands_in(storage, id)? || list_in(storage)?.iter().any(kept) || stands_in(storage, id)?)
}

/// Whether the name is a manifest's, as opposed to a fence's or nobody's.
fn stands_in(storage: &dyn Storage, id: &SnapshotId) -> Result<bool> {
    match storage.read(ObjectKind::Snapshots, &id.hex(), sealed_object::MAX_OBJECT) {
        Ok(bytes) => Ok(!bytes.starts_with(&sealed_object::FENCE)),
        Err(err) if err.is_missing() => Ok(false),
        Err(err) => Err(err),
    }
}
