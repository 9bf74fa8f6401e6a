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
    /// Leave out what matches
    #[arg(short, long, value_name = "PATTERN")]
    pub(in crate::restic) exclude: Vec<OsString>,
    /// As --exclude, upper and lower case alike
    #[arg(long, value_name = "PATTERN")]
    pub(in crate::restic) iexclude: Vec<OsString>,
    /// Read patterns from a file
    #[arg(long, value_name = "FILE")]
    pub(in crate::restic) exclude_file: Vec<PathBuf>,
    /// As --exclude-file, upper and lower case alike
    #[arg(long, value_name = "FILE")]
    pub(in crate::restic) iexclude_file: Vec<PathBuf>,
    /// Leave out directories with a CACHEDIR.TAG
    #[arg(long)]
    pub(in crate::restic) exclude_caches: bool,
    /// Leave out directories that hold FILE (beginning with HEADER)
    #[arg(long, value_name = "FILE[:HEADER]")]
    pub(in crate::restic) exclude_if_present: Vec<OsString>,
    /// Leave out larger files
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(in crate::restic) exclude_larger_than: Option<u64>,
    /// Read sources from a file, without comments and empty lines
    #[arg(long, value_name = "FILE")]
    pub(in crate::restic) files_from: Vec<PathBuf>,
    /// Read sources from a file, each ended by NUL
    #[arg(long, value_name = "FILE")]
    pub(in crate::restic) files_from_raw: Vec<PathBuf>,
    /// Read sources from a file, one a line
    #[arg(long, value_name = "FILE")]
    pub(in crate::restic) files_from_verbatim: Vec<PathBuf>,
    /// Read every byte again
    #[arg(short, long)]
    pub(in crate::restic) force: bool,
    /// Compare with the newest snapshot of the same host, paths or tags
    #[arg(short, long, value_name = "GROUPS", value_parser = group_by)]
    pub(in crate::restic) group_by: Option<GroupBy>,
    /// Record this host name (RESTIC_HOST)
    #[arg(short = 'H', long)]
    pub(in crate::restic) host: Option<String>,
    /// Do not take a file for changed because its ctime is
    #[arg(long)]
    pub(in crate::restic) ignore_ctime: bool,
    /// As --ignore-ctime: inodes are not compared anyway
    #[arg(long)]
    pub(in crate::restic) ignore_inode: bool,
    /// Of no effect: what is found is counted while it is read
    #[arg(long)]
    no_scan: bool,
    /// Stay within the file systems of the sources
    #[arg(short = 'x', long)]
    pub(in crate::restic) one_file_system: bool,
    /// Compare with this snapshot
    #[arg(long, value_name = "SNAPSHOT")]
    pub(in crate::restic) parent: Option<String>,
    /// Of no effect: as many as there are processors
    #[arg(long, value_name = "N")]
    read_concurrency: Option<u32>,
    /// Make no snapshot if nothing changed
    #[arg(long)]
    pub(in crate::restic) skip_if_unchanged: bool,
    /// Save what comes from standard input
    #[arg(long)]
    pub(in crate::restic) stdin: bool,
    /// The name of that
    #[arg(long, value_name = "NAME", default_value = "stdin")]
    pub(in crate::restic) stdin_filename: OsString,
    /// Save what a command prints
    #[arg(long)]
    pub(in crate::restic) stdin_from_command: bool,
    /// Label the snapshot
    #[arg(long, value_name = "TAG[,TAG]")]
    pub(in crate::restic) tag: Vec<String>,
    /// Refused: a snapshot has the time at which it was made
    #[arg(long, value_name = "TIME")]
    pub(in crate::restic) time: Option<String>,
    /// Refused: no access times are kept
    #[arg(long)]
    pub(in crate::restic) with_atime: bool,
    /// What to save
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
    /// Name and cut chunks as the other repository does, so that copies between them move blocks as they are
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
    /// Take out what matches
    #[arg(short, long, value_name = "PATTERN")]
    pub(in crate::restic) exclude: Vec<OsString>,
    /// Read patterns from a file
    #[arg(long, value_name = "FILE")]
    pub(in crate::restic) exclude_file: Vec<PathBuf>,
    /// Refused: case counts
    #[arg(long, value_name = "PATTERN")]
    pub(in crate::restic) iexclude: Vec<OsString>,
    /// Refused: only --exclude takes paths out
    #[arg(short, long, value_name = "PATTERN")]
    pub(in crate::restic) include: Vec<OsString>,
    /// Forget what is replaced
    #[arg(long)]
    pub(in crate::restic) forget: bool,
    /// Another host name
    #[arg(long, value_name = "HOST")]
    pub(in crate::restic) new_host: Option<String>,
    /// Refused: a snapshot keeps its time
    #[arg(long, value_name = "TIME")]
    pub(in crate::restic) new_time: Option<String>,
    /// Of no effect: every snapshot has one
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
