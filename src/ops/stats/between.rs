//! Chunks that one snapshot needs and another one does not, each counted once.

use std::sync::Arc;

use crate::codec::crypto::hash::ChunkType;
use crate::error::Result;
use crate::model::id::SnapshotId;
use crate::ops::stats::{in_snapshot, owner};
use crate::progress::Control;
use crate::repo::read::read_session::ReadSession;
use crate::repo::repository::Repository;
use crate::repo::snapshots::{self, Snapshot};
use crate::repo::walk::ref_graph::{self, Owner, RefGraph};

/// Chunks that only one of two snapshots needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Chunks {
    /// Chunks of files.
    pub data: u64,
    /// Chunks of directories and of part lists.
    pub trees: u64,
    /// Their plain bytes.
    pub bytes: u64,
}

/// The difference between two snapshots in chunks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Between {
    /// Chunks that only the second snapshot needs.
    pub added: Chunks,
    /// Chunks that only the first snapshot needs.
    pub removed: Chunks,
}

/// Counts the chunks that only one of two snapshots needs.
///
/// # Errors
/// When one of them does not exist, a tree cannot be read, the storage fails or the run was interrupted.
pub fn between(
    repo: &Repository,
    before: &SnapshotId,
    after: &SnapshotId,
    control: &Control<'_>,
) -> Result<Between> {
    let stop = control.cancel();
    let session = Arc::new(ReadSession::open(repo, repo.control().observer())?);
    let all = session.snapshots()?;
    let (first, _) = snapshots::resolve(repo, &all, &before.hex())?;
    let (second, _) = snapshots::resolve(repo, &all, &after.hex())?;
    let index = session.fixed_index()?;
    let mut graph = RefGraph::new(repo, &index, stop)?;
    let mut add =
        |one: &Snapshot| graph.add_root(&one.manifest.root).map_err(|err| in_snapshot(&one.id, err));
    let roots = [add(&first)?, add(&second)?];
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
    session.end()?;
    Ok(found)
}
