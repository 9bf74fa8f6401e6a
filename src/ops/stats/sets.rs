//! The stored size of each set of snapshots (those of one host and the same sources).

use std::collections::HashMap;

use serde_bytes::ByteBuf;

use crate::error::Result;
use crate::ops::stats::{LoadedRepository, owner};
use crate::repo::walk::ref_graph::{self, ChunkTotals, Owner};

/// Numbers of one set of snapshots.
#[derive(Debug, Clone)]
pub struct SetLine {
    /// The host.
    pub host: String,
    /// The sources.
    pub sources: Vec<ByteBuf>,
    /// Number of snapshots.
    pub snapshots: u64,
    /// Bytes of files in the newest snapshot.
    pub newest: u64,
    /// Chunks that the set needs and no set before it does.
    pub first: ChunkTotals,
    /// Chunks that only this set needs: forgetting the whole set frees them.
    pub unique: ChunkTotals,
}

/// Sums up all snapshots by sets.
pub(super) fn lines(seen: &LoadedRepository<'_>) -> Result<Vec<SetLine>> {
    let mut numbers: HashMap<(&str, &[ByteBuf]), u32> = HashMap::new();
    let mut lines: Vec<SetLine> = Vec::new();
    let mut roots = Vec::with_capacity(seen.roots.len());
    for (snapshot, root) in seen.all.iter().zip(&seen.roots) {
        let manifest = &snapshot.manifest;
        let next = u32::try_from(lines.len()).unwrap_or(u32::MAX);
        let number = *numbers.entry((&manifest.host, &manifest.sources)).or_insert(next);
        if number == next {
            lines.push(SetLine {
                host: manifest.host.clone(),
                sources: manifest.sources.clone(),
                snapshots: 0,
                newest: 0,
                first: ChunkTotals::default(),
                unique: ChunkTotals::default(),
            });
        }
        if let Some(line) = lines.get_mut(number as usize) {
            line.snapshots += 1;
            line.newest = manifest.counts.bytes_total;
        }
        roots.push((number, *root));
    }
    let (owners, bases) = seen.graph.owners_by(roots.into_iter())?;
    ref_graph::each_copy(&seen.index, &mut |row, share| {
        let (number, is_unique) = match owner(&owners, row).or(owner(&bases, row)) {
            Owner::Only(number) => (number, true),
            Owner::First(number) => (number, false),
            Owner::Nobody => return,
        };
        if let Some(line) = lines.get_mut(number as usize) {
            line.first.add(share);
            if is_unique {
                line.unique.add(share);
            }
        }
    })?;
    Ok(lines)
}
