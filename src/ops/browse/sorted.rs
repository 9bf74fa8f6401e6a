//! Pages of a directory by size or by time. Trees are stored in the order of names, so each page reads the
//! whole directory, but keeps only the entries of the page in memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::Ordering;

use super::{Browser, Page};
use crate::error::{Error, Result};
use crate::model::entry::Entry;
use crate::model::id::ChunkId;
use crate::progress::Control;
use crate::repo::walk::dir_reader::{self, DirReader};

/// An order of entries. Directories come first; equal entries are in the order of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Largest file first. Directories are in the order of names, because their sizes are not stored.
    Size,
    /// Most recently modified first.
    Time,
}

/// Whether an entry is not a directory, and its size or time, descending.
type Rank = (bool, Reverse<i128>);

impl Order {
    fn rank(self, entry: &Entry) -> Rank {
        let value = match self {
            Self::Size if entry.is_dir() => 0,
            Self::Size => i128::from(entry.size()),
            Self::Time => i128::from(entry.meta.mtime.sec) << 32 | i128::from(entry.meta.mtime.nanos),
        };
        (!entry.is_dir(), Reverse(value))
    }
}

/// An entry that is compared by its rank and its name.
struct Ranked {
    rank: Rank,
    entry: Entry,
}

impl Ranked {
    fn key(&self) -> (Rank, &[u8]) {
        (self.rank, &self.entry.name)
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Ranked {}

impl Browser {
    /// Like [`Self::page`], in another order: returns at most `most` entries, starting at the entry of the
    /// name `from`, or at the first one if that is empty. Returns `None` if the directory has no entry of
    /// this name.
    ///
    /// # Errors
    /// As [`Self::entry`], and [`Error::Interrupted`] when `stop` is set.
    pub fn sorted_page(
        &self,
        tree: ChunkId,
        (order, from): (Order, &[u8]),
        most: usize,
        control: &Control<'_>,
    ) -> Result<Option<Page>> {
        let stop = control.cancel();
        self.with(|reader| {
            let mut first = None;
            if !from.is_empty() {
                let Some(entry) = dir_reader::child(reader, tree, from)? else { return Ok(None) };
                first = Some(order.rank(&entry));
            }
            let mut dir = DirReader::new(tree);
            // The page, and the first entry of the next one.
            let mut best: BinaryHeap<Ranked> = BinaryHeap::new();
            while let Some(entry) = dir.next(reader)? {
                if stop.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted);
                }
                let ranked = Ranked { rank: order.rank(&entry), entry };
                let is_before = first.is_some_and(|first| ranked.key() < (first, from));
                let is_after = best.len() > most && best.peek().is_some_and(|last| *last < ranked);
                if !is_before && !is_after {
                    best.push(ranked);
                }
                if best.len() > most + 1 {
                    best.pop();
                }
            }
            let mut entries: Vec<Entry> =
                best.into_sorted_vec().into_iter().map(|ranked| ranked.entry).collect();
            let next = if entries.len() > most { entries.pop().map(|entry| entry.name) } else { None };
            Ok(Some(Page { entries, next }))
        })
    }
}
