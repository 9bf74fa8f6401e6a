//! The global options, accepted before and after the verb.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{ArgAction, Args};
#[cfg(any(feature = "cloud", feature = "rest"))]
use snap_backup::Result;
use snap_backup::repo::cache;
use snap_backup::run_log;
use snap_backup::storage::rate_limit::RateLimits;
#[cfg(any(feature = "cloud", feature = "rest"))]
use snap_backup::storage::tls::Tls;

use crate::args::{pace, values};

/// The variable that supplies the password if no flag does.
pub(crate) const PASSWORD_VARIABLE: &str = "SNAP_PASSWORD";

/// Accepted before and after the verb. Paths are `OsString`s, because an empty variable counts as unset and
/// clap would reject an empty `PathBuf`.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The verb works with a key that only writes.
    #[arg(skip)]
    pub(crate) with_write_key: bool,
    /// Use this configuration file instead of the user's or /etc/snap/snap.toml
    #[arg(long, global = true, env = "SNAP_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<OsString>,
    /// Use this profile of the configuration: its values override the others
    #[arg(short = 'P', long, global = true, env = "SNAP_PROFILE", value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// The repository: its name in the configuration, a directory, file://DIRECTORY, sftp://HOST/PATH, s3://BUCKET/PATH,
    /// s3:https://HOST/BUCKET/PATH, gs://BUCKET/PATH, az://CONTAINER/PATH or rest:https://HOST/PATH
    #[arg(short, long, global = true, env = "SNAP_REPO", value_name = "REPO")]
    pub(crate) repo: Option<OsString>,
    /// Read the password from this file
    #[arg(long, global = true, env = "SNAP_PASSWORD_FILE", value_name = "FILE")]
    pub(crate) password_file: Option<OsString>,
    /// Read the password from the output of this shell command
    #[arg(
        long,
        global = true,
        env = "SNAP_PASSWORD_COMMAND",
        value_name = "COMMAND",
        hide_env_values = true
    )]
    pub(crate) password_command: Option<OsString>,
    /// Key file: a password that was set with a key file opens nothing without it
    #[arg(long, global = true, env = "SNAP_KEY_FILE", value_name = "FILE")]
    pub(crate) key_file: Option<OsString>,
    /// Shell command to run for sftp:// repositories, followed by ssh's arguments [default: ssh]
    #[arg(long, global = true, env = "SNAP_SSH_COMMAND", value_name = "COMMAND")]
    pub(crate) ssh_command: Option<String>,
    /// Limit uploads to remote repositories, in KiB per second or with a unit (500K, 2M)
    #[arg(long, global = true, env = "SNAP_LIMIT_UPLOAD", value_name = "RATE", value_parser = values::rate)]
    pub(crate) limit_upload: Option<u64>,
    /// Limit downloads from remote repositories, in the same units
    #[arg(long, global = true, env = "SNAP_LIMIT_DOWNLOAD", value_name = "RATE", value_parser = values::rate)]
    pub(crate) limit_download: Option<u64>,
    /// Trust the certificate authorities in this PEM file instead of the system's, for servers with a private
    /// authority
    #[arg(long, global = true, env = "SNAP_CACERT", value_name = "FILE")]
    pub(crate) cacert: Option<OsString>,
    /// Authenticate to servers with the client certificate in this PEM file, which also contains its private
    /// key
    #[arg(long, global = true, env = "SNAP_TLS_CLIENT_CERT", value_name = "FILE")]
    pub(crate) tls_client_cert: Option<OsString>,
    /// The variable that may hold the password.
    #[arg(skip = PASSWORD_VARIABLE)]
    pub(crate) password_variable: &'static str,
    /// Try the password only on the key slot whose id begins with this (`snap key list`)
    #[arg(long, global = true, env = "SNAP_KEY_ID", value_name = "ID")]
    pub(crate) key: Option<String>,
    /// Use no password, even if one is set elsewhere, because the repository is not encrypted
    #[arg(long, global = true)]
    pub(crate) insecure_no_password: bool,
    /// Keep the cache in this directory instead of the user's cache directory; it can be deleted at any time
    #[arg(long, global = true, env = "SNAP_CACHE_DIR", value_name = "DIR")]
    pub(crate) cache_dir: Option<OsString>,
    /// Keep run records and other local state in this directory instead of the user's state directory
    #[arg(long, global = true, env = "SNAP_STATE_DIR", value_name = "DIR")]
    pub(crate) state_dir: Option<OsString>,
    /// Number of threads for each kind of work [default: one per processor]; more threads use more memory
    #[arg(long, global = true, env = "SNAP_THREADS", value_name = "N", value_parser = pace::threads)]
    pub(crate) threads: Option<usize>,
    /// Lower the CPU priority: from 1 (slightly) to 19 (use only otherwise idle processors)
    #[arg(long, global = true, value_name = "N", value_parser = pace::nice)]
    pub(crate) nice: Option<i32>,
    /// Read and write files only when no other program uses the disk
    #[arg(long, global = true)]
    pub(crate) io_idle: bool,
    /// Print only warnings, problems and the requested output
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Print each item; if repeated, also unchanged ones
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print JSON, one object per line; `snapshots`, `forget` by rules (also within `cleanup`), `key list`
    /// and `undelete` print one array, as restic does
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Global {
    /// Returns the configuration file given on the command line or by a variable.
    pub(crate) fn config(&self) -> Option<&Path> {
        non_empty(&self.config).map(Path::new)
    }

    /// Returns the name or location of the repository.
    pub(crate) fn repo(&self) -> Option<&OsStr> {
        non_empty(&self.repo)
    }

    /// Returns the profile to use.
    pub(crate) fn profile(&self) -> Option<&str> {
        self.profile.as_deref().filter(|name| !name.is_empty())
    }

    /// Returns the file that contains the password.
    pub(crate) fn password_file(&self) -> Option<&Path> {
        non_empty(&self.password_file).map(Path::new)
    }

    /// Returns the file that is part of the password.
    pub(crate) fn key_file(&self) -> Option<&Path> {
        non_empty(&self.key_file).map(Path::new)
    }

    /// Returns the command that prints the password.
    pub(crate) fn password_command(&self) -> Option<&OsStr> {
        non_empty(&self.password_command)
    }

    /// Returns the id of the only key slot to try.
    pub(crate) fn key(&self) -> Option<String> {
        self.key.clone().filter(|id| !id.is_empty())
    }

    /// Returns the command that is run instead of ssh.
    pub(crate) fn ssh_command(&self) -> &str {
        self.ssh_command.as_deref().filter(|command| !command.is_empty()).unwrap_or("ssh")
    }

    /// Returns the rate limits for remote repositories.
    pub(crate) fn limits(&self) -> Arc<RateLimits> {
        Arc::new(RateLimits::new(self.limit_upload, self.limit_download))
    }

    /// Returns how servers are verified.
    ///
    /// # Errors
    /// A file cannot be read, or holds no certificate.
    #[cfg(any(feature = "cloud", feature = "rest"))]
    pub(crate) fn tls(&self) -> Result<Tls> {
        let [authorities, client] = [&self.cacert, &self.tls_client_cert];
        Tls::from_files(non_empty(authorities).map(Path::new), non_empty(client).map(Path::new))
    }

    /// Returns the cache directory; `None` if this user has no place for one.
    pub(crate) fn cache(&self) -> Option<PathBuf> {
        non_empty(&self.cache_dir).map(PathBuf::from).or_else(cache::default_dir)
    }

    /// Returns the state directory, which contains the run log; `None` if this user has no place for one.
    pub(crate) fn state(&self) -> Option<PathBuf> {
        non_empty(&self.state_dir).map(PathBuf::from).or_else(run_log::default_dir)
    }
}

fn non_empty(value: &Option<OsString>) -> Option<&OsStr> {
    value.as_deref().filter(|value| !value.is_empty())
}
