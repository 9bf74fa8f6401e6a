//! The command line of restic 0.19 as clap parses it. The arguments of each verb are in `flags`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use super::flags;
use crate::args::values;

/// Emulates restic's command line on a snap repository
#[derive(Debug, Parser)]
#[command(name = "restic", disable_version_flag = true, disable_help_subcommand = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// Flags that all verbs take. Those below "Without effect" speak of what snap's repositories do not have.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global flags")]
pub(super) struct Global {
    /// The repository (RESTIC_REPOSITORY)
    #[arg(short, long, global = true)]
    pub(super) repo: Option<OsString>,
    /// Read the location of the repository from this file (RESTIC_REPOSITORY_FILE)
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) repository_file: Option<PathBuf>,
    /// Read the password from this file (RESTIC_PASSWORD_FILE)
    #[arg(short, long, global = true, value_name = "FILE")]
    pub(super) password_file: Option<OsString>,
    /// Read the password from the output of this shell command (RESTIC_PASSWORD_COMMAND)
    #[arg(long, global = true, value_name = "COMMAND")]
    pub(super) password_command: Option<OsString>,
    /// The repository is not encrypted
    #[arg(long, global = true)]
    pub(super) insecure_no_password: bool,
    /// Keep the cache in this directory (RESTIC_CACHE_DIR)
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) cache_dir: Option<OsString>,
    /// auto, off, max, fastest or better (RESTIC_COMPRESSION)
    #[arg(long, global = true, value_name = "MODE")]
    pub(super) compression: Option<String>,
    /// Limit downloads to this rate, in KiB per second
    #[arg(long, global = true, value_name = "RATE", value_parser = values::rate)]
    pub(super) limit_download: Option<u64>,
    /// Limit uploads to this rate, in KiB per second
    #[arg(long, global = true, value_name = "RATE", value_parser = values::rate)]
    pub(super) limit_upload: Option<u64>,
    /// Trust the certificate authorities in this file instead of the system's (RESTIC_CACERT)
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) cacert: Option<OsString>,
    /// Refused: certificates are always verified
    #[arg(long, global = true)]
    pub(super) insecure_tls: bool,
    /// Client certificate for servers, in a file that also contains its private key (RESTIC_TLS_CLIENT_CERT)
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) tls_client_cert: Option<OsString>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Print only the requested output
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
    /// Print more; if repeated, each item
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(super) verbose: u8,
    #[command(flatten)]
    pub(super) ignored: Ignored,
}

/// Accepted, since callers pass them, and without effect here.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Without effect")]
pub(super) struct Ignored {
    /// There are no locks to wait for
    #[arg(long, global = true)]
    no_lock: bool,
    /// Like --no-lock
    #[arg(long, global = true, value_name = "DURATION")]
    retry_lock: Option<String>,
    /// The cache is small, and always used
    #[arg(long, global = true)]
    no_cache: bool,
    /// The cache is cleaned up automatically
    #[arg(long, global = true)]
    cleanup_cache: bool,
    /// Written data is always verified
    #[arg(long, global = true)]
    no_extra_verify: bool,
    /// The pack size is a property of the repository
    #[arg(long, global = true, value_name = "SIZE")]
    pack_size: Option<String>,
    /// Extended options of restic's backends do not apply
    #[arg(short, long, global = true, value_name = "KEY=VALUE")]
    option: Vec<String>,
    /// Every password is tried on all keys
    #[arg(long, global = true, value_name = "KEY")]
    key_hint: Option<String>,
    /// snap has its own request timeouts
    #[arg(long, global = true, value_name = "DURATION")]
    stuck_request_timeout: Option<String>,
    /// snap sends its own user agent
    #[arg(long, global = true, value_name = "TEXT")]
    http_user_agent: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Back up files and directories
    Backup(Box<flags::Backup>),
    /// Show the cache
    Cache(flags::Cache),
    /// Print the configuration, a snapshot or a key
    Cat(flags::Words),
    /// Verify the repository
    Check(flags::Check),
    /// Copy snapshots from another repository
    Copy(flags::Copy),
    /// Show what differs between two snapshots
    Diff(flags::Diff),
    /// Print a file, or a directory as an archive
    Dump(flags::Dump),
    /// Find files by name
    Find(Box<flags::Find>),
    /// Forget snapshots
    Forget(Box<flags::Forget>),
    /// Create a repository
    Init(flags::Init),
    /// Manage passwords
    #[command(subcommand)]
    Key(flags::Key),
    /// List objects
    List(flags::Words),
    /// List files of a snapshot
    Ls(flags::Ls),
    /// No effect: there is nothing to migrate
    Migrate(flags::Words),
    /// Show snapshots as a file system
    Mount(flags::Mount),
    /// Delete data that no snapshot needs
    Prune(flags::Prune),
    /// Repair the repository
    #[command(subcommand)]
    Repair(flags::Repair),
    /// Restore a snapshot
    Restore(Box<flags::Restore>),
    /// Remove files from snapshots
    Rewrite(flags::Rewrite),
    /// List snapshots
    Snapshots(flags::Snapshots),
    /// Show statistics
    Stats(flags::Stats),
    /// Change tags
    Tag(flags::Tag),
    /// No effect: there are no locks to remove
    Unlock(flags::Unlock),
    /// Print the version
    Version,
    /// Refused: specific to restic
    #[command(hide = true)]
    Recover(flags::Anything),
    /// Refused: use `snap completions` and `snap man`
    #[command(hide = true)]
    Generate(flags::Anything),
    /// Refused: update snap in the way it was installed
    #[command(hide = true, name = "self-update")]
    SelfUpdate(flags::Anything),
    /// Refused: specific to restic
    #[command(hide = true)]
    Options(flags::Anything),
    /// Refused: specific to restic
    #[command(hide = true)]
    Features(flags::Anything),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
