//! Sessions: how writers, readers and collectors see each other (rules W1 and W2 of docs/collecting.md).

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::codec::crypto::cipher::CipherSuite;
use crate::codec::crypto::{cipher, sealed_object};
use crate::error::{Error, Result};
use crate::model::entry::Time;
use crate::model::id::{PackId, SnapshotId};
use crate::model::records::{Heartbeat, SessionKind, SessionRecord};
use crate::progress::{Event, Observer};
use crate::repo::objects;
use crate::repo::repository::Repository;
use crate::repo::sessions::gc_record::GcRun;
use crate::repo::sessions::silence::Silence;
use crate::repo::sessions::{damage, gc_record};
use crate::repo::snapshots::trash;
use crate::storage::names::END_MARKER;
use crate::storage::{LockGuard, ObjectKind, Storage};
use crate::util::{host, threads};

/// Beats within the time after which a collector may take a silent session for dead.
const BEATS: u32 = 12;

const SESSIONLESS: &str =
    "the repository cannot be written to: reading without a session, so do not run gc meanwhile";

/// What of a repository may be used: the fresh listing of packs, less what is condemned or damaged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepoState {
    /// The highest collection there is.
    pub gc_seen: u64,
    /// Packs of unfinished collections.
    pub condemned: HashSet<PackId>,
    /// Unfinished collections, oldest first.
    pub unfinished: Vec<GcRun>,
    /// Packs found damaged.
    pub damaged: HashSet<PackId>,
    /// Whether any damage record stands.
    pub any_damage: bool,
    /// All listed packs with their lengths.
    pub packs: Vec<(PackId, u64)>,
}

impl RepoState {
    /// Looks, in the order of W1: collections twice, then damage, then packs. `seen` is called in between.
    ///
    /// # Errors
    /// When a listing or a record could not be read: an error is never an empty list.
    pub fn look(
        storage: &dyn Storage,
        suite: &CipherSuite,
        seen: impl FnOnce(u64) -> Result<()>,
    ) -> Result<Self> {
        let gc_seen = gc_record::highest(storage)?;
        // An empty first listing is followed by the second one as well: a record may have come in between.
        let unfinished = gc_record::unfinished(storage, suite)?;
        let condemned = unfinished.iter().flat_map(|one| one.record.condemned.iter().copied()).collect();
        let mut repo_state = Self { gc_seen, condemned, unfinished, ..Self::default() };
        seen(gc_seen)?;
        for (name, record) in damage::list(storage, suite)? {
            repo_state.any_damage = true;
            repo_state.damaged.extend(damage::pack_of(&name, record.as_ref()));
        }
        repo_state.packs = Self::packs(storage)?;
        Ok(repo_state)
    }

    /// For readers. Where a record of collecting or of damage cannot be read, listed packs are taken as they are: nobody
    /// can collect by it. Why it cannot be read is for people.
    ///
    /// # Errors
    /// When something cannot be listed.
    pub(crate) fn look_to_read(storage: &dyn Storage, suite: &CipherSuite) -> Result<(Self, Option<Error>)> {
        match Self::look(storage, suite, |_| Ok(())) {
            Err(err) if err.is_damage() => {
                Ok((Self { packs: Self::packs(storage)?, ..Self::default() }, Some(err)))
            }
            other => Ok((other?, None)),
        }
    }

    /// All listed packs with their lengths.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn packs(storage: &dyn Storage) -> Result<Vec<(PackId, u64)>> {
        let listed = storage.list(ObjectKind::Packs)?;
        Ok(listed.iter().filter_map(|found| Some((PackId::parse(&found.name).ok()?, found.len))).collect())
    }

    /// Whether every pack that an earlier sight let be written against still may.
    pub fn still_allows(&self, earlier: &Self) -> bool {
        let packs: HashSet<PackId> = self.packs.iter().map(|(id, _)| *id).collect();
        let usable =
            |repo_state: &Self, id| !repo_state.condemned.contains(id) && !repo_state.damaged.contains(id);
        let mut before = earlier.packs.iter().map(|(id, _)| id).filter(|id| usable(earlier, id));
        before.all(|id| packs.contains(id) && usable(self, id))
    }

    /// W2: whether what this snapshot holds may be reused without looking.
    pub fn protects(&self, parent: &SnapshotId) -> bool {
        !self.any_damage && self.unfinished.iter().all(|one| one.record.roots.contains(parent))
    }
}

/// A session, visible in the repository until it is closed.
#[derive(Debug)]
pub struct Session {
    /// Names it, and the snapshot it may commit.
    pub id: SnapshotId,
    storage: Arc<dyn Storage>,
    hold: Option<Box<dyn LockGuard>>,
    heartbeat: Arc<HeartbeatState>,
    heartbeat_thread: Option<HeartbeatThread>,
}

