//! The list of visible snapshots. It is refreshed regularly, so that new snapshots appear and forgotten ones
//! disappear. The session declares the listed snapshots as those that it reads (R1).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use crate::error::Result;
use crate::model::id::SnapshotId;
use crate::ops::mount::names;
use crate::progress::{Event, Observer};
use crate::repo::read::read_session::ReadSession;
use crate::repo::repository::Repository;
use crate::repo::snapshots::filter::SnapshotFilter;
use crate::repo::snapshots::{self, Snapshot};
use crate::storage::{Listed, ObjectKind};

/// Minimum time between two listings of the repository.
const APART: Duration = Duration::from_secs(1);
/// Maximum number of listings per refresh, while snapshots come or go.
const LOOKS: usize = 4;

/// The visible snapshots as of one listing.
#[derive(Debug, Default)]
pub(super) struct SnapshotList {
    /// Snapshots by directory name.
    pub(super) snapshots: BTreeMap<String, Arc<Snapshot>>,
    /// Directory names of the snapshots of each host and of each tag, oldest first.
    pub(super) hosts: BTreeMap<String, Vec<String>>,
    pub(super) tags: BTreeMap<String, Vec<String>>,
    /// The newest complete snapshot.
    pub(super) latest: Option<String>,
}

/// Keeps [`SnapshotList`] up to date.
#[derive(Debug)]
pub(super) struct SnapshotWatcher {
    selection: SnapshotFilter,
    zone: TimeZone,
    /// How long open files of a forgotten snapshot delay gc.
    kept_open: Duration,
    looked: Option<Instant>,
    listed: BTreeMap<String, u64>,
    /// Loaded snapshots by object name; `None`: a fence, or not selected.
    loaded: HashMap<String, Option<Arc<Snapshot>>>,
    /// Directory names. They stay as long as their snapshots.
    names: HashMap<SnapshotId, String>,
    /// Number of open handles by snapshot.
    open: HashMap<SnapshotId, usize>,
    /// When open snapshots were found to be forgotten.
    gone: HashMap<SnapshotId, Instant>,
    reads: BTreeSet<SnapshotId>,
    shown: Arc<SnapshotList>,
}

impl SnapshotWatcher {
    pub(super) fn new(selection: SnapshotFilter, kept_open: Duration) -> Self {
        Self {
            selection,
            zone: TimeZone::system(),
            kept_open,
            looked: None,
            listed: BTreeMap::new(),
            loaded: HashMap::new(),
            names: HashMap::new(),
            open: HashMap::new(),
            gone: HashMap::new(),
            reads: BTreeSet::new(),
            shown: Arc::default(),
        }
    }

    /// Returns the current list. Refreshes it if the last listing is some time ago, or if `now`.
    ///
    /// # Errors
    /// When the repository cannot be listed. The previous list then stays visible.
    pub(super) fn current(
        &mut self,
        repo: &Repository,
        reading: &ReadSession,
        observer: &dyn Observer,
        now: bool,
    ) -> Result<Arc<SnapshotList>> {
        if now || self.looked.is_none_or(|looked| looked.elapsed() >= APART) {
            self.refresh(repo, reading, observer)?;
        }
        Ok(Arc::clone(&self.shown))
    }

    /// Counts an opened handle of a snapshot.
    pub(super) fn opened(&mut self, id: SnapshotId) {
        *self.open.entry(id).or_default() += 1;
    }

    /// Counts a closed handle of a snapshot.
    pub(super) fn closed(&mut self, id: SnapshotId) {
        if let Some(number) = self.open.get_mut(&id) {
            *number = number.saturating_sub(1);
            if *number == 0 {
                self.open.remove(&id);
            }
        }
    }

    fn refresh(&mut self, repo: &Repository, reading: &ReadSession, observer: &dyn Observer) -> Result<()> {
        for _ in 0..LOOKS {
            let listed = repo.storage().list(ObjectKind::Snapshots)?;
            let listing: BTreeMap<String, u64> =
                listed.iter().map(|found| (found.name.clone(), found.len)).collect();
            if self.looked.is_none() || listing != self.listed {
                self.load(repo, &listed, observer)?;
                self.listed = listing;
                self.show();
            }
            // R1: a snapshot that still exists after it was declared is safe from then on. So if more were
            // declared, list again.
            let more = self.name_what_is_read(reading);
            self.looked = Some(Instant::now());
            if !more {
                break;
            }
        }
        Ok(())
    }

