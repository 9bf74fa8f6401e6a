//! Selects snapshots for a verb: the snapshots among which `latest` is the newest, and a path given after
//! the selector.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use snap_backup::Result;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots;
use snap_backup::repo::snapshots::filter::SnapshotFilter;

use crate::args::keep::Filters;
use crate::context::Context;
use crate::terminal::output;

/// Which snapshots are meant, also by the name of a set.
#[derive(Debug, Args)]
#[command(next_help_heading = "Snapshot selection")]
pub(crate) struct Among {
    #[command(flatten)]
    filters: Filters,
    /// Only snapshots of this set of the configuration, in its repository
    #[arg(long, value_name = "NAME", conflicts_with = "Filters")]
    set: Option<String>,
}

impl Among {
    /// Runs `work` for the repository and the selected snapshots.
    pub(crate) fn with<T>(
        &self,
        context: &Context,
        work: impl FnOnce(&Context, SnapshotFilter) -> Result<T>,
    ) -> Result<T> {
        let Some(name) = &self.set else { return work(context, self.filters.selection()?) };
        let sets = context.config.named_sets(std::slice::from_ref(name))?;
        match sets.first() {
            Some(set) => work(&context.for_set(set), set.selection()),
            None => work(context, SnapshotFilter::default()),
        }
    }
}

/// Joins a selector with a path that was given as a separate argument. The slash separates what could
/// otherwise be read as one time: `2026-11-24T10` and `30`.
pub(crate) fn joined(selector: &OsStr, path: Option<&OsString>) -> Vec<u8> {
    let mut joined = selector.as_bytes().to_vec();
    if let Some(path) = path {
        joined.extend_from_slice(b":/");
        joined.extend_from_slice(path.as_bytes());
    }
    joined
}

/// Warns if the filters of a listing select nothing although there are snapshots.
pub(crate) fn warn_if_unmatched(
    context: &Context,
    repo: &Repository,
    selection: &SnapshotFilter,
) -> Result<()> {
    if *selection != SnapshotFilter::default()
        && let Some(why) = selection.unmatched(&snapshots::list(repo)?)
    {
        output::warn(context.global.json, &why);
    }
    Ok(())
}
