//! What a run is compared with, and what may be believed of it.

use std::sync::Arc;

use serde_bytes::ByteBuf;

use crate::codec::hash::ChunkType;
use crate::error::Error;
use crate::error::Result;
use crate::model::entry::Content;
use crate::model::entry::Kind;
use crate::model::entry::Part;
use crate::model::id::ChunkId;
use crate::model::id::SnapshotId;
use crate::model::manifest::SnapshotKind;
use crate::ops::backup::Options;
use crate::store::chunks::ChunkReader;
use crate::store::index::Index;
use crate::store::repository::Repository;
use crate::store::snapshots;
use crate::store::snapshots::Snapshot;
use crate::store::trees;
use crate::store::trees::DirStream;

/// What a run stands on.
#[derive(Debug)]
pub(super) struct Basis {
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
pub(super) fn choose(repo: &Repository, options: &Options, host: &str, sources: &[ByteBuf]) -> Result<Basis> {
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
    Ok(Basis {
        kind,
        became_full: kind != options.kind,
        parent: parent.as_ref().map(|parent| parent.id),
        based_on,
        compare: hint.copied().cloned().or(parent),
        trusted: true,
        newest: newest.cloned(),
    })
}

/// Whether the parent is still there, for a session that has just begun.
pub(super) fn is_listed(repo: &Repository, parent: &SnapshotId) -> Result<bool> {
    let listed = repo.storage().list(crate::store::storage::Area::Snapshots)?;
    Ok(listed.iter().any(|found| found.name == parent.hex()))
}

/// Whether everything that a root needs may be written against.
///
/// # Errors
/// Says what is lost.
pub(super) fn stands(repo: &Repository, index: &Arc<Index>, root: &ChunkId) -> Result<()> {
    let mut reader = ChunkReader::new(repo, Arc::clone(index))?;
    let mut open = vec![DirStream::new(*root)];
    let lost =
        || Error::Refused("another process took this run for dead and collected what it had stored".into());
    while let Some(dir) = open.last_mut() {
        let Some(entry) = dir.next(&mut reader)? else {
            let sound = dir.pieces.iter().all(|id| index.find(ChunkType::Tree, id).is_some());
            if !sound {
                return Err(lost());
            }
            open.pop();
            continue;
        };
        match &entry.kind {
            Kind::Dir { tree } => open.push(DirStream::new(*tree)),
            Kind::File { size, content } if !content_stands(&mut reader, *size, content)? => {
                return Err(lost());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether every chunk of a file may be written against.
pub(super) fn content_stands(reader: &mut ChunkReader, size: u64, content: &Content) -> Result<bool> {
    let index = Arc::clone(reader.index());
    let mut sound = true;
    let pieces = trees::list_pieces(reader, content)?;
    sound &= pieces.iter().all(|id| index.find(ChunkType::Tree, id).is_some());
    trees::each_part(reader, size, content, &mut |part| {
        if let Part::Chunk { id, .. } = part {
            sound &= index.find(ChunkType::Data, &id).is_some();
        }
        Ok(())
    })?;
    Ok(sound)
}
