//! Collects the statistics from which alarms are decided: those of this backup, and those of earlier
//! snapshots of the set. No file is read for them.

use std::collections::HashMap;

use crate::model::entry::{Entry, Time};
use crate::model::manifest::{Counts, Manifest, SnapshotKind};
use crate::model::manifest_ext::MoreCounts;
use crate::model::signs::{self, Signs};
use crate::model::tripwire::Past;
use crate::repo::snapshots::Snapshot;

/// Maximum number of different suffixes of new files that are counted.
const MAX_SUFFIXES: usize = 4096;
/// Number of bits of a suffix's hash that are kept.
const HASH_BITS: u32 = 16;

/// Suffixes that files had before, as a bitmap of hashes, and counts of those of new files.
#[derive(Debug, Default)]
pub(in crate::ops::backup) struct Suffixes {
    known: Vec<u64>,
    new: HashMap<Vec<u8>, u64>,
}

impl Suffixes {
    /// Records the name of a file of the parent.
    pub(in crate::ops::backup) fn add_old(&mut self, name: &[u8]) {
        let Some(suffix) = signs::suffix(name) else { return };
        if self.known.is_empty() {
            self.known = vec![0; 1 << (HASH_BITS - 6)];
        }
        let bit = hash(suffix);
        if let Some(word) = self.known.get_mut(bit / 64) {
            *word |= 1 << (bit % 64);
        }
    }

    /// Records the name of a new file.
    pub(in crate::ops::backup) fn add_new(&mut self, name: &[u8]) {
        let Some(suffix) = signs::suffix(name) else { return };
        if let Some(count) = self.new.get_mut(suffix) {
            *count += 1;
        } else if self.new.len() < MAX_SUFFIXES {
            self.new.insert(suffix.to_vec(), 1);
        }
    }

    /// Returns the most frequent suffix of new files that no file had before, and its count.
    pub(in crate::ops::backup) fn most_frequent_new(&self) -> (Vec<u8>, u64) {
        let is_known = |suffix: &[u8]| {
            let bit = hash(suffix);
            self.known.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
        };
        let strange = self.new.iter().filter(|(suffix, _)| !is_known(suffix));
        let most = strange.max_by(|a, b| a.1.cmp(b.1).then_with(|| b.0.cmp(a.0)));
        most.map(|(suffix, count)| (suffix.clone(), *count)).unwrap_or_default()
    }
}

/// 32-bit FNV-1a, folded to [`HASH_BITS`] bits.
fn hash(suffix: &[u8]) -> usize {
    let hash =
        suffix.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    ((hash >> HASH_BITS) ^ (hash & ((1 << HASH_BITS) - 1))) as usize
}

/// Counts of files that were read.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::ops::backup) struct ReadCounts {
    pub(in crate::ops::backup) new: u64,
    pub(in crate::ops::backup) moved: u64,
    pub(in crate::ops::backup) rewritten: u64,
    pub(in crate::ops::backup) opaque: u64,
    pub(in crate::ops::backup) opaque_new: u64,
}

impl ReadCounts {
    /// Counts a new file; `known` means that its content was stored before.
    pub(in crate::ops::backup) fn count_new(&mut self, known: bool, opaque: bool) {
        self.new += 1;
        self.moved += u64::from(known);
        self.opaque_new += u64::from(opaque && !known);
    }

    /// Counts new files that were not read, because their content was stored under another name.
    pub(in crate::ops::backup) fn count_moved(&mut self, files: u64) {
        self.new += files;
        self.moved += files;
    }

    /// Counts a file that the parent has.
    pub(in crate::ops::backup) fn count_known(&mut self, before: &Entry, now: &Entry, opaque: bool) {
        if before.kind != now.kind {
            self.rewritten += 1;
            self.opaque += u64::from(opaque);
        }
    }
}

/// Counts of the comparer: entries that are not read, also those taken from the parent, and removed files.
#[derive(Debug, Default)]
pub(in crate::ops::backup) struct Tally {
    pub(in crate::ops::backup) removed: u64,
    pub(in crate::ops::backup) suffixes: Suffixes,
    pub(in crate::ops::backup) unchanged: u64,
    /// New and changed files whose content an earlier past state of the run has stored.
    pub(in crate::ops::backup) files_new: u64,
    pub(in crate::ops::backup) files_changed: u64,
    pub(in crate::ops::backup) bytes: u64,
    pub(in crate::ops::backup) dirs: u64,
    pub(in crate::ops::backup) dirs_unchanged: u64,
    pub(in crate::ops::backup) dirs_changed: u64,
    pub(in crate::ops::backup) others: u64,
}

impl Tally {
    pub(in crate::ops::backup) fn add_to(&self, counts: &mut Counts, more: &mut MoreCounts) {
        more.dirs_unchanged += self.dirs_unchanged;
        more.dirs_changed += self.dirs_changed;
        counts.files_unchanged += self.unchanged;
        counts.files_new += self.files_new;
        counts.files_changed += self.files_changed;
        counts.bytes_total += self.bytes;
        counts.dirs += self.dirs;
        counts.others += self.others;
    }
}

/// Returns the seconds between two times; 0 if they are in the wrong order.
pub(in crate::ops::backup) fn seconds_between(from: Time, to: Time) -> u64 {
    u64::try_from(to.sec.saturating_sub(from.sec)).unwrap_or(0)
}

/// Returns the history of a set from its snapshots, oldest first. Snapshots without recorded statistics
/// contribute their counts, if their parent still exists.
pub(in crate::ops::backup) fn past(set: &[&Snapshot], now: Time) -> Vec<Past> {
    let past_of = |snapshot: &&Snapshot| {
        let manifest = &snapshot.manifest;
        let signs = manifest.signs().or_else(|| signs_from_counts(manifest, set))?;
        Some(Past {
            age: seconds_between(manifest.started, now),
            signs,
            // Bit rot says nothing about intended changes.
            alarm: manifest
                .alarm()
                .filter(|_| !manifest.rot().is_some_and(|rot| rot.is_only_reason))
                .map(|(state, _)| state),
        })
    };
    set.iter().filter(|snapshot| !snapshot.manifest.partial).filter_map(past_of).collect()
}

fn signs_from_counts(manifest: &Manifest, set: &[&Snapshot]) -> Option<Signs> {
    let parent = manifest.parent.filter(|_| manifest.kind == SnapshotKind::Incremental)?;
    let parent = &set.iter().find(|snapshot| snapshot.id == parent)?.manifest;
    let span = seconds_between(parent.started, manifest.started);
    Some(Signs::of_counts(&manifest.counts, &parent.counts, span))
}
