//! Sessions on the repository while there are requests. A shared session reads all existing snapshots (rule
//! R1) and uses the local index cache. Both are closed soon after the last request, so that an idle server
//! does not delay garbage collections or block the cache. A request after a snapshot was committed or
//! forgotten opens a new session.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use snap_backup::model::id::SnapshotId;
use snap_backup::ops::browse::Browser;
use snap_backup::progress::{Event, Observer};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::{ReadBefore, Snapshot};
use snap_backup::storage::ObjectKind;
use snap_backup::{Control, Error, Result};

use crate::terminal::{output, repository_messages};

/// A session without requests is closed after this time.
const IDLE: Duration = Duration::from_secs(5);
/// Age after which no new request uses a session. Thus a garbage collection waits only for running requests,
/// not forever.
const LONGEST: Duration = Duration::from_secs(60);

/// Opens and shares sessions.
pub(super) struct SessionPool {
    /// Only for listings and settings; its index cache is never opened.
    repo: Repository,
    open: Mutex<Open>,
    json: bool,
}

#[derive(Default)]
struct Open {
    visit: Option<Arc<SharedSession>>,
    /// The repository that all live sessions share.
    lent: Weak<Repository>,
    used: Option<Instant>,
    /// Manifests that earlier sessions have read.
    read: ReadBefore,
}

/// A session that several requests share.
pub(super) struct SharedSession {
    pub(super) browser: Browser,
    repo: Arc<Repository>,
    /// Names and lengths of the manifests that were listed.
    listed: Vec<(String, u64)>,
    /// Snapshots by the names that WebDAV uses.
    names: HashMap<String, SnapshotId>,
    since: Instant,
}

impl SessionPool {
    pub(super) fn new(repo: &Repository, json: bool) -> Self {
        Self { repo: repo.with_closed_index_cache(), open: Mutex::default(), json }
    }

    /// Returns a session that knows the current snapshots.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub(super) fn visit(&self) -> Result<Arc<SharedSession>> {
        let mut listed: Vec<(String, u64)> = Vec::new();
        for found in self.repo.storage().list(ObjectKind::Snapshots)? {
            listed.push((found.name, found.len));
        }
        listed.sort();
        let mut open = self.open();
        open.used = Some(Instant::now());
        if let Some(visit) = &open.visit
            && visit.listed == listed
            && visit.since.elapsed() < LONGEST
        {
            return Ok(Arc::clone(visit));
        }
        self.expect_repository()?;
        let repo = open.lent.upgrade().unwrap_or_else(|| Arc::new(self.repo.with_closed_index_cache()));
        let browser = Browser::open_again(&repo, &Control::new(self), &mut open.read)?;
        let name = |snapshot: &Snapshot| (name_of(snapshot), snapshot.id);
        let names = browser.snapshots().iter().map(name).collect();
        open.lent = Arc::downgrade(&repo);
        let visit = Arc::new(SharedSession { browser, repo, listed, names, since: Instant::now() });
        let before = open.visit.replace(Arc::clone(&visit));
        drop(open);
        drop(before);
        self.pass_on_warnings();
        Ok(visit)
    }

    /// Checks that the repository still exists. If its disk was unplugged, a listing would be empty.
    fn expect_repository(&self) -> Result<()> {
        let storage = self.repo.storage();
        if Repository::exists(storage)? && Repository::id_at(storage)? == self.repo.config().repo {
            return Ok(());
        }
        Err(Error::NoRepository { location: storage.location() })
    }

    /// Removes and returns a session that has been idle for a while, to be dropped where blocking is allowed.
    /// Running requests keep it alive until then. Never blocks.
    pub(super) fn idle(&self) -> Option<Arc<SharedSession>> {
        let mut open = self.open.try_lock()?;
        open.used.take_if(|at| at.elapsed() > IDLE).and_then(|_| open.visit.take())
    }

    /// Closes the session.
    pub(super) fn close(&self) {
        drop(self.open().visit.take());
        self.pass_on_warnings();
    }

    /// Prints the repository's warnings.
    pub(super) fn pass_on_warnings(&self) {
        repository_messages::print(&self.repo, self.json, false);
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock()
    }
}

impl Observer for SessionPool {
    fn notice(&self, event: Event<'_>) {
        if let Event::Warning(text) = event {
            output::warn(self.json, text);
        }
    }
}

impl SharedSession {
    /// Returns the repository, with the index cache that all sessions share.
    pub(super) fn repo(&self) -> &Repository {
        &self.repo
    }

    /// Returns the repository for work that outlives the session.
    pub(super) fn shared_repo(&self) -> &Arc<Repository> {
        &self.repo
    }

    /// Returns a number that changes when the list of snapshots does.
    pub(super) fn basis(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.listed.hash(&mut hasher);
        hasher.finish()
    }

    /// Returns a snapshot by its full id, by the name that WebDAV uses, or as `latest`.
    pub(super) fn named(&self, name: &[u8]) -> Option<&Snapshot> {
        let name = std::str::from_utf8(name).ok()?;
        if name == "latest" {
            return self.browser.snapshots().iter().rev().find(|one| !one.manifest.partial);
        }
        let id = SnapshotId::parse(name).ok().or_else(|| self.names.get(name).copied())?;
        self.browser.snapshot(&id)
    }
}

/// Returns the WebDAV name of a snapshot. Names sort by time and are valid on every system.
pub(super) fn name_of(snapshot: &Snapshot) -> String {
    let time = output::local(snapshot.manifest.started).replace(' ', "T").replace(':', "-");
    format!("{time}_{}", snapshot.id.short())
}
