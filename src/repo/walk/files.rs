//! Visits the regular files of one snapshot.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::model::entry::{Entry, Kind};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::snapshots::Snapshot;
use crate::repo::walk::dir_reader::{DirReader, MAX_NESTING, WalkLimits};

/// Calls `each` for every regular file of a snapshot, with its stored path.
///
/// # Errors
/// When a piece of a tree is missing or damaged, there is more than the manifest says, or `stop` was set.
pub fn each(
    reader: &mut ChunkReader,
    snapshot: &Snapshot,
    stop: &AtomicBool,
    each: &mut dyn FnMut(&[u8], &Entry),
) -> Result<()> {
    let mut budget = WalkLimits::of(&snapshot.manifest.counts);
    let mut open = vec![(Vec::new(), DirReader::new(snapshot.manifest.root))];
    while let Some((base, dir)) = open.last_mut() {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let Some(entry) = dir.next(reader)? else {
            open.pop();
            continue;
        };
        let path: Vec<u8> =
            if base.is_empty() { entry.name.clone() } else { [base, b"/".as_slice(), &entry.name].concat() };
        budget.take(&path, &entry)?;
        match entry.kind {
            Kind::Dir { tree } if open.len() < MAX_NESTING => open.push((path, DirReader::new(tree))),
            Kind::File { .. } => each(&path, &entry),
            _ => {}
        }
    }
    Ok(())
}
