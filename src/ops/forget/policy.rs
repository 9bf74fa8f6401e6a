//! Retention policy: decides which snapshots are kept, and why. Pure; uses neither a clock nor a repository.
//!
//! A snapshot is the current state of its source until the next one of the same set (host and sources) is
//! made. So where a rule uses ages, the age of a snapshot counts from its successor, and the newest has no
//! age.
//!
//! Rules ignore partial snapshots (which only speed up the next run) and those dated in the future (whose age
//! is unknown): both are kept, and they do not replace others. The newest of each set and pinned snapshots
//! are kept regardless of the rules. Other expired snapshots are forgotten, and rules ignore them.
//!
//! Dates in manifests can be forged. Arrival times by the storage's clock are only used to keep more
//! snapshots, because copies and rewritten snapshots legitimately arrive late.

use std::fmt;

use jiff::ZonedDateTime;

use crate::model::entry::Time;
use crate::model::id::SnapshotId;
use crate::model::manifest::{Manifest, SnapshotKind};
use crate::ops::forget::age::Age;
pub use crate::ops::forget::retention_time::Now;
use crate::ops::forget::retention_time::zoned;
use crate::repo::snapshots::Snapshot;
use crate::repo::snapshots::holds::alarm_above;

/// A calendar period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// An hour of local time. The hour that occurs twice when clocks are set back counts as two.
    Hour,
    /// A day, from midnight to midnight.
    Day,
    /// A week, from Monday to Sunday.
    Week,
    /// A calendar month.
    Month,
    /// A calendar year.
    Year,
}

impl Period {
    /// Returns a key that is equal for instants of the same period.
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

/// How many snapshots a rule keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// At most this many.
    UpTo(u64),
    /// Any number.
    All,
}

impl Count {
    /// Uses up one. Returns false if none was left.
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

/// A retention rule. A snapshot stays if any rule keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// Keeps the newest snapshots.
    Last(Count),
    /// Keeps the newest snapshot of each of the newest periods that have one. If there are fewer such periods
    /// than the count, also keeps the oldest snapshot, for periods to come.
    Every(Period, Count),
    /// Keeps every snapshot that was current at some time within this age.
    Within(Age),
    /// Keeps the newest of each period among those within this age.
    WithinEvery(Period, Age),
    /// Keeps snapshots with all of these tags; an empty tag stands for having no tags.
    Tags(Vec<String>),
    /// Keeps the newest full snapshots.
    Full(Count),
    /// Keeps everything that has not expired. Expired snapshots are forgotten regardless of rules.
    Unexpired,
}

impl Rule {
    /// Returns whether the rule can keep anything.
    pub fn says_something(&self) -> bool {
        let (Self::Last(count) | Self::Every(_, count) | Self::Full(count)) = self else { return true };
        *count != Count::UpTo(0)
    }
}

/// Why a snapshot stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeepReason {
    /// It is among the newest.
    Last,
    /// It is the newest of a period.
    Every(Period),
    /// It is the oldest, and there are fewer periods than the rule keeps.
    Oldest(Period),
    /// It was current within this age.
    Within(Age),
    /// It is the newest of a period within this age.
    WithinEvery(Period, Age),
    /// It has these tags.
    Tags(Vec<String>),
    /// It is a full snapshot.
    Full,
    /// It has not expired, and only expired ones were to be forgotten.
    Unexpired,
    /// It is pinned.
    Pinned,
    /// It is the newest complete one of its host and sources.
    Newest,
    /// It is partial.
    Partial,
    /// It is dated in the future.
    Future,
    /// It is too young to be forgotten.
    Young(Age),
    /// It is protected by an alarm that is not settled, raised by this snapshot or a later one of the same
    /// set.
    Alarm(SnapshotId),
}

impl fmt::Display for KeepReason {
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
            Self::Alarm(id) => write!(f, "held by the alarm of snapshot {}", id.short()),
            Self::Young(age) => write!(f, "younger than {age}"),
            Self::Future => f.write_str("dated in the future: no rule counts it"),
        }
    }
}

/// The decision for one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// Why it stays. Without a reason it is forgotten.
    pub reasons: Vec<KeepReason>,
    /// The next snapshot of its set, and the time when it was made. The age counts from then.
    pub successor: Option<(SnapshotId, Time)>,
    /// When it expired, according to its manifest.
    pub expired: Option<Time>,
}

