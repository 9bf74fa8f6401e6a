//! What to restore and how, and the result.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Problem;
use crate::fs::protected_dirs::Protected;
use crate::fs::xattr_choice::XattrChoice;
use crate::model::id::SnapshotId;
use crate::ops::restore::overwrite::Overwrite;
use crate::repo::snapshots::filter;

/// What to restore, where to, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Snapshot to restore from: `SNAPSHOT[:path]`.
    pub selector: String,
    /// Stored path to restore, if the selector names none. Unlike the selector it may contain any bytes.
    pub below: Option<Vec<u8>>,
    /// Snapshots among which `latest` and times are resolved.
    pub among: filter::SnapshotFilter,
    /// Directory to restore to.
    pub target: PathBuf,
    /// Patterns of entries to restore; all entries if empty.
    pub include: Vec<OsString>,
    /// Patterns of entries to leave out.
    pub exclude: Vec<OsString>,
    /// Replaces the patterns: exactly these stored paths, and the directories above them.
    pub only: Option<BTreeSet<Vec<u8>>>,
    /// Counts the selected part concurrently, for an observer that shows progress. The manifest only has
    /// totals.
    pub count_ahead: bool,
    /// Restores owners by number, not by name.
    pub numeric_ids: bool,
    /// Does not restore owners.
    pub no_owner: bool,
    /// Does not create device nodes.
    pub no_devices: bool,
    /// Does not restore the setuid and setgid bits, nor capabilities.
    pub no_setuid: bool,
    /// Which extended attributes are restored; others are left alone.
    pub xattrs: XattrChoice,
    /// Directories that must not be written to, in addition to the repository and its cache.
    pub protected: Vec<Protected>,
    /// Writes runs of zeros as holes.
    pub sparse: bool,
    /// Which existing files may be changed.
    pub overwrite: Overwrite,
    /// Removes selected entries of the target that are not in the snapshot.
    pub delete: bool,
    /// Writes nothing and does not create the target.
    pub dry_run: bool,
    /// Reads every restored file back and compares it with the snapshot.
    pub verify: bool,
}

impl Options {
    /// Restores what the selector names to `target`. All other options have their defaults.
    pub fn of(selector: impl Into<String>, target: impl Into<PathBuf>) -> Self {
        Self { selector: selector.into(), target: target.into(), ..Self::default() }
    }
}

/// What was restored, or would be in a dry run.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// The snapshot that was restored.
    pub snapshot: SnapshotId,
    /// Files selected.
    pub files: u64,
    /// Directories selected.
    pub dirs: u64,
    /// Links and special files selected.
    pub others: u64,
    /// Bytes of the files selected.
    pub bytes: u64,
    /// Files selected that changed each time they were read for the snapshot: they may mix versions.
    pub changing: u64,
    /// Files, links and special files that did not exist.
    pub created: u64,
    /// Files, links and special files that existed and differed.
    pub updated: u64,
    /// Files, links and special files that existed and equal the snapshot's.
    pub unchanged: u64,
    /// Files, links and special files that `overwrite` protects.
    pub kept: u64,
    /// Entries removed, including directories.
    pub deleted: u64,
    /// Files whose content, name or attributes were written.
    pub files_written: u64,
    /// Bytes written to files.
    pub bytes_written: u64,
    /// Duration of the run.
    pub duration: Duration,
    /// Exclude patterns that matched nothing. Include patterns that matched nothing are listed as problems.
    pub unmatched: Vec<String>,
    /// Number of problems that are only an include pattern that matched nothing.
    pub unmatched_includes: u64,
    /// Paths that could not be restored, and why.
    pub problems: Vec<Problem>,
    /// Whether some of the problems are damage in the repository.
    pub damage: bool,
    /// Number of owners, modes, times and devices that this user may not set.
    pub left_out: u64,
    /// Hard links that were restored as independent files because the target allows no more links.
    pub copied_links: u64,
}
