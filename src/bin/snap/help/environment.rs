//! All environment variables that snap reads or sets for others: one table for `snap help environment` and
//! the manual.

struct Group {
    title: &'static str,
    variables: &'static [(&'static str, &'static str)],
}

const GROUPS: &[Group] = &[
    Group {
        title: "The repository and its password",
        variables: &[
            ("SNAP_REPO", "the repository, as -r takes it"),
            ("SNAP_PASSWORD", "the password itself; it is not handed on to ssh, hooks and other programs"),
            ("SNAP_PASSWORD_FILE", "a file that holds the password, as --password-file"),
            ("SNAP_PASSWORD_COMMAND", "a shell command that prints the password, as --password-command"),
            ("SNAP_KEY_FILE", "a file that is part of the password, as --key-file"),
            ("SNAP_KEY_ID", "the one key slot to try, as --key"),
            ("SNAP_NEW_PASSWORD", "the new password, for `snap key add` and `snap key passwd`"),
            ("SNAP_KDF_MEMORY", "memory that each try of a new password takes, as --kdf-memory"),
            ("SNAP_KDF_PASSES", "passes over that memory, as --kdf-passes"),
            ("SNAP_TO_PASSWORD", "the password of the other repository, for `snap copy`"),
            ("SNAP_TO_PASSWORD_FILE", "a file that holds that password, as --to-password-file"),
            ("SNAP_TO_PASSWORD_COMMAND", "a shell command that prints it, as --to-password-command"),
            ("SNAP_TO_KEY_FILE", "a file that is part of it, as --to-key-file"),
        ],
    },
    Group {
        title: "Configuration and local state",
        variables: &[
            ("SNAP_CONFIG", "the configuration, as --config"),
            ("SNAP_PROFILE", "a profile of it, as --profile"),
            ("SNAP_CACHE_DIR", "disposable local state, as --cache-dir"),
            ("SNAP_STATE_DIR", "the records of runs, as --state-dir"),
            ("SNAP_THREADS", "threads for each kind of work, as --threads"),
            (
                "XDG_CONFIG_HOME",
                "where snap/snap.toml is looked for; ~/.config (macOS: ~/Library/Application Support) if not set",
            ),
            ("XDG_CACHE_HOME", "where snap/ keeps its cache; ~/.cache (macOS: ~/Library/Caches) if not set"),
            (
                "XDG_STATE_HOME",
                "where snap/ keeps the records of runs; ~/.local/state (macOS: ~/Library/Application Support) if not set",
            ),
            ("HOME", "the home directory that ~ stands for"),
        ],
    },
    Group {
        title: "The terminal",
        variables: &[
            ("SNAP_PAGER", "what shows long lists; cat or an empty value turns that off"),
            ("PAGER", "the same for all programs; less -FRX if neither is set"),
            ("NO_COLOR", "no colours, if it is set"),
            ("TERM", "with dumb no colours, bars and pager"),
        ],
    },
    Group {
        title: "Servers",
        variables: &[
            ("SNAP_SSH_COMMAND", "what is run as ssh for sftp://, as --ssh-command"),
            ("SNAP_CACERT", "a file with the authorities to trust, as --cacert"),
            (
                "SNAP_TLS_CLIENT_CERT",
                "a file with this client's certificate and its key, as --tls-client-cert",
            ),
            (
                "SSL_CERT_FILE",
                "a file with the authorities to trust in place of the system's; SSL_CERT_DIR is a directory of such files",
            ),
            ("SNAP_LIMIT_UPLOAD", "KiB a second that are sent at most, as --limit-upload"),
            ("SNAP_LIMIT_DOWNLOAD", "KiB a second that are received at most, as --limit-download"),
            ("SNAP_REST_USERNAME", "the user at a rest: server"),
            ("SNAP_REST_PASSWORD", "that user's password"),
            (
                "AWS_*",
                "keys, region and endpoint of s3://: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION ...",
            ),
            ("GOOGLE_*", "credentials of gs://: GOOGLE_APPLICATION_CREDENTIALS ..."),
            ("AZURE_*", "credentials of az://: AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY ..."),
        ],
    },
    Group {
        title: "Set for hooks and notifiers",
        variables: &[
            ("SNAP_HOOK", "which hook it is"),
            ("SNAP_EVENT", "what a notifier is told of"),
            ("SNAP_JOB", "the verb that runs"),
            ("SNAP_KIND", "the kind of backup"),
            ("SNAP_SET", "the set"),
            ("SNAP_REPOSITORY", "where the repository is"),
            ("SNAP_HOST", "this machine"),
            ("SNAP_STARTED", "when the run began"),
            ("SNAP_SECONDS", "how long it took"),
            ("SNAP_STATUS", "how it ended, in a word"),
            ("SNAP_EXIT_CODE", "what it exited with"),
            ("SNAP_ERROR", "why it failed"),
            ("SNAP_SNAPSHOT", "the snapshot that was made, or that a drill restored"),
            ("SNAP_SNAPSHOT_TIME", "when that snapshot of a drill was made"),
            ("SNAP_DRILL_DIR", "where a drill restored it"),
            ("SNAP_ATTEMPT", "which attempt of a scheduled run it is"),
            ("SNAP_ATTEMPTS", "of how many"),
        ],
    },
    Group {
        title: "The legacy backup script",
        variables: &[
            ("INCREMENTAL_BACKUP_PATH", "where the script kept its archives: the repository"),
            ("APP_DATA_PATH", "the first source; ./data if not set"),
            ("UPLOADS_PATH", "the second source; ./uploads if not set"),
            ("LOGS_PATH", "the third source; ./logs if not set"),
            ("BACKUP_RETENTION_DAYS", "days after which incrementals are forgotten; 7 if not set"),
        ],
    },
];