impl Decision {
    /// Returns whether it stays.
    pub fn stays(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// Decides about the snapshots of a group, given all snapshots of the repository; both oldest first.
pub fn decide(group: &[&Snapshot], all: &[Snapshot], rules: &[Rule], now: &Now) -> Vec<Decision> {
    let mut decisions: Vec<Decision> = group
        .iter()
        .map(|snapshot| Decision {
            snapshot: (*snapshot).clone(),
            reasons: kept_regardless(snapshot, now),
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
    undisplaced(&mut decisions, &counted, all, rules, now);
    let alarms: Vec<&Snapshot> = all.iter().filter(|one| one.manifest.is_alarming()).collect();
    for decision in &mut decisions {
        if let Some(alarm) = alarm_above(&decision.snapshot, &alarms) {
            decision.reasons.push(KeepReason::Alarm(alarm));
        }
        if decision.snapshot.manifest.is_pinned() {
            decision.reasons.push(KeepReason::Pinned);
        }
        if decision.successor.is_none() && counts(&decision.snapshot.manifest, now) {
            decision.reasons.push(KeepReason::Newest);
        }
        if let Some(age) = now.too_young(&decision.snapshot) {
            decision.reasons.push(KeepReason::Young(age));
        }
    }
    decisions
}

/// Also keeps what the rules would keep without late snapshots: an attacker who forges dates can add
/// snapshots, but must not displace others. Late ones count nevertheless, because most are copies.
fn undisplaced(decisions: &mut [Decision], counted: &[usize], all: &[Snapshot], rules: &[Rule], now: &Now) {
    let on_time = |at: &usize| decisions.get(*at).is_some_and(|one| !now.is_late(&one.snapshot));
    let punctual: Vec<usize> = counted.iter().copied().filter(on_time).collect();
    if punctual.len() == counted.len() {
        return;
    }
    let all: Vec<Snapshot> = all.iter().filter(|one| !now.is_late(one)).cloned().collect();
    let mut line: Vec<Decision> = punctual.iter().filter_map(|at| decisions.get(*at).cloned()).collect();
    for one in &mut line {
        one.successor = successor(&one.snapshot, &all, now);
    }
    for rule in rules {
        for (at, reason) in punctual.iter().zip(kept(&line, rule, now)) {
            let went = decisions.get_mut(*at).filter(|one| !one.stays());
            if let Some(decision) = went {
                decision.reasons.extend(reason);
            }
        }
    }
}

/// Returns whether rules take the snapshot into account.
fn counts(manifest: &Manifest, now: &Now) -> bool {
    !manifest.partial && manifest.started <= now.time
}

fn kept_regardless(snapshot: &Snapshot, now: &Now) -> Vec<KeepReason> {
    match &snapshot.manifest {
        manifest if manifest.partial => vec![KeepReason::Partial],
        manifest if manifest.started > now.time => vec![KeepReason::Future],
        _ => Vec::new(),
    }
}

/// Returns the next snapshot of the same set that rules take into account.
fn successor(snapshot: &Snapshot, all: &[Snapshot], now: &Now) -> Option<(SnapshotId, Time)> {
    let place = |snapshot: &Snapshot| (snapshot.manifest.started, snapshot.id);
    let after = all.partition_point(|other| place(other) <= place(snapshot));
    let mut later = all.iter().skip(after).map(|other| (other.id, &other.manifest));
    let next = later.find(|(_, other)| counts(other, now) && other.is_of_set(&snapshot.manifest));
    next.map(|(id, other)| (id, other.started))
}

/// Returns why a rule keeps each snapshot of a group, newest first.
fn kept(line: &[Decision], rule: &Rule, now: &Now) -> Vec<Option<KeepReason>> {
    let each = |keep: &mut dyn FnMut(&Decision) -> bool, reason: KeepReason| {
        line.iter().map(|decision| keep(decision).then(|| reason.clone())).collect()
    };
    match rule {
        Rule::Last(count) => {
            let mut left = *count;
            each(&mut |_| left.take(), KeepReason::Last)
        }
        Rule::Full(count) => {
            let mut left = *count;
            each(&mut |one| one.snapshot.manifest.kind == SnapshotKind::Full && left.take(), KeepReason::Full)
        }
        Rule::Unexpired => each(&mut |_| true, KeepReason::Unexpired),
        Rule::Tags(tags) => {
            each(&mut |one| one.snapshot.manifest.has_tags(tags), KeepReason::Tags(tags.clone()))
        }
        Rule::Within(age) => {
            let since = age.before(&now.zoned);
            each(&mut |one| !aged(one, since), KeepReason::Within(*age))
        }
        Rule::WithinEvery(period, age) => {
            let since = age.before(&now.zoned);
            let mut last = None;
            let mut keep = |one: &Decision| !aged(one, since) && begins(one, *period, now, &mut last);
            each(&mut keep, KeepReason::WithinEvery(*period, *age))
        }
        Rule::Every(period, count) => every(line, *period, *count, now),
    }
}

/// Returns whether its successor was made before this time.
fn aged(decision: &Decision, since: Time) -> bool {
    decision.successor.is_some_and(|(_, replaced)| replaced <= since)
}

type Stretch = (i16, i16, i8, i32);

/// Returns whether it is the newest of its period; `last` is the period of the previous, newer one.
fn begins(decision: &Decision, period: Period, now: &Now, last: &mut Option<Stretch>) -> bool {
    let stretch = period.of(&zoned(decision.snapshot.manifest.started, now.zone()));
    last.replace(stretch) != Some(stretch)
}

fn every(line: &[Decision], period: Period, count: Count, now: &Now) -> Vec<Option<KeepReason>> {
    let (mut left, mut last) = (count, None);
    let mut reasons: Vec<Option<KeepReason>> = line
        .iter()
        .map(|one| (begins(one, period, now, &mut last) && left.take()).then_some(KeepReason::Every(period)))
        .collect();
    if let Some(oldest @ None) = reasons.last_mut()
        && left.take()
    {
        *oldest = Some(KeepReason::Oldest(period));
    }
    reasons
}
