//! Data for the overview page, gathered by `snap status`.

use jiff::civil::Date;
use snap_backup::Result;
use snap_backup::model::entry::Time;
use snap_backup::ops::status::{Day, SetVerdict};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::Snapshot;

/// Returns the status of all repositories; takes the served one and its snapshots.
pub(crate) type StatusOf = Box<dyn Fn(&Repository, &[Snapshot]) -> Result<Overview> + Send + Sync>;

/// Number of days that are shown for a set.
pub(crate) const DAYS: u16 = 60;

/// The status of all repositories, the served one first.
pub(crate) struct Overview {
    /// The output of `snap status` for the served repository.
    pub(crate) text: String,
    pub(crate) repositories: Vec<RepositoryStatus>,
}

/// A repository with its sets.
pub(crate) struct RepositoryStatus {
    pub(crate) location: String,
    /// Whether its snapshots can be browsed here.
    pub(crate) is_served: bool,
    /// Whether the notes are about problems.
    pub(crate) is_bad: bool,
    pub(crate) notes: Vec<String>,
    /// Size, growth and free space.
    pub(crate) room: Option<String>,
    pub(crate) works: Vec<LastWork>,
    pub(crate) cards: Vec<SetCard>,
}

/// The last check or drill.
pub(crate) struct LastWork {
    pub(crate) verb: &'static str,
    pub(crate) at: Option<Time>,
    pub(crate) text: String,
    pub(crate) is_bad: bool,
}

/// A set of one host.
pub(crate) struct SetCard {
    pub(crate) verdict: SetVerdict,
    /// Its name in the configuration.
    pub(crate) set: Option<String>,
    /// Sources and host.
    pub(crate) title: String,
    pub(crate) host: String,
    /// Its first sources.
    pub(crate) sources: Vec<Vec<u8>>,
    /// State and reason in one sentence.
    pub(crate) sentence: String,
    /// Time and snapshot of the last successful backup.
    pub(crate) last: Option<(Time, String)>,
    pub(crate) next: Option<Time>,
    pub(crate) running: Option<Time>,
    /// Time, snapshot and reason of each alarm that is not settled.
    pub(crate) alarms: Vec<(Time, String, String)>,
    /// The last days, oldest first.
    pub(crate) days: Vec<(Date, Day)>,
}