/// What the heartbeats say, shared with the thread that gives them.
#[derive(Debug)]
struct HeartbeatState {
    storage: Arc<dyn Storage>,
    suite: CipherSuite,
    id: SnapshotId,
    said: Mutex<Heartbeat>,
    /// What a reader reads, once it has said so.
    reads: Mutex<Option<Vec<SnapshotId>>>,
    newest_gc_noticed: AtomicU64,
    silence: Silence,
}

#[derive(Debug)]
struct HeartbeatThread {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: JoinHandle<()>,
}

impl Session {
    /// W1: becomes visible, then looks.
    ///
    /// # Errors
    /// When the session could not be made durable or the repository could not be read.
    pub fn open(repo: &Repository, kind: SessionKind) -> Result<(Self, RepoState)> {
        let mut session = Self::appear(repo, kind)?;
        let storage = session.storage.as_ref();
        let repo_state = RepoState::look(storage, repo.suite(), |gc_seen| session.heartbeat.beat(gc_seen))?;
        session.live(repo)?;
        Ok((session, repo_state))
    }

    /// Becomes visible and does not look: for whoever comes because the records of collecting cannot be read. It has seen
    /// no collection, so whoever wants to sweep one waits for it.
    ///
    /// # Errors
    /// When the session could not be made durable.
    pub fn open_without_state(repo: &Repository, kind: SessionKind) -> Result<Self> {
        let mut session = Self::appear(repo, kind)?;
        session.heartbeat.beat(0)?;
        session.live(repo)?;
        Ok(session)
    }

    /// R1: a reader that looks when it knows what it reads ([`Self::reads`]). Until then it has seen no collection, so every one
    /// waits for it. `None`, and said, where no session can be made.
    ///
    /// # Errors
    /// When it cannot be told whether one can.
    pub(crate) fn open_deferred(repo: &Repository, observer: &dyn Observer) -> Result<Option<Self>> {
        match Self::appear(repo, SessionKind::Reader) {
            Ok(mut session) => {
                session.live(repo)?;
                Ok(Some(session))
            }
            Err(Error::Io { .. }) => {
                observer.notice(Event::Warning(SESSIONLESS));
                Ok(None)
            }
            Err(err) => Err(err),
        }
    }

    fn appear(repo: &Repository, kind: SessionKind) -> Result<Self> {
        if kind != SessionKind::Reader {
            repo.may_write()?;
        }
        let (storage, suite) = (repo.shared_storage(), repo.suite());
        let id = cipher::new_id()?;
        // Where nothing is locked, a lock that is free tells nothing: whoever comes to the same place by another way, where
        // there are locks, must not take this session for one of its own boot that is gone.
        let locks = !storage.is_remote() && storage.is_held(ObjectKind::Sessions, &id.hex())?.is_some();
        let record = SessionRecord {
            kind,
            host: host::host_name(),
            boot: if locks { host::boot_id() } else { String::new() },
            pid: std::process::id(),
            started: Time::now(),
        };
        let bytes = objects::close(suite, sealed_object::SESSION, &id.hex(), &record)?;
        let hold = storage.create_held(ObjectKind::Sessions, &id.hex(), &bytes)?;
        let heartbeat = Arc::new(HeartbeatState {
            storage: Arc::clone(storage),
            suite: suite.clone(),
            id,
            said: Mutex::new(Heartbeat { count: 0, gc_seen: 0 }),
            reads: Mutex::default(),
            newest_gc_noticed: AtomicU64::new(0),
            silence: Silence::new(Duration::from_secs(repo.config().stale_after)),
        });
        let storage = Arc::clone(storage);
        Ok(Self { id, storage, hold: Some(hold), heartbeat, heartbeat_thread: None })
    }

    fn live(&mut self, repo: &Repository) -> Result<()> {
        let every = Duration::from_secs(repo.config().stale_after) / BEATS;
        self.heartbeat_thread = Some(HeartbeatThread::start(Arc::clone(&self.heartbeat), every)?);
        Ok(())
    }

    /// Says at once that collections up to this one have been seen: nothing that this session still goes by was
    /// found before them.
    ///
    /// # Errors
    /// When it could not be said.
    pub fn acknowledge_gc(&self, gc_seen: u64) -> Result<()> {
        if gc_seen > self.heartbeat.said().gc_seen { self.heartbeat.beat(gc_seen) } else { Ok(()) }
    }

