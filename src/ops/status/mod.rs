//! `status`: reports how old the last backup of each set is, what failed since, and how long the storage will
//! last. The history of runs comes from this machine's run log, what still exists from the repository.
//!
//! Without the key, the repository only shows which snapshots exist and how large it is. With the key,
//! backups by other machines and runs whose log entries are lost are found as well.

mod days;
mod growth;
mod sets;

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::codec::crypto::sealed_object;
use crate::error::Result;
use crate::model::entry::Time;
use crate::repo::repository::Repository;
use crate::repo::snapshots::Snapshot;
use crate::repo::{divergence, objects, snapshots};
use crate::run_log::known::KnownPlace;
use crate::run_log::{History, Name, RunRecord};
use crate::storage::{Capacity, ObjectKind, Storage};

pub use days::{Day, days};
pub use growth::Growth;

/// Seconds that a clock may be ahead. Backups dated later than that are not counted as good.
const AHEAD: i64 = 600;

/// A set that a configuration expects.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Its name in the configuration.
    pub name: String,
    /// Its [`set_id`](crate::run_log::set_id).
    pub id: String,
    /// Host whose files it saves.
    pub host: String,
    /// Its sources.
    pub sources: Vec<Name>,
    /// Age after which it is overdue.
    pub max_age: Option<Duration>,
    /// Time of its next scheduled run.
    pub next: Option<Time>,
}

/// What to report.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only sets of these hosts; empty: of all.
    pub hosts: Vec<String>,
    /// Age after which a set without a `max_age` of its own is overdue.
    pub max_age: Option<Duration>,
    /// Sets that the repository should have, even if nothing is known about them.
    pub wanted: Vec<Wanted>,
    /// Report only the sets in `wanted`.
    pub only_wanted: bool,
    /// The current time.
    pub now: Time,
    /// This machine's state directory, which records what the repository should hold.
    pub state: Option<PathBuf>,
}

/// A successful backup whose snapshot still exists, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastSuccess {
    /// Start time: the snapshot shows the state as of then.
    pub at: Time,
    /// `full`, `incremental` or `differential`.
    pub kind: String,
    /// Id of its snapshot.
    pub snapshot: String,
    /// Whether the run found nothing changed, so that the snapshot is an older one.
    pub unchanged: bool,
    /// Entries that could not be read.
    pub problems: u64,
}

/// The status of a set.
#[derive(Debug, Clone)]
pub struct SetStatus {
    /// Its [`set_id`](crate::run_log::set_id).
    pub id: String,
    /// Its name in the configuration.
    pub name: Option<String>,
    /// Host whose files it saves.
    pub host: String,
    /// Its first sources.
    pub sources: Vec<Name>,
    /// Number of further sources.
    pub more_sources: u64,
    /// The newest good backup of each kind, newest first.
    pub good: Vec<LastSuccess>,
    /// The newest failed run.
    pub failure: Option<RunRecord>,
    /// A run that is in progress.
    pub running: Option<RunRecord>,
    /// The newest run, if it was skipped or reached its time limit.
    pub skipped: Option<RunRecord>,
    /// Time since the newest good backup started; `None` if there is none.
    pub age: Option<Duration>,
    /// Age after which it is overdue.
    pub max_age: Option<Duration>,
    /// Time of its next scheduled run.
    pub next: Option<Time>,
    /// Alarms that are not settled, newest first.
    pub alarms: Vec<Alarm>,
}

/// A backup that differs unusually from earlier ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// Start time of the backup.
    pub at: Time,
    /// The snapshot that it made.
    pub snapshot: String,
    /// What is unusual about it.
    pub why: String,
}

impl SetStatus {
    /// Returns whether the newest good backup is too old, or is missing although expected.
    pub fn is_overdue(&self) -> bool {
        self.max_age.is_some_and(|limit| self.age.is_none_or(|age| age > limit))
    }

    /// Returns whether the newest failed run is newer than the newest good one.
    pub fn is_failing(&self) -> bool {
        let newest = self.good.first().map(|good| good.at);
        self.failure.as_ref().is_some_and(|failure| newest.is_none_or(|at| failure.start > at))
    }
}

/// Overall state of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetVerdict {
    /// There is an alarm that is not settled.
    Alarm,
    /// The newest backup is good and recent enough.
    Green,
    /// No good backup is recent enough, or there is none.
    Late,
    /// The newest run failed.
    Failed,
}

