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
            ("SNAP_REPO", "the repository, as for -r"),
            ("SNAP_PASSWORD", "the password itself; not passed on to ssh, hooks and other programs"),
            ("SNAP_PASSWORD_FILE", "a file that contains the password, as --password-file"),
            ("SNAP_PASSWORD_COMMAND", "a shell command that prints the password, as --password-command"),
            ("SNAP_KEY_FILE", "the key file of the password, as --key-file"),
            ("SNAP_KEY_ID", "the only key slot to try, as --key"),
            ("SNAP_NEW_PASSWORD", "the new password, for `snap key add` and `snap key passwd`"),
            ("SNAP_KDF_MEMORY", "memory that trying a new password takes, as --kdf-memory"),
            ("SNAP_KDF_PASSES", "passes over this memory, as --kdf-passes"),
            ("SNAP_TO_PASSWORD", "the password of the other repository, for `snap copy`"),
            ("SNAP_TO_PASSWORD_FILE", "a file that contains that password, as --to-password-file"),
            (
                "SNAP_TO_PASSWORD_COMMAND",
                "a shell command that prints that password, as --to-password-command",
            ),
            ("SNAP_TO_KEY_FILE", "the key file of that password, as --to-key-file"),
        ],
    },
    Group {
        title: "Configuration and local state",
        variables: &[
            ("SNAP_CONFIG", "the configuration file, as --config"),
            ("SNAP_PROFILE", "a profile of the configuration, as --profile"),
            ("SNAP_CACHE_DIR", "the cache directory, as --cache-dir"),
            ("SNAP_STATE_DIR", "the directory of run records and other local state, as --state-dir"),
            ("SNAP_THREADS", "the number of threads for each kind of work, as --threads"),
            (
                "XDG_CONFIG_HOME",
                "where snap/snap.toml is searched; ~/.config (macOS: ~/Library/Application Support) if not set",
            ),
            ("XDG_CACHE_HOME", "where the cache is, in snap/; ~/.cache (macOS: ~/Library/Caches) if not set"),
            (
                "XDG_STATE_HOME",
                "where the run records are, in snap/; ~/.local/state (macOS: ~/Library/Application Support) if not set",
            ),
            ("HOME", "the home directory that ~ stands for"),
        ],
    },
    Group {
        title: "The terminal",
        variables: &[
            ("SNAP_PAGER", "the pager for long lists; cat or an empty value turns it off"),
            ("PAGER", "the pager if SNAP_PAGER is not set; less -FRX if neither is set"),
            ("NO_COLOR", "turns colours off, if set"),
            ("TERM", "the value dumb turns colours, progress and the pager off"),
        ],
    },
    Group {
        title: "Servers",
        variables: &[
            ("SNAP_SSH_COMMAND", "the command to run instead of ssh for sftp://, as --ssh-command"),
            ("SNAP_CACERT", "a file with the certificate authorities to trust, as --cacert"),
            (
                "SNAP_TLS_CLIENT_CERT",
                "a file with the client certificate and its private key, as --tls-client-cert",
            ),
            (
                "SSL_CERT_FILE",
                "a file with the certificate authorities to trust instead of the system's; SSL_CERT_DIR is a directory of such files",
            ),
            ("SNAP_LIMIT_UPLOAD", "the maximum upload rate in KiB per second, as --limit-upload"),
            ("SNAP_LIMIT_DOWNLOAD", "the maximum download rate in KiB per second, as --limit-download"),
            ("SNAP_REST_USERNAME", "the user name for rest: servers"),
            ("SNAP_REST_PASSWORD", "the password of that user"),
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
            ("SNAP_HOOK", "the name of the hook"),
            ("SNAP_EVENT", "the event of a notification"),
            ("SNAP_JOB", "the job: backup, cleanup and so on"),
            ("SNAP_KIND", "the kind of backup"),
            ("SNAP_SET", "the name of the set"),
            ("SNAP_REPOSITORY", "the name or location of the repository"),
            ("SNAP_HOST", "this machine's name; for a drill, the host of the snapshot"),
            ("SNAP_STARTED", "the start of the run"),
            ("SNAP_SECONDS", "the duration in seconds"),
            ("SNAP_STATUS", "the result, in one word"),
            ("SNAP_EXIT_CODE", "the exit code"),
            ("SNAP_ERROR", "the error"),
            ("SNAP_SNAPSHOT", "the snapshot that was made, or that a drill restored"),
            ("SNAP_SNAPSHOT_TIME", "the time of the snapshot that a drill restored"),
            ("SNAP_DRILL_DIR", "the directory to which a drill restored it"),
            ("SNAP_ATTEMPT", "the number of this attempt of a scheduled run"),
            ("SNAP_ATTEMPTS", "the number of attempts allowed"),
        ],
    },
    Group {
        title: "The legacy backup script",
        variables: &[
            (
                "INCREMENTAL_BACKUP_PATH",
                "the directory of the script's archives, which becomes the repository",
            ),
            ("APP_DATA_PATH", "the first source; ./data if not set"),
            ("UPLOADS_PATH", "the second source; ./uploads if not set"),
            ("LOGS_PATH", "the third source; ./logs if not set"),
            ("BACKUP_RETENTION_DAYS", "days after which incrementals are forgotten; 7 if not set"),
        ],
    },
];

const HEAD: &str =
    "An empty variable counts as unset. Flags override variables, and variables override the configuration.";

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
            if path.is_dir() {
                sources(&path, into);
            } else if !path.ends_with("help/environment.rs") {
                *into += &fs::read_to_string(path).unwrap();
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
