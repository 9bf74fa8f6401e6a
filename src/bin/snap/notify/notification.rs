//! The content of a notification: variables for hooks, JSON for receivers, text for mails.

use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::config::model::SetSettings;
use crate::exit;
use crate::schedule::job_process::JobEnvironment;
use crate::terminal::output::printable;

/// A run of a set, finished or in progress.
#[derive(Debug, Clone)]
pub(crate) struct Notification {
    pub(crate) set: String,
    /// The settings of the set, including receivers and hooks.
    pub(crate) settings: SetSettings,
    pub(crate) verb: String,
    pub(crate) kind: Option<String>,
    /// Name of the repository, otherwise its location without user and password.
    pub(crate) repository: String,
    pub(crate) host: String,
    pub(crate) config: Option<PathBuf>,
    pub(crate) started: Timestamp,
    pub(crate) job: JobEnvironment,
    pub(crate) end: Option<End>,
    /// Whether to print warnings as JSON.
    pub(crate) json: bool,
}

/// The result of the run.
#[derive(Debug, Clone, Default)]
pub(crate) struct End {
    pub(crate) code: u8,
    pub(crate) error: Option<String>,
    pub(crate) snapshot: Option<String>,
    pub(crate) seconds: u64,
}

impl Notification {
    /// Returns `success`, `problems`, `failure`, `alarm`, `time-up` or `interrupted`; `None` while it runs.
    pub(crate) fn status(&self) -> Option<&'static str> {
        Some(match self.end.as_ref()?.code {
            0 => "success",
            3 => "problems",
            exit::ALARM => "alarm",
            exit::TIME_UP => "time-up",
            exit::INTERRUPTED => "interrupted",
            _ => "failure",
        })
    }

    /// Returns the environment variables for a hook.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![
            ("SNAP_SET", self.set.clone()),
            ("SNAP_JOB", self.verb.clone()),
            ("SNAP_KIND", self.kind.clone().unwrap_or_default()),
            ("SNAP_REPOSITORY", self.repository.clone()),
            ("SNAP_HOST", self.host.clone()),
            ("SNAP_STARTED", self.started.to_string()),
            ("SNAP_ATTEMPT", self.job.attempt.to_string()),
            ("SNAP_ATTEMPTS", self.job.attempts.to_string()),
        ];
        if let Some(config) = &self.config {
            all.push(("SNAP_CONFIG", config.to_string_lossy().into_owned()));
        }
        if let (Some(end), Some(status)) = (&self.end, self.status()) {
            all.push(("SNAP_STATUS", status.to_owned()));
            all.push(("SNAP_EXIT_CODE", end.code.to_string()));
            all.push(("SNAP_SECONDS", end.seconds.to_string()));
            all.push(("SNAP_ERROR", escape_nul(end.error.as_deref().unwrap_or_default())));
            all.push(("SNAP_SNAPSHOT", end.snapshot.clone().unwrap_or_default()));
        }
        all
    }

    /// Returns the JSON body for a webhook.
    pub(crate) fn json(&self, event: &str) -> Value {
        let end = self.end.clone().unwrap_or_default();
        json!({
            "event": event,
            "set": self.set,
            "job": self.verb,
            "kind": self.kind,
            "status": self.status(),
            "repository": self.repository,
            "host": self.host,
            "started": self.started.to_string(),
            "seconds": end.seconds,
            "exit_code": end.code,
            "error": end.error,
            "snapshot": end.snapshot,
            "attempt": self.job.attempt,
            "program": concat!("snap ", env!("CARGO_PKG_VERSION")),
        })
    }

    /// Returns the subject of a mail.
    pub(crate) fn headline(&self, event: &str) -> String {
        format!("[snap] {event}: {} of {} on {}", self.verb, self.set, self.host)
    }

    /// Returns the text of a mail.
    pub(crate) fn text(&self, event: &str) -> String {
        let end = self.end.clone().unwrap_or_default();
        let mut lines = vec![
            format!("event:      {event}"),
            format!("set:        {}", printable(&self.set)),
            format!("job:        {} {}", self.verb, self.kind.as_deref().unwrap_or_default()),
            format!("repository: {}", printable(&self.repository)),
            format!("host:       {}", printable(&self.host)),
            format!("started:    {}", self.started),
            format!("exit code:  {}", end.code),
        ];
        lines.extend(end.snapshot.map(|id| format!("snapshot:   {id}")));
        lines.extend(end.error.map(|why| format!("\n{}", printable(&why))));
        lines.iter().map(|line| line.trim_end().to_owned() + "\n").collect()
    }
}

/// Escapes NUL, which environment variables cannot contain.
fn escape_nul(text: &str) -> String {
    text.replace('\0', "\\0")
}
