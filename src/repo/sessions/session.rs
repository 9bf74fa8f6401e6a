//! Sessions: how writers, readers and gc runs see each other (rules W1 and W2 of docs/concurrency.md).

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::codec::crypto::suite::CipherSuite;
use crate::codec::crypto::{cipher, sealed_object};
use crate::error::{Error, Result};
use crate::model::entry::Time;
use crate::model::id::{PackId, SnapshotId};
use crate::model::records::{SessionKind, SessionRecord};
use crate::progress::{Event, Observer};
use crate::repo::objects;
use crate::repo::repository::Repository;
use crate::repo::sessions::gc_record::GcRun;
use crate::repo::sessions::heartbeat::{BEATS_PER_STALE_AFTER, HeartbeatState, HeartbeatThread};
use crate::repo::sessions::{damage, gc_record};
use crate::storage::{LockGuard, ObjectKind, Storage};
use crate::util::host;

const SESSIONLESS: &str = "the repository is not writable: reading without a session, so do not run a garbage \
                           collection at the same time";

/// The repository state, as of one instant: the listed packs, and which of them new data must not reference.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepoState {
    /// The highest number of a gc run.
    pub gc_seen: u64,
    /// The unfinished gc run.
    pub unfinished: Option<GcRun>,
    /// The packs that it condemns.
    pub condemned: HashSet<PackId>,
    /// Packs with a damage record.
    pub damaged: HashSet<PackId>,
    /// Whether there is any damage record.
    pub any_damage: bool,
    /// All listed packs with their lengths.
    pub packs: Vec<(PackId, u64)>,
}

impl RepoState {
    /// Loads the repository state in the order that W1 requires: gc runs twice, then damage records, then
    /// packs. `seen` is called with the highest gc number before damage and packs are listed.
    ///
    /// # Errors
    /// When a listing or a record could not be read: an error is never treated as an empty list.
    pub fn read(
        storage: &dyn Storage,
        suite: &CipherSuite,
        seen: impl FnOnce(u64) -> Result<()>,
    ) -> Result<Self> {
        let gc_seen = gc_record::highest(storage)?;
        // The second listing follows even if the first was empty: a record may have been published in
        // between.
        let unfinished = gc_record::unfinished(storage, suite)?;
        let condemned = unfinished.iter().flat_map(|run| run.record.condemned.iter().copied()).collect();
        let mut repo_state = Self { gc_seen, condemned, unfinished, ..Self::default() };
        seen(gc_seen)?;
        for (name, record) in damage::list(storage, suite)? {
            repo_state.any_damage = true;
            repo_state.damaged.extend(damage::pack_of(&name, record.as_ref()));
        }
        repo_state.packs = Self::packs(storage)?;
        Ok(repo_state)
    }

    /// Like [`Self::read`], for readers. If a gc or damage record is unreadable, uses the listed packs as
    /// they are: no gc run can delete by such a record. Also returns that error, for a warning.
    ///
    /// # Errors
    /// When something cannot be listed.
    pub(crate) fn read_despite_bad_records(
        storage: &dyn Storage,
        suite: &CipherSuite,
    ) -> Result<(Self, Option<Error>)> {
        match Self::read(storage, suite, |_| Ok(())) {
            Err(err) if err.is_damage() => {
                Ok((Self { packs: Self::packs(storage)?, ..Self::default() }, Some(err)))
            }
            other => Ok((other?, None)),
        }
    }