    /// R1: what a reader reads from now on, instead of what it has read. Until this is said, every collection that begins
    /// later waits for its end; from then on, only those that would take something from these snapshots.
    pub fn reads(&self, snapshots: &[SnapshotId]) {
        *self.heartbeat.reads() = Some(snapshots.to_vec());
    }

    /// The highest collection that a heartbeat of this reader has met.
    pub fn newest_gc_noticed(&self) -> u64 {
        self.heartbeat.newest_gc_noticed.load(Ordering::Relaxed)
    }

    /// A heartbeat ahead of time.
    ///
    /// # Errors
    /// When it could not be given.
    pub fn beat(&self) -> Result<()> {
        self.heartbeat.turn()
    }

    /// W3: whether somebody buried this session. Asked of the store only after a silence in which that may have happened.
    ///
    /// # Errors
    /// When it cannot be told.
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

    /// Ends it: the heartbeat goes first, the session last.
    ///
    /// # Errors
    /// When it is still visible.
    pub fn close(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some(hold) = self.hold.take() else { return Ok(()) };
        if let Some(heartbeat_thread) = self.heartbeat_thread.take() {
            heartbeat_thread.stop();
        }
        let beat = self.storage.remove(ObjectKind::Sessions, &format!("{}.beat", self.id));
        match beat.and_then(|()| self.storage.remove(ObjectKind::Sessions, &self.id.hex())) {
            Err(err) if err.is_forbidden() => self.heartbeat.say_that_it_ended()?,
            removed => removed?,
        }
        drop(hold);
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A session left behind costs a collector a look; there is nobody to tell.
        let _ = self.end();
    }
}

impl HeartbeatState {
    fn said(&self) -> MutexGuard<'_, Heartbeat> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reads(&self) -> MutexGuard<'_, Option<Vec<SnapshotId>>> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// R1: a heartbeat. A reader looks at the collections first, and says of those that leave it all it needs that it
    /// has seen them.
    fn turn(&self) -> Result<()> {
        // Held until it is said: what is to be read next is not named in between.
        let reads = self.reads();
        let seen = reads.as_ref().map_or(0, |reads| self.may_have_seen(reads).unwrap_or(0));
        self.beat(seen)
    }

    /// The highest collection, if no unfinished one takes anything from these snapshots: it marked from them, or they
    /// stand unpurged, and whoever sweeps it looks at the roots again. 0 otherwise.
    fn may_have_seen(&self, reads: &[SnapshotId]) -> Result<u64> {
        let storage = self.storage.as_ref();
        let highest = gc_record::highest(storage)?;
        self.newest_gc_noticed.fetch_max(highest, Ordering::Relaxed);
        if highest <= self.said().gc_seen {
            return Ok(0);
        }
        for gc_run in gc_record::unfinished(storage, &self.suite)? {
            for id in reads.iter().filter(|id| !gc_run.record.roots.contains(id)) {
                if !trash::is_root_beside(storage, id, &gc_run.record)? {
                    return Ok(0);
                }
            }
        }
        Ok(highest)
    }

    /// One more beat. What has been seen once is never taken back.
    fn beat(&self, gc_seen: u64) -> Result<()> {
        let mut said = self.said();
        let next = Heartbeat { count: said.count + 1, gc_seen: said.gc_seen.max(gc_seen) };
        let name = format!("{}.beat", self.id);
        let bytes = objects::close(&self.suite, sealed_object::BEAT, &name, &next)?;
        self.storage.replace(ObjectKind::Sessions, &name, &bytes)?;
        self.silence.end();
        *said = next;
        Ok(())
    }

    /// Where nothing may be removed: whoever may clears up.
    fn say_that_it_ended(&self) -> Result<()> {
        let (name, last) = (format!("{}{END_MARKER}", self.id), *self.said());
        objects::create(&*self.storage, &self.suite, sealed_object::BEAT, ObjectKind::Sessions, &name, &last)
            .map(drop)
    }
}

impl HeartbeatThread {
    fn start(heartbeat: Arc<HeartbeatState>, every: Duration) -> Result<Self> {
        // A repository that says 0 must not make this spin.
        let every = every.max(Duration::from_millis(50));
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let signal = Arc::clone(&stop);
        let thread = threads::detached("heartbeat", move || {
            let mut stopped = signal.0.lock().unwrap_or_else(PoisonError::into_inner);
            while !*stopped {
                let wait = signal.1.wait_timeout(stopped, every).unwrap_or_else(PoisonError::into_inner);
                stopped = wait.0;
                if wait.1.timed_out() && !*stopped {
                    // A missed beat costs at worst a fence and a re-check.
                    let _ = heartbeat.turn();
                }
            }
        })?;
        Ok(Self { stop, thread })
    }

    fn stop(self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        let _ = self.thread.join();
    }
}
