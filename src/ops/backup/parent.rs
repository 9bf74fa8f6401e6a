//! Chooses the snapshot that a run is compared with, and whether it can be trusted.

use serde_bytes::ByteBuf;

use crate::error::{Error, Result};
use crate::model::entry::Time;
use crate::model::id::{KeyId, SnapshotId};
use crate::model::manifest::SnapshotKind;
use crate::model::manifest_ext::Lineage;
use crate::model::tripwire::Past;
use crate::ops::backup::Options;
use crate::ops::backup::alarm::statistics;
use crate::repo::repository::Repository;
use crate::repo::snapshots::Snapshot;
use crate::repo::{lineage, snapshots};
use crate::run_log;

/// The parent of a run.
#[derive(Debug)]
pub(super) struct ParentChoice {
    /// Actual kind of the snapshot, which may differ from the requested one.
    pub(super) kind: SnapshotKind,
    /// Another kind was requested, but there is no snapshot to compare with.
    pub(super) became_full: bool,
    /// Recorded as the manifest's `parent`.
    pub(super) parent: Option<SnapshotId>,
    /// Recorded as the manifest's `based_on`.
    pub(super) based_on: Option<SnapshotId>,
    /// Snapshot to compare with, entry by entry: the parent, or a newer partial one.
    pub(super) compare: Option<Snapshot>,
    /// Chunks of `compare` may be reused without looking them up (W2).
    pub(super) trusted: bool,
    /// A full backup: every byte is read. `compare` only serves to find bit rot and unusual changes.
    pub(super) rereads: bool,
    /// The newest complete snapshot of the set. If the new tree equals its, nothing changed.
    pub(super) newest: Option<Snapshot>,
    /// Statistics of the set's earlier runs, oldest first.
    pub(super) past: Vec<Past>,
    /// Position of the new snapshot in the history of the set.
    pub(super) lineage: Lineage,
}

/// Refuses a parent of another write key: a parent's chunks are reused without checking, and a write key can
/// name chunks that do not exist.
fn require_writer(parent: Snapshot, writer: Option<KeyId>) -> Result<Snapshot> {
    if parent.manifest.writer() == writer {
        return Ok(parent);
    }
    let why = format!(
        "snapshot {} was made with another write key: it cannot be the parent of a snapshot of this key",
        parent.id.short()
    );
    Err(Error::Usage(why))
}

/// Chooses the parent according to the requested kind.
pub(super) fn choose(
    repo: &Repository,
    options: &Options,
    host: &str,
    sources: &[ByteBuf],
) -> Result<ParentChoice> {
    let remembered = repo.memory().and_then(|memory| memory.load_set(&run_log::set_id(host, sources)));
    remembered.into_iter().for_each(|why| repo.control().warn(why));
    let all = snapshots::list(repo)?;
    let writer = repo.writer();
    let mut set: Vec<&Snapshot> = all
        .iter()
        .filter(|found| found.manifest.same_set(host, sources) && found.manifest.writer() == writer)
        .collect();
    let lineage = lineage::next(repo, set.iter().copied());
    if let Some(recorded) = &options.recorded {
        // A past state is not compared with later snapshots, nor with partial ones.
        set.retain(|found| found.manifest.started < recorded.time && !found.manifest.partial);
    }
    let newest = set.iter().rev().find(|found| !found.manifest.partial).copied();
    let full =
        set.iter().rev().find(|found| !found.manifest.partial && found.manifest.kind == SnapshotKind::Full);
    let named = match &options.parent {
        Some(selector) => Some(require_writer(snapshots::resolve(repo, &all, selector)?.0, writer)?),
        None => None,
    };
    let parent = match options.kind {
        SnapshotKind::Full => None,
        SnapshotKind::Incremental => named.or(newest.cloned()),
        SnapshotKind::Differential => named.or(full.copied().cloned()),
    };
    let kind = if parent.is_some() { options.kind } else { SnapshotKind::Full };
    let based_on = parent.as_ref().and_then(|parent| match parent.manifest.kind {
        SnapshotKind::Full => Some(parent.id),
        _ => parent.manifest.based_on,
    });
    let partial = set.iter().rev().find(|found| {
        found.manifest.partial && found.manifest.parent == parent.as_ref().map(|parent| parent.id)
    });
    let newer_partial = partial.filter(|partial| {
        options.kind == SnapshotKind::Incremental
            && parent.as_ref().is_some_and(|parent| partial.manifest.started > parent.manifest.started)
    });
    let rereads = options.kind == SnapshotKind::Full && options.stdin.is_none();
    Ok(ParentChoice {
        kind,
        became_full: kind != options.kind,
        parent: parent.as_ref().map(|parent| parent.id),
        based_on,
        compare: newer_partial.copied().cloned().or(parent).or_else(|| newest.filter(|_| rereads).cloned()),
        // A stream can be read only once. Without trust in the parent, the run never has to start over.
        trusted: options.stdin.is_none() && !rereads,
        rereads,
        newest: newest.cloned(),
        past: statistics::past(&set, Time::now()),
        lineage,
    })
}
