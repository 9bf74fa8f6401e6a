//! Programs that are started: what they may know. ssh sends variables on to the server where it is told so (`SendEnv`), and
//! hooks and receivers of notifications write theirs to logs.

use std::ffi::OsStr;
use std::io;
use std::process::Command;

/// Variables that hold a password of a repository.
const SECRETS: [&str; 4] = ["SNAP_PASSWORD", "SNAP_NEW_PASSWORD", "SNAP_TO_PASSWORD", "SNAP_REST_PASSWORD"];

/// A program of somebody else's: it finds no password in its environment.
pub fn foreign(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for name in SECRETS {
        command.env_remove(name);
    }
    command
}

/// This program once more, with all that it knows.
///
/// # Errors
/// When it cannot be found.
pub fn own() -> io::Result<Command> {
    std::env::current_exe().map(Command::new)
}
