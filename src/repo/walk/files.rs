//! Visits the regular files of one snapshot.

use std::sync::atomic::AtomicBool;

use crate::error::{Error, Result};
use crate::model::entry::{Entry, Kind};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::snapshots::Snapshot;
use crate::repo::walk::dir_reader::WalkLimits;
use crate::repo::walk::tree_walk::{TOO_DEEP, TreeWalk};

/// Calls `each` for every regular file of a snapshot, with its stored path.
///
/// # Errors
/// When a piece of a tree is missing or damaged, the tree holds more than the manifest counts, a directory is
/// too deep, or `stop` was set.
pub fn for_each_file(
    reader: &mut ChunkReader,
    snapshot: &Snapshot,
    stop: &AtomicBool,
    each: &mut dyn FnMut(&[u8], &Entry),
) -> Result<()> {
    let limits = WalkLimits::of(&snapshot.manifest.counts);
    let mut walk = TreeWalk::new(snapshot.manifest.root, limits, ()).until(stop);
    while let Some(entry) = walk.next_entry(reader)? {
        match entry.kind {
            Kind::Dir { tree } => walk.enter(tree, ()).map_err(|_| too_deep(walk.path()))?,
            Kind::File { .. } => each(walk.path(), &entry),
            _ => {}
        }
    }
    Ok(())
}

/// No backup stores such a tree, so one that is stored is damage.
fn too_deep(path: &[u8]) -> Error {
    Error::because(format!("the snapshot's tree at {}", String::from_utf8_lossy(path)), TOO_DEEP)
}