impl SetVerdict {
    /// Returns the verdict of a set.
    pub fn of(set: &SetStatus) -> Self {
        match set {
            set if !set.alarms.is_empty() => Self::Alarm,
            set if set.is_failing() => Self::Failed,
            set if set.is_overdue() || set.good.is_empty() => Self::Late,
            _ => Self::Green,
        }
    }

    /// Returns a stable name for programs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Alarm => "alarm",
            Self::Green => "green",
            Self::Late => "late",
            Self::Failed => "failed",
        }
    }
}

/// The last runs of a verb that concerns the whole repository.
#[derive(Debug, Clone)]
pub struct Work {
    /// `check`, `drill`, `cleanup`, `forget`, `gc`; or `backup` for runs that failed before their set was
    /// known.
    pub verb: String,
    /// The newest good run.
    pub good: Option<RunRecord>,
    /// The newest failed run.
    pub bad: Option<RunRecord>,
}

impl Work {
    /// Returns whether the newest run failed.
    pub fn is_failing(&self) -> bool {
        let newest = self.good.as_ref().map(|good| good.start);
        self.bad.as_ref().is_some_and(|bad| newest.is_none_or(|at| bad.start > at))
    }
}

/// The status of a repository.
#[derive(Debug, Clone)]
pub struct Report {
    /// Location of the repository.
    pub location: String,
    /// Why the repository could not be read. The report is then based on the run log alone.
    pub trouble: Option<String>,
    /// Whether its manifests were read.
    pub opened: bool,
    /// All sets, those of the configuration first.
    pub sets: Vec<SetStatus>,
    /// Last runs of checks, drills and cleanups.
    pub works: Vec<Work>,
    /// Bytes of all packs.
    pub bytes: Option<u64>,
    /// How fast it grows.
    pub growth: Option<Growth>,
    /// Capacity of the storage.
    pub capacity: Option<Capacity>,
    /// Maximum bytes of packs. Without the key this is taken from an unverified configuration.
    pub quota: Option<u64>,
    /// Differences between the repository and what this machine recorded about it.
    pub diverged: Vec<String>,
}

impl Report {
    /// Returns whether a set is overdue.
    pub fn is_overdue(&self) -> bool {
        self.sets.iter().any(SetStatus::is_overdue)
    }

    /// Returns whether there is an alarm that is not settled.
    pub fn is_alarming(&self) -> bool {
        self.sets.iter().any(|set| !set.alarms.is_empty())
    }

    /// Returns the days until the storage is full or the quota is reached, at the growth of the last thirty
    /// days. `None` if the repository does not grow, or neither limit is known.
    pub fn days_left(&self) -> Option<f64> {
        let growth = self.growth.filter(|growth| growth.bytes_per_day > 0.0)?;
        let free = self.capacity.map(|capacity| capacity.free);
        let room = free.into_iter().chain(self.quota_left()).min()?;
        Some(room as f64 / growth.bytes_per_day)
    }

    /// Returns how many bytes the repository may still grow by; `None` without a quota.
    pub fn quota_left(&self) -> Option<u64> {
        Some(self.quota?.saturating_sub(self.bytes?))
    }

    /// Returns whether the quota is reached before the storage is full.
    pub fn ends_by_quota(&self) -> bool {
        let free = self.capacity.map_or(u64::MAX, |capacity| capacity.free);
        self.quota_left().is_some_and(|left| left < free)
    }

    /// Returns the last runs of a verb.
    pub fn work(&self, verb: &str) -> Option<&Work> {
        self.works.iter().find(|work| work.verb == verb)
    }
}

/// Which snapshots the repository has.
enum StoredSnapshots {
    /// The repository could not be read: the run log is trusted.
    Unknown,
    /// Names from a listing. Whether one is a fence is checked when needed.
    Names(HashSet<String>),
    /// All manifests.
    Manifests(Vec<Snapshot>),
}

impl StoredSnapshots {
    /// Returns whether a snapshot can still be restored, as far as is known.
    fn has(&self, storage: &dyn Storage, name: &str) -> bool {
        match self {
            Self::Unknown => true,
            Self::Names(names) => names.contains(name) && !is_fence(storage, name),
            Self::Manifests(all) => all.iter().any(|snapshot| snapshot.id.hex() == name),
        }
    }
}

fn is_fence(storage: &dyn Storage, name: &str) -> bool {
    let header = storage
        .read(ObjectKind::Snapshots, name, sealed_object::MAX_OBJECT)
        .and_then(|bytes| objects::check_header(ObjectKind::Snapshots, name, &bytes));
    // An unreadable object does not count as a snapshot, either.
    header.map_or(true, |kind| kind == sealed_object::FENCE)
}

