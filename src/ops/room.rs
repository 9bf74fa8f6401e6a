//! Decides in which order snapshots are forgotten when the repository is to become smaller than rules leave it.
//! Pure: uses neither a clock nor a repository.
//!
//! The cost of forgetting a snapshot is the gap that it leaves: the age of the next older snapshot divided by that of
//! the next younger one. Forgetting the cheapest first keeps snapshots close together near the present and ever
//! farther apart in the past. The oldest snapshot of a set is forgotten last.

use crate::error::Result;
use crate::model::id::SnapshotId;

/// Seconds that are added to each age, so that snapshots of one day count as equally old.
const DAY: f64 = 86_400.0;

/// A snapshot of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Its id.
    pub id: SnapshotId,
    /// Seconds since it began.
    pub age: u64,
    /// Number of its set. Gaps are measured within a set.
    pub set: usize,
    /// Stored bytes that no other snapshot needs.
    pub unique: u64,
    /// Whether it must stay: it is pinned, tagged, young, held by an alarm, the newest, or partial.
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

/// Returns the position of the snapshot that frees most for its cost.
fn cheapest(left: &[&Point], mean: u64) -> Option<usize> {
    let movable = (0..left.len()).filter(|at| left.get(*at).is_some_and(|point| !point.stays));
    movable.min_by(|a, b| price(left, *a, mean).total_cmp(&price(left, *b, mean)))
}

fn price(left: &[&Point], at: usize, mean: u64) -> f64 {
    let Some(point) = left.get(at) else { return f64::INFINITY };
    let beside = |at: Option<usize>| at.and_then(|at| left.get(at)).filter(|other| other.set == point.set);
    let age = |point: &Point| point.age as f64 + DAY;
    let younger = beside(at.checked_add(1)).map_or(DAY, |other| age(other));
    let gap = match beside(at.checked_sub(1)) {
        Some(older) => age(older) / younger,
        // The oldest snapshot is worth more than any gap.
        None => return f64::MAX,
    };
    // What it frees counts, but is bounded: otherwise gaps would open where much was added.
    let gain = (point.unique as f64 / mean.max(1) as f64).clamp(0.5, 2.0);
    gap.ln() / gain
}

/// Returns how many of `all` snapshots must be forgotten at least until the repository fits; `None` if it does not fit
/// even without all of them. `fits` is asked by bisection.
///
/// # Errors
/// When `fits` fails.
pub fn fewest(all: usize, fits: &mut dyn FnMut(usize) -> Result<bool>) -> Result<Option<usize>> {
    if fits(0)? {
        return Ok(Some(0));
    }
    if all == 0 || !fits(all)? {
        return Ok(None);
    }
    let (mut low, mut high) = (0, all);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        match fits(middle)? {
            true => high = middle,
            false => low = middle,
        }
    }
    Ok(Some(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECONDS: u64 = 86_400;

    fn point(day: u64, now: u64, stays: bool) -> Point {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&day.to_le_bytes());
        Point { id: SnapshotId::new(id), age: (now - day) * SECONDS, set: 0, unique: 10 + day % 7, stays }
    }

    /// Returns the largest gap between days up to now, as `price` measures it.
    fn widest(days: &[u64], now: u64) -> f64 {
        let age = |day: u64| (now - day + 1) as f64;
        days.windows(2).map(|pair| age(pair[0]) / age(pair[1])).fold(1.0, f64::max)
    }

    /// One snapshot a day, and room for twelve.
    #[test]
    fn after_each_of_200_days_it_fits_and_what_stays_is_spread_as_evenly_as_by_rules() {
        let mut days: Vec<u64> = Vec::new();
        for now in 1..=200 {
            days.push(now);
            let points: Vec<Point> = days.iter().map(|day| point(*day, now, *day == now)).collect();
            let going = order(&points);
            let all = days.len();
            let count = fewest(going.len(), &mut |gone| Ok(all - gone <= 12)).unwrap().unwrap();
            days.retain(|day| going[..count].iter().all(|id| *id != point(*day, now, false).id));
            assert!(days.len() == all.min(12) && days.last() == Some(&now), "day {now}: {days:?}");
        }
        // As many by --keep-daily 4 --keep-weekly 3 --keep-monthly 5, as these were on the same day.
        let rules = [1, 31, 59, 90, 120, 151, 183, 190, 197, 198, 199, 200];
        let (ours, theirs) = (widest(&days, 200), widest(&rules, 200));
        assert!(ours <= theirs, "{days:?}: {ours:.2} instead of {theirs:.2}");
        assert!(days[0] <= 20, "the oldest ones stay: {days:?}");
    }

    #[test]
    fn what_stays_is_never_among_what_goes() {
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
    fn no_more_go_than_must() {
        let found = |need: usize| fewest(10, &mut |gone| Ok(gone >= need)).unwrap();
        assert_eq!(
            (found(0), found(1), found(7), found(10), found(11)),
            (Some(0), Some(1), Some(7), Some(10), None)
        );
    }
}
