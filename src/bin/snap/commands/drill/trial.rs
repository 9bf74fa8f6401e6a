//! `snap drill --run`: runs a command in what was restored.

use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::{Value, json};
use snap_backup::repo::snapshots::Snapshot;
use snap_backup::{Error, Result};

use crate::commands::drill::DrillArgs;
use crate::config::set::patterns;
use crate::context::Context;
use crate::process::shell_command::{self, CommandError};
use crate::terminal::output;

/// A command to run in what was restored.
#[derive(Debug)]
pub(super) struct Trial {
    command: String,
    timeout: Duration,
    pub(super) include: Vec<OsString>,
}

impl Trial {
    /// Returns the given settings, otherwise those of the set.
    pub(super) fn of(context: &Context, args: &DrillArgs) -> Result<Option<Self>> {
        let own = context.set_settings().drill;
        let Some(command) = args.run.clone().or(own.run.map(|command| command.0)) else {
            return if args.include.is_empty() && args.run_timeout.is_none() {
                Ok(None)
            } else {
                Err(Error::Usage(
                    "--include and --run-timeout need --run: without a command a sample is restored"
                        .to_owned(),
                ))
            };
        };
        if command.trim().is_empty() {
            return Err(Error::Usage("--run: no command was given".to_owned()));
        }
        let timeout = args.run_timeout.unwrap_or(own.run_timeout);
        let include = if args.include.is_empty() { patterns(&own.include) } else { args.include.clone() };
        Ok(Some(Self { command, timeout, include }))
    }
}

/// How the command ended for one snapshot.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) snapshot: String,
    /// Why it failed.
    pub(super) trouble: Option<String>,
    /// The last line that it printed.
    pub(super) said: String,
}

impl Tried {
    /// Returns a message if the command failed.
    pub(super) fn failure(&self, snapshot: &Snapshot) -> Option<String> {
        let (why, short) = (self.trouble.as_ref()?, snapshot.id.short());
        let end = if self.said.is_empty() { String::new() } else { format!("; its output: {}", self.said) };
        Some(format!("the command of the drill failed in snapshot {short}: {why}{end}"))
    }

    pub(super) fn json(&self) -> Value {
        let succeeded = self.trouble.is_none();
        json!({"snapshot_id": self.snapshot, "succeeded": succeeded, "error": self.trouble, "said": self.said})
    }
}

/// Runs the command in what was restored.
pub(super) fn try_out(
    context: &Context,
    snapshot: &Snapshot,
    trial: &Trial,
    (target, stop): (&Path, &AtomicBool),
) -> Result<Tried> {
    let mut command = shell_command::shell(&trial.command);
    command.current_dir(target).envs(context.notification("drill", None).variables());
    command
        .env("SNAP_DRILL_DIR", target)
        .env("SNAP_SNAPSHOT", snapshot.id.hex())
        .env("SNAP_SNAPSHOT_TIME", output::rfc3339(snapshot.manifest.started))
        .env("SNAP_HOST", &snapshot.manifest.host);
    let (result, said) = shell_command::run_with_output(command, trial.timeout, stop);
    let trouble = match result {
        Ok(()) => None,
        Err(CommandError::Stopped) => return Err(Error::Interrupted),
        Err(CommandError::Failed(why)) => Some(why),
    };
    if !said.is_empty() {
        context.recorder.update(|record| record.said = Some(said.chars().take(500).collect()));
    }
    Ok(Tried { snapshot: snapshot.id.hex(), trouble, said })
}
