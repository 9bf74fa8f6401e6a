//! Exit codes and error messages as in restic.

use serde_json::json;
use snap_backup::{Error, ErrorKind, Result};

use crate::process::program_name;
use crate::terminal::{output, wording};

/// Result of a verb that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// Success.
    Done,
    /// Ends with this exit code, for this reason.
    Code(u8, String),
}

/// Exit code of a backup that could not read some files.
pub(super) const INCOMPLETE: u8 = 3;
const NO_REPOSITORY: u8 = 10;
const WRONG_PASSWORD: u8 = 12;
const INTERRUPTED: u8 = 130;

/// Prints the error, if there is one, and returns the exit code.
pub(super) fn finish(result: Result<End>, json: bool) -> u8 {
    let (code, message) = match result {
        Ok(End::Done) => return 0,
        Ok(End::Code(code, message)) => (code, message),
        Err(error) if error.is_broken_pipe() => return 0,
        Err(error) => (code(&error), describe_error(&error)),
    };
    if json {
        let value = json!({"message_type": "exit_error", "code": code, "message": message});
        output::eprint(&value.to_string());
    } else if !message.is_empty() {
        output::eprint(&message.split('\n').map(output::printable).collect::<Vec<_>>().join("\n"));
    }
    code
}

/// Returns the error for a verb or flag that is not supported.
pub(super) fn refused(what: &str, why: &str) -> Error {
    Error::Usage(format!("{what} is not supported: {why}"))
}

/// Returns the exit code of an error.
pub(super) fn code(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::NoRepository => NO_REPOSITORY,
        ErrorKind::WrongPassword => WRONG_PASSWORD,
        ErrorKind::Interrupted => INTERRUPTED,
        _ => 1,
    }
}

fn describe_error(error: &Error) -> String {
    match error {
        Error::NoRepository { location } | Error::NoOtherRepository { location } => format!(
            "Fatal: repository does not exist: unable to open config file: stat {location}/config: no such \
             file or directory\nIs there a repository at the following location?\n{location}"
        ),
        Error::WrongPassword { .. } | Error::KeyRemoved { .. } => {
            "Fatal: wrong password or no key found".to_owned()
        }
        Error::NoPassword { .. } => NO_PASSWORD.to_owned(),
        Error::RepositoryExists { location } => {
            format!("Fatal: create repository at {location} failed: config file already exists")
        }
        Error::CannotInit { location, why } => {
            format!("Fatal: create repository at {location} failed: {why}")
        }
        Error::NoSnapshot { selector, .. } if selector.starts_with("latest") => {
            "no snapshot found".to_owned()
        }
        Error::NoSnapshot { selector, .. } => no_match(selector),
        Error::Interrupted => "interrupted".to_owned(),
        error => format!("Fatal: {}", program_name::message(&wording::chain(error))),
    }
}

/// Returns the message if no snapshot matches.
pub(super) fn no_match(selector: &str) -> String {
    format!("no matching ID found for prefix \"{selector}\"")
}

/// Message if there is no password.
pub(super) const NO_PASSWORD: &str = "Fatal: an empty password is not allowed by default. Pass the flag \
    `--insecure-no-password` to restic to disable this check";
