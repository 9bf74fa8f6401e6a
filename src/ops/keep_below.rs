//! Decides in which order snapshots are forgotten if retention rules keep more than the repository may hold.
//! Pure: uses neither a clock nor a repository.
//!
//! The cost of forgetting a snapshot grows with the gap that it leaves: the age of the next older snapshot
//! divided by that of the next younger one. Forgetting the cheapest first keeps snapshots dense in the recent
//! past and ever sparser before.
//!
//! No gap wider than `WIDEST` is made. If every snapshot in the middle would leave such a gap, the oldest is
//! forgotten, so the history becomes shorter but stays evenly spread. A growing repository needs this: the
//! oldest snapshot shares less and less with the others. If it were kept, everything between it and the last
//! days would have to go.

use std::ops::Range;

use crate::error::Result;
use crate::model::id::SnapshotId;

/// Seconds added to each age, so that snapshots of the same day count as equally old.
const DAY: f64 = 86_400.0;

/// Maximum ratio of the ages of two neighbours after forgetting one between them, with a day added to both.
/// The daily snapshots of today and yesterday have this ratio, so no rule for daily snapshots keeps them
/// closer.
const WIDEST: f64 = 2.0;

/// Factor for the cost of the oldest snapshot. With equal gaps, forgetting one in the middle makes a gap of
/// two steps; forgetting the oldest costs twice as much as that.
const END: f64 = 4.0;

/// A snapshot of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Its id.
    pub id: SnapshotId,
    /// Age in seconds since it started.
    pub age: u64,
    /// Number of its set. Gaps are measured within a set.
    pub set: usize,
    /// Stored bytes that no other snapshot needs.
    pub unique: u64,
    /// Whether it must be kept: it is pinned, tagged, young, has an open alarm, or is the newest or partial.
    pub stays: bool,
}

/// Returns the snapshots that may be forgotten, in the order in which to forget them.
pub fn order(points: &[Point]) -> Vec<SnapshotId> {
    let mut left: Vec<&Point> = points.iter().collect();
    left.sort_by_key(|point| (point.set, std::cmp::Reverse(point.age), point.id));
    let movable: Vec<u64> = left.iter().filter(|point| !point.stays).map(|point| point.unique).collect();
    let mean = movable.iter().sum::<u64>() / (movable.len().max(1) as u64);
    let mut going = Vec::with_capacity(movable.len());
    while let Some(at) = cheapest(&left, mean) {
        going.push(left.remove(at).id);
    }
    going
}

/// Returns the position of the snapshot that frees the most for its cost. `left` is sorted by set, the oldest
/// of each first.
fn cheapest(left: &[&Point], mean: u64) -> Option<usize> {
    let mut best: Option<(f64, usize)> = None;
    let mut met = None;
    for (at, point) in left.iter().enumerate().filter(|(_, point)| !point.stays) {
        let is_oldest = met.replace(point.set) != Some(point.set);
        let Some(price) = price(left, at, is_oldest, mean) else { continue };
        if best.is_none_or(|(least, _)| price < least) {
            best = Some((price, at));
        }
    }
    best.map(|(_, at)| at)
}

/// Returns the cost of forgetting `left[at]`; `None` if it must not be forgotten before the oldest of its
/// set. `is_oldest` means that it is the oldest one that may be forgotten.
fn price(left: &[&Point], at: usize, is_oldest: bool, mean: u64) -> Option<f64> {
    let point = left.get(at)?;
    let beside = |at: Option<usize>| at.and_then(|at| left.get(at)).filter(|other| other.set == point.set);
    let age = |point: &Point| point.age as f64 + DAY;
    let younger = beside(at.checked_add(1)).map_or(DAY, |other| age(other));
    let gap = beside(at.checked_sub(1)).map(|older| age(older) / younger).filter(|gap| *gap <= WIDEST);
    let end = is_oldest.then(|| END * (age(point) / younger).ln());
    let cost = match (gap.map(f64::ln), end) {
        (Some(gap), Some(end)) => gap.min(end),
        (gap, end) => gap.or(end)?,
    };
    // The freed bytes count, within bounds: otherwise gaps would open where much was added.
    let gain = (point.unique as f64 / mean.max(1) as f64).clamp(0.5, 2.0);
    Some(cost / gain)
}

