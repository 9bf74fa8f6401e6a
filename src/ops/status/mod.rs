//! `status`: how long ago each set was last backed up, what failed since, and how long the disk will last. What happened
//! is known from this machine's records of its runs; what of it still stands, from the repository.
//!
//! Without the key the repository still says which snapshots stand and how large it is; with it, also what other
//! machines, or runs whose records are lost, have saved.

mod growth;
mod sets;

use std::collections::HashSet;
use std::path::PathBuf;

use crate::codec::crypto::sealed_object;
use crate::error::Result;
use crate::model::entry::Time;
use crate::repo::repository::Repository;
use crate::repo::snapshots::Snapshot;
use crate::repo::{divergence, objects, snapshots};
use crate::run_log::known::KnownPlace;
use crate::run_log::{History, Name, Record};
use crate::storage::{Capacity, ObjectKind, Storage};

pub use growth::Growth;

/// Seconds that a clock may be ahead: what is dated later than that is not believed to be good.
const AHEAD: i64 = 600;

/// A set that should be there, as a configuration has it.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// What it is called.
    pub name: String,
    /// Its [`set_id`](crate::run_log::set_id).
    pub id: String,
    /// Whose files.
    pub host: String,
    /// Which.
    pub sources: Vec<Name>,
    /// Seconds after which it is overdue.
    pub max_age: Option<u64>,
    /// When it runs next.
    pub next: Option<Time>,
}

/// What to look at.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only sets of these machines; none: of all.
    pub hosts: Vec<String>,
    /// Seconds after which a set is overdue, where it does not say so itself.
    pub max_age: Option<u64>,
    /// Sets that should be in this repository, whether or not anything is known of them.
    pub wanted: Vec<Wanted>,
    /// Only those.
    pub only_wanted: bool,
    /// The present.
    pub now: Time,
    /// This machine's state directory, where it is known what should stand.
    pub state: Option<PathBuf>,
}

/// A backup that is good as far as can be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastSuccess {
    /// When it began: what it holds is the state of then.
    pub at: Time,
    /// `full`, `incremental` or `differential`.
    pub kind: String,
    /// The snapshot that holds it.
    pub snapshot: String,
    /// That snapshot is older: the run found nothing changed.
    pub unchanged: bool,
    /// Items that could not be read.
    pub problems: u64,
}

/// A set.
#[derive(Debug, Clone)]
pub struct SetStatus {
    /// Its [`set_id`](crate::run_log::set_id).
    pub id: String,
    /// What the configuration calls it.
    pub name: Option<String>,
    /// Whose files.
    pub host: String,
    /// Which.
    pub sources: Vec<Name>,
    /// How many more.
    pub more_sources: u64,
    /// The newest good one of each kind, newest first.
    pub good: Vec<LastSuccess>,
    /// The newest run that went wrong.
    pub failure: Option<Record>,
    /// A run that goes on.
    pub running: Option<Record>,
    /// Seconds since the newest good one began; `None`: there is none.
    pub age: Option<u64>,
    /// Seconds after which it is overdue.
    pub max_age: Option<u64>,
    /// When it runs next.
    pub next: Option<Time>,
}

impl SetStatus {
    /// Whether it is older than it may be, or not there at all though it should.
    pub fn is_overdue(&self) -> bool {
        self.max_age.is_some_and(|limit| self.age.is_none_or(|age| age > limit))
    }

    /// Whether the newest run that went wrong is newer than the newest good one.
    pub fn is_failing(&self) -> bool {
        let newest = self.good.first().map(|good| good.at);
        self.failure.as_ref().is_some_and(|failure| newest.is_none_or(|at| failure.start > at))
    }
}

/// How a set does, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The newest backup is good, and not too old.
    Green,
    /// There is no good backup that is new enough, or none at all.
    Late,
    /// The newest run went wrong.
    Failed,
}

impl Verdict {
    /// That of a set.
    pub fn of(set: &SetStatus) -> Self {
        match set {
            set if set.is_failing() => Self::Failed,
            set if set.is_overdue() || set.good.is_empty() => Self::Late,
            _ => Self::Green,
        }
    }

