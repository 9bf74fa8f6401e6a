//! What is open while somebody looks. A visit is a session that reads all snapshots there are (R1), and this machine's
//! view; both are let go of soon after the last request, so that an idle server keeps nobody from anything. Whoever comes
//! after something was committed or forgotten gets a visit of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use snap_backup::Result;
use snap_backup::model::id::SnapshotId;
use snap_backup::ops::browse::Browser;
use snap_backup::progress::{Event, Observer};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::Snapshot;
use snap_backup::storage::ObjectKind;

use crate::terminal::output;

/// A visit that nobody asks anything of ends after this.
const IDLE: Duration = Duration::from_secs(5);
/// No new request uses a visit after this: a collection that takes what it reads waits for the requests that do, not for
/// ever.
const LONGEST: Duration = Duration::from_secs(60);

/// Opens visits.
pub(super) struct SessionPool {
    /// Its own view is never opened.
    repo: Repository,
    open: Mutex<Open>,
    json: bool,
}

#[derive(Default)]
struct Open {
    visit: Option<Arc<SharedSession>>,
    /// What the visits that still go on share.
    lent: Weak<Repository>,
    used: Option<Instant>,
}

/// Something is being looked at.
pub(super) struct SharedSession {
    pub(super) browser: Browser,
    repo: Arc<Repository>,
    /// Names and lengths of the manifests that were listed.
    listed: Vec<(String, u64)>,
    /// By the names that WebDAV gives them.
    names: HashMap<String, SnapshotId>,
    since: Instant,
}

impl SessionPool {
    pub(super) fn new(repo: &Repository, json: bool) -> Self {
        Self { repo: repo.with_closed_index_cache(), open: Mutex::default(), json }
    }

    /// A visit that knows what stands now.
    ///
    /// # Errors
    /// When the repository cannot be read.
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
        let repo = open.lent.upgrade().unwrap_or_else(|| Arc::new(self.repo.with_closed_index_cache()));
        let browser = Browser::open(&repo, self)?;
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

    /// Gives up what nobody has asked for lately, to be dropped where that may take a while; whoever still reads it keeps
    /// it until then. Never waits.
    pub(super) fn idle(&self) -> Option<Arc<SharedSession>> {
        let mut open = self.open.try_lock().ok()?;
        open.used.take_if(|at| at.elapsed() > IDLE).and_then(|_| open.visit.take())
    }

    /// Lets go of everything.
    pub(super) fn close(&self) {
        drop(self.open().visit.take());
        self.pass_on_warnings();
    }

    /// What the repository warned of, to whoever started this.
    pub(super) fn pass_on_warnings(&self) {
        for warning in self.repo.warnings() {
            output::warn(self.json, &warning);
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// The repository, with the view that all visits share.
    pub(super) fn repo(&self) -> &Repository {
        &self.repo
    }

    /// A snapshot by its whole id, by the name that WebDAV gives it, or as `latest`.
    pub(super) fn named(&self, name: &[u8]) -> Option<&Snapshot> {
        let name = std::str::from_utf8(name).ok()?;
        if name == "latest" {
            return self.browser.snapshots().iter().rev().find(|one| !one.manifest.partial);
        }
        let id = SnapshotId::parse(name).ok().or_else(|| self.names.get(name).copied())?;
        self.browser.snapshot(&id)
    }
}

/// What WebDAV calls a snapshot: such that names sort by time, and every system takes them.
pub(super) fn name_of(snapshot: &Snapshot) -> String {
    let time = output::local(snapshot.manifest.started).replace(' ', "T").replace(':', "-");
    format!("{time}_{}", snapshot.id.short())
}