    /// Lists all packs with their lengths.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn packs(storage: &dyn Storage) -> Result<Vec<(PackId, u64)>> {
        let listed = storage.list(ObjectKind::Packs)?;
        Ok(listed.iter().filter_map(|found| Some((PackId::parse(&found.name).ok()?, found.len))).collect())
    }

    /// Returns whether every pack that new data could reference in an earlier state can still be referenced.
    pub fn still_allows(&self, earlier: &Self) -> bool {
        let packs: HashSet<PackId> = self.packs.iter().map(|(id, _)| *id).collect();
        let usable =
            |repo_state: &Self, id| !repo_state.condemned.contains(id) && !repo_state.damaged.contains(id);
        let mut before = earlier.packs.iter().map(|(id, _)| id).filter(|id| usable(earlier, id));
        before.all(|id| packs.contains(id) && usable(self, id))
    }

    /// W2: returns whether the chunks of this snapshot may be reused without looking them up.
    pub fn protects(&self, parent: &SnapshotId) -> bool {
        !self.any_damage && self.unfinished.iter().all(|run| run.record.roots.contains(parent))
    }
}

/// A session, visible in the repository until it is closed.
#[derive(Debug)]
pub struct Session {
    /// The session's id, which is also the id of the snapshot that it may commit.
    pub id: SnapshotId,
    storage: Arc<dyn Storage>,
    lock: Option<Box<dyn LockGuard>>,
    heartbeat: Arc<HeartbeatState>,
    heartbeat_thread: Option<HeartbeatThread>,
}

impl Session {
    /// W1: makes the session visible, then loads the repository state.
    ///
    /// # Errors
    /// When the session could not be made durable or the repository could not be read.
    pub fn open(repo: &Repository, kind: SessionKind) -> Result<(Self, RepoState)> {
        let mut session = Self::create_record(repo, kind)?;
        let storage = session.storage.as_ref();
        let repo_state =
            RepoState::read(storage, repo.suite(), |gc_seen| session.heartbeat.write_heartbeat(gc_seen))?;
        session.start_heartbeat(repo)?;
        Ok((session, repo_state))
    }

    /// Makes the session visible without loading the repository state, for repairs of unreadable gc records.
    /// It has acknowledged no gc run, so every sweep waits for it.
    ///
    /// # Errors
    /// When the session could not be made durable.
    pub fn open_without_state(repo: &Repository, kind: SessionKind) -> Result<Self> {
        let mut session = Self::create_record(repo, kind)?;
        session.heartbeat.write_heartbeat(0)?;
        session.start_heartbeat(repo)?;
        Ok(session)
    }

    /// R1: opens a reader session without loading the repository state. Until [`Self::set_reading`] is called,
    /// it has acknowledged no gc run, so every one waits for it. `None`, with a warning, if a session cannot
    /// be written, as on a read-only medium.
    ///
    /// # Errors
    /// When it cannot be determined whether a session can be written.
    pub(crate) fn open_deferred(repo: &Repository, observer: &dyn Observer) -> Result<Option<Self>> {
        repo.may_read()?;
        match Self::create_record(repo, SessionKind::Reader) {
            Ok(mut session) => {
                session.start_heartbeat(repo)?;
                Ok(Some(session))
            }
            Err(Error::Io { .. }) => {
                observer.notice(Event::Warning(SESSIONLESS));
                Ok(None)
            }
            Err(err) => Err(err),
        }
    }

    fn create_record(repo: &Repository, kind: SessionKind) -> Result<Self> {
        match kind {
            SessionKind::Reader => {}
            SessionKind::Writer => repo.may_add()?,
            SessionKind::Collector => repo.may_write()?,
        }
        if kind != SessionKind::Reader {
            repo.refuse_rotated()?;
        }
        let (storage, suite) = (repo.shared_storage(), repo.suite());
        let id = cipher::new_id()?;
        // Without working locks a free lock means nothing. A process that reaches the same storage by another
        // path, where locks work, must not consider this session dead because its lock is free.
        let has_locks = !storage.is_remote() && storage.is_held(ObjectKind::Sessions, &id.hex())?.is_some();
        let record = SessionRecord {
            kind,
            host: host::host_name(),
            boot: if has_locks { host::boot_id() } else { String::new() },
            pid: std::process::id(),
            started: Time::now(),
        };
        let bytes = objects::seal(suite, sealed_object::SESSION, &id.hex(), &record)?;
        let lock = storage.create_held(ObjectKind::Sessions, &id.hex(), &bytes)?;
        let stale_after = Duration::from_secs(repo.config().stale_after);
        let heartbeat = Arc::new(HeartbeatState::new(storage, suite, id, stale_after));
        let storage = Arc::clone(storage);
        Ok(Self { id, storage, lock: Some(lock), heartbeat, heartbeat_thread: None })
    }

