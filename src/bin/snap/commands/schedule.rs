//! `snap schedule`: shows the planned runs, runs what is due, and installs the schedule in the system.

use std::path::Path;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;
use snap_backup::sys::{host, users};
use snap_backup::{Error, Result};

use super::daemon;
use crate::context::Context;
use crate::exit::Outcome;
use crate::password;
use crate::schedule::Planned;
use crate::schedule::daemon::{SchedulerDaemon, format_time};
use crate::schedule::install::{Installation, Runner};
use crate::terminal::output;
use crate::terminal::table::Narrow;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the jobs and their next times
    Show(Show),
    /// Run what is due, once; for a timer or cron
    Run,
    /// Let the system run the schedule, by systemd, launchd or cron
    Install(Install),
    /// Undo `install`
    Remove(Install),
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Number of times to show for each job
    #[arg(short = 'c', long, value_name = "N", default_value_t = 1)]
    pub(crate) count: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Install {
    /// A service that runs `snap daemon`, instead of a timer that runs `snap schedule run` every five minutes
    #[arg(long)]
    pub(crate) daemon: bool,
    /// For this user (the default, except for root)
    #[arg(long, conflicts_with = "system")]
    pub(crate) user: bool,
    /// For the machine (the default for root)
    #[arg(long)]
    pub(crate) system: bool,
    /// Use the crontab even if there is systemd
    #[arg(long, conflicts_with_all = ["daemon", "user", "system"])]
    pub(crate) cron: bool,
    /// Use systemd units even if systemd does not run the machine
    #[arg(long, conflicts_with = "cron")]
    pub(crate) systemd: bool,
    /// Use a launchd job even if launchd does not run the machine
    #[arg(long, conflicts_with_all = ["cron", "systemd"])]
    pub(crate) launchd: bool,
    /// Change nothing; only print what would be written and run
    #[arg(short = 'n', long, visible_alias = "print")]
    pub(crate) dry_run: bool,
}

pub(crate) fn run(context: &Context, verb: &Verb) -> Result<Outcome> {
    match verb {
        Verb::Show(args) => show(context, args),
        Verb::Run => run_due(context),
        Verb::Install(args) => {
            // A schedule without jobs is not installed.
            daemon::planned(context)?;
            lacking(context)?;
            installation(context, args)?.install(args.dry_run)?;
            Ok(Outcome::Done)
        }
        Verb::Remove(args) => {
            installation(context, args)?.remove(args.dry_run)?;
            Ok(Outcome::Done)
        }
    }
}

fn show(context: &Context, args: &Show) -> Result<Outcome> {
    let planned = daemon::planned(context)?;
    let mut times: Vec<(Timestamp, &Planned)> = Vec::new();
    for one in &planned {
        let mut at = Timestamp::now();
        for _ in 0..args.count {
            let Some(next) = one.job.cron.after(at, &one.job.zone) else { break };
            times.push((next, one));
            at = next;
        }
    }
    times.sort_by_key(|(at, _)| *at);
    if context.global.json {
        for (at, one) in times {
            let set = one.set.as_ref().map(|set| set.name.as_str());
            let value = json!({
                "message_type": "job",
                "next": at.to_string(),
                "set": set,
                "job": one.what,
                "cron": one.job.cron.as_str(),
                "time_zone": one.job.zone.iana_name(),
                "repository": one.job.lane,
                "jitter_seconds": one.job.jitter.as_secs(),
            });
            output::print(&value.to_string())?;
        }
        return Ok(Outcome::Done);
    }
    let mut rows = vec![["Next", "Set", "Job", "Expression", "Repository"].map(str::to_owned)];
    for (at, one) in times {
        let set = one.set.as_ref().map_or_else(|| "(legacy script)".to_owned(), |set| set.name.clone());
        let cron = one.job.cron.as_str().to_owned();
        rows.push([
            format_time(at, &one.job.zone),
            set,
            one.what.to_owned(),
            cron,
            output::printable(&one.job.lane),
        ]);
    }
    let narrow = Narrow { cut: &[(4, 12), (1, 8)], drop: &[3, 4] };
    output::print(&output::table(&rows, |_| false, &narrow).join("\n"))?;
    Ok(Outcome::Done)
}

fn run_due(context: &Context) -> Result<Outcome> {
    let state = daemon::state(context)?;
    let planned = daemon::planned(context)?;
    let Some(_lock) = state.lock()? else {
        if context.prints_success() && !context.global.json {
            output::print("another process is already running this schedule: nothing done")?;
        }
        return Ok(Outcome::Done);
    };
    let on_killed = |planned: &Planned, why: &str| daemon::notify_killed(context, planned, why);
    let mut scheduler = SchedulerDaemon::new(daemon::calling(context), planned, &state, &on_killed)?;
    scheduler.run_due()?;
    match (scheduler.was_stopped(), scheduler.failures()) {
        (true, _) => Ok(Outcome::Interrupted),
        // Each job has reported its own errors.
        (false, 0) => Ok(Outcome::Done),
        (false, _) => Ok(Outcome::Failed(1)),
    }
}

/// Rejects settings from the environment of this call that the installed schedule would not have.
fn lacking(context: &Context) -> Result<()> {
    if context.config.file.is_none() {
        return Err(Error::Usage(
            "only a snap.toml can be installed: environment variables are not set when the system runs the \
             schedule (`snap config init` creates one)"
                .to_owned(),
        ));
    }
    if password::is_given(&context.given) {
        let text = "the password given here is not available when the system runs the schedule: set \
                    password-file or password-command in the configuration";
        output::warn(context.global.json, text);
    }
    Ok(())
}

fn installation(context: &Context, args: &Install) -> Result<Installation> {
    let program = std::env::current_exe().map_err(Error::io("find", "this program"))?;
    let root = users::is_root();
    Ok(Installation {
        program,
        config: context.config.file.clone(),
        profile: context.config.profile.clone(),
        state: context.given.state_dir.clone().filter(|dir| !dir.is_empty()).map(Into::into),
        daemon: args.daemon,
        system: args.system || root && !args.user,
        runner: runner(args),
    })
}

/// Returns who is to run the schedule: who was named, otherwise who runs the machine.
fn runner(args: &Install) -> Runner {
    match args {
        Install { cron: true, .. } => Runner::Cron,
        Install { systemd: true, .. } => Runner::Systemd,
        Install { launchd: true, .. } => Runner::Launchd,
        _ if host::HAS_LAUNCHD => Runner::Launchd,
        // The directory exists if and only if systemd is the init system.
        _ if Path::new("/run/systemd/system").is_dir() => Runner::Systemd,
        _ => Runner::Cron,
    }
}
