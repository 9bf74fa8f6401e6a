//! Arguments of the verbs that read.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use snap_backup::ops::forget::groups::GroupBy;

use super::Filters;
use crate::args::keep::group_by;

#[derive(Debug, Args)]
pub(in crate::restic) struct Diff {
    /// Also list entries that differ only in metadata
    #[arg(long)]
    pub(in crate::restic) metadata: bool,
    #[arg(value_name = "SNAPSHOT")]
    pub(in crate::restic) first: String,
    #[arg(value_name = "SNAPSHOT")]
    pub(in crate::restic) second: String,
}

#[derive(Debug, Args)]
pub(in crate::restic) struct Dump {
    /// tar
    #[arg(short, long, value_name = "FORMAT", default_value = "tar")]
    pub(in crate::restic) archive: String,
    /// Write to this file
    #[arg(short, long, value_name = "FILE")]
    pub(in crate::restic) target: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::restic) filters: Filters,
    #[arg(value_name = "SNAPSHOT")]
    pub(in crate::restic) snapshot: String,
    #[arg(value_name = "PATH")]
    pub(in crate::restic) file: OsString,
}

#[derive(Debug, Args)]
pub(in crate::restic) struct Find {
    /// Refused: use `snap find --chunk`
    #[arg(long)]
    pub(in crate::restic) blob: bool,
    /// Refused
    #[arg(long)]
    pub(in crate::restic) tree: bool,
    /// Refused
    #[arg(long)]
    pub(in crate::restic) pack: bool,
    /// Refused
    #[arg(long)]
    pub(in crate::restic) show_pack_id: bool,
    /// Print human-readable sizes
    #[arg(long)]
    pub(in crate::restic) human_readable: bool,
    /// Ignore case
    #[arg(short, long)]
    pub(in crate::restic) ignore_case: bool,
    /// Also show sizes and modes
    #[arg(short, long)]
    pub(in crate::restic) long: bool,
    /// Modified at or before this
    #[arg(short = 'N', long, value_name = "TIME")]
    pub(in crate::restic) newest: Option<String>,
    /// Modified at or after this
    #[arg(short = 'O', long, value_name = "TIME")]
    pub(in crate::restic) oldest: Option<String>,
    /// List the oldest snapshots first
    #[arg(short = 'R', long)]
    pub(in crate::restic) reverse: bool,
    /// Only in this snapshot
    #[arg(short, long, value_name = "ID")]
    pub(in crate::restic) snapshot: Vec<String>,
    #[command(flatten)]
    pub(in crate::restic) filters: Filters,
    #[arg(value_name = "PATTERN")]
    pub(in crate::restic) patterns: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(in crate::restic) struct Ls {
    /// Print human-readable sizes
    #[arg(long)]
    pub(in crate::restic) human_readable: bool,
    /// Also show sizes and modes
    #[arg(short, long)]
    pub(in crate::restic) long: bool,
    /// Refused: use `snap du` or `snap browse`
    #[arg(long)]
    pub(in crate::restic) ncdu: bool,
    /// Also list everything below the named directories
    #[arg(long)]
    pub(in crate::restic) recursive: bool,
    /// Reverse the order
    #[arg(long)]
    pub(in crate::restic) reverse: bool,
    /// name, size, time, mtime, atime, ctime or extension
    #[arg(short, long, value_name = "MODE", default_value = "name")]
    pub(in crate::restic) sort: String,
    #[command(flatten)]
    pub(in crate::restic) filters: Filters,
    #[arg(value_name = "SNAPSHOT")]
    pub(in crate::restic) snapshot: String,
    #[arg(value_name = "DIR")]
    pub(in crate::restic) dirs: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(in crate::restic) struct Mount {
    /// Allow other users access
    #[arg(long)]
    pub(in crate::restic) allow_other: bool,
    /// Refused: modes always apply
    #[arg(long)]
    pub(in crate::restic) no_default_permissions: bool,
    /// Refused: the original owners are shown
    #[arg(long)]
    pub(in crate::restic) owner_root: bool,
    /// Refused: snapshots have fixed names
    #[arg(long, value_name = "TEMPLATE")]
    pub(in crate::restic) path_template: Vec<String>,
    /// Refused, like --path-template
    #[arg(long, value_name = "TEMPLATE")]
    pub(in crate::restic) time_template: Option<String>,
    #[command(flatten)]
    pub(in crate::restic) filters: Filters,
    #[arg(value_name = "DIR")]
    pub(in crate::restic) target: PathBuf,
}

#[derive(Debug, Args)]
pub(in crate::restic) struct Restore {
    /// Delete files that are not in the snapshot
    #[arg(long)]
    pub(in crate::restic) delete: bool,
    /// Write nothing
    #[arg(long)]
    pub(in crate::restic) dry_run: bool,
    /// Do not restore what matches
    #[arg(short, long, value_name = "PATTERN")]
    pub(in crate::restic) exclude: Vec<OsString>,
    /// Read patterns from a file
    #[arg(long, value_name = "FILE")]
    pub(in crate::restic) exclude_file: Vec<PathBuf>,
    /// Restore only what matches
    #[arg(short, long, value_name = "PATTERN")]
    pub(in crate::restic) include: Vec<OsString>,
    /// Read patterns from a file
    #[arg(long, value_name = "FILE")]
    pub(in crate::restic) include_file: Vec<PathBuf>,
    /// Refused: patterns are case-sensitive
    #[arg(long, value_name = "PATTERN")]
    pub(in crate::restic) iexclude: Vec<OsString>,
    /// Refused: patterns are case-sensitive
    #[arg(long, value_name = "FILE")]
    pub(in crate::restic) iexclude_file: Vec<PathBuf>,
    /// Refused: patterns are case-sensitive
    #[arg(long, value_name = "PATTERN")]
    pub(in crate::restic) iinclude: Vec<OsString>,
    /// Refused: patterns are case-sensitive
    #[arg(long, value_name = "FILE")]
    pub(in crate::restic) iinclude_file: Vec<PathBuf>,
    /// Do not restore extended attributes with such names
    #[arg(long, value_name = "PATTERN")]
    pub(in crate::restic) exclude_xattr: Vec<String>,
    /// Restore only extended attributes with such names
    #[arg(long, value_name = "PATTERN")]
    pub(in crate::restic) include_xattr: Vec<String>,
    /// always, if-changed, if-newer or never
    #[arg(long, value_name = "WHEN", default_value = "always")]
    pub(in crate::restic) overwrite: String,
    /// Restore owners by name
    #[arg(long)]
    pub(in crate::restic) ownership_by_name: bool,
    /// Write runs of zeros as holes
    #[arg(long)]
    pub(in crate::restic) sparse: bool,
    /// Directory to restore to
    #[arg(short, long, value_name = "DIR")]
    pub(in crate::restic) target: Option<PathBuf>,
    /// Read the restored files back, and compare them with the snapshot
    #[arg(long)]
    pub(in crate::restic) verify: bool,
    #[command(flatten)]
    pub(in crate::restic) filters: Filters,
    #[arg(value_name = "SNAPSHOT")]
    pub(in crate::restic) snapshot: String,
}

#[derive(Debug, Args)]
pub(in crate::restic) struct Snapshots {
    /// Print a narrower table
    #[arg(short, long)]
    pub(in crate::restic) compact: bool,
    /// Group by host, paths or tags
    #[arg(short, long, value_name = "GROUPS", value_parser = group_by)]
    pub(in crate::restic) group_by: Option<GroupBy>,
    /// Only the newest N snapshots of each group
    #[arg(long, value_name = "N")]
    pub(in crate::restic) latest: Option<usize>,
    #[command(flatten)]
    pub(in crate::restic) filters: Filters,
    #[arg(value_name = "SNAPSHOT")]
    pub(in crate::restic) snapshots: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::restic) struct Stats {
    /// restore-size, files-by-contents, blobs-per-file or raw-data
    #[arg(long, default_value = "restore-size")]
    pub(in crate::restic) mode: String,
    #[command(flatten)]
    pub(in crate::restic) filters: Filters,
    #[arg(value_name = "SNAPSHOT")]
    pub(in crate::restic) snapshots: Vec<String>,
}
