//! Decides which snapshots lose a path.

use crate::fs::filter::RestoreFilter;
use crate::ops::rewrite::removed_totals::RemovalReason;
use crate::repo::walk::multi_walk::EntryVersion;
use crate::util::bitset::BitSet;

/// Decides what is removed from which snapshots.
pub(super) trait Removal {
    /// Decides about a path. Snapshots in `lost` have already lost a directory above it.
    fn decide(&mut self, path: &[u8], versions: &[EntryVersion], lost: &BitSet) -> Verdict;

    /// Returns the patterns that have matched nothing so far.
    fn unmatched(&self) -> Vec<String>;
}

/// The decision about a path.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Snapshots that lose it with everything below it, by reason. No snapshot occurs twice.
    pub(super) lose: Vec<(RemovalReason, BitSet)>,
    /// Whether snapshots may lose something below it.
    pub(super) descend: bool,
    /// Whether it is a directory that is kept only if something below it is.
    pub(super) only_if_filled: bool,
}

/// Paths that are removed from every snapshot that has them.
pub(super) struct Excluded {
    selection: RestoreFilter,
}

impl Excluded {
    pub(super) fn new(selection: RestoreFilter) -> Self {
        Self { selection }
    }
}

impl Removal for Excluded {
    fn decide(&mut self, path: &[u8], versions: &[EntryVersion], lost: &BitSet) -> Verdict {
        let has_dir = versions.iter().any(|version| version.entry.is_dir());
        let present = present(versions).minus(lost);
        if present.is_empty() {
            return Verdict::default();
        }
        if self.selection.takes(path, has_dir) {
            return Verdict { descend: true, ..Verdict::default() };
        }
        if has_dir && self.selection.may_hold(path) {
            return Verdict { descend: true, only_if_filled: true, ..Verdict::default() };
        }
        Verdict { lose: vec![(RemovalReason::Excluded, present)], ..Verdict::default() }
    }

    fn unmatched(&self) -> Vec<String> {
        self.selection.unmatched_excludes()
    }
}

/// Returns the snapshots that have a path.
pub(super) fn present(versions: &[EntryVersion]) -> BitSet {
    let mut all = BitSet::default();
    versions.iter().for_each(|version| all.add(&version.among));
    all
}
