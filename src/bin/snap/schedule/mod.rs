//! Scheduled jobs from the configuration, and the process that starts them.

pub(crate) mod daemon;
pub(crate) mod install;
pub(crate) mod job_process;
mod launchd;
pub(crate) mod sd_notify;
pub(crate) mod state;

use std::ffi::OsString;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use snap_backup::ops::schedule::cron::Cron;
use snap_backup::ops::schedule::scheduler::Job;

use crate::config::{Config, Set};

/// Default times, taken from the legacy backup script. They apply if a set, or the whole file, defines none.
const FULL: &str = "0 1 * * 0";
const INCREMENTAL: &str = "0 2 * * 1-6";
const CLEANUP: &str = "0 3 * * 1";

/// Types of jobs, in the order in which jobs with the same time are started.
const WHATS: &[&str] = &["full", "incremental", "differential", "cleanup", "check", "drill"];
/// The types that create snapshots.
const BACKUPS: &[&str] = &["full", "incremental", "differential"];

/// A job and the command that it runs.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) job: Job,
    /// `None` means the sources in the legacy script's variables.
    pub(crate) set: Option<Set>,
    /// Type of the job: `full`, `cleanup` ...
    pub(crate) what: &'static str,
}

impl Planned {
    /// Returns the command line arguments. They contain no secrets, which are passed in the environment.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let mut all: Vec<OsString> = match self.what {
            kind if BACKUPS.contains(&kind) => vec!["backup".into(), format!("--{kind}").into()],
            verb => vec![verb.into()],
        };
        if let Some(set) = &self.set {
            all.extend(["--set".into(), OsString::from(&set.name)]);
        }
        all
    }

    /// Returns the verb as in the run log.
    pub(crate) fn verb(&self) -> &'static str {
        if BACKUPS.contains(&self.what) { "backup" } else { self.what }
    }
}

/// Returns all jobs. `lane` returns the location of a set's repository. `by_itself` is `Some` if there is
/// something to back up even without sets; its value is whether there are retention rules as well.
pub(crate) fn plan(
    config: &Config,
    lane: impl Fn(Option<&Set>) -> String,
    by_itself: Option<bool>,
) -> Vec<Planned> {
    let mut all = Vec::new();
    for set in config.sets() {
        if set.table.bool("schedule.enabled").unwrap_or(true) {
            all.extend(of_set(set, &lane(Some(set))));
        }
    }
    if let Some(cleans) = by_itself.filter(|_| config.sets().is_empty()) {
        for (what, cron) in default_times(cleans) {
            let job = job(what.to_owned(), what, lane(None), cron, None);
            all.push(Planned { job, set: None, what });
        }
    }
    all
}

/// Returns when the next job of a set runs, of any type.
pub(crate) fn next(set: &Set, now: Timestamp) -> Option<Timestamp> {
    let enabled = set.table.bool("schedule.enabled").unwrap_or(true);
    let all = if enabled { of_set(set, "") } else { Vec::new() };
    all.iter().filter_map(|one| one.job.cron.after(now, &one.job.zone)).min()
}

fn of_set(set: &Set, lane: &str) -> Vec<Planned> {
    let given = |what: &str| set.table.cron(&format!("schedule.{what}"));
    let times: Vec<(&'static str, Cron)> = if WHATS.iter().all(|what| given(what).is_none()) {
        default_times(set.is_cleaned())
    } else {
        WHATS.iter().filter_map(|what| Some((*what, given(what)??.clone()))).collect()
    };
    let planned = |(what, cron): (&'static str, Cron)| {
        let job = job(format!("{}/{what}", set.name), what, lane.to_owned(), cron, Some(set));
        Planned { job, set: Some(set.clone()), what }
    };
    times.into_iter().map(planned).collect()
}

fn default_times(cleans: bool) -> Vec<(&'static str, Cron)> {
    let all = [("full", FULL), ("incremental", INCREMENTAL), ("cleanup", CLEANUP)];
    let wanted = all.into_iter().filter(|(what, _)| cleans || *what != "cleanup");
    wanted.filter_map(|(what, text)| Some((what, Cron::parse(text).ok()?))).collect()
}

fn job(name: String, what: &str, lane: String, cron: Cron, set: Option<&Set>) -> Job {
    let table = set.map(|set| &set.table);
    let duration = |key: &str| table.and_then(|table| table.duration(key));
    Job {
        name,
        lane,
        cron,
        zone: set.and_then(Set::zone).unwrap_or_else(TimeZone::system),
        jitter: duration("schedule.jitter").unwrap_or_default(),
        catch_up: table.and_then(|table| table.bool("schedule.catch-up")).unwrap_or(true),
        retries: table
            .and_then(|table| table.number("schedule.retries"))
            .map_or(3, |number| u32::try_from(number).unwrap_or(u32::MAX)),
        retry_wait: duration("schedule.retry-wait").unwrap_or(Duration::from_secs(60)),
        window: set.and_then(Set::window).filter(|_| BACKUPS.contains(&what)),
        rank: WHATS.iter().position(|other| *other == what).unwrap_or(WHATS.len()),
    }
}
