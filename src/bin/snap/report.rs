//! How a run ends: the one place that knows exit codes, and how an error is told.
#![allow(clippy::print_stderr)]

use std::error::Error as _;
use std::io;
use std::process::ExitCode;

use serde_json::json;
use snap_backup::{Error, Result};

use crate::output;

/// How a verb ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As asked.
    Done,
    /// Done, but not with everything.
    Problems,
    /// Stored bytes are wrong or gone.
    Damage,
    /// Stopped by a signal after saving what there was.
    Interrupted,
}

/// What a second signal exits with; see `progress::stop_on_signals`.
pub(crate) const INTERRUPTED: u8 = 130;

impl Outcome {
    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Problems => 3,
            Self::Damage => 20,
            Self::Interrupted => INTERRUPTED,
        }
    }
}

/// Tells the error, if there is one, and gives the exit code.
pub(crate) fn finish(result: Result<Outcome>, json: bool) -> ExitCode {
    let error = match result {
        Ok(outcome) => return ExitCode::from(outcome.code()),
        Err(error) if is_broken_pipe(&error) => return ExitCode::SUCCESS,
        Err(error) => error,
    };
    let code = code(&error);
    let message = output::printable(&message(&error));
    if json {
        output::complain(
            &json!({"message_type": "exit_error", "code": code, "message": message}).to_string(),
        );
    } else {
        output::complain(&format!("snap: {message}"));
        if let Some(hint) = error.hint() {
            output::complain(&format!("snap: hint: {hint}"));
        }
    }
    ExitCode::from(code)
}

/// clap's own word: help and version are no errors.
pub(crate) fn parse(error: &clap::Error) -> ExitCode {
    // A reader that left early is no failure, and there is nobody to tell another.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Whether the reader of our output has simply had enough.
pub(crate) fn is_broken_pipe(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
}

fn code(error: &Error) -> u8 {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    match error {
        Error::Usage(_) => 2,
        Error::NoRepository { .. } => 10,
        Error::WrongPassword { .. } | Error::NoPassword { .. } => 12,
        Error::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded) => 21,
        Error::Interrupted => INTERRUPTED,
        error if error.is_damage() => 20,
        _ => 1,
    }
}

fn message(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
