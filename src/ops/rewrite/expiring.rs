//! Decides which snapshots rules per path affect, and what each of them loses.
//!
//! What a snapshot loses by a rule depends on its own age alone. What it loses as deleted depends on the
//! other snapshots of its set. The reference is the state of the set at the time back to which deleted files
//! are kept: the newest snapshot at or before that time. A path that is neither in the reference nor in any
//! later snapshot had been deleted by then.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;

use crate::error::Result;
use crate::fs::filter::PathRules;
use crate::model::entry::Time;
use crate::model::id::SnapshotId;
use crate::ops::rewrite::removal::{Removal, Verdict, present};
use crate::ops::rewrite::removed_totals::RemovalReason;
use crate::repo::snapshots::Snapshot;
use crate::repo::snapshots::filter::SnapshotQuery;
use crate::repo::snapshots::holds::{alarm_above, place};
use crate::repo::walk::multi_walk::{EntryVersion, trees_of};
use crate::util::bitset::BitSet;

/// A rule for the paths that a pattern matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiryRule {
    /// The pattern. A leading slash means the root of the snapshot.
    pub pattern: OsString,
    /// Snapshots of this time and older lose what the pattern matches.
    pub before: Time,
}

/// What to remove from which snapshots.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Snapshots that may be rewritten.
    pub choice: SnapshotQuery,
    /// Rules for paths.
    pub rules: Vec<ExpiryRule>,
    /// Removes what was deleted by this time: what is neither in the set's state at that time nor in any
    /// later snapshot of it.
    pub deleted_before: Option<Time>,
    /// The current time. Snapshots with later dates are not rewritten.
    pub now: Time,
    /// Snapshots to treat as forgotten.
    pub except: HashSet<SnapshotId>,
    /// Snapshots that are too young to lose anything.
    pub young: HashSet<SnapshotId>,
    /// Only report.
    pub dry_run: bool,
}

/// Reason to leave a snapshot unchanged regardless of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It is pinned.
    Pinned,
    /// It is protected by an alarm that is not settled, raised by this snapshot or a later one of the set.
    Alarm(SnapshotId),
}

/// Decisions that need no tree.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Snapshots that may lose something.
    pub(super) losing: HashSet<SnapshotId>,
    /// Selected snapshots that are old enough to, but are protected.
    pub(super) held: Vec<(Snapshot, Hold)>,
    /// For each set with a time limit for deleted files: the snapshots that may lose them, and those from the
    /// reference on.
    deleted: Vec<(Vec<SnapshotId>, Vec<SnapshotId>)>,
}

impl Plan {
    /// Plans for `all` snapshots, of which those at `selected` may be rewritten.
    pub(super) fn new(all: &[&Snapshot], selected: &HashSet<SnapshotId>, options: &Options) -> Self {
        let mut plan = Self::default();
        let by_rules = options.rules.iter().map(|rule| rule.before).max();
        let alarms: Vec<&Snapshot> = all.iter().copied().filter(|one| one.manifest.is_alarming()).collect();
        for set in sets(all) {
            let last = |before: Time| {
                set.iter().rposition(|one| is_reliable(one, options.now) && one.manifest.started <= before)
            };
            let newest = last(options.now).unwrap_or(0);
            // The reference: the state of the set at the time back to which deleted files are kept.
            let state = options.deleted_before.and_then(last).unwrap_or(0);
            let may_lose = |(at, one): &(usize, &Snapshot)| {
                let is_old = *at < state || by_rules.is_some_and(|before| one.manifest.started <= before);
                let is_chosen = selected.contains(&one.id) && !options.young.contains(&one.id);
                is_old && *at != newest && is_reliable(one, options.now) && is_chosen
            };
            let (mut losing, mut older) = (Vec::new(), Vec::new());
            for (at, one) in (0..).zip(set.iter().copied()).filter(may_lose) {
                match hold_of(one, &alarms) {
                    Some(hold) => plan.held.push((one.clone(), hold)),
                    None if at < state => older.push(one.id),
                    None => losing.push(one.id),
                }
            }
            plan.losing.extend(losing.iter().chain(&older));
            if !older.is_empty() {
                plan.deleted.push((older, set.iter().skip(state).map(|one| one.id).collect()));
            }
        }
        plan
    }

    /// Returns whether a snapshot must be read.
    pub(super) fn reads(&self, id: &SnapshotId) -> bool {
        self.losing.contains(id) || self.deleted.iter().any(|(_, since)| since.contains(id))
    }
}

