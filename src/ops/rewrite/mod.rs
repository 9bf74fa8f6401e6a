//! `rewrite`, `tag`, `pin`: replaces a snapshot by one with different metadata or without some paths. The new
//! manifest exists before the old one goes to the trash. Unchanged trees keep their ids. Rules per path
//! (`expire`) do the same for old snapshots.

pub mod expire;
mod expiring;
mod removal;
pub mod removed_totals;
mod replace;
mod trees;

use std::ffi::OsString;

use crate::error::{Error, Result};
use crate::fs::filter::RestoreFilter;
use crate::model::entry::Time;
use crate::model::id::{ChunkId, SnapshotId};
use crate::model::manifest::{Counts, Manifest};
use crate::model::tripwire::AlarmState;
use crate::ops::rewrite::removal::Excluded;
use crate::ops::rewrite::removed_totals::RemovedTotals;
use crate::ops::rewrite::replace::{Replacing, earlier_rewrites};
use crate::ops::rewrite::trees::RewrittenTrees;
use crate::progress::Control;
use crate::repo::repository::Repository;
use crate::repo::snapshots::Snapshot;
use crate::repo::snapshots::filter::SnapshotQuery;
use crate::repo::walk::snapshot_set::SnapshotSet;

/// New metadata of snapshots. Fields that are not set remain unchanged.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Host name.
    pub host: Option<String>,
    /// Description; empty removes it.
    pub description: Option<String>,
    /// Replaces all tags.
    pub set_tags: Option<Vec<String>>,
    /// Tags to add.
    pub add_tags: Vec<String>,
    /// Tags to remove.
    pub remove_tags: Vec<String>,
    /// New state of their alarms.
    pub alarm: Option<AlarmState>,
    /// Whether rules must always keep it.
    pub pinned: Option<bool>,
    /// Time after which it is forgotten regardless of rules; `Some(None)` removes the time.
    pub expires: Option<Option<Time>>,
}

/// What to rewrite.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Snapshots to rewrite.
    pub choice: SnapshotQuery,
    /// Their new metadata.
    pub change: Change,
    /// Patterns of paths to remove. A leading slash means the root of the snapshot.
    pub exclude: Vec<OsString>,
    /// Also remove paths from pinned snapshots.
    pub force: bool,
    /// Change nothing, only report.
    pub dry_run: bool,
}

/// A snapshot that was changed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Rewritten {
    /// The original snapshot.
    pub old: Snapshot,
    /// Id of the new one; `None` in a dry run, or if another process forgot or rewrote the original
    /// meanwhile.
    pub new: Option<SnapshotId>,
    /// Totals of the removed entries.
    pub dropped: RemovedTotals,
}

/// Result of rewriting snapshots.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Report {
    /// Changed snapshots, oldest first.
    pub rewritten: Vec<Rewritten>,
    /// Number of snapshots that needed no change.
    pub unchanged: u64,
    /// Patterns that matched nothing.
    pub unmatched: Vec<String>,
}

/// Rewrites snapshots. After a failure the changes made so far remain, and another run does the rest.
///
/// # Errors
/// When a selector matches nothing, a pattern is invalid, paths are to be removed from a pinned snapshot
/// without force, a tree is damaged, something that a snapshot needs is being garbage-collected, the storage
/// fails, or the run was interrupted.
pub fn run(repo: &Repository, options: &Options, control: &Control<'_>) -> Result<Report> {
    let (observer, stop) = (control.observer(), control.cancel());
    if !options.dry_run {
        repo.may_write()?;
    }
    let mut earlier = Vec::new();
    let mut past = SnapshotSet::open(repo, observer, |all| {
        earlier = earlier_rewrites(all);
        options.choice.places(repo, all)
    })?;
    if !options.exclude.is_empty() && !options.force {
        refuse_pinned(&past.snapshots)?;
    }
    let rebuilt = if options.exclude.is_empty() {
        RewrittenTrees::default()
    } else {
        let mut removal = Excluded::new(RestoreFilter::new(&[], &options.exclude)?);
        trees::rebuild(repo, &mut past, &mut removal, options.dry_run, observer, stop)?
    };
    let unmatched = rebuilt.unmatched.clone();
    let replacing = Replacing { repo, change: &options.change, rebuilt, earlier, dry_run: options.dry_run };
    let snapshots = (0..).zip(std::mem::take(&mut past.snapshots)).collect();
    let (rewritten, unchanged) = replacing.run(snapshots, observer, stop)?;
    past.close()?;
    Ok(Report { rewritten, unchanged, unmatched })
}

fn refuse_pinned(snapshots: &[Snapshot]) -> Result<()> {
    let Some(pinned) = snapshots.iter().find(|found| found.manifest.is_pinned()) else { return Ok(()) };
    Err(Error::Retention(format!(
        "snapshot {} is pinned: it is not rewritten without `RewriteOptions::force`",
        pinned.id.short()
    )))
}

/// Returns the new manifest of a snapshot.
fn new_manifest(old: &Snapshot, change: &Change, root: ChunkId, dropped: &RemovedTotals) -> Result<Manifest> {
    let mut manifest = old.manifest.clone();
    if let Some(host) = &change.host {
        manifest.host.clone_from(host);
    }
    if let Some(text) = &change.description {
        manifest.set_description(Some(text)).map_err(|why| Error::Usage(why.to_string()))?;
    }
    if let Some(tags) = &change.set_tags {
        manifest.tags.clone_from(tags);
    }
    manifest.tags.extend(change.add_tags.iter().cloned());
    manifest.tags.retain(|tag| !tag.is_empty() && !change.remove_tags.contains(tag));
    let mut seen = Vec::new();
    manifest.tags.retain(|tag| {
        let new = !seen.contains(tag);
        seen.push(tag.clone());
        new
    });
    if let Some(pinned) = change.pinned {
        manifest.set_pinned(pinned);
    }
    if let Some(state) = change.alarm {
        manifest.settle_alarm(state);
    }
    if let Some(at) = change.expires {
        manifest.set_expires(at);
    }
    if root != manifest.root {
        manifest.root = root;
        manifest.counts = subtract(&manifest.counts, dropped);
    }
    if manifest != old.manifest {
        manifest.set_original(old.id);
    }
    Ok(manifest)
}

/// Subtracts removed entries from the counts. Whether these were new, changed or unchanged is unknown:
/// unchanged files are subtracted first.
fn subtract(counts: &Counts, dropped: &RemovedTotals) -> Counts {
    let mut counts = *counts;
    let mut left = dropped.files;
    for files in [&mut counts.files_unchanged, &mut counts.files_changed, &mut counts.files_new] {
        let part = left.min(*files);
        *files -= part;
        left -= part;
    }
    counts.dirs = counts.dirs.saturating_sub(dropped.dirs);
    counts.others = counts.others.saturating_sub(dropped.others);
    counts.bytes_total = counts.bytes_total.saturating_sub(dropped.bytes);
    counts
}
