//! What to back up and how, and the result.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Problem, Result};
use crate::fs::filter::FilterOptions;
use crate::fs::sources::{self, SourceTree};
use crate::model::entry::Time;
use crate::model::id::SnapshotId;
use crate::model::manifest::{Counts, SnapshotKind};
use crate::model::manifest_ext::MoreCounts;
use crate::model::tripwire::{AlarmReason, Limits};
use crate::ops::backup::rot::{Reread, Rereading};
use crate::ops::backup::states::Recorded;
use crate::repo::write::delta_writer::Delta;
use crate::repo::write::pack_writer::Deltas;
use crate::util::host;
use crate::util::time_limit::TimeLimit;

/// How standard input or a command's output is stored.
#[derive(Debug, Clone)]
pub struct Stdin {
    /// Stored path of the file.
    pub name: Vec<u8>,
    /// Command to run, whose output is stored; `None`: standard input.
    pub command: Option<Vec<std::ffi::OsString>>,
}

/// What to back up, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Files and directories to back up.
    pub sources: Vec<PathBuf>,
    /// Requested kind of snapshot.
    pub kind: SnapshotKind,
    /// Tags of the snapshot.
    pub tags: Vec<String>,
    /// The user's description of the snapshot.
    pub description: Option<String>,
    /// Time after which the snapshot is forgotten, regardless of rules.
    pub expires: Option<Time>,
    /// Host name to record instead of this machine's.
    pub host: Option<String>,
    /// Which entries to exclude.
    pub filter: FilterOptions,
    /// Do not leave each source's file system.
    pub one_file_system: bool,
    /// Selector of the parent to compare with.
    pub parent: Option<String>,
    /// Treat a file of which only the ctime differs as unchanged.
    pub ignore_ctime: bool,
    /// Commit a snapshot even if nothing changed, and accept an empty stream.
    pub allow_empty: bool,
    /// Store nothing, only report.
    pub dry_run: bool,
    /// Compression level to use instead of the repository's.
    pub level: Option<i32>,
    /// Stored path of the only source.
    pub store_as: Option<Vec<u8>>,
    /// Store a stream instead of files.
    pub stdin: Option<Stdin>,
    /// Directories whose files are compressed separately.
    pub isolate: Vec<PathBuf>,
    /// Whether new chunks may be stored as deltas against similar ones.
    pub delta: Delta,
    /// Directories to exclude because every run changes them: this machine's run log.
    pub leave_out: Vec<PathBuf>,
    /// Stored paths of sources that may be missing.
    pub optional: Vec<Vec<u8>>,
    /// Count entries ahead of the readers, for an observer that shows progress.
    pub count_ahead: bool,
    /// Thresholds at which a run raises an alarm; `None` means never.
    pub tripwire: Option<Limits>,
    /// Changes were announced: this run raises an alarm only for bit rot.
    pub expect_change: bool,
    /// Unchanged files that are read again to find bit rot.
    pub reread: Option<Reread>,
    /// The sources are a state of the past. Only an import sets it.
    #[doc(hidden)]
    pub recorded: Option<Recorded>,
    /// Time limit, after which the run ends with a partial snapshot.
    pub time_limit: Option<TimeLimit>,
    /// Maximum bytes per second to read from the sources; 0 means unlimited.
    pub limit_read: Option<u64>,
}

impl Options {
    /// Returns the default options for these files and directories.
    pub fn of(sources: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        Self { sources: sources.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Returns host and absolute sources, which identify the set.
    ///
    /// # Errors
    /// When the options contradict one another.
    pub fn set(&self) -> Result<(String, Vec<Vec<u8>>)> {
        let sources = match &self.stdin {
            Some(stdin) => SourceTree::stream(&stdin.name).sources,
            None => sources::plan(&self.sources, self.store_as.as_deref())?.sources,
        };
        Ok((self.host.clone().unwrap_or_else(host::host_name), sources))
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            kind: SnapshotKind::Incremental,
            tags: Vec::new(),
            description: None,
            expires: None,
            host: None,
            filter: FilterOptions::default(),
            one_file_system: false,
            parent: None,
            ignore_ctime: false,
            allow_empty: false,
            dry_run: false,
            level: None,
            store_as: None,
            stdin: None,
            isolate: Vec::new(),
            delta: Delta::default(),
            leave_out: Vec::new(),
            optional: Vec::new(),
            count_ahead: false,
            tripwire: None,
            expect_change: false,
            reread: None,
            recorded: None,
            time_limit: None,
            limit_read: None,
        }
    }
}

/// Result of a backup.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// The new snapshot; `None` if nothing changed, and in a dry run.
    pub snapshot: Option<SnapshotId>,
    /// Actual kind of the snapshot.
    pub kind: SnapshotKind,
    /// The snapshot it was compared with.
    pub parent: Option<SnapshotId>,
    /// Statistics of the run.
    pub counts: Counts,
    /// More statistics of the run.
    pub more: MoreCounts,
    /// How long it took.
    pub duration: Duration,
    /// Whether the run ended early.
    pub partial: bool,
    /// Whether it ended early because of the time limit.
    pub time_up: bool,
    /// Paths that could not be read, and why.
    pub problems: Vec<Problem>,
    /// Number of entries that vanished before they could be read.
    pub vanished: u64,
    /// Number of files that changed each time they were read. They are stored and marked.
    pub changing: u64,
    /// The snapshot that an unchanged run equals.
    pub newest: Option<SnapshotId>,
    /// New chunks that were stored as deltas.
    pub deltas: Deltas,
    /// Bytes of all packs: those listed at the start, plus those that this run stored.
    pub repository_bytes: u64,
    /// Whether everything equals `newest`.
    pub unchanged: bool,
    /// Patterns that matched nothing.
    pub unmatched: Vec<String>,
    /// Reasons for an alarm of the snapshot: unusual changes, and bit rot.
    pub alarm: Vec<AlarmReason>,
    /// Result of rereading unchanged files, if that was requested.
    pub reread: Option<Rereading>,
    /// The quota, if the run ended because it was reached.
    pub quota: Option<u64>,
}
