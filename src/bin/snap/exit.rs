//! Exit codes of all results, and how errors are printed.
#![allow(clippy::print_stderr)]

use std::process::ExitCode;

use serde_json::json;
use snap_backup::{Error, ErrorKind, Problem, Result};

use crate::advice;
use crate::terminal::text::Paint;
use crate::terminal::{output, progress, wording};

/// The result of a verb that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything was done.
    Done,
    /// Something could not be done.
    Problems,
    /// Stored bytes are wrong or missing.
    Damage,
    /// Stopped by a signal after saving what had been read.
    Interrupted,
    /// Failed with this code. The error has been printed; other parts of the same call may have succeeded.
    Failed(u8),
    /// A set's last backup is older than allowed.
    Overdue,
    /// A backup differs unusually from earlier ones.
    Alarm,
    /// A condition was not met, and nothing was done.
    Skipped,
    /// A backup reached its time limit; what had been read is saved.
    TimeUp,
}

/// Any error without an exit code of its own.
pub(crate) const ERROR: u8 = 1;

/// Stored bytes are wrong or missing, or differ from what this machine recorded.
const DAMAGE: u8 = 20;

/// The command of a drill failed.
pub(crate) const DRILL: u8 = 25;

/// A backup differs unusually from earlier ones, or an alarm is not settled.
pub(crate) const ALARM: u8 = 24;

/// A backup reached its time limit: it saved a partial snapshot, and the next run continues from there.
pub(crate) const TIME_UP: u8 = 26;

/// A run was skipped because a condition was not met: EX_TEMPFAIL of sysexits.h.
pub(crate) const SKIPPED: u8 = 75;

/// A signal interrupted the run; the first one after its work was saved, the second one at once.
pub(crate) const INTERRUPTED: u8 = 130;

impl Outcome {
    /// Returns the worse of two outcomes.
    pub(crate) fn worse(self, other: Self) -> Self {
        let rank = |outcome| match outcome {
            Self::Done => 0,
            Self::Skipped => 1,
            Self::TimeUp => 2,
            Self::Problems | Self::Overdue => 3,
            Self::Alarm => 4,
            Self::Failed(_) => 5,
            Self::Damage => 6,
            Self::Interrupted => 7,
        };
        if rank(other) > rank(self) { other } else { self }
    }

    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Problems => 3,
            Self::Damage => DAMAGE,
            Self::Interrupted => INTERRUPTED,
            Self::Failed(code) => code,
            Self::Overdue => 23,
            Self::Alarm => ALARM,
            Self::Skipped => SKIPPED,
            Self::TimeUp => TIME_UP,
        }
    }
}

/// Returns `Problems` if there are any, otherwise `Done`.
pub(crate) fn outcome(problems: &[Problem]) -> Outcome {
    if problems.is_empty() { Outcome::Done } else { Outcome::Problems }
}

/// Prints the error, if there is one, and returns the exit code.
pub(crate) fn finish(result: Result<Outcome>, json: bool) -> ExitCode {
    let error = match result {
        Ok(outcome) => return ExitCode::from(outcome.code()),
        Err(error) if error.is_broken_pipe() => return ExitCode::SUCCESS,
        Err(error) => error,
    };
    ExitCode::from(report_error(&error, None, json))
}

/// Prints an error, with the name of its set if there is one, and returns its exit code.
pub(crate) fn report_error(error: &Error, set: Option<&str>, json: bool) -> u8 {
    let code = code(error);
    let message = wording::chain(error);
    let mut message = if json { output::printable(&message) } else { output::without_object_ids(&message) };
    if let Some(set) = set {
        message = format!("{set}: {message}");
    }
    if json {
        output::eprint(&json!({"message_type": "exit_error", "code": code, "message": message}).to_string());
    } else {
        output::eprint(&format!("snap: {}", Paint::Red.on_stderr(&message)));
        let interrupted = || progress::how_to_continue().filter(|_| error.kind() == ErrorKind::Interrupted);
        if let Some(hint) = advice::advice(error).or_else(|| interrupted().map(str::to_owned)) {
            output::hint(&hint);
        }
    }
    code
}

/// Prints an error of clap and returns its exit code. Help and version are not errors.
pub(crate) fn report_parse_error(error: &clap::Error) -> ExitCode {
    // A closed output is not a failure, and there is nowhere else to print.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Returns the exit code of a result.
pub(crate) fn exit_code(result: &Result<Outcome>) -> u8 {
    match result {
        Ok(outcome) => outcome.code(),
        Err(error) if error.is_broken_pipe() => 0,
        Err(error) => code(error),
    }
}

fn code(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::Usage => 2,
        ErrorKind::NoRepository => 10,
        ErrorKind::WrongPassword | ErrorKind::NoPassword => 12,
        ErrorKind::Damaged | ErrorKind::Diverged => DAMAGE,
        ErrorKind::NoSpace => 21,
        ErrorKind::Protected => 22,
        ErrorKind::TimeUp => TIME_UP,
        ErrorKind::Interrupted => INTERRUPTED,
        _ => ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violated_invariant_is_exit_1_and_reported_as_a_bug() {
        let bug = Error::Bug { what: "a rule" };
        assert_eq!(
            (code(&bug), bug.chain().as_str()),
            (1, "this is a bug in snap; violated invariant: a rule")
        );
        assert_eq!(exit_code(&Err(bug)), 1);
    }
}
