//! Statistics of removed paths: totals per snapshot and per directory.

use std::collections::HashMap;

use crate::model::entry::{Entry, Kind};
use crate::repo::walk::multi_walk::EntryVersion;
use crate::util::bitset::BitSet;

/// Maximum number of rows. Further ones are added up in [`Taken::rest`].
const MAX_ROWS: usize = 1000;

/// Totals of removed entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemovedTotals {
    /// Number of files.
    pub files: u64,
    /// Number of directories.
    pub dirs: u64,
    /// Number of links and special files.
    pub others: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

impl RemovedTotals {
    pub(super) fn add(&mut self, entry: &Entry) {
        match entry.kind {
            Kind::File { .. } => self.files += 1,
            Kind::Dir { .. } => self.dirs += 1,
            _ => self.others += 1,
        }
        self.bytes = self.bytes.saturating_add(entry.size());
    }

    /// Returns whether nothing is removed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The reason why a path is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RemovalReason {
    /// It matches a pattern of a rewrite.
    Excluded,
    /// It matches the rule with this number.
    Rule(usize),
    /// It was deleted longer ago than deleted files are kept.
    Deleted,
}

/// Paths that are removed for the same reason: one path, or several in one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The path if there is one, otherwise the directory that contains them.
    pub path: Vec<u8>,
    /// Why they are removed.
    pub reason: RemovalReason,
    /// Number of paths.
    pub paths: u64,
    /// Totals of these paths with everything below them, each version of an entry once.
    pub totals: RemovedTotals,
    /// The snapshots that lose them, by their numbers in the walk.
    pub snapshots: BitSet,
}

/// Everything that is removed.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    /// In order of paths.
    pub rows: Vec<Row>,
    /// Sum of the rows that exceed the maximum; its path is empty.
    pub rest: Option<Row>,
    known: HashMap<(Vec<u8>, RemovalReason), usize>,
}

impl Taken {
    /// Adds a path in a directory, and returns the number of its row.
    pub(super) fn add(&mut self, dir: &[u8], path: &[u8], reason: RemovalReason, lost: &BitSet) -> usize {
        let key = (dir.to_vec(), reason);
        let next = self.rows.len();
        let at = match self.known.get(&key) {
            Some(at) => *at,
            None if next < MAX_ROWS => {
                self.known.insert(key, next);
                let (totals, snapshots) = <_>::default();
                self.rows.push(Row { path: path.to_vec(), reason, paths: 0, totals, snapshots });
                next
            }
            None => MAX_ROWS,
        };
        if let Some(row) = self.row(at) {
            row.paths += 1;
            row.snapshots.add(lost);
            if row.paths > 1 && row.path != dir {
                row.path = dir.to_vec();
            }
        }
        at
    }

    /// Counts the entries of a path that some snapshots lose.
    pub(super) fn count(&mut self, row: usize, versions: &[EntryVersion], lost: &BitSet) {
        let Some(row) = self.row(row) else { return };
        let removed = versions.iter().filter(|version| version.among.meets(lost));
        removed.for_each(|version| row.totals.add(&version.entry));
    }

    fn row(&mut self, at: usize) -> Option<&mut Row> {
        if at < MAX_ROWS {
            return self.rows.get_mut(at);
        }
        let row = || Row {
            path: Vec::new(),
            reason: RemovalReason::Excluded,
            paths: 0,
            totals: RemovedTotals::default(),
            snapshots: BitSet::default(),
        };
        Some(self.rest.get_or_insert_with(row))
    }
}
