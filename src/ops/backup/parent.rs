//! What a run is compared with, and what may be believed of it.

use serde_bytes::ByteBuf;

use crate::error::Result;
use crate::model::id::SnapshotId;
use crate::model::manifest::SnapshotKind;
use crate::ops::backup::Options;
use crate::repo::repository::Repository;
use crate::repo::snapshots;
use crate::repo::snapshots::Snapshot;

/// What a run stands on.
#[derive(Debug)]
pub(super) struct ParentChoice {
    /// What it is, as opposed to what was asked for.
    pub(super) kind: SnapshotKind,
    /// It was to be something else, but there is nothing to compare with.
    pub(super) became_full: bool,
    /// Provenance.
    pub(super) parent: Option<SnapshotId>,
    /// Provenance.
    pub(super) based_on: Option<SnapshotId>,
    /// Compared with, entry by entry: the parent, or a newer partial.
    pub(super) compare: Option<Snapshot>,
    /// W2: what `compare` holds may be reused without looking.
    pub(super) trusted: bool,
    /// The newest complete snapshot of the set: equal to it means that nothing changed.
    pub(super) newest: Option<Snapshot>,
}

/// Chooses by the meaning of the kinds.
pub(super) fn choose(
    repo: &Repository,
    options: &Options,
    host: &str,
    sources: &[ByteBuf],
) -> Result<ParentChoice> {
    let all = snapshots::list(repo)?;
    let set: Vec<&Snapshot> = all.iter().filter(|found| found.manifest.same_set(host, sources)).collect();
    let newest = set.iter().rev().find(|found| !found.manifest.partial).copied();
    let full =
        set.iter().rev().find(|found| !found.manifest.partial && found.manifest.kind == SnapshotKind::Full);
    let named = match &options.parent {
        Some(selector) => Some(snapshots::resolve(repo, selector)?.0),
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
    let hint = partial.filter(|partial| {
        options.kind == SnapshotKind::Incremental
            && parent.as_ref().is_some_and(|parent| partial.manifest.started > parent.manifest.started)
    });
    Ok(ParentChoice {
        kind,
        became_full: kind != options.kind,
        parent: parent.as_ref().map(|parent| parent.id),
        based_on,
        compare: hint.copied().cloned().or(parent),
        // A stream can be read only once: a run that stored none of it against the parent never has to begin again.
        trusted: options.stdin.is_none(),
        newest: newest.cloned(),
    })
}