/// Reports on one repository. `repo` is the opened repository, if there is a key. Writes nothing.
pub fn status(
    storage: &dyn Storage,
    repo: Option<&Repository>,
    history: &History,
    options: &Options,
) -> Report {
    report(storage, repo, list_snapshots(storage, repo), history, options)
}

/// Like [`status`], for a caller that has already read the manifests.
pub fn look_among(repo: &Repository, snapshots: &[Snapshot], history: &History, options: &Options) -> Report {
    let standing = Ok(StoredSnapshots::Manifests(snapshots.to_vec()));
    report(repo.storage(), Some(repo), standing, history, options)
}

/// Like [`status`], from the run log alone, without access to the storage.
pub fn remembered(storage: &dyn Storage, history: &History, options: &Options) -> Report {
    let location = storage.location();
    let runs: Vec<&RunRecord> = history.runs.iter().filter(|run| run.repository == location).collect();
    Report {
        diverged: Vec::new(),
        opened: false,
        sets: sets::set_statuses(storage, &StoredSnapshots::Unknown, &runs, options),
        works: works(&runs),
        growth: Growth::estimate(&runs, None, options.now),
        capacity: None,
        quota: None,
        location,
        trouble: None,
        bytes: None,
    }
}

fn report(
    storage: &dyn Storage,
    repo: Option<&Repository>,
    standing: Result<StoredSnapshots>,
    history: &History,
    options: &Options,
) -> Report {
    let location = storage.location();
    let runs: Vec<&RunRecord> = history.runs.iter().filter(|run| run.repository == location).collect();
    let (standing, trouble) = match standing {
        Ok(standing) => (standing, None),
        Err(err) => (StoredSnapshots::Unknown, Some(err.chain())),
    };
    let bytes = match trouble {
        None => storage.list(ObjectKind::Packs).map(|packs| packs.iter().map(|pack| pack.len).sum()).ok(),
        Some(_) => None,
    };
    let known = KnownPlace::new(options.state.as_deref(), &location);
    let diverged = match (&trouble, repo) {
        (None, Some(repo)) => Ok(repo.diverged()),
        (None, None) => divergence::of_place(storage, &known),
        (Some(_), _) => Ok(Vec::new()),
    };
    Report {
        diverged: diverged.unwrap_or_default(),
        opened: matches!(standing, StoredSnapshots::Manifests(_)),
        sets: sets::set_statuses(storage, &standing, &runs, options),
        works: works(&runs),
        growth: Growth::estimate(&runs, bytes, options.now),
        capacity: trouble.is_none().then(|| storage.capacity()).flatten(),
        quota: trouble.is_none().then(|| quota(storage, repo)).flatten(),
        location,
        trouble,
        bytes,
    }
}

fn quota(storage: &dyn Storage, repo: Option<&Repository>) -> Option<u64> {
    match repo {
        Some(repo) => repo.config().quota(),
        None => Repository::quota_at(storage).ok().flatten(),
    }
}

fn list_snapshots(storage: &dyn Storage, repo: Option<&Repository>) -> Result<StoredSnapshots> {
    if let Some(repo) = repo {
        return snapshots::list(repo).map(StoredSnapshots::Manifests);
    }
    if !Repository::exists(storage)? {
        return Err(crate::error::Error::NoRepository { location: storage.location() });
    }
    let listed = storage.list(ObjectKind::Snapshots)?;
    Ok(StoredSnapshots::Names(listed.into_iter().map(|found| found.name).collect()))
}

/// Returns the last runs of each verb, including backups whose set is unknown.
fn works(runs: &[&RunRecord]) -> Vec<Work> {
    let mut works: Vec<Work> = Vec::new();
    for run in runs.iter().filter(|run| run.verb != "backup" || run.set_id.is_none() && run.set.is_none()) {
        let at = works.iter().position(|work| work.verb == run.verb).unwrap_or_else(|| {
            works.push(Work { verb: run.verb.clone(), good: None, bad: None });
            works.len() - 1
        });
        let Some(work) = works.get_mut(at) else { continue };
        if run.is_good() {
            work.good = Some((*run).clone());
        } else if run.is_bad() {
            work.bad = Some((*run).clone());
        }
    }
    works.sort_by(|a, b| a.verb.cmp(&b.verb));
    works
}
