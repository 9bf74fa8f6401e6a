//! The shared state of all requests, and limits for concurrent use of the repository.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use dav_server::DavHandler;
use hyper::StatusCode;
use parking_lot::Mutex;
use snap_backup::codec::crypto::hash;
use snap_backup::model::entry::Kind;
use snap_backup::model::id::{ChunkId, SnapshotId};
use snap_backup::ops::browse::DirSizes;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::Snapshot;
use snap_backup::{Error, Result};
use tokio::sync::{AcquireError, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::serve::access::Access;
use crate::serve::actions::allow::Allow;
use crate::serve::actions::jobs::Jobs;
use crate::serve::background::Background;
use crate::serve::overview::{Overview, StatusOf};
use crate::serve::request::PageRequest;
use crate::serve::response::{HttpError, TIMEOUT};
use crate::serve::sessions::{SessionPool, SharedSession};

/// Number of concurrent accesses to single paths; each may use memory for a few blocks.
const LOOKS: usize = 2;
/// Number of concurrent walks through whole snapshots.
const WALKS: usize = 2;
/// Number of concurrent archives: each reads far ahead and compresses on all processors.
const ARCHIVES: usize = 1;

/// Maximum number of directory trees that are cached.
const STATES: usize = 20_000;

/// Caches the trees of directories in snapshots, because pages look up one directory in many snapshots. The
/// key is a hash of the snapshot's root and the path; the value is `None` if the snapshot has no such
/// directory.
#[derive(Default)]
pub(super) struct DirStates(Mutex<HashMap<[u8; 32], Option<ChunkId>>>);

impl DirStates {
    fn key(snapshot: &Snapshot, path: &[u8]) -> [u8; 32] {
        hash::sha256(&[snapshot.manifest.root.as_bytes(), path].concat())
    }

    /// Returns the directory's tree, if it is cached.
    pub(super) fn known(&self, snapshot: &Snapshot, path: &[u8]) -> Option<Option<ChunkId>> {
        let states = self.0.lock();
        states.get(&Self::key(snapshot, path)).copied()
    }

    /// Looks up the directory's tree.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub(super) fn look_up(
        &self,
        visit: &SharedSession,
        snapshot: &Snapshot,
        path: &[u8],
    ) -> Result<Option<ChunkId>> {
        let found = visit.browser.entry(snapshot, path)?.and_then(|entry| match entry.kind {
            Kind::Dir { tree } => Some(tree),
            _ => None,
        });
        let mut states = self.0.lock();
        if states.len() >= STATES {
            states.clear();
        }
        states.insert(Self::key(snapshot, path), found);
        Ok(found)
    }
}

/// The shared state of all requests.
pub(super) struct AppState {
    pub(super) session_pool: SessionPool,
    pub(super) access: Access,
    status: StatusOf,
    /// Permissions of browsers beyond reading.
    pub(super) allow: Allow,
    pub(super) jobs: Jobs,
    pub(super) dav: DavHandler,
    /// Title of the pages.
    pub(super) title: String,
    /// The repository's location.
    pub(super) location: String,
    pub(super) looks: Semaphore,
    pub(super) walks: Semaphore,
    pub(super) archives: Arc<Semaphore>,
    pub(super) background: Background,
    pub(super) dir_sizes: DirSizes,
    pub(super) dir_states: DirStates,
}

impl AppState {
    pub(super) fn new(
        repo: &Repository,
        access: Access,
        (status, allow): (StatusOf, Allow),
        json: bool,
    ) -> Self {
        let location = repo.location();
        let title = Path::new(&location).file_name().map(|name| name.to_string_lossy().into_owned());
        let session_pool = SessionPool::new(repo, json);
        Self {
            session_pool,
            access,
            status,
            allow,
            jobs: Jobs::default(),
            dav: DavHandler::default(),
            title: title.unwrap_or_else(|| location.clone()),
            location,
            looks: Semaphore::new(LOOKS),
            walks: Semaphore::new(WALKS),
            archives: Arc::new(Semaphore::new(ARCHIVES)),
            background: Background::default(),
            dir_sizes: DirSizes::default(),
            dir_states: DirStates::default(),
        }
    }

    pub(super) fn idle(&self) -> Option<Arc<SharedSession>> {
        self.session_pool.idle()
    }

    pub(super) fn close(&self) {
        self.session_pool.close();
    }

    /// Returns the status of all repositories.
    pub(super) fn overview(&self, visit: &SharedSession) -> Result<Overview> {
        (self.status)(visit.repo(), visit.browser.snapshots())
    }

    /// Runs work that accesses a single path on a blocking thread; at most [`LOOKS`] at the same time.
    pub(super) async fn look<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let _place = self.looks.acquire().await.map_err(|_| Error::Stopped)?;
        let site = Arc::clone(self);
        spawn_blocking(move || work(&site)).await.map_err(|_| Error::Stopped)?
    }
}

/// Waits for a permit, with a timeout, because its holder may read for hours.
pub(super) async fn in_turn<T>(place: impl Future<Output = Result<T, AcquireError>>) -> Result<T, HttpError> {
    let busy = "too many requests at the same time: try again later";
    let busy = |_| HttpError::new(StatusCode::SERVICE_UNAVAILABLE, busy);
    timeout(TIMEOUT, place).await.map_err(busy)?.map_err(|_| Error::Stopped.into())
}

/// Returns the snapshot that the URL names by its full id.
pub(super) fn snapshot<'a>(visit: &'a SharedSession, asked: &PageRequest) -> Result<&'a Snapshot, HttpError> {
    let id = asked.path.get(1).and_then(|id| std::str::from_utf8(id).ok());
    let id = id.and_then(|id| SnapshotId::parse(id).ok());
    let gone = || HttpError::not_found("there is no such snapshot: it may have been forgotten since");
    id.and_then(|id| visit.browser.snapshot(&id)).ok_or_else(gone)
}

/// Returns the selector `id:path`; the path may contain any bytes.
pub(super) fn selector(id: &SnapshotId, path: &[u8]) -> Vec<u8> {
    let id = id.hex().into_bytes();
    if path.is_empty() { id } else { [&id, b":".as_slice(), path].concat() }
}
