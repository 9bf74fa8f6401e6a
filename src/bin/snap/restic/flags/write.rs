//! Arguments of the verbs that write snapshots.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use snap_backup::ops::forget::groups::GroupBy;

use super::{Filters, From};
use crate::args::keep::group_by;
use crate::args::values;

#[derive(Debug, Args)]
pub(in crate::restic) struct Backup {
    /// Write nothing
    #[arg(short = 'n', long)]
    pub(in crate::restic) dry_run: bool,
    /// Exclude what matches
    #[arg(short, long, value_name = "PATTERN")]
    pub(in crate::restic) exclude: Vec<OsString>,
    /// Like --exclude, ignoring case
    #[arg(long, value_name = "PATTERN")]
    pub(in crate::restic) iexclude: Vec<OsString>,
    /// Read patterns from a file
    #[arg(long, value_name = "FILE")]
    pub(in crate::restic) exclude_file: Vec<PathBuf>,
    /// Like --exclude-file, ignoring case
    #[arg(long, value_name = "FILE")]
    pub(in crate::restic) iexclude_file: Vec<PathBuf>,
    /// Exclude the content of directories that contain a CACHEDIR.TAG file
    #[arg(long)]
    pub(in crate::restic) exclude_caches: bool,
    /// Exclude the content of directories that contain FILE (beginning with HEADER)
    #[arg(long, value_name = "FILE[:HEADER]")]
    pub(in crate::restic) exclude_if_present: Vec<OsString>,
    /// Exclude larger files
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(in crate::restic) exclude_larger_than: Option<u64>,
    /// Read sources from a file, skipping comments and empty lines
    #[arg(long, value_name = "FILE")]
    pub(in crate::restic) files_from: Vec<PathBuf>,
    /// Read sources from a file, each followed by NUL
    #[arg(long, value_name = "FILE")]
    pub(in crate::restic) files_from_raw: Vec<PathBuf>,
    /// Read sources from a file, one per line
    #[arg(long, value_name = "FILE")]
    pub(in crate::restic) files_from_verbatim: Vec<PathBuf>,
    /// Read all files completely
    #[arg(short, long)]
    pub(in crate::restic) force: bool,
    /// Compare with the newest snapshot of the same host, paths or tags
    #[arg(short, long, value_name = "GROUPS", value_parser = group_by)]
    pub(in crate::restic) group_by: Option<GroupBy>,
    /// Record this host name (RESTIC_HOST)
    #[arg(short = 'H', long)]
    pub(in crate::restic) host: Option<String>,
    /// Ignore the ctime when looking for changed files
    #[arg(long)]
    pub(in crate::restic) ignore_ctime: bool,
    /// Same as --ignore-ctime: inodes are never compared
    #[arg(long)]
    pub(in crate::restic) ignore_inode: bool,
    /// No effect: files are counted while they are read
    #[arg(long)]
    no_scan: bool,
    /// Stay within the file systems of the sources
    #[arg(short = 'x', long)]
    pub(in crate::restic) one_file_system: bool,
    /// Compare with this snapshot
    #[arg(long, value_name = "SNAPSHOT")]
    pub(in crate::restic) parent: Option<String>,
    /// No effect: one thread per processor is used
    #[arg(long, value_name = "N")]
    read_concurrency: Option<u32>,
    /// Create no snapshot if nothing changed
    #[arg(long)]
    pub(in crate::restic) skip_if_unchanged: bool,
    /// Back up standard input
    #[arg(long)]
    pub(in crate::restic) stdin: bool,
    /// Name of the file for --stdin and --stdin-from-command
    #[arg(long, value_name = "NAME", default_value = "stdin")]
    pub(in crate::restic) stdin_filename: OsString,
    /// Back up the output of a command
    #[arg(long)]
    pub(in crate::restic) stdin_from_command: bool,
    /// Add this tag to the snapshot
    #[arg(long, value_name = "TAG[,TAG]")]
    pub(in crate::restic) tag: Vec<String>,
    /// Refused: a snapshot has the time at which it was made
    #[arg(long, value_name = "TIME")]
    pub(in crate::restic) time: Option<String>,
    /// Refused: access times are not stored
    #[arg(long)]
    pub(in crate::restic) with_atime: bool,
    /// What to back up
    #[arg(value_name = "PATH")]
    pub(in crate::restic) paths: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(in crate::restic) struct Copy {
    #[command(flatten)]
    pub(in crate::restic) from: From,
    #[command(flatten)]
    pub(in crate::restic) filters: Filters,
    #[arg(value_name = "SNAPSHOT")]
    pub(in crate::restic) snapshots: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::restic) struct Init {
    /// Use the chunk keys and sizes of the other repository, so that blocks are copied unchanged
    #[arg(long)]
    pub(in crate::restic) copy_chunker_params: bool,
    #[command(flatten)]
    pub(in crate::restic) from: From,
    /// 2, latest or stable
    #[arg(long, value_name = "VERSION", default_value = "stable")]
    pub(in crate::restic) repository_version: String,
}

#[derive(Debug, Args)]
pub(in crate::restic) struct Rewrite {
    /// Write nothing
    #[arg(short = 'n', long)]
    pub(in crate::restic) dry_run: bool,
    /// Remove what matches
    #[arg(short, long, value_name = "PATTERN")]
    pub(in crate::restic) exclude: Vec<OsString>,
    /// Read patterns from a file
    #[arg(long, value_name = "FILE")]
    pub(in crate::restic) exclude_file: Vec<PathBuf>,
    /// Refused: patterns are case-sensitive
    #[arg(long, value_name = "PATTERN")]
    pub(in crate::restic) iexclude: Vec<OsString>,
    /// Refused: only --exclude removes paths
    #[arg(short, long, value_name = "PATTERN")]
    pub(in crate::restic) include: Vec<OsString>,
    /// Forget the replaced snapshots
    #[arg(long)]
    pub(in crate::restic) forget: bool,
    /// Set the host name
    #[arg(long, value_name = "HOST")]
    pub(in crate::restic) new_host: Option<String>,
    /// Refused: a snapshot keeps its time
    #[arg(long, value_name = "TIME")]
    pub(in crate::restic) new_time: Option<String>,
    /// No effect: every snapshot has one
    #[arg(short, long)]
    pub(in crate::restic) snapshot_summary: bool,
    #[command(flatten)]
    pub(in crate::restic) filters: Filters,
    #[arg(value_name = "SNAPSHOT")]
    pub(in crate::restic) snapshots: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::restic) struct Tag {
    #[arg(long, value_name = "TAG[,TAG]")]
    pub(in crate::restic) add: Vec<String>,
    #[arg(long, value_name = "TAG[,TAG]")]
    pub(in crate::restic) remove: Vec<String>,
    #[arg(long, value_name = "TAG[,TAG]")]
    pub(in crate::restic) set: Vec<String>,
    #[command(flatten)]
    pub(in crate::restic) filters: Filters,
    #[arg(value_name = "SNAPSHOT")]
    pub(in crate::restic) snapshots: Vec<String>,
}
