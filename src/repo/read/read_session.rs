//! The session that every reader uses (rule R1): it is visible before anything is chosen, packs are listed
//! after that, and the index follows what gc runs move. A restore or a mount shares one among all its
//! threads.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::Result;
use crate::model::id::SnapshotId;
use crate::progress::Observer;
use crate::repo::index::Index;
use crate::repo::repository::Repository;
use crate::repo::sessions::session::{RepoState, Session};
use crate::repo::snapshots::{self, Snapshot};

/// Minimum time between two listings that show nothing new: a repository that lacks a million chunks must not
/// be listed a million times.
const RELIST_PAUSE: Duration = Duration::from_secs(10);

/// An open reader session.
pub struct ReadSession {
    repo: Repository,
    /// `None` if none can be created, as on a read-only medium or a full disk.
    session: Mutex<Option<Session>>,
    current: Mutex<Current>,
}

struct Current {
    /// Keeps the local index cache open as long as the index needs it.
    repo: Repository,
    /// `None` until needed, and after [`ReadSession::release_caches`].
    index: Option<Arc<Index>>,
    /// When a listing last showed nothing new.
    unchanged_at: Option<Instant>,
}

impl ReadSession {
    /// Opens a session if possible, else warns the observer. The snapshots must be chosen afterwards, and
    /// passed to [`Self::set_snapshots`]: until then no gc run deletes data of listed snapshots.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn open(repo: &Repository, observer: &dyn Observer) -> Result<Self> {
        let session = Session::open_deferred(repo, observer)?;
        // Nothing is listed yet.
        let current = Current { repo: repo.clone(), index: Some(Arc::default()), unchanged_at: None };
        Ok(Self { repo: repo.clone(), session: Mutex::new(session), current: Mutex::new(current) })
    }

    /// Like [`Self::open`], for long-lived readers: packs are listed when first needed, and while nothing is
    /// read ([`Self::release_caches`]) no index is loaded and other processes can use the local index cache.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_long_lived(repo: &Repository, observer: &dyn Observer) -> Result<Self> {
        let session = Session::open_deferred(repo, observer)?;
        let current = Current { repo: repo.with_closed_index_cache(), index: None, unchanged_at: None };
        Ok(Self { repo: repo.clone(), session: Mutex::new(session), current: Mutex::new(current) })
    }

    /// Returns all readable snapshots, oldest first. None of their data is deleted before the session ends,
    /// or before [`Self::set_snapshots`] leaves them out.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>> {
        snapshots::list(&self.repo)
    }

    /// Like [`Self::set_snapshots`], but lists packs only when needed. If snapshots were `removed`, writes a
    /// heartbeat at once, so that a waiting gc run can proceed.
    ///
    /// # Errors
    /// When that heartbeat could not be written; the next scheduled one repeats it.
    pub fn update_snapshots(&self, snapshots: &[SnapshotId], added: bool, removed: bool) -> Result<()> {
        let session = self.session.lock();
        session.iter().for_each(|session| session.set_reading(snapshots));
        if added {
            // The loaded index may be older than the new snapshots.
            self.current.lock().index = None;
        }
        session.as_ref().filter(|_| removed).map_or(Ok(()), Session::write_heartbeat)
    }

    /// Releases the index and the local index cache until they are needed again.
    pub fn release_caches(&self) {
        let mut current = self.current.lock();
        current.index = None;
        current.repo = self.repo.with_closed_index_cache();
    }

    /// Declares the snapshots read from now on, replacing the previous ones, and lists the packs. From here
    /// on gc runs may proceed if they keep all data of these snapshots.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn set_snapshots(&self, snapshots: &[SnapshotId]) -> Result<Arc<Index>> {
        if let Some(session) = &*self.session.lock() {
            session.set_reading(snapshots);
        }
        let index = self.load(&mut self.current.lock())?;
        // A waiting gc run that keeps these snapshots' data should not have to wait for the next scheduled
        // heartbeat.
        match &*self.session.lock() {
            Some(session) if index.repo_state().unfinished.is_some() => session.write_heartbeat()?,
            _ => {}
        }
        Ok(index)
    }

    /// Loads the repository state for a reader that reads all of the repository. No snapshots are declared,
    /// so every gc run waits for the end of this session, and all listed packs stay. To be called after the
    /// snapshots were chosen, so that the packs of each of them are listed.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn read_state(&self) -> Result<RepoState> {
        let (repo_state, bad) = RepoState::read_despite_bad_records(self.repo.storage(), self.repo.suite())?;
        bad.iter().for_each(|err| self.repo.control().warn(format!("{}: reading without it", err.chain())));
        Ok(repo_state)
    }

    /// Loads an index of what [`Self::read_state`] returns.
    ///
    /// # Errors
    /// As [`Self::read_state`].
    pub fn fixed_index(&self) -> Result<Arc<Index>> {
        Ok(Arc::new(Index::load(&self.repo, self.read_state()?)?))
    }

    /// Returns the index. It is reloaded if a gc run began since, so that moved chunks are found.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn index(&self) -> Result<Arc<Index>> {
        let newest_gc_noticed = self.session.lock().as_ref().map_or(0, Session::newest_gc_noticed);
        let mut current = self.current.lock();
        match &current.index {
            Some(index) if newest_gc_noticed <= index.repo_state().gc_seen => Ok(Arc::clone(index)),
            _ => self.load(&mut current),
        }
    }

    /// Reloads the index after something that `before` lists is gone; `None` if there is nothing new.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn newer_index(&self, before: &Arc<Index>) -> Result<Option<Arc<Index>>> {
        let mut current = self.current.lock();
        match &current.index {
            Some(index) if Arc::ptr_eq(index, before) => {}
            Some(index) => return Ok(Some(Arc::clone(index))),
            None => return self.load(&mut current).map(Some),
        }
        if current.unchanged_at.is_some_and(|since| since.elapsed() < RELIST_PAUSE) {
            return Ok(None);
        }
        if RepoState::packs(self.repo.storage())? == before.repo_state().packs {
            current.unchanged_at = Some(Instant::now());
            return Ok(None);
        }
        self.load(&mut current).map(Some)
    }

    /// Returns the session's id, for callers that create records in its name.
    pub fn session(&self) -> Option<SnapshotId> {
        self.session.lock().as_ref().map(|session| session.id)
    }

    /// Writes a heartbeat ahead of schedule.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn write_heartbeat(&self) -> Result<()> {
        self.session.lock().as_ref().map_or(Ok(()), Session::write_heartbeat)
    }

    /// Closes the session.
    ///
    /// # Errors
    /// When it is still visible.
    pub fn close(self) -> Result<()> {
        self.end()
    }

    /// Like [`Self::close`], while other threads may still be reading: the data they read may be deleted from
    /// now on.
    ///
    /// # Errors
    /// As [`Self::close`].
    pub fn end(&self) -> Result<()> {
        self.session.lock().take().map_or(Ok(()), Session::close)
    }

    fn load(&self, current: &mut Current) -> Result<Arc<Index>> {
        let index = Arc::new(Index::load(&current.repo, self.read_state()?)?);
        current.index = Some(Arc::clone(&index));
        current.unchanged_at = None;
        Ok(index)
    }

    /// Returns the repository that is read.
    pub fn repo(&self) -> &Repository {
        &self.repo
    }
}

impl fmt::Debug for ReadSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadSession").field("session", &self.session()).finish_non_exhaustive()
    }
}