/// Returns the snapshots of each host and sources, oldest first.
fn sets<'a>(all: &[&'a Snapshot]) -> Vec<Vec<&'a Snapshot>> {
    let mut sets: BTreeMap<_, Vec<&Snapshot>> = BTreeMap::new();
    for one in all {
        let manifest = &one.manifest;
        sets.entry((&manifest.host, &manifest.sources, manifest.writer())).or_default().push(one);
    }
    let mut sets: Vec<Vec<&Snapshot>> = sets.into_values().collect();
    sets.iter_mut().for_each(|set| set.sort_by_key(|one| place(one)));
    sets
}

/// Returns whether a snapshot reliably shows what existed at its time.
fn is_reliable(snapshot: &Snapshot, now: Time) -> bool {
    !snapshot.manifest.partial && snapshot.manifest.started <= now
}

fn hold_of(snapshot: &Snapshot, alarms: &[&Snapshot]) -> Option<Hold> {
    if snapshot.manifest.is_pinned() {
        Some(Hold::Pinned)
    } else {
        alarm_above(snapshot, alarms).map(Hold::Alarm)
    }
}

/// Applies rules per path.
pub(super) struct Expiring {
    rules: PathRules,
    /// The rule of each pattern, and the snapshots that are old enough for it. The rule for the oldest
    /// snapshots comes first, so that the last matching pattern removes the path from the most snapshots.
    due: Vec<(usize, BitSet)>,
    deleted: Vec<Deleted>,
}

/// Deleted files of one set.
struct Deleted {
    /// Snapshots that lose what none of `since` has.
    losing: BitSet,
    since: BitSet,
}

impl Expiring {
    /// Prepares for the snapshots that are walked, in this order.
    pub(super) fn new(walked: &[Snapshot], plan: &Plan, rules: &[ExpiryRule]) -> Result<Self> {
        let numbers: HashMap<SnapshotId, usize> =
            (0..).zip(walked).map(|(number, one)| (one.id, number)).collect();
        let set = |ids: &[SnapshotId]| ids.iter().filter_map(|id| numbers.get(id).copied()).collect();
        let mut order: Vec<(usize, &ExpiryRule)> = rules.iter().enumerate().collect();
        order.sort_by_key(|(_, rule)| rule.before);
        let old = |rule: &ExpiryRule| {
            let old = (0..).zip(walked).filter(|(_, one)| one.manifest.started <= rule.before);
            old.filter(|(_, one)| plan.losing.contains(&one.id)).map(|(number, _)| number).collect()
        };
        let patterns: Vec<&OsString> = order.iter().map(|(_, rule)| &rule.pattern).collect();
        Ok(Self {
            rules: PathRules::new(&patterns)?,
            due: order.iter().map(|(number, rule)| (*number, old(rule))).collect(),
            deleted: plan
                .deleted
                .iter()
                .map(|(losing, since)| Deleted { losing: set(losing), since: set(since) })
                .collect(),
        })
    }

    /// Returns whether snapshots that keep this directory may lose something below it.
    fn may_lose_below(&self, path: &[u8], versions: &[EntryVersion], gone: &BitSet) -> bool {
        let by_rule = self.due.last().is_some_and(|(_, due)| {
            let dirs = versions.iter().filter(|version| version.entry.is_dir());
            let mut left = dirs.map(|version| version.among.and(due).minus(gone));
            left.any(|left| !left.is_empty()) && self.rules.may_match_below(path)
        });
        // A tree that exists in a later snapshot contains nothing deleted.
        let lacks = |set: &Deleted, among: &BitSet| {
            !among.meets(&set.since) && !among.and(&set.losing).minus(gone).is_empty()
        };
        let by_deletion = || {
            let trees = trees_of(versions);
            self.deleted.iter().any(|set| trees.iter().any(|tree| lacks(set, &tree.among)))
        };
        by_rule || by_deletion()
    }
}

impl Removal for Expiring {
    fn decide(&mut self, path: &[u8], versions: &[EntryVersion], lost: &BitSet) -> Verdict {
        let present = present(versions);
        let mut gone = lost.clone();
        let mut lose = Vec::new();
        let mut lose_by = |reason: RemovalReason, set: &BitSet| {
            let more = present.and(set).minus(&gone);
            if !more.is_empty() {
                gone.add(&more);
                lose.push((reason, more));
            }
        };
        if let Some((rule, due)) = self.rules.last_match(path).and_then(|number| self.due.get(number)) {
            lose_by(RemovalReason::Rule(*rule), due);
        }
        for set in self.deleted.iter().filter(|set| !present.meets(&set.since)) {
            lose_by(RemovalReason::Deleted, &set.losing);
        }
        let descend = self.may_lose_below(path, versions, &gone);
        Verdict { lose, descend, only_if_filled: false }
    }

    fn unmatched(&self) -> Vec<String> {
        self.rules.unmatched()
    }
}
