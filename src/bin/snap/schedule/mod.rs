//! Scheduled jobs from the configuration, and the process that starts them.

pub(crate) mod daemon;
pub(crate) mod install;
pub(crate) mod job_process;
mod launchd;
pub(crate) mod sd_notify;
pub(crate) mod state;

use std::ffi::OsString;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use snap_backup::ops::schedule::cron::Cron;
use snap_backup::ops::schedule::scheduler::Job;

use crate::config::{Config, Set};

/// Default times, taken from the legacy backup script, for a set without times and for the script's sources.
const FULL: &str = "0 1 * * 0";
const INCREMENTAL: &str = "0 2 * * 1-6";
const CLEANUP: &str = "0 3 * * 1";

/// Types of jobs, in the order in which jobs with the same time are started.
const JOB_TYPES: &[&str] = &["full", "incremental", "differential", "cleanup", "check", "drill"];
/// The types that create snapshots.
const BACKUP_TYPES: &[&str] = &["full", "incremental", "differential"];

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
            kind if BACKUP_TYPES.contains(&kind) => vec!["backup".into(), format!("--{kind}").into()],
            verb => vec![verb.into()],
        };
        if let Some(set) = &self.set {
            all.extend(["--set".into(), OsString::from(&set.name)]);
        }
        all
    }

    /// Returns the verb as in the run log.
    pub(crate) fn verb(&self) -> &'static str {
        if BACKUP_TYPES.contains(&self.what) { "backup" } else { self.what }
    }
}

/// Returns all jobs. `lane` returns the location of a set's repository. `legacy` is `Some` if the legacy
/// script's variables name sources, which are backed up if there are no sets, and says whether they also give
/// retention rules.
pub(crate) fn plan(
    config: &Config,
    lane: impl Fn(Option<&Set>) -> String,
    legacy: Option<bool>,
) -> Vec<Planned> {
    let mut all = Vec::new();
    for set in config.sets() {
        if set.settings.schedule.enabled {
            all.extend(jobs_of_set(set, &lane(Some(set))));
        }
    }
    if let Some(cleans) = legacy.filter(|_| config.sets().is_empty()) {
        for (what, cron) in default_times(cleans) {
            let job = job(what.to_owned(), what, lane(None), cron, None);
            all.push(Planned { job, set: None, what });
        }
    }
    all
}

/// Returns when the next job of a set runs, of any type.
pub(crate) fn next(set: &Set, now: Timestamp) -> Option<Timestamp> {
    let all = if set.settings.schedule.enabled { jobs_of_set(set, "") } else { Vec::new() };
    all.iter().filter_map(|one| one.job.cron.after(now, &one.job.zone)).min()
}

fn jobs_of_set(set: &Set, lane: &str) -> Vec<Planned> {
    let own = &set.settings.schedule;
    let given = [&own.full, &own.incremental, &own.differential, &own.cleanup, &own.check, &own.drill];
    let times: Vec<(&'static str, Cron)> = if given.iter().all(|times| times.is_none()) {
        default_times(set.is_cleaned())
    } else {
        let given = JOB_TYPES.iter().zip(given);
        given.filter_map(|(what, times)| Some((*what, times.as_ref()?.0.clone()?))).collect()
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
    let own = set.map(|set| set.settings.clone()).unwrap_or_default();
    let schedule = own.schedule;
    Job {
        name,
        lane,
        cron,
        zone: schedule.time_zone.unwrap_or_else(TimeZone::system),
        jitter: schedule.jitter,
        catch_up: schedule.catch_up,
        retries: u32::try_from(schedule.retries).unwrap_or(u32::MAX),
        retry_wait: schedule.retry_wait,
        window: own.window.filter(|_| BACKUP_TYPES.contains(&what)),
        rank: JOB_TYPES.iter().position(|other| *other == what).unwrap_or(JOB_TYPES.len()),
    }
}
