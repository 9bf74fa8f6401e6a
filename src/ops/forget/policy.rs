//! Retention, decided: which snapshots stay, and why. Pure; nothing here reads a clock or a repository.
//!
//! A snapshot is what its source was until the next one of the same set (host and sources) was made. So where a rule
//! counts age, a snapshot is as old as its successor, and the newest has none.
//!
//! No rule counts a partial snapshot (it is a hint for the next run) or one that is dated in the future (nobody knows
//! how old it is): both stay, and nothing goes because of them. The newest of each set stays whatever the rules say, and
//! so does what is pinned; else what has expired goes, and no rule counts it.

use std::fmt;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

use crate::model::entry::Time;
use crate::model::id::SnapshotId;
use crate::model::manifest::{Manifest, SnapshotKind};
use crate::ops::forget::age::Age;
use crate::repo::snapshots::Snapshot;

/// A stretch of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// By the clock on the wall; the hour that is set back is two.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From Monday to Sunday.
    Week,
    /// January to December.
    Month,
    /// By its number.
    Year,
}

impl Period {
    /// Equal for instants of the same stretch.
    fn of(self, at: &ZonedDateTime) -> (i16, i16, i8, i32) {
        let date = at.date();
        match self {
            Self::Hour => (at.year(), at.day_of_year(), at.hour(), at.offset().seconds()),
            Self::Day => (at.year(), at.day_of_year(), 0, 0),
            Self::Week => (date.iso_week_date().year(), 0, date.iso_week_date().week(), 0),
            Self::Month => (at.year(), 0, at.month(), 0),
            Self::Year => (at.year(), 0, 0, 0),
        }
    }

    fn adjective(self) -> &'static str {
        match self {
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }
}

/// How many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// At most so many.
    UpTo(u64),
    /// All.
    All,
}

impl Count {
    /// Counts one; false when there is none left.
    fn take(&mut self) -> bool {
        match self {
            Self::All => true,
            Self::UpTo(0) => false,
            Self::UpTo(left) => {
                *left -= 1;
                true
            }
        }
    }
}

/// One thing to keep. What any rule keeps stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// The newest.
    Last(Count),
    /// The newest of each stretch, for so many stretches that have one, counted from the newest. While there are
    /// fewer, also the oldest of all: it stands for a stretch that is yet to fill.
    Every(Period, Count),
    /// What the source was at any time since.
    Within(Age),
    /// Of that, the newest of each stretch.
    WithinEvery(Period, Age),
    /// Those with all of these tags; an empty one means that there are none.
    Tags(Vec<String>),
    /// The newest fulls.
    Full(Count),
    /// All. What has expired goes whatever rules say.
    Unexpired,
}

impl Rule {
    /// Whether it can keep anything at all.
    pub fn says_something(&self) -> bool {
        let (Self::Last(count) | Self::Every(_, count) | Self::Full(count)) = self else { return true };
        *count != Count::UpTo(0)
    }
}

/// Why a snapshot stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Among the last.
    Last,
    /// The newest of a stretch.
    Every(Period),
    /// The oldest, while there are fewer stretches than are to be kept.
    Oldest(Period),
    /// Not aged so far.
    Within(Age),
    /// The newest of a stretch, and not aged so far.
    WithinEvery(Period, Age),
    /// It has these tags.
    Tags(Vec<String>),
    /// A full.
    Full,
    /// It has not expired, and nothing else was to go.
    Unexpired,
    /// Whatever rules say.
    Pinned,
    /// The newest complete one of its host and sources.
    Newest,
    /// Not complete.
    Partial,
    /// Dated in the future.
    Future,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Last => f.write_str("last snapshot"),
            Self::Every(period) => write!(f, "{} snapshot", period.adjective()),
            Self::Oldest(period) => write!(f, "oldest {} snapshot", period.adjective()),
            Self::Within(age) => write!(f, "within {age}"),
            Self::WithinEvery(period, age) => write!(f, "{} within {age}", period.adjective()),
            Self::Tags(tags) => write!(f, "tags [{}]", tags.join(", ")),
            Self::Full => f.write_str("full snapshot"),
            Self::Unexpired => f.write_str("not expired"),
            Self::Pinned => f.write_str("pinned"),
            Self::Newest => f.write_str("newest of its host and sources"),
            Self::Partial => f.write_str("partial: no rule counts it"),
            Self::Future => f.write_str("dated in the future: no rule counts it"),
        }
    }
}

/// What becomes of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Which.
    pub snapshot: Snapshot,
    /// Why it stays; it goes where there is no reason.
    pub reasons: Vec<Reason>,
    /// The next of its set, and when that took its place; from then on its age counts.
    pub successor: Option<(SnapshotId, Time)>,
    /// Since when no rule keeps it, as it says itself.
    pub expired: Option<Time>,
}

