//! Starts programs with a safe environment. ssh sends variables to the server if configured (`SendEnv`), and
//! hooks and notification receivers may log theirs.

use std::ffi::OsStr;
use std::io;
use std::process::Command;

/// Variables that hold a repository password.
const SECRETS: [&str; 4] = ["SNAP_PASSWORD", "SNAP_NEW_PASSWORD", "SNAP_TO_PASSWORD", "SNAP_REST_PASSWORD"];

/// Returns a command for a foreign program, without passwords in its environment.
pub fn foreign(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for name in SECRETS {
        command.env_remove(name);
    }
    command
}

/// Returns a command for this program itself, with the full environment.
///
/// # Errors
/// When its path cannot be determined.
pub fn own() -> io::Result<Command> {
    std::env::current_exe().map(Command::new)
}
