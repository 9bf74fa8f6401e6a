//! The command line of restic 0.19 as clap parses it. The arguments of each verb are in `flags`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use super::flags;
use crate::args::values;

/// Answers to restic's command line on a repository of snap's.
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
    /// Read where the repository is from this file (RESTIC_REPOSITORY_FILE)
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) repository_file: Option<PathBuf>,
    /// Read the password from this file (RESTIC_PASSWORD_FILE)
    #[arg(short, long, global = true, value_name = "FILE")]
    pub(super) password_file: Option<OsString>,
    /// Read the password from what this shell command prints (RESTIC_PASSWORD_COMMAND)
    #[arg(long, global = true, value_name = "COMMAND")]
    pub(super) password_command: Option<OsString>,
    /// The repository has no encryption
    #[arg(long, global = true)]
    pub(super) insecure_no_password: bool,
    /// Keep the cache here (RESTIC_CACHE_DIR)
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) cache_dir: Option<OsString>,
    /// auto, off, max, fastest or better (RESTIC_COMPRESSION)
    #[arg(long, global = true, value_name = "MODE")]
    pub(super) compression: Option<String>,
    /// Most KiB a second that are received
    #[arg(long, global = true, value_name = "RATE", value_parser = values::rate)]
    pub(super) limit_download: Option<u64>,
    /// Most KiB a second that are sent
    #[arg(long, global = true, value_name = "RATE", value_parser = values::rate)]
    pub(super) limit_upload: Option<u64>,
    /// Trust the authorities in this file instead of the system's (RESTIC_CACERT)
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) cacert: Option<OsString>,
    /// Refused: certificates are always checked
    #[arg(long, global = true)]
    pub(super) insecure_tls: bool,
    /// Show servers the certificate in this file, which also holds its key (RESTIC_TLS_CLIENT_CERT)
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) tls_client_cert: Option<OsString>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Print only what was asked for
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
    /// Print more; twice: each item
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(super) verbose: u8,
    #[command(flatten)]
    pub(super) ignored: Ignored,
}

/// Accepted, since callers pass them, and without effect here.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Without effect")]
pub(super) struct Ignored {
    /// There are no locks that make others wait
    #[arg(long, global = true)]
    no_lock: bool,
    /// As --no-lock
    #[arg(long, global = true, value_name = "DURATION")]
    retry_lock: Option<String>,
    /// The cache is small, and always kept
    #[arg(long, global = true)]
    no_cache: bool,
    /// It cleans itself
    #[arg(long, global = true)]
    cleanup_cache: bool,
    /// What is written is always verified
    #[arg(long, global = true)]
    no_extra_verify: bool,
    /// Packs have the size that the repository was made with
    #[arg(long, global = true, value_name = "SIZE")]
    pack_size: Option<String>,
    /// Extended options of restic's storages
    #[arg(short, long, global = true, value_name = "KEY=VALUE")]
    option: Vec<String>,
    /// Every password is tried on all keys
    #[arg(long, global = true, value_name = "KEY")]
    key_hint: Option<String>,
    /// Requests that hang are given up after snap's own times
    #[arg(long, global = true, value_name = "DURATION")]
    stuck_request_timeout: Option<String>,
    /// Servers get snap's own
    #[arg(long, global = true, value_name = "TEXT")]
    http_user_agent: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Save files and directories
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
    /// Make a repository
    Init(flags::Init),
    /// Manage passwords
    #[command(subcommand)]
    Key(flags::Key),
    /// List objects
    List(flags::Words),
    /// List files of a snapshot
    Ls(flags::Ls),
    /// There is nothing to migrate
    Migrate(flags::Words),
    /// Show snapshots as a file system
    Mount(flags::Mount),
    /// Delete what no snapshot needs
    Prune(flags::Prune),
    /// Repair the repository
    #[command(subcommand)]
    Repair(flags::Repair),
    /// Restore a snapshot
    Restore(Box<flags::Restore>),
    /// Take files out of snapshots
    Rewrite(flags::Rewrite),
    /// List snapshots
    Snapshots(flags::Snapshots),
    /// Count what there is
    Stats(flags::Stats),
    /// Change tags
    Tag(flags::Tag),
    /// Does nothing: there are no locks that make others wait
    Unlock(flags::Unlock),
    /// Print the version
    Version,
    /// Refused: restic's own
    #[command(hide = true)]
    Recover(flags::Anything),
    /// Refused: `snap completions` and `snap man` write snap's
    #[command(hide = true)]
    Generate(flags::Anything),
    /// Refused: snap is updated as it was installed
    #[command(hide = true, name = "self-update")]
    SelfUpdate(flags::Anything),
    /// Refused: restic's own
    #[command(hide = true)]
    Options(flags::Anything),
    /// Refused: restic's own
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
