//! `snap daemon`: runs the schedule in the foreground.

use std::net::SocketAddr;

use clap::Args;
use snap_backup::ops::forget::policy::Rule;
use snap_backup::{Error, Result};

use super::status::serve;
use crate::config::{Config, Set};
use crate::context::Context;
use crate::exit::Outcome;
use crate::schedule::Planned;
use crate::schedule::daemon::SchedulerDaemon;
use crate::schedule::state::ScheduleState;
use crate::terminal::output::{self, count};
use crate::{notify, schedule};

#[derive(Debug, Args)]
#[command(
    after_help = "SIGTERM and SIGINT stop the daemon when its jobs have saved what they have; SIGHUP makes it read \
    the configuration again."
)]
pub(crate) struct Daemon {
    /// Serve metrics for Prometheus at this address; with a port only, just for this machine
    #[arg(long, value_name = "[ADDRESS:]PORT", value_parser = serve::address)]
    pub(crate) metrics: Option<SocketAddr>,
    /// Also accept requests for this host name, not only for IP addresses and localhost; can be repeated
    #[arg(long, value_name = "NAME", requires = "metrics")]
    pub(crate) allow_host: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &Daemon) -> Result<Outcome> {
    let state = state(context)?;
    let planned = planned(context)?;
    let Some(_lock) = state.lock()? else {
        return Err(Error::Usage("another process is already running this schedule".to_owned()));
    };
    if context.prints_success() && !context.global.json {
        let number = count(planned.len() as u64, "job", "jobs");
        output::eprint(&format!("snap: running the schedule of {number}; `snap schedule show` lists them"));
    }
    if let Some(address) = args.metrics {
        let bound = serve::serve(address, args.allow_host.clone(), calling(context))?;
        if context.prints_success() && !context.global.json {
            output::eprint(&format!("snap: metrics are at http://{bound}/metrics"));
        }
    }
    let on_killed = |planned: &Planned, why: &str| notify_killed(context, planned, why);
    let mut scheduler = SchedulerDaemon::new(calling(context), planned, &state, &on_killed)?;
    scheduler.run_until_stopped(&|| {
        let config = Config::load(&context.given)?;
        self::planned(&Context::new(context.given.clone(), config))
    })?;
    Ok(Outcome::Done)
}

/// Returns the planned jobs.
///
/// # Errors
/// There are none: running an empty schedule would be a mistake that nobody notices.
pub(crate) fn planned(context: &Context) -> Result<Vec<Planned>> {
    let lane = |set: Option<&Set>| {
        let storage = set.map_or_else(|| context.storage(), |set| context.for_set(set).storage());
        storage.map(|storage| storage.location()).unwrap_or_default()
    };
    let planned = schedule::plan(&context.config, lane, legacy_jobs(context)?);
    if planned.is_empty() {
        let where_from = match &context.config.file {
            Some(file) => format!("{} has no set with a schedule", file.display()),
            None => "there is no snap.toml (`snap config init` creates one), and none of the legacy script's variables is set"
                .to_owned(),
        };
        return Err(Error::Usage(format!("there are no jobs to run: {where_from}")));
    }
    Ok(planned)
}

/// Without sets: returns whether the variables of the legacy backup script name sources, and if so, whether
/// they contain retention rules.
fn legacy_jobs(context: &Context) -> Result<Option<bool>> {
    let Some(legacy) = &context.legacy else { return Ok(None) };
    let rules = legacy.rules(None, context.legacy_alone().is_some())?;
    Ok(Some(rules.iter().any(Rule::says_something)))
}

/// Returns the global options for jobs: those of this call, with an absolute path of the configuration
/// file.
pub(crate) fn calling(context: &Context) -> crate::args::global::Global {
    let mut global = context.given.clone();
    if let Some(file) = &context.config.file {
        global.config = Some(file.clone().into());
    }
    global
}

/// Returns the saved state of the schedule: of this file and profile, or of the legacy script's variables
/// in this directory.
pub(crate) fn state(context: &Context) -> Result<ScheduleState> {
    let dir = context.global.state().ok_or_else(|| {
        Error::Usage("there is no directory for the state of the schedule: set SNAP_STATE_DIR".to_owned())
    })?;
    let of = match &context.config.file {
        Some(file) => {
            let profile =
                context.config.profile.as_deref().map(|name| format!(" -P {name}")).unwrap_or_default();
            format!("{}{profile}", file.display())
        }
        None => {
            let here = std::env::current_dir().map_err(Error::io("find", "the working directory"))?;
            format!("the legacy script in {}", here.display())
        }
    };
    let dir = std::path::absolute(&dir).map_err(Error::io("make absolute", &dir))?;
    Ok(ScheduleState::new(dir, of))
}

/// Sends the notification for a job that was killed and could not send it itself.
pub(crate) fn notify_killed(context: &Context, planned: &Planned, why: &str) {
    let Some(set) = &planned.set else { return };
    let context = context.for_set(set);
    notify::notify_killed(&context.notification(planned.verb(), Some(planned.what)), why);
}