    fn start_heartbeat(&mut self, repo: &Repository) -> Result<()> {
        let every = Duration::from_secs(repo.config().stale_after) / BEATS_PER_STALE_AFTER;
        self.heartbeat_thread = Some(HeartbeatThread::start(Arc::clone(&self.heartbeat), every)?);
        Ok(())
    }

    /// Writes a heartbeat that acknowledges gc runs up to this number: nothing that this session still uses
    /// was loaded before them.
    ///
    /// # Errors
    /// When the heartbeat could not be written.
    pub fn acknowledge_gc(&self, gc_seen: u64) -> Result<()> {
        if gc_seen > self.heartbeat.last.lock().gc_seen {
            self.heartbeat.write_heartbeat(gc_seen)
        } else {
            Ok(())
        }
    }

    /// R1: declares what the reader reads from now on, instead of what it declared before. Until the first
    /// call every later gc run waits for this session to end; afterwards only those that would delete data of
    /// these snapshots.
    pub fn set_reading(&self, snapshots: &[SnapshotId]) {
        *self.heartbeat.reading.lock() = Some(snapshots.to_vec());
    }

    /// Returns the highest gc number that a heartbeat of this reader has encountered.
    pub fn newest_gc_noticed(&self) -> u64 {
        self.heartbeat.newest_gc_noticed.load(Ordering::Relaxed)
    }

    /// Writes a heartbeat ahead of schedule.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn write_heartbeat(&self) -> Result<()> {
        self.heartbeat.tick()
    }

    /// Returns the time by the storage's clock, which dates objects: when it wrote this session's last
    /// heartbeat. This machine's clock may be days ahead. `None` if the storage reports no times.
    ///
    /// # Errors
    /// When the heartbeat could not be written or found.
    pub fn storage_time(&self) -> Result<Option<Time>> {
        self.write_heartbeat()?;
        let name = format!("{}.beat", self.id);
        let listed = self.storage.list(ObjectKind::Sessions)?;
        Ok(listed.into_iter().find(|found| found.name == name).and_then(|found| found.modified))
    }

    /// W3: returns whether this session was fenced. Checks the storage only if the session was silent long
    /// enough for that.
    ///
    /// # Errors
    /// When it cannot be determined.
    pub fn was_fenced(&self) -> Result<bool> {
        if !self.heartbeat.silence.was_too_long() {
            return Ok(false);
        }
        match self.storage.read(ObjectKind::Sessions, &self.id.hex(), sealed_object::MAX_OBJECT) {
            Ok(_) => Ok(false),
            Err(err) if err.is_missing() => Ok(true),
            Err(err) => Err(err),
        }
    }

    /// Closes the session: removes the heartbeat first, the session last.
    ///
    /// # Errors
    /// When the session is still visible.
    pub fn close(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some(lock) = self.lock.take() else { return Ok(()) };
        if let Some(heartbeat_thread) = self.heartbeat_thread.take() {
            heartbeat_thread.stop();
        }
        let beat = self.storage.remove(ObjectKind::Sessions, &format!("{}.beat", self.id));
        match beat.and_then(|()| self.storage.remove(ObjectKind::Sessions, &self.id.hex())) {
            Err(err) if err.is_forbidden() => self.heartbeat.write_end_marker()?,
            removed => removed?,
        }
        drop(lock);
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A leftover session only costs a gc run one check; there is nobody to report the error to.
        let _ = self.end();
    }
}