const HEAD: &str = "An empty variable counts as one that is not set. A flag goes before a variable, and a variable before the configuration.";

/// Returns the text for a terminal.
pub(super) fn text() -> String {
    let mut text = format!("{HEAD}\n");
    for group in GROUPS {
        text += &format!("\n{}:\n", group.title);
        for (name, meaning) in group.variables {
            text += &format!("  {name:<24} {meaning}\n");
        }
    }
    text
}

/// Returns the text for the manual.
#[cfg(test)]
pub(crate) fn markdown() -> String {
    let mut text = format!("\n## Environment\n{HEAD} `snap help environment` prints the same.\n");
    for group in GROUPS {
        text += &format!("\n| {} | |\n|---|---|\n", group.title);
        for (name, meaning) in group.variables {
            text += &format!("| `{name}` | {meaning} |\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::GROUPS;

    /// Variables between processes of snap itself, or for its tests.
    const INTERNAL: [&str; 7] = [
        "SNAP_BLESS",
        "SNAP_JOB_ATTEMPT",
        "SNAP_JOB_ATTEMPTS",
        "SNAP_JOB_DUE",
        "SNAP_JOB_PARENT",
        "SNAP_MOUNT_CHILD",
        "SNAP_",
    ];

    fn sources(dir: &Path, into: &mut String) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => sources(&path, into),
                false if path.ends_with("help/environment.rs") => {}
                false => *into += &fs::read_to_string(path).unwrap(),
            }
        }
    }

    fn variables(text: &str) -> BTreeSet<String> {
        let names = text.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
        names
            .filter(|name| name.starts_with("SNAP_") && !INTERNAL.contains(name))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn the_table_has_every_variable_of_the_sources_and_no_other() {
        let mut text = String::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut text);
        let told = GROUPS.iter().flat_map(|group| group.variables).map(|(name, _)| (*name).to_owned());
        let told: BTreeSet<String> = told.filter(|name| name.starts_with("SNAP_")).collect();
        assert_eq!(told, variables(&text));
    }
}
