//! Link counts of hard-linked files. They are counted per snapshot, when first asked for.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::codec::tree::dir::{LinkGroup, link_group};
use crate::model::entry::Kind;
use crate::model::id::{ChunkId, SnapshotId};
use crate::model::manifest::Manifest;
use crate::repo::random::dir_lookup;
use crate::repo::random::random_reader::RandomReader;
use crate::repo::walk::dir_reader::WalkLimits;

/// Maximum number of entries of a snapshot for which links are counted. In larger ones every hard-linked file
/// is reported to have two names, which is enough for programs.
const MOST: u64 = 250_000;
/// Number of snapshots whose counts are kept.
const KEPT: usize = 4;
/// The link count of hard-linked files that are not counted.
const SEVERAL: u32 = 2;

type Names = HashMap<LinkGroup, u32>;

/// Link counts by snapshot, the most recently used last.
#[derive(Debug, Default)]
pub(super) struct Links(Mutex<Vec<(SnapshotId, Arc<Names>)>>);

impl Links {
    /// Returns the link count of a group; at least two.
    pub(super) fn link_count(
        &self,
        reader: &RandomReader,
        id: &SnapshotId,
        manifest: &Manifest,
        group: LinkGroup,
    ) -> u32 {
        let counts = &manifest.counts;
        let files =
            [counts.files_new, counts.files_changed, counts.files_unchanged, counts.dirs, counts.others];
        if files.into_iter().fold(0, u64::saturating_add) > MOST {
            return SEVERAL;
        }
        let mut kept = self.0.lock();
        let known = kept.iter().find(|(known, _)| known == id).map(|(_, names)| Arc::clone(names));
        let names = known.unwrap_or_else(|| {
            let names = Arc::new(count(reader, manifest));
            if kept.len() >= KEPT {
                kept.remove(0);
            }
            kept.push((*id, Arc::clone(&names)));
            names
        });
        names.get(&group).map_or(SEVERAL, |number| (*number).max(SEVERAL))
    }
}

/// Counts the names in all readable directories.
fn count(reader: &RandomReader, manifest: &Manifest) -> Names {
    let mut names = Names::new();
    let mut budget = WalkLimits::of(&manifest.counts);
    let mut todo: Vec<ChunkId> = vec![manifest.root];
    while let Some(tree) = todo.pop() {
        let read = dir_lookup::for_each_from(reader, &tree, 0, &mut |_, entry| {
            if let Kind::Dir { tree } = entry.kind {
                todo.push(tree);
            } else if let Some(group) = link_group(entry) {
                let number = names.entry(group).or_default();
                *number = number.saturating_add(1);
            }
            budget.count(&entry.name, entry).is_ok()
        });
        // Names in unreadable directories cannot be seen, and are not counted.
        drop(read);
        if budget.is_spent() {
            break;
        }
    }
    names
}
