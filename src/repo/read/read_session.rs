//! The one door for readers (rule R1): the session stands before anything is chosen, packs are listed after that, and
//! the index follows what collections move. A restore or a mount keeps one for all its threads.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::model::id::SnapshotId;
use crate::progress::Observer;
use crate::repo::index::Index;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::repository::Repository;
use crate::repo::sessions::session::{RepoState, Session};
use crate::repo::snapshots;
use crate::repo::snapshots::{Query, Snapshot};

/// After a look that showed nothing new, what is missing stays missing for so long: a repository that lacks a million
/// chunks must not be listed a million times.
const PAUSE: Duration = Duration::from_secs(10);

/// A reader at work.
pub struct ReadSession {
    repo: Repository,
    /// `None` where none can be made: a read-only medium, a full disk.
    session: Mutex<Option<Session>>,
    now: Mutex<Current>,
}

struct Current {
    /// With this machine's view open as long as the index needs it.
    repo: Repository,
    /// `None` while it rests.
    index: Option<Arc<Index>>,
    /// When a look showed nothing new.
    idle: Option<Instant>,
}

impl ReadSession {
    /// Opens a session if one can be made; the observer is told if not. What is to be read must be chosen after this
    /// and named to [`Self::begin`]: until then nothing that stands is deleted.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn open(repo: &Repository, observer: &dyn Observer) -> Result<Self> {
        let session = Session::open_deferred(repo, observer)?;
        // Nothing is listed yet.
        let now = Current { repo: repo.clone(), index: Some(Arc::default()), idle: None };
        Ok(Self { repo: repo.clone(), session: Mutex::new(session), now: Mutex::new(now) })
    }

    /// As [`Self::open`], for those who stay for days: packs are listed when they are first needed, and while nobody reads
    /// ([`Self::rest`]) there is no index, and this machine's view is open to others.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_to_stay(repo: &Repository, observer: &dyn Observer) -> Result<Self> {
        let session = Session::open_deferred(repo, observer)?;
        let now = Current { repo: repo.with_closed_index_cache(), index: None, idle: None };
        Ok(Self { repo: repo.clone(), session: Mutex::new(session), now: Mutex::new(now) })
    }

    /// All readable snapshots that stand now, oldest first. None of them is deleted before the session ends, or before
    /// [`Self::begin`] leaves it out.
    ///
    /// # Errors
    /// When the store fails.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>> {
        snapshots::list(&self.repo)
    }

    /// The snapshot that a person means, and the path behind the colon: see [`snapshots::resolve`].
    ///
    /// # Errors
    /// `NoSnapshot` says why there is none.
    pub fn resolve<'a>(&self, query: impl Into<Query<'a>>) -> Result<(Snapshot, Option<Vec<u8>>)> {
        snapshots::resolve(&self.repo, query)
    }

    /// As [`Self::begin`], without listing anything yet. What is `fewer` is let go of at once: a collection may be waiting
    /// for just that.
    ///
    /// # Errors
    /// When the heartbeat that says so could not be given; the next one says it then.
    pub fn follow(&self, snapshots: &[SnapshotId], more: bool, fewer: bool) -> Result<()> {
        let session = self.open_session();
        session.iter().for_each(|session| session.reads(snapshots));
        if more {
            // What is listed may be older than they are.
            self.now().index = None;
        }
        session.as_ref().filter(|_| fewer).map_or(Ok(()), Session::beat)
    }

    /// Lets go of the index, and of this machine's view, until they are needed again.
    pub fn rest(&self) {
        let mut now = self.now();
        now.index = None;
        now.repo = self.repo.with_closed_index_cache();
    }

    /// Says what is read from now on, instead of what was, and lists the packs. From here on collections may go ahead
    /// as long as they leave these snapshots what they need.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn begin(&self, snapshots: &[SnapshotId]) -> Result<Arc<Index>> {
        if let Some(session) = &*self.open_session() {
            session.reads(snapshots);
        }
        let mut now = self.now();
        let index = self.load(&mut now)?;
        drop(now);
        // One that leaves these what they need shall not wait for the next heartbeat.
        match &*self.open_session() {
            Some(session) if !index.repo_state().unfinished.is_empty() => session.beat()?,
            _ => {}
        }
        Ok(index)
    }

    /// What of the repository may be used, for a reader that looks through all of it: nothing is named, so every
    /// collection waits for the end of this session, and what is listed stays. To be called after the snapshots were
    /// chosen: then the packs of each of them are listed.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn look(&self) -> Result<RepoState> {
        let (repo_state, met) = RepoState::look_to_read(self.repo.storage(), self.repo.suite())?;
        met.iter().for_each(|err| self.repo.warn(format!("{}: reading all the same", err.chain())));
        Ok(repo_state)
    }

    /// An index of what [`Self::look`] gives.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub fn fixed_index(&self) -> Result<Arc<Index>> {
        Ok(Arc::new(Index::load(&self.repo, self.look()?)?))
    }

    /// Reads chunks, and lists again what turns out to be gone.
    ///
    /// # Errors
    /// When zstd cannot be set up or the repository cannot be read.
    pub fn chunks(self: &Arc<Self>) -> Result<ChunkReader> {
        ChunkReader::following(self)
    }

    /// The index as it is now: listed again if a collection began since, so that what moved is read where it went.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn index(&self) -> Result<Arc<Index>> {
        let newest_gc_noticed = self.open_session().as_ref().map_or(0, Session::newest_gc_noticed);
        let mut now = self.now();
        match &now.index {
            Some(index) if newest_gc_noticed <= index.repo_state().gc_seen => Ok(Arc::clone(index)),
            _ => self.load(&mut now),
        }
    }

    /// What is listed now, after something that `before` lists turned out to be gone; `None` when that is all there is.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn after(&self, before: &Arc<Index>) -> Result<Option<Arc<Index>>> {
        let mut now = self.now();
        match &now.index {
            Some(index) if Arc::ptr_eq(index, before) => {}
            Some(index) => return Ok(Some(Arc::clone(index))),
            None => return self.load(&mut now).map(Some),
        }
        if now.idle.is_some_and(|since| since.elapsed() < PAUSE) {
            return Ok(None);
        }
        if RepoState::packs(self.repo.storage())? == before.repo_state().packs {
            now.idle = Some(Instant::now());
            return Ok(None);
        }
        self.load(&mut now).map(Some)
    }

    /// The session, for those who leave records.
    pub fn session(&self) -> Option<SnapshotId> {
        self.open_session().as_ref().map(|session| session.id)
    }

    /// A heartbeat ahead of time.
    ///
    /// # Errors
    /// When it could not be given.
    pub fn beat(&self) -> Result<()> {
        self.open_session().as_ref().map_or(Ok(()), Session::beat)
    }

    /// Ends the session.
    ///
    /// # Errors
    /// When it is still visible.
    pub fn close(self) -> Result<()> {
        self.leave()
    }

    /// As [`Self::close`], where others may still be reading: what they read may go from now on.
    ///
    /// # Errors
    /// As [`Self::close`].
    pub fn leave(&self) -> Result<()> {
        self.open_session().take().map_or(Ok(()), Session::close)
    }

    fn open_session(&self) -> MutexGuard<'_, Option<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load(&self, now: &mut Current) -> Result<Arc<Index>> {
        let index = Arc::new(Index::load(&now.repo, self.look()?)?);
        now.index = Some(Arc::clone(&index));
        now.idle = None;
        Ok(index)
    }

    fn now(&self) -> MutexGuard<'_, Current> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The repository that is read.
    pub fn repo(&self) -> &Repository {
        &self.repo
    }
}

impl fmt::Debug for ReadSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadSession").field("session", &self.session()).finish_non_exhaustive()
    }
}
