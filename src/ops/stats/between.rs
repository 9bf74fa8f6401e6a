//! What one snapshot holds that another one does not: chunks, each counted once.

use std::sync::Arc;

use crate::codec::crypto::hash::ChunkType;
use crate::error::Result;
use crate::model::id::SnapshotId;
use crate::ops::stats::{of, owner};
use crate::progress::Control;
use crate::repo::read::read_session::ReadSession;
use crate::repo::repository::Repository;
use crate::repo::snapshots::Snapshot;
use crate::repo::walk::ref_graph;
use crate::repo::walk::ref_graph::{Owner, RefGraph};

/// Chunks that only one of two snapshots needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Chunks {
    /// Of files.
    pub data: u64,
    /// Of directories and of lists.
    pub trees: u64,
    /// Their plain bytes.
    pub bytes: u64,
}

/// What differs between two snapshots, in chunks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Between {
    /// What only the second needs.
    pub added: Chunks,
    /// What only the first needs.
    pub removed: Chunks,
}

/// Counts the chunks that only one of two snapshots needs.
///
/// # Errors
/// When one of them is not there, a tree cannot be read, the store fails or the run was interrupted.
pub fn between(
    repo: &Repository,
    before: &SnapshotId,
    after: &SnapshotId,
    control: &Control<'_>,
) -> Result<Between> {
    let stop = control.cancel();
    let session = Arc::new(ReadSession::open(repo, repo)?);
    let (first, _) = session.resolve(&before.hex())?;
    let (second, _) = session.resolve(&after.hex())?;
    let index = session.fixed_index()?;
    let mut graph = RefGraph::new(repo, &index, stop)?;
    let mut learn = |one: &Snapshot| graph.learn(&one.manifest.root).map_err(|err| of(&one.id, err));
    let roots = [learn(&first)?, learn(&second)?];
    let [before, after] = roots;
    let (before, after) = (graph.owners_apart(&[before])?.0, graph.owners_apart(&[after])?.0);
    let mut found = Between::default();
    ref_graph::each_block(&index, &mut |block| {
        let kind = index.packs().get(block.at.pack as usize).map(|pack| pack.kind);
        for (row, len) in block.rows.clone().zip(&block.lens) {
            let needs = |owners: &[Owner]| owner(owners, row) != Owner::Nobody;
            let chunks = match (needs(&before), needs(&after)) {
                (false, true) => &mut found.added,
                (true, false) => &mut found.removed,
                _ => continue,
            };
            match kind {
                Some(ChunkType::Data) => chunks.data += 1,
                _ => chunks.trees += 1,
            }
            chunks.bytes += u64::from(*len);
        }
    })?;
    session.leave()?;
    Ok(found)
}
