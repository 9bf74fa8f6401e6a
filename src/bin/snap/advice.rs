//! Advice on errors: the command to run next.

use snap_backup::Error;

use crate::terminal::wording;

/// Returns the command to run next, if there is one.
pub(crate) fn advice(error: &Error) -> Option<String> {
    match error {
        Error::NotFound { help, .. } => Some(wording::translate(help).into_owned()),
        #[cfg(feature = "cloud")]
        Error::Io { what, .. } if error.is_forbidden() => {
            snap_backup::storage::object_store::credentials(what).map(str::to_owned)
        }
        _ => hint(error).map(str::to_owned),
    }
}

/// Returns the message and the advice in one line.
#[cfg(feature = "serve")]
pub(crate) fn message_with_hint(error: &Error) -> String {
    let hint = hint(error).map(|hint| format!(": {hint}")).unwrap_or_default();
    format!("{}{hint}", wording::chain(error))
}

fn hint(error: &Error) -> Option<&'static str> {
    match error {
        Error::NoRepository { .. } => {
            Some("create one with `snap init`, or give another location with -r or SNAP_REPO")
        }
        Error::NoOtherRepository { .. } => {
            Some("run the command again with --init to create one, or give another location with --to")
        }
        Error::WrongPassword { untried: 1.., .. } => Some(
            "`--key ID` tries one slot, whatever it costs (the names of the files in `keys` are their ids); \
             slots that you did not create can be removed",
        ),
        Error::WrongPassword { .. } => Some(
            "any password of the repository opens it: check SNAP_PASSWORD, --password-file or --password-command; \
             if the password was made with a key file, give it with --key-file, otherwise give none",
        ),
        Error::KeyRemoved { .. } => {
            Some("another password of the repository opens it; `snap key add` then adds a new one")
        }
        Error::NoPassword { .. } => {
            Some("give one with --password-file, --password-command or SNAP_PASSWORD")
        }
        Error::PasswordSource { .. } => Some(
            "a flag (--password-file, --password-command) takes precedence over SNAP_PASSWORD, \
             SNAP_PASSWORD_FILE, SNAP_PASSWORD_COMMAND and the configuration",
        ),
        Error::NewerFormat { .. } | Error::NeedsNewer { .. } => Some("use a newer snap"),
        Error::Missing { what } | Error::Damaged { what, .. } if opens_repository(what) => Some(
            "without it the repository cannot be opened: restore the file from a copy of the repository \
             (docs/repair.md)",
        ),
        Error::Missing { .. } | Error::Damaged { .. } => Some(
            "`snap check --read-data` lists what is affected; the next backup stores again what the sources \
             still have; `snap repair` saves the rest (docs/repair.md)",
        ),
        Error::NoSnapshot { .. } => {
            Some("`snap snapshots` lists the snapshots, `snap help selectors` describes how to select one")
        }
        Error::Diverged { .. } => Some(
            "it may have been replaced or rolled back to an older copy, or its disk is not mounted; if it \
             is intended, `snap repair known` accepts it (docs/repair.md)",
        ),
        Error::Bug { .. } => {
            Some("the run was stopped and existing data was not changed; please report this message")
        }
        Error::NoThread { .. } => Some(
            "the process has reached its limit of threads or memory: raise `ulimit -u` and `ulimit -v`, or \
             the limits of its unit or container (TasksMax, memory)",
        ),
        Error::Io { .. } if error.is_out_of_memory() => {
            Some("deriving a key from a password needs 64 MiB: raise the memory limit")
        }
        Error::Io { .. } if error.is_untrusted() => Some(
            "if it is your server, trust the authority that signed its certificate: use --cacert FILE, or \
             install the certificate in the system",
        ),
        Error::Quota { .. } => Some("keep fewer snapshots (`keep-below`, --keep-*), or set a larger quota"),
        Error::Io { .. } if error.is_full() => {
            Some("free some space and run the command again; no committed data was lost")
        }
        _ => None,
    }
}

/// Returns whether a repository cannot be opened at all without the object of this name.
fn opens_repository(what: &str) -> bool {
    ["config/", "keys/", "a key slot"].iter().any(|start| what.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bug_message_asks_for_a_report() {
        let bug = Error::Bug { what: "a rule" };
        assert!(advice(&bug).is_some_and(|advice| advice.contains("report this message")));
    }

    #[test]
    fn advice_uses_names_of_the_command_line() {
        let missing = Error::none_selected("no snapshot has the tag x".to_owned());
        assert_eq!(advice(&missing).as_deref(), Some("`snap snapshots` lists all"));
        let refused = Error::NoThread { source: std::io::Error::other("x") };
        assert!(advice(&refused).is_some_and(|advice| advice.contains("ulimit -u")));
    }
}