    /// For programs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Late => "late",
            Self::Failed => "failed",
        }
    }
}

/// The last runs of a verb that concerns a repository as a whole.
#[derive(Debug, Clone)]
pub struct Work {
    /// `check`, `drill`, `cleanup`, `forget`, `gc`; or `backup`, for those that failed before their set was known.
    pub verb: String,
    /// The newest good one.
    pub good: Option<Record>,
    /// The newest that went wrong.
    pub bad: Option<Record>,
}

impl Work {
    /// Whether the newest went wrong.
    pub fn is_failing(&self) -> bool {
        let newest = self.good.as_ref().map(|good| good.start);
        self.bad.as_ref().is_some_and(|bad| newest.is_none_or(|at| bad.start > at))
    }
}

/// A repository.
#[derive(Debug, Clone)]
pub struct Report {
    /// Where it is.
    pub location: String,
    /// Why it could not be looked at: what is said is then from records alone.
    pub trouble: Option<String>,
    /// Whether its manifests were read.
    pub opened: bool,
    /// Sets, those of the configuration first.
    pub sets: Vec<SetStatus>,
    /// Checks, drills, cleanups.
    pub works: Vec<Work>,
    /// Bytes of all packs.
    pub bytes: Option<u64>,
    /// How that changes.
    pub growth: Option<Growth>,
    /// What is free where it lies.
    pub capacity: Option<Capacity>,
    /// How it differs from what this machine knows of it.
    pub diverged: Vec<String>,
}

impl Report {
    /// Whether a set is overdue.
    pub fn is_overdue(&self) -> bool {
        self.sets.iter().any(SetStatus::is_overdue)
    }

    /// Days until nothing is free if it goes on as in the last thirty.
    pub fn days_left(&self) -> Option<f64> {
        let growth = self.growth.filter(|growth| growth.bytes_per_day > 0.0)?;
        Some(self.capacity?.free as f64 / growth.bytes_per_day)
    }

    /// The last runs of a verb.
    pub fn work(&self, verb: &str) -> Option<&Work> {
        self.works.iter().find(|work| work.verb == verb)
    }
}

/// What stands in the repository.
enum StoredSnapshots {
    /// It could not be looked at: what records say is believed.
    Unknown,
    /// These names are listed; whether one is a fence is seen when it is asked for.
    Names(HashSet<String>),
    /// All manifests.
    Manifests(Vec<Snapshot>),
}

impl StoredSnapshots {
    /// Whether a snapshot can still be restored, as far as can be seen.
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
    // What cannot be read is no snapshot that one may count on, either.
    header.map_or(true, |kind| kind == sealed_object::FENCE)
}

/// Looks at one repository. `repo` is it, opened, if there is a key. Writes nothing.
pub fn look(
    storage: &dyn Storage,
    repo: Option<&Repository>,
    history: &History,
    options: &Options,
) -> Report {
    let location = storage.location();
    let runs: Vec<&Record> = history.runs.iter().filter(|run| run.repository == location).collect();
    let (standing, trouble) = match standing(storage, repo) {
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
        sets: sets::of(storage, &standing, &runs, options),
        works: works(&runs),
        growth: Growth::of(&runs, bytes, options.now),
        capacity: trouble.is_none().then(|| storage.capacity()).flatten(),
        location,
        trouble,
        bytes,
    }
}

fn standing(storage: &dyn Storage, repo: Option<&Repository>) -> Result<StoredSnapshots> {
    if let Some(repo) = repo {
        return snapshots::list(repo).map(StoredSnapshots::Manifests);
    }
    if !Repository::exists(storage)? {
        return Err(crate::error::Error::NoRepository { location: storage.location() });
    }
    let listed = storage.list(ObjectKind::Snapshots)?;
    Ok(StoredSnapshots::Names(listed.into_iter().map(|found| found.name).collect()))
}

/// The last runs of each verb. A backup whose set is unknown is nobody else's to tell of.
fn works(runs: &[&Record]) -> Vec<Work> {
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
