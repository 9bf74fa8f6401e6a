//! `rewrite`, `tag`, `pin`: replaces a snapshot by one with different metadata or without some paths. The new
//! manifest exists before the old one goes to the trash. Unchanged trees keep their ids.

mod trees;

use std::collections::HashSet;
use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::codec::crypto::hash::ChunkType;
use crate::error::{Error, Result};
use crate::model::entry::Time;
use crate::model::id::{ChunkId, SnapshotId};
use crate::model::manifest::{Counts, Manifest};
use crate::model::records::{AuditAct, SessionKind};
use crate::model::tripwire::State;
pub use crate::ops::rewrite::trees::RemovedTotals;
use crate::ops::rewrite::trees::RewrittenTrees;
use crate::progress::{Event, Observer};
use crate::repo::audit;
use crate::repo::audit::Noted;
use crate::repo::commit::reachability;
use crate::repo::index::Index;
use crate::repo::repository::Repository;
use crate::repo::sessions::session::Session;
use crate::repo::snapshots;
use crate::repo::snapshots::filter::SnapshotQuery;
use crate::repo::snapshots::{Snapshot, trash};
use crate::repo::walk::snapshot_set::SnapshotSet;

/// Maximum number of sessions opened for one snapshot, each because the one before was taken for dead.
const ATTEMPTS: usize = 3;

/// New metadata of snapshots. Fields that are not set leave it as it is.
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
    /// What became of the alarm that they gave.
    pub alarm: Option<State>,
    /// Whether rules may never forget it.
    pub pinned: Option<bool>,
    /// Time after which it is forgotten, whatever rules say; `Some(None)` removes the time.
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
    /// Only report.
    pub dry_run: bool,
}

/// A snapshot that was changed.
#[derive(Debug, Clone)]
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
pub struct Report {
    /// Changed snapshots, oldest first.
    pub rewritten: Vec<Rewritten>,
    /// Number of snapshots to which nothing had to be changed.
    pub unchanged: u64,
    /// Patterns that matched nothing.
    pub unmatched: Vec<String>,
}

/// Rewrites snapshots. After a failure the changes made so far stay, and another run does the rest.
///
/// # Errors
/// When a selector names nothing, a pattern is invalid, paths are to be removed from a pinned snapshot
/// without force, a tree is damaged, something that a snapshot needs is being garbage-collected, the storage
/// fails, or the run was interrupted.
pub fn run(
    repo: &Repository,
    options: &Options,
    observer: &dyn Observer,
    stop: &AtomicBool,
) -> Result<Report> {
    let mut past = SnapshotSet::of(repo, observer, &options.choice)?;
    if !options.exclude.is_empty() && !options.force {
        refuse_pinned(&past.snapshots)?;
    }
    let rebuilt = match options.exclude.is_empty() {
        true => RewrittenTrees::default(),
        false => trees::rebuild(repo, &mut past, options, observer, stop)?,
    };
    let snapshots = std::mem::take(&mut past.snapshots);
    let mut report = Report { unmatched: rebuilt.unmatched.clone(), ..Report::default() };
    observer.notice(Event::Stage { name: "writing snapshots", unit: "snapshots" });
    observer.notice(Event::Expect { files: snapshots.len() as u64, bytes: 0 });
    let mut changed = Vec::new();
    for (number, old) in snapshots.into_iter().enumerate() {
        let dropped = rebuilt.dropped.get(number).copied().unwrap_or_default();
        let root = rebuilt.roots.get(&old.manifest.root).copied().unwrap_or(old.manifest.root);
        let manifest = rewritten(&old, &options.change, root, &dropped)?;
        if manifest == old.manifest {
            report.unchanged += 1;
            observer.notice(Event::Done { files: 1, bytes: 0 });
            continue;
        }
        changed.push((old, manifest, dropped));
    }
    let ids: Vec<SnapshotId> = changed.iter().map(|(old, ..)| old.id).collect();
    let noted = match options.dry_run {
        true => None,
        false => Some(audit::note_snapshots(repo, act(&options.change), &ids)?),
    };
    for (old, manifest, dropped) in changed {
        if stop.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let new = match &noted {
            None => None,
            Some(noted) => replace(repo, &old, manifest, &rebuilt, noted)?,
        };
        report.rewritten.push(Rewritten { old, new, dropped });
        observer.notice(Event::Done { files: 1, bytes: 0 });
    }
    past.close()?;
    if let Some(session) = rebuilt.session {
        session.close()?;
    }
    Ok(report)
}

/// Returns what the audit record of it says.
fn act(change: &Change) -> AuditAct {
    match change.alarm {
        Some(State::Accepted) => AuditAct::AlarmAccept,
        Some(State::Cleared) => AuditAct::AlarmClear,
        Some(State::Open) | None => AuditAct::Rewrite,
    }
}

fn refuse_pinned(snapshots: &[Snapshot]) -> Result<()> {
    let Some(pinned) = snapshots.iter().find(|one| one.manifest.is_pinned()) else { return Ok(()) };
    Err(Error::Retention(format!(
        "snapshot {} is pinned: nothing is taken from it without --force",
        pinned.id.short()
    )))
}

/// Returns the new manifest of a snapshot.
fn rewritten(old: &Snapshot, change: &Change, root: ChunkId, dropped: &RemovedTotals) -> Result<Manifest> {
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
        manifest.counts = without(&manifest.counts, dropped);
    }
    if manifest != old.manifest {
        manifest.set_original(old.id);
    }
    Ok(manifest)
}

/// Subtracts removed entries from the counts. Whether these were new, changed or unchanged is unknown:
/// unchanged files are subtracted first.
fn without(counts: &Counts, dropped: &RemovedTotals) -> Counts {
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

/// Commits the new snapshot, then forgets the old one. Returns `None` if another process forgot or rewrote
/// the old one meanwhile; its result stands.
fn replace(
    repo: &Repository,
    old: &Snapshot,
    manifest: Manifest,
    rebuilt: &RewrittenTrees,
    noted: &Noted,
) -> Result<Option<SnapshotId>> {
    for _ in 0..ATTEMPTS {
        // W1, W2: everything that the new manifest refers to exists for this session and will be kept.
        let (session, repo_state) = Session::open(repo, SessionKind::Writer)?;
        if !reachability::is_listed(repo, &old.id)? {
            session.close()?;
            return Ok(None);
        }
        let vouched = repo_state.protects(&old.id);
        if !vouched || !rebuilt.written.is_empty() {
            let index = Arc::new(Index::load(repo, repo_state)?);
            let sound = match vouched {
                true => all_found(&index, &rebuilt.written)?,
                false => reachability::stands(repo, &index, &manifest.root)?,
            };
            if !sound {
                let why = "something that it needs is damaged or being collected";
                return Err(Error::Refused(format!("snapshot {} stays as it is: {why}", old.id.short())));
            }
        }
        if !snapshots::commit_under(repo, &session, &manifest)? {
            // W3: there is a fence. Nothing was forgotten; try again under another name.
            continue;
        }
        let new = session.id;
        let forgotten = match trash::forget(repo, &session, &old.id, noted) {
            Err(err) if err.is_missing() => {
                trash::forget(repo, &session, &new, noted)?;
                None
            }
            other => other.map(|()| Some(new))?,
        };
        session.close()?;
        return Ok(forgotten);
    }
    Err(Error::Refused("other processes took this run for dead again and again: run it again".into()))
}

fn all_found(index: &Index, trees: &HashSet<ChunkId>) -> Result<bool> {
    for id in trees {
        if index.find(ChunkType::Tree, id)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}