/// Returns a minimal range of `all` snapshots, in their order, to forget until the repository fits; `None` if
/// it does not fit even without all of them. Calls `fits` in two bisections: the first finds the end of the
/// range, the second drops snapshots from its beginning that free nothing beyond what the later ones free.
///
/// # Errors
/// When `fits` fails.
pub fn fewest(
    all: usize,
    fits: &mut dyn FnMut(Range<usize>) -> Result<bool>,
) -> Result<Option<Range<usize>>> {
    if fits(0..0)? {
        return Ok(Some(0..0));
    }
    if all == 0 || !fits(0..all)? {
        return Ok(None);
    }
    let end = bisect(0, all, &mut |end| fits(0..end))?;
    let start = bisect(0, end, &mut |start| Ok(!fits(start..end)?))?;
    Ok(Some(start.saturating_sub(1)..end))
}

/// Returns the smallest number above `low` for which `holds` is true. It must be true for `high` and false
/// for `low`.
fn bisect(mut low: usize, mut high: usize, holds: &mut dyn FnMut(usize) -> Result<bool>) -> Result<usize> {
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if holds(middle)? { high = middle } else { low = middle }
    }
    Ok(high)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const SECONDS: u64 = 86_400;

    fn point(day: u64, now: u64, stays: bool) -> Point {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&day.to_le_bytes());
        Point { id: SnapshotId::new(id), age: (now - day) * SECONDS, set: 0, unique: 10 + day % 7, stays }
    }

    /// Returns the widest gap between days up to now, as `price` measures it.
    fn widest(days: &[u64], now: u64) -> f64 {
        let age = |day: u64| (now - day + 1) as f64;
        days.windows(2).map(|pair| age(pair[0]) / age(pair[1])).fold(1.0, f64::max)
    }

    /// Returns the days of `1..=now` that `--keep-daily`, `-weekly` and `-monthly` keep, with months of
    /// thirty days.
    fn by_rules(now: u64, [daily, weekly, monthly]: [u64; 3]) -> Vec<u64> {
        let last_of = |length: u64, many: u64| {
            let ends = move |day: &u64| *day == now || day.is_multiple_of(length);
            (1..=now).rev().filter(ends).take(many as usize)
        };
        let kept: BTreeSet<u64> =
            last_of(1, daily).chain(last_of(7, weekly)).chain(last_of(30, monthly)).collect();
        kept.into_iter().collect()
    }

    /// A simulated repository: each day has a snapshot of all blocks that exist then.
    #[derive(Default)]
    struct Blocks {
        next: u64,
        random: u64,
        live: Vec<u64>,
        snapshots: BTreeMap<u64, BTreeSet<u64>>,
    }

    impl Blocks {
        fn below(&mut self, many: u64) -> u64 {
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.random >> 33) % many
        }

        /// Changes some blocks, adds or removes some, and saves a snapshot.
        fn save(&mut self, day: u64, changed: u64, length: usize) {
            while self.live.len() < length {
                self.next += 1;
                self.live.push(self.next);
            }
            self.live.truncate(length);
            for _ in 0..changed {
                self.next += 1;
                let at = self.below(length as u64) as usize;
                self.live[at] = self.next;
            }
            self.snapshots.insert(day, self.live.iter().copied().collect());
        }

        /// Returns how many blocks the snapshots without `gone` need.
        fn size(&self, gone: &[SnapshotId]) -> usize {
            let stays = |day: u64| gone.iter().all(|id| *id != point(day, day, false).id);
            let left = self.snapshots.iter().filter(|(day, _)| stays(**day));
            left.flat_map(|(_, blocks)| blocks).collect::<BTreeSet<_>>().len()
        }

        /// Forgets as many snapshots as necessary. Returns whether the repository fits then.
        fn fit(&mut self, now: u64, line: usize) -> bool {
            let mut needed: BTreeMap<u64, u64> = BTreeMap::new();
            self.snapshots.values().flatten().for_each(|block| *needed.entry(*block).or_default() += 1);
            let unique =
                |blocks: &BTreeSet<u64>| blocks.iter().filter(|block| needed[block] == 1).count() as u64;
            let each = self.snapshots.iter();
            let points: Vec<Point> = each
                .map(|(day, blocks)| Point { unique: unique(blocks), ..point(*day, now, *day == now) })
                .collect();
            let order = order(&points);
            let few = fewest(order.len(), &mut |few| Ok(self.size(&order[few]) <= line)).unwrap();
            let gone = &order[few.clone().unwrap_or(0..0)];
            self.snapshots.retain(|day, _| gone.iter().all(|id| *id != point(*day, now, false).id));
            few.is_some()
        }
    }

    /// Covers files that are rewritten, that increase in number, and that exist only for some days, with
    /// several limits.
    #[test]
    fn limit_holds_for_200_days_with_evenly_spread_snapshots() {
        type Model = fn(u64) -> (u64, usize);
        let models: [(&str, Model, usize, usize); 5] = [
            ("one file, rewritten", |_| (2000, 10), 120, 11),
            ("blocks change", |_| (4, 100), 200, 20),
            ("blocks change, little room", |_| (4, 100), 150, 12),
            ("it grows", |day| (2, 50 + day as usize / 2), 220, 35),
            ("many for some days", |day| (2, if day % 20 < 2 { 120 } else { 60 }), 150, 13),
        ];
        for (name, model, line, mean) in models {
            let (mut blocks, mut kept) = (Blocks::default(), 0);
            for now in 1..=200 {
                let (changed, length) = model(now);
                blocks.save(now, changed, length);
                let fits = blocks.fit(now, line);
                let told = |what: &str| format!("{name}, day {now}: {what}: {:?}", blocks.snapshots.keys());
                assert!(fits, "{}", told("it does not fit"));
                assert!(blocks.size(&[]) <= line, "{}", told("it is above the line"));
                let days: Vec<u64> = blocks.snapshots.keys().copied().collect();
                kept += days.len();
                let rules = [[1, 0, 0], [7, 4, 12], [4, 3, 5], [2, 2, 2]].map(|rule| by_rules(now, rule));
                let theirs = rules.iter().filter(|rule| rule.len() > 1).map(|rule| widest(rule, now));
                let theirs = theirs.fold(f64::INFINITY, f64::min);
                assert!(widest(&days, now) <= theirs, "{}: {theirs:.2}", told("uneven"));
            }
            assert!(kept / 200 >= mean, "{name}: {} stay on average", kept / 200);
        }
    }

    /// With room for twelve snapshots, they reach back for months.
    #[test]
    fn remaining_snapshots_reach_far_back() {
        let mut blocks = Blocks::default();
        for now in 1..=200 {
            blocks.save(now, 2000, 10);
            assert!(blocks.fit(now, 120));
            let oldest = blocks.snapshots.keys().next().copied().unwrap();
            assert!(now <= 12 || now - oldest >= 25.min(now / 3), "day {now}: {:?}", blocks.snapshots.keys());
        }
    }

    #[test]
    fn next_oldest_counts_if_the_oldest_is_protected() {
        let points: Vec<Point> =
            [1, 150, 175, 190, 196, 199, 200].map(|day| point(day, 200, day == 1 || day == 200)).into();
        let going = order(&points);
        assert_eq!(going.first(), Some(&point(150, 200, false).id), "each other one would leave a wider gap");
        assert_eq!(going.len(), 5);
    }

    #[test]
    fn protected_snapshots_are_never_removed() {
        let points: Vec<Point> = (1..=50).map(|day| point(day, 50, day % 10 == 0)).collect();
        let going = order(&points);
        assert_eq!(going.len(), 45);
        let stays = |day: u64| going.iter().all(|id| *id != point(day, 50, false).id);
        assert!((1..=50).all(|day| stays(day) == (day % 10 == 0)));
    }

    #[test]
    fn gaps_are_those_of_one_set() {
        let other =
            |day: u64| Point { set: 1, id: SnapshotId::new([200 + day as u8; 16]), ..point(day, 50, false) };
        let alone = order(&[point(10, 50, false), point(20, 50, false), point(50, 50, true)]);
        let both = order(&[point(10, 50, false), other(11), point(20, 50, false), point(50, 50, true)]);
        let ours: Vec<SnapshotId> = both.into_iter().filter(|id| alone.contains(id)).collect();
        assert_eq!(ours, alone);
    }

    #[test]
    fn no_more_snapshots_go_than_necessary() {
        let found = |need: usize| fewest(10, &mut |gone| Ok(gone.len() >= need)).unwrap();
        assert_eq!(
            (found(0), found(1), found(7), found(10), found(11)),
            (Some(0..0), Some(0..1), Some(0..7), Some(0..10), None)
        );
        // The first three free nothing on their own.
        let last = fewest(10, &mut |gone| Ok(gone.end.saturating_sub(gone.start.max(3)) >= 2)).unwrap();
        assert_eq!(last, Some(3..5));
    }
}