impl Decision {
    /// Whether it stays.
    pub fn stays(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// When it is, and by whose calendar.
#[derive(Debug, Clone)]
pub struct Now {
    time: Time,
    zoned: ZonedDateTime,
}

impl Now {
    /// An instant in a time zone.
    pub fn new(time: Time, zone: TimeZone) -> Self {
        Self { time, zoned: zoned(time, &zone) }
    }

    /// This machine's.
    pub fn here() -> Self {
        Self::new(Time::now(), TimeZone::system())
    }

    fn zone(&self) -> &TimeZone {
        self.zoned.time_zone()
    }
}

/// An instant that no calendar has is the end of the calendar that is nearer.
fn zoned(time: Time, zone: &TimeZone) -> ZonedDateTime {
    let nanos = i32::try_from(time.nanos).unwrap_or(0);
    let end = if time.sec < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::new(time.sec, nanos).unwrap_or(end).to_zoned_datetime(zone.clone())
}

/// Decides about the snapshots of a group, given all there are; both oldest first.
pub fn decide(group: &[&Snapshot], all: &[Snapshot], rules: &[Rule], now: &Now) -> Vec<Decision> {
    let mut decisions: Vec<Decision> = group
        .iter()
        .map(|snapshot| Decision {
            snapshot: (*snapshot).clone(),
            reasons: standing(snapshot, now),
            successor: successor(snapshot, all, now),
            expired: snapshot.manifest.expires().filter(|at| *at <= now.time),
        })
        .collect();
    let counted: Vec<usize> = (0..decisions.len())
        .rev()
        .filter(|at| decisions.get(*at).is_some_and(|one| !one.stays() && one.expired.is_none()))
        .collect();
    let line: Vec<Decision> = counted.iter().filter_map(|at| decisions.get(*at).cloned()).collect();
    for rule in rules {
        for (at, reason) in counted.iter().zip(kept(&line, rule, now)) {
            if let Some(decision) = decisions.get_mut(*at) {
                decision.reasons.extend(reason);
            }
        }
    }
    for decision in &mut decisions {
        if decision.snapshot.manifest.is_pinned() {
            decision.reasons.push(Reason::Pinned);
        }
        if decision.successor.is_none() && counts(&decision.snapshot.manifest, now) {
            decision.reasons.push(Reason::Newest);
        }
    }
    decisions
}

/// Whether rules look at it.
fn counts(manifest: &Manifest, now: &Now) -> bool {
    !manifest.partial && manifest.started <= now.time
}

fn standing(snapshot: &Snapshot, now: &Now) -> Vec<Reason> {
    match &snapshot.manifest {
        manifest if manifest.partial => vec![Reason::Partial],
        manifest if manifest.started > now.time => vec![Reason::Future],
        _ => Vec::new(),
    }
}

/// The next of the same set that counts.
fn successor(snapshot: &Snapshot, all: &[Snapshot], now: &Now) -> Option<(SnapshotId, Time)> {
    let place = |snapshot: &Snapshot| (snapshot.manifest.started, snapshot.id);
    let Manifest { host, sources, .. } = &snapshot.manifest;
    let after = all.partition_point(|other| place(other) <= place(snapshot));
    let mut later = all.iter().skip(after).map(|other| (other.id, &other.manifest));
    let next = later.find(|(_, other)| counts(other, now) && other.same_set(host, sources));
    next.map(|(id, other)| (id, other.started))
}

/// Why a rule keeps each snapshot of a line, newest first.
fn kept(line: &[Decision], rule: &Rule, now: &Now) -> Vec<Option<Reason>> {
    let each = |keep: &mut dyn FnMut(&Decision) -> bool, reason: Reason| {
        line.iter().map(|decision| keep(decision).then(|| reason.clone())).collect()
    };
    match rule {
        Rule::Last(count) => {
            let mut left = *count;
            each(&mut |_| left.take(), Reason::Last)
        }
        Rule::Full(count) => {
            let mut left = *count;
            each(&mut |one| one.snapshot.manifest.kind == SnapshotKind::Full && left.take(), Reason::Full)
        }
        Rule::Unexpired => each(&mut |_| true, Reason::Unexpired),
        Rule::Tags(tags) => each(&mut |one| one.snapshot.manifest.has_tags(tags), Reason::Tags(tags.clone())),
        Rule::Within(age) => {
            let since = age.before(&now.zoned);
            each(&mut |one| !aged(one, since), Reason::Within(*age))
        }
        Rule::WithinEvery(period, age) => {
            let since = age.before(&now.zoned);
            let mut last = None;
            let mut keep = |one: &Decision| !aged(one, since) && begins(one, *period, now, &mut last);
            each(&mut keep, Reason::WithinEvery(*period, *age))
        }
        Rule::Every(period, count) => every(line, *period, *count, now),
    }
}

/// Whether it had been replaced by then.
fn aged(decision: &Decision, since: Time) -> bool {
    decision.successor.is_some_and(|(_, replaced)| replaced <= since)
}

type Stretch = (i16, i16, i8, i32);

/// Whether it is the newest of its stretch; `last` is that of the one before, newer one.
fn begins(decision: &Decision, period: Period, now: &Now, last: &mut Option<Stretch>) -> bool {
    let stretch = period.of(&zoned(decision.snapshot.manifest.started, now.zone()));
    last.replace(stretch) != Some(stretch)
}

fn every(line: &[Decision], period: Period, count: Count, now: &Now) -> Vec<Option<Reason>> {
    let (mut left, mut last) = (count, None);
    let mut reasons: Vec<Option<Reason>> = line
        .iter()
        .map(|one| (begins(one, period, now, &mut last) && left.take()).then_some(Reason::Every(period)))
        .collect();
    if let Some(oldest @ None) = reasons.last_mut()
        && left.take()
    {
        *oldest = Some(Reason::Oldest(period));
    }
    reasons
}