    /// Loads new snapshots and drops those that are gone.
    fn load(&mut self, repo: &Repository, listed: &[Listed], observer: &dyn Observer) -> Result<()> {
        let changed = |found: &&Listed| self.listed.get(&found.name) != Some(&found.len);
        let mut new: Vec<(String, Option<Arc<Snapshot>>)> = Vec::new();
        for found in listed.iter().filter(changed) {
            let snapshot = match snapshots::load_listed(repo, found) {
                Ok(snapshot) => snapshot,
                Err(err) if err.is_missing() => None,
                Err(err) if err.is_damage() || err.is_newer() => {
                    observer.notice(Event::Warning(&format!("{}: this snapshot is not shown", err.chain())));
                    None
                }
                Err(err) => return Err(err),
            };
            let chosen = snapshot.filter(|one| self.selection.admits(&one.manifest)).map(Arc::new);
            new.push((found.name.clone(), chosen));
        }
        let standing: BTreeSet<&str> = listed.iter().map(|found| found.name.as_str()).collect();
        self.loaded.retain(|name, _| standing.contains(name.as_str()));
        self.loaded.extend(new);
        Ok(())
    }

    fn show(&mut self) {
        let mut all: Vec<Arc<Snapshot>> = self.loaded.values().flatten().cloned().collect();
        all.sort_by_key(|one| (one.manifest.started, one.id));
        let standing: BTreeSet<SnapshotId> = all.iter().map(|one| one.id).collect();
        self.names.retain(|id, _| standing.contains(id));
        let mut taken: BTreeSet<String> = self.names.values().cloned().collect();
        let mut shown = SnapshotList::default();
        for one in all {
            let name = self.names.entry(one.id).or_insert_with(|| {
                let name = names::of_snapshot(&one.manifest, &self.zone);
                names::unique(name, &one.id.hex(), |name| taken.contains(name))
            });
            taken.insert(name.clone());
            shown.hosts.entry(names::of_label(&one.manifest.host)).or_default().push(name.clone());
            for tag in one.manifest.tags.iter().collect::<BTreeSet<_>>() {
                shown.tags.entry(names::of_label(tag)).or_default().push(name.clone());
            }
            if !one.manifest.partial {
                shown.latest = Some(name.clone());
            }
            shown.snapshots.insert(name.clone(), one);
        }
        self.shown = Arc::new(shown);
    }

    /// Declares to the session which snapshots are visible or open. Returns whether there are more than
    /// before.
    fn name_what_is_read(&mut self, reading: &ReadSession) -> bool {
        let mut reads: BTreeSet<SnapshotId> = self.shown.snapshots.values().map(|one| one.id).collect();
        let (open, kept_open) = (&self.open, self.kept_open);
        self.gone.retain(|id, _| open.contains_key(id) && !reads.contains(id));
        for id in open.keys().filter(|id| !reads.contains(id)) {
            self.gone.entry(*id).or_insert_with(Instant::now);
        }
        reads.extend(self.gone.iter().filter(|(_, since)| since.elapsed() < kept_open).map(|(id, _)| *id));
        let more = !reads.is_subset(&self.reads);
        let fewer = !self.reads.is_subset(&reads);
        if more || fewer || self.looked.is_none() {
            let ids: Vec<SnapshotId> = reads.iter().copied().collect();
            self.reads = reads;
            // If the heartbeat fails, the next one makes up for it.
            let _ = reading.update_snapshots(&ids, more, fewer);
        }
        more
    }
}

impl SnapshotList {
    /// Returns the newest complete one among these.
    pub(super) fn latest_of<'a>(&self, names: &'a [String]) -> Option<&'a String> {
        let complete =
            |name: &&String| self.snapshots.get(*name).is_some_and(|snapshot| !snapshot.manifest.partial);
        names.iter().rev().find(complete)
    }
}
