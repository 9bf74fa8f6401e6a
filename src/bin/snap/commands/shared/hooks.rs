//! Runs a set with its hooks and notifications.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use snap_backup::model::entry::Time;
use snap_backup::util::host;
use snap_backup::{Error, Result};

use crate::commands::shared::start_conditions;
use crate::config::Set;
use crate::context::Context;
use crate::exit::Outcome;
use crate::notify::{End, Notification};
use crate::process::shell_command::{self, CommandError};
use crate::schedule::job_process::JobEnvironment;
use crate::terminal::progress::stop_on_signals;
use crate::terminal::{output, wording};
use crate::{exit, notify};

/// Returns why a run must not start now; `None` if it may.
pub(crate) type Gate<'a> = dyn Fn(&Context) -> Result<Option<String>> + 'a;

/// The work to do for a set.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) verb: &'static str,
    /// Returns the kind of snapshot; only for a backup.
    pub(crate) kind: Option<&'a dyn Fn(&Set) -> String>,
    /// Nothing is written, so no hooks run and no notifications are sent.
    pub(crate) dry_run: bool,
    /// Returns why the run must not start now.
    pub(crate) gate: Option<&'a Gate<'a>>,
}

/// Runs the work of a set with its hooks and notifications, and records the result.
pub(crate) fn run(
    context: &Context,
    job: Job<'_>,
    work: impl FnOnce() -> Result<Outcome>,
) -> Result<Outcome> {
    if job.dry_run || context.set.is_none() {
        let result = work();
        context.recorder.end(&result);
        return result;
    }
    let kind = job.kind.zip(context.set.as_ref()).map(|(kind, set)| kind(set));
    let mut notification = context.notification(job.verb, kind.as_deref());
    let wants_hooks = wants_hooks(&notification);
    if let Some(why) = why_skipped(context, job, wants_hooks.then_some(&notification))? {
        return skip(context, &notification, &why);
    }
    let begun = notify::begin(&notification);
    let hooks = |notification: &Notification, which: &str| {
        if wants_hooks { hooks(notification, which) } else { Ok(()) }
    };
    let mut result = hooks(&notification, "before")
        .inspect_err(|_| context.begin_for_set(&notification))
        .and_then(|()| work());
    notification.end = Some(ending(context, &notification, &result));
    if matches!(result, Ok(Outcome::Done | Outcome::Problems | Outcome::Alarm))
        && let Err(error) = hooks(&notification, "after")
    {
        result = Err(error);
        notification.end = Some(ending(context, &notification, &result));
    }
    // Neither can change the result of the run, which has been reported already.
    if notification.status() == Some("failure") {
        warn(&notification, hooks(&notification, "on-failure"));
    }
    warn(&notification, hooks(&notification, "finally"));
    notify::end(&notification, begun, &context.global, context.due());
    context.recorder.end(&result);
    result
}

/// Returns why the run must not start: its time window, the state of the machine, or one of the user's
/// conditions.
fn why_skipped(context: &Context, job: Job<'_>, conditions: Option<&Notification>) -> Result<Option<String>> {
    if let Some(why) = job.gate.map_or(Ok(None), |gate| gate(context))? {
        return Ok(Some(why));
    }
    conditions
        .map_or(Ok(None), |notification| start_conditions::conditions(context, &notification.variables()))
}

/// Records and reports a skipped run. No notification is sent, because this is not a failure.
fn skip(context: &Context, notification: &Notification, why: &str) -> Result<Outcome> {
    context.begin_for_set(notification);
    context.recorder.update(|record| record.set_error(why));
    let result = Ok(Outcome::Skipped);
    context.recorder.end(&result);
    start_conditions::tell(context, why)?;
    result
}

fn wants_hooks(notification: &Notification) -> bool {
    let jobs = &notification.settings.hooks.jobs;
    if jobs.is_empty() {
        notification.verb == "backup"
    } else {
        jobs.iter().any(|job| job.0 == notification.verb)
    }
}

fn ending(context: &Context, notification: &Notification, result: &Result<Outcome>) -> End {
    let record = context.recorder.record();
    let error = match result {
        Err(error) => Some(wording::chain(error)),
        Ok(_) => record.as_ref().and_then(|record| record.error.clone()),
    };
    End {
        code: exit::exit_code(result),
        error,
        snapshot: record.and_then(|record| record.snapshot),
        seconds: u64::try_from(Timestamp::now().duration_since(notification.started).as_secs())
            .unwrap_or_default(),
    }
}

fn warn(notification: &Notification, result: Result<()>) {
    if let Err(error) = result {
        output::warn(notification.json, &error.chain());
    }
}

/// Runs all hooks of a kind, until one fails.
fn hooks(notification: &Notification, which: &str) -> Result<()> {
    let at_the_end = matches!(which, "on-failure" | "finally");
    let hooks = &notification.settings.hooks;
    let lines = match which {
        "before" => &hooks.before,
        "after" => &hooks.after,
        "on-failure" => &hooks.on_failure,
        _ => &hooks.finally,
    };
    for (number, line) in lines.iter().enumerate() {
        let stop = stop_on_signals()?;
        if !at_the_end && stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let mut command = shell_command::shell(&line.0);
        command.env("SNAP_HOOK", which).envs(notification.variables());
        // Cleanup hooks run even after a signal.
        let stop = (!at_the_end).then_some(&*stop);
        match shell_command::run(command, b"", hooks.timeout, stop) {
            Ok(()) => {}
            Err(CommandError::Stopped) => return Err(Error::Interrupted),
            Err(CommandError::Failed(why)) => {
                let what = format!("hook {} of `{which}` of the set {}", number + 1, notification.set);
                return Err(Error::Io { doing: "run", what, source: std::io::Error::other(why) });
            }
        }
    }
    Ok(())
}

impl Context {
    /// Returns the notification for a run that starts now.
    pub(crate) fn notification(&self, verb: &str, kind: Option<&str>) -> Notification {
        let set = self.set.as_ref();
        let repository = match self.entry() {
            Some(entry) => entry.name.clone(),
            None => self
                .global
                .repo
                .as_ref()
                .map(|repo| output::redacted(&repo.to_string_lossy()))
                .unwrap_or_default(),
        };
        Notification {
            set: set.map(|set| set.name.clone()).unwrap_or_default(),
            settings: self.set_settings(),
            verb: verb.to_owned(),
            kind: kind.map(str::to_owned),
            repository,
            host: set.and_then(Set::host).unwrap_or_else(host::host_name),
            config: self.config.file.clone(),
            started: Timestamp::now(),
            job: JobEnvironment::of_environment(),
            end: None,
            json: self.global.json,
        }
    }

    /// Returns the time for which a schedule planned this run.
    pub(crate) fn due(&self) -> Option<Time> {
        JobEnvironment::of_environment().due.map(output::time)
    }

    /// Starts the record of the run before its hooks, so that a run that its first hook stops is recorded as
    /// well.
    fn begin_for_set(&self, notification: &Notification) {
        self.begin(&notification.verb, false, |record| {
            record.kind.clone_from(&notification.kind);
            if let Some(set) = &self.set {
                let selection = set.selection();
                let host = set.host().unwrap_or_else(host::host_name);
                record.set_sources(&host, &selection.sources.unwrap_or_default());
            }
        });
    }
}
