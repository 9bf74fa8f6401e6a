//! Runs of a set that a user of `snap serve` starts. They take the schedule's lock, so that only one of both
//! uses a repository at a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use snap_backup::model::manifest::SnapshotKind;
use snap_backup::ops::schedule::scheduler::Job;
use snap_backup::sys::process::Signal;
use snap_backup::{Error, Result};

use super::daemon;
use crate::args::global::Global;
use crate::config::{Config, Set};
use crate::context::Context;
use crate::schedule::job_process::Event;
use crate::schedule::{Planned, job_process};
use crate::serve::{RunOf, Wait};

/// How often to look whether the server is stopping.
const LOOK: Duration = Duration::from_millis(200);

/// Returns a function that starts a verb for a set.
pub(super) fn starter(global: &Global) -> RunOf {
    let global = global.clone();
    Box::new(move |set, what| start(&global, set, what))
}

fn start(global: &Global, set: &str, what: &str) -> Result<Wait> {
    let context = Context::new(global.clone(), Config::load(global)?);
    let set = context.config.named_sets(&[set.to_owned()])?.into_iter().next().ok_or(Error::Stopped)?;
    let of_set = context.for_set(&set);
    let lane = of_set.storage()?.location();
    let state = daemon::state(&context)?;
    let Some(lock) = state.lock_repository(&lane)? else {
        return Err(Error::Refused(
            "the schedule or another run is using the repository of this set: try again later".to_owned(),
        ));
    };
    let planned = planned(set, what, &lane)?;
    let (sender, events) = mpsc::channel();
    // Its output would mix with the server's.
    let quiet = Global { quiet: true, json: false, ..daemon::calling(&context) };
    job_process::start(&quiet, &planned, Timestamp::now(), 1, &sender)?;
    drop(sender);
    Ok(Box::new(move |stop: &AtomicBool| {
        let _lock = lock;
        wait(&events, stop)
    }))
}

/// Waits for the end of a process, and sends it one signal to stop when `stop` is set. Returns whether it
/// succeeded, and how it ended.
fn wait(events: &Receiver<Event>, stop: &AtomicBool) -> (bool, String) {
    let mut process = None;
    loop {
        match events.recv_timeout(LOOK) {
            Ok(Event::Started(_, id)) => process = Some(id),
            Ok(Event::Ended(_, status)) => {
                return match job_process::failure(status) {
                    None => (true, format!("It is {}.", job_process::describe_end(status))),
                    Some(why) => (false, format!("It failed: {why}. `snap status` shows more.")),
                };
            }
            Ok(Event::Signal(_)) => {}
            Err(RecvTimeoutError::Timeout) => {
                if let Some(id) = process.take_if(|_| stop.load(Ordering::Relaxed)) {
                    job_process::signal(id, Signal::TERM);
                }
            }
            Err(RecvTimeoutError::Disconnected) => return (false, "Its exit status is unknown.".to_owned()),
        }
    }
}

fn planned(set: Set, what: &str, lane: &str) -> Result<Planned> {
    let what = match what {
        "check" => "check",
        "drill" => "drill",
        "backup" => match set.settings.kind {
            SnapshotKind::Full => "full",
            SnapshotKind::Incremental => "incremental",
            SnapshotKind::Differential => "differential",
        },
        _ => return Err(Error::Usage(format!("a set has no {what}"))),
    };
    let cron = snap_backup::ops::schedule::cron::Cron::parse("0 0 1 1 *").map_err(Error::Usage)?;
    let job = Job {
        name: format!("{}/{what}", set.name),
        lane: lane.to_owned(),
        cron,
        zone: TimeZone::system(),
        jitter: Duration::ZERO,
        catch_up: false,
        retries: 0,
        retry_wait: Duration::ZERO,
        window: None,
        rank: 0,
    };
    Ok(Planned { job, set: Some(set), what })
}
