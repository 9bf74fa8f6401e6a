//! Starts programs with a safe environment. ssh sends variables to the server if configured (`SendEnv`), and
//! hooks and notification receivers may log theirs.

use std::ffi::OsStr;
use std::io;
use std::process::Command;

/// Variables that hold a repository password.
const SECRETS: [&str; 4] = ["SNAP_PASSWORD", "SNAP_NEW_PASSWORD", "SNAP_TO_PASSWORD", "SNAP_REST_PASSWORD"];

/// Variables from which restic and borg take a password. The commands among them may contain it.
const FOREIGN_SECRETS: [&str; 12] = [
    "RESTIC_PASSWORD",
    "RESTIC_PASSWORD_FILE",
    "RESTIC_PASSWORD_COMMAND",
    "RESTIC_FROM_PASSWORD",
    "RESTIC_FROM_PASSWORD_FILE",
    "RESTIC_FROM_PASSWORD_COMMAND",
    "RESTIC_REST_PASSWORD",
    "BORG_PASSPHRASE",
    "BORG_NEW_PASSPHRASE",
    "BORG_OTHER_PASSPHRASE",
    "BORG_PASSCOMMAND",
    "BORG_OTHER_PASSCOMMAND",
];

/// Returns a command for a foreign program, without passwords in its environment.
pub fn foreign(program: impl AsRef<OsStr>) -> Command {
    without(program, &[SECRETS.as_slice(), FOREIGN_SECRETS.as_slice()])
}

/// Returns a command for restic or borg as the source of an import: it takes its own password from its own
/// variables, and finds none of snap's.
pub fn imported_from(program: impl AsRef<OsStr>) -> Command {
    without(program, &[SECRETS.as_slice()])
}

fn without(program: impl AsRef<OsStr>, names: &[&[&str]]) -> Command {
    let mut command = Command::new(program);
    names.iter().copied().flatten().for_each(|name| _ = command.env_remove(name));
    command
}

/// Returns a command for this program itself, with the full environment.
///
/// # Errors
/// When its path cannot be determined.
pub fn own() -> io::Result<Command> {
    std::env::current_exe().map(Command::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_withheld(command: &Command, name: &str) -> bool {
        command.get_envs().any(|(key, value)| key == name && value.is_none())
    }

    #[test]
    fn only_import_sources_get_passwords_of_restic_and_borg() {
        let (other, source) = (foreign("sh"), imported_from("restic"));
        for name in SECRETS {
            assert!(is_withheld(&other, name) && is_withheld(&source, name), "{name}");
        }
        for name in FOREIGN_SECRETS {
            assert!(is_withheld(&other, name) && !is_withheld(&source, name), "{name}");
        }
    }
}
