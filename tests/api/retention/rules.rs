//! Each rule on one series of snapshots, and edge cases.

use std::collections::HashMap;

use jiff::tz::TimeZone;
use serde_bytes::ByteBuf;
use snap_backup::model::entry::Time;
use snap_backup::model::id::SnapshotId;
use snap_backup::model::manifest::SnapshotKind::{self, Differential, Full, Incremental};
use snap_backup::ops::forget::age::Age;
use snap_backup::ops::forget::groups::{self, Group, GroupBy};
use snap_backup::ops::forget::policy::Count::{All, UpTo};
use snap_backup::ops::forget::policy::{KeepReason, Now, Period, Rule};
use snap_backup::repo::snapshots::Snapshot;
use snap_backup::repo::snapshots::filter::SnapshotFilter;

use super::{snapshot, time};

const NOW: &str = "2026-11-25T00:00:00Z";

/// Numbered from 0.
const LINE: [(&str, SnapshotKind); 8] = [
    // A Monday of the first week of 2025.
    ("2024-12-30T10:00:00Z", Full),
    ("2025-01-01T10:00:00Z", Incremental),
    ("2026-10-01T09:00:00Z", Full),
    // A Monday.
    ("2026-11-16T02:00:00Z", Full),
    ("2026-11-22T02:00:00Z", Incremental),
    ("2026-11-23T02:00:00Z", Incremental),
    ("2026-11-24T02:00:00Z", Differential),
    ("2026-11-24T02:30:00Z", Incremental),
];

fn line(times: &[(&str, SnapshotKind)]) -> Vec<Snapshot> {
    let numbered = (0..).zip(times);
    numbered.map(|(number, (at, kind))| snapshot(number, time(at), *kind)).collect()
}

fn decide(all: &[Snapshot], rules: &[Rule], now: &str, zone: TimeZone) -> Vec<Group> {
    let now = Now::new(time(now), zone);
    groups::decide(all, &SnapshotFilter::default(), GroupBy::default(), rules, &now)
}

/// Returns the numbers of the kept snapshots.
fn stay(groups: &[Group]) -> Vec<u8> {
    let all = groups.iter().flat_map(|group| &group.decisions).filter(|one| one.stays());
    let mut numbers: Vec<u8> = all.map(|one| one.snapshot.id.as_bytes()[0]).collect();
    numbers.sort_unstable();
    numbers
}

fn age(text: &str) -> Age {
    Age::parse(text).unwrap()
}

#[test]
fn each_rule_keeps_what_it_says() {
    let every = Rule::Every;
    let table: &[(Rule, &[u8])] = &[
        (Rule::Last(UpTo(1)), &[7]),
        (Rule::Last(UpTo(3)), &[5, 6, 7]),
        (Rule::Last(All), &[0, 1, 2, 3, 4, 5, 6, 7]),
        (every(Period::Hour, UpTo(2)), &[5, 7]),
        (every(Period::Day, UpTo(2)), &[5, 7]),
        (every(Period::Day, UpTo(3)), &[4, 5, 7]),
        (every(Period::Week, UpTo(1)), &[7]),
        (every(Period::Week, UpTo(2)), &[4, 7]),
        // The first week of 2025 begins in 2024.
        (every(Period::Week, UpTo(4)), &[1, 2, 4, 7]),
        // Fewer weeks than requested: the oldest is kept as well.
        (every(Period::Week, UpTo(5)), &[0, 1, 2, 4, 7]),
        (every(Period::Week, All), &[0, 1, 2, 4, 7]),
        (every(Period::Month, UpTo(2)), &[2, 7]),
        (every(Period::Month, UpTo(4)), &[0, 1, 2, 7]),
        (every(Period::Year, UpTo(2)), &[1, 7]),
        (every(Period::Year, UpTo(3)), &[0, 1, 7]),
        // Replaced on the 23rd at two o'clock, so it was current at midnight.
        (Rule::Within(age("2d")), &[4, 5, 6, 7]),
        (Rule::Within(age("24h")), &[5, 6, 7]),
        (Rule::Within(age("0d")), &[7]),
        // Number 1 was current until October.
        (Rule::Within(age("1m")), &[2, 3, 4, 5, 6, 7]),
        (Rule::Within(age("2m")), &[1, 2, 3, 4, 5, 6, 7]),
        (Rule::Within(age("1y10m")), &[1, 2, 3, 4, 5, 6, 7]),
        (Rule::Within(age("1y11m")), &[0, 1, 2, 3, 4, 5, 6, 7]),
        (Rule::Within(age("9999y")), &[0, 1, 2, 3, 4, 5, 6, 7]),
        (Rule::WithinEvery(Period::Day, age("2d")), &[4, 5, 7]),
        (Rule::WithinEvery(Period::Year, age("2d")), &[7]),
        (Rule::Full(UpTo(1)), &[3, 7]),
        (Rule::Full(UpTo(2)), &[2, 3, 7]),
        (Rule::Full(All), &[0, 2, 3, 7]),
        (Rule::Tags(vec!["a".into()]), &[2, 4, 7]),
        (Rule::Tags(vec!["a".into(), "b".into()]), &[4, 7]),
        (Rule::Tags(vec![String::new()]), &[0, 1, 3, 5, 6, 7]),
        // The rule keeps nothing, except the newest.
        (Rule::Last(UpTo(0)), &[7]),
    ];
    let mut all = line(&LINE);
    all[2].manifest.tags = vec!["a".into()];
    all[4].manifest.tags = vec!["b".into(), "a".into()];
    for (rule, expected) in table {
        let groups = decide(&all, std::slice::from_ref(rule), NOW, TimeZone::UTC);
        assert_eq!(stay(&groups), *expected, "{rule:?}");
    }
}

#[test]
fn a_week_across_new_year_is_one() {
    let groups = decide(&line(&LINE), &[Rule::Every(Period::Week, UpTo(5))], NOW, TimeZone::UTC);
    // If these were two groups, the first would be the newest of its own.
    assert_eq!(groups[0].decisions[0].reasons, [KeepReason::Oldest(Period::Week)]);
}

#[test]
fn legacy_rule_keeps_fulls_and_recent_states() {
    let all = line(&LINE);
    let rules = |fulls| [Rule::Within(Age::days(2)), Rule::Full(fulls)];
    assert_eq!(stay(&decide(&all, &rules(All), NOW, TimeZone::UTC)), [0, 2, 3, 4, 5, 6, 7]);
    assert_eq!(stay(&decide(&all, &rules(UpTo(1)), NOW, TimeZone::UTC)), [3, 4, 5, 6, 7]);
}

#[test]
fn snapshots_kept_by_any_rule_stay_with_all_reasons() {
    let all = line(&LINE);
    let rules = [Rule::Last(UpTo(1)), Rule::Every(Period::Day, UpTo(1)), Rule::Full(All)];
    let groups = decide(&all, &rules, NOW, TimeZone::UTC);
    let decisions = &groups[0].decisions;
    assert_eq!(decisions[7].reasons, [KeepReason::Last, KeepReason::Every(Period::Day), KeepReason::Newest]);
    assert_eq!(decisions[3].reasons, [KeepReason::Full]);
    assert!(!decisions[4].stays());
    let (by, at) = decisions[4].successor.unwrap();
    assert_eq!((by, at), (all[5].id, all[5].manifest.started));
}

#[test]
fn snapshot_ages_only_after_it_was_replaced() {
    let all = line(&[("2026-01-01T00:00:00Z", Full), ("2026-11-24T00:00:00Z", Incremental)]);
    let within = [Rule::Within(age("7d"))];
    assert_eq!(stay(&decide(&all, &within, "2026-11-25T00:00:00Z", TimeZone::UTC)), [0, 1]);
    assert_eq!(stay(&decide(&all, &within, "2026-11-30T23:59:59Z", TimeZone::UTC)), [0, 1]);
    assert_eq!(stay(&decide(&all, &within, "2026-12-01T00:00:00Z", TimeZone::UTC)), [1]);
    // Backups stopped: the last state is kept forever.
    assert_eq!(stay(&decide(&all, &within, "2036-01-01T00:00:00Z", TimeZone::UTC)), [1]);
}

#[test]
fn a_snapshot_from_the_future_makes_nothing_else_go() {
    let mut times = LINE.to_vec();
    times.push(("2099-01-01T00:00:00Z", Incremental));
    times.push(("2099-01-02T00:00:00Z", Full));
    let rules = [
        Rule::Last(UpTo(2)),
        Rule::Every(Period::Day, UpTo(1)),
        Rule::Every(Period::Year, UpTo(1)),
        Rule::Within(age("1d")),
        Rule::Full(UpTo(1)),
    ];
    for rule in rules {
        let without = stay(&decide(&line(&LINE), std::slice::from_ref(&rule), NOW, TimeZone::UTC));
        let groups = decide(&line(&times), std::slice::from_ref(&rule), NOW, TimeZone::UTC);
        assert_eq!(stay(&groups), [without, vec![8, 9]].concat(), "{rule:?}");
        assert_eq!(groups[0].decisions[8].reasons, [KeepReason::Future]);
    }
}

#[test]
fn a_partial_snapshot_counts_for_nothing_and_stays() {
    let mut all = line(&LINE);
    all[7].manifest.partial = true;
    all[5].manifest.partial = true;
    let groups = decide(&all, &[Rule::Last(UpTo(2))], NOW, TimeZone::UTC);
    assert_eq!(stay(&groups), [4, 5, 6, 7]);
    assert_eq!(groups[0].decisions[7].reasons, [KeepReason::Partial]);
    assert_eq!(groups[0].decisions[6].reasons, [KeepReason::Last, KeepReason::Newest]);
    // Nor does it replace its predecessor.
    let groups = decide(&all, &[Rule::Within(age("23h"))], NOW, TimeZone::UTC);
    assert_eq!(stay(&groups), [4, 5, 6, 7]);
    assert_eq!(groups[0].decisions[4].successor.unwrap().0, all[6].id);
}

#[test]
fn days_are_those_of_the_time_zone() {
    let all = line(&[("2026-11-23T22:30:00Z", Full), ("2026-11-23T23:30:00Z", Full)]);
    let daily = [Rule::Every(Period::Day, UpTo(2))];
    let reasons = |zone: &str| {
        let groups = decide(&all, &daily, NOW, TimeZone::get(zone).unwrap());
        groups[0].decisions[0].reasons.clone()
    };
    assert_eq!(reasons("UTC"), [KeepReason::Oldest(Period::Day)]);
    assert_eq!(reasons("Europe/Berlin"), [KeepReason::Every(Period::Day)]);
}

#[test]
fn repeated_hour_of_a_clock_change_counts_as_two() {
    let all = line(&[("2026-10-25T00:30:00Z", Full), ("2026-10-25T01:30:00Z", Full), (NOW, Full)]);
    // Both are at half past two in Berlin.
    let groups =
        decide(&all, &[Rule::Every(Period::Hour, UpTo(3))], NOW, TimeZone::get("Europe/Berlin").unwrap());
    let hourly = vec![KeepReason::Every(Period::Hour)];
    assert!(groups[0].decisions[..2].iter().all(|one| one.reasons == hourly), "{groups:#?}");
}

#[test]
fn rules_apply_per_group_and_keep_the_newest_of_each_set() {
    let mut all = line(&LINE);
    all[2].manifest.host = "other".into();
    all[3].manifest.host = "other".into();
    all[4].manifest.sources = vec![ByteBuf::from(b"/else".to_vec())];
    all[5].manifest.tags = vec!["a".into()];
    let last = [Rule::Last(UpTo(1))];
    let by = |host, paths, tags| {
        let now = Now::new(time(NOW), TimeZone::UTC);
        let groups =
            groups::decide(&all, &SnapshotFilter::default(), GroupBy { host, paths, tags }, &last, &now);
        (groups.len(), stay(&groups))
    };
    assert_eq!(by(true, true, false), (3, vec![3, 4, 7]));
    assert_eq!(by(true, true, true), (4, vec![3, 4, 5, 7]));
    // Without groups, one is the last, but no set may lose its newest.
    assert_eq!(by(false, false, false), (1, vec![3, 4, 7]));
}

/// This includes expired ones: whoever makes a snapshot chooses when it expires.
#[test]
fn rules_keep_what_is_below_min_age_by_the_storage_clock() {
    let mut all = line(&LINE);
    all[6].manifest.set_expires(Some(time("2026-11-24T12:00:00Z")));
    let arrived = HashMap::from([(all[2].id, time("2026-11-24T09:00:00Z")), (all[4].id, time(LINE[3].0))]);
    let stays = |min_age: &str| {
        let now = Now::new(time(NOW), TimeZone::UTC).with_arrivals(arrived.clone());
        let now = now.with_min_age(Some(age(min_age)));
        let last = [Rule::Last(UpTo(1))];
        groups::decide(&all, &SnapshotFilter::default(), GroupBy::default(), &last, &now)
    };
    assert_eq!(stay(&stays("0d")), [7]);
    // The third has a date in October and arrived yesterday. The fourth arrived when its date says.
    assert_eq!(stay(&stays("2d")), [2, 5, 6, 7]);
    let groups = stays("5d");
    assert_eq!(stay(&groups), [2, 4, 5, 6, 7]);
    assert_eq!(groups[0].decisions[5].reasons, [KeepReason::Young(age("5d"))]);
}

/// Seven real ones, one a day, and seven that all arrived on the last day, with dates after each of the real
/// ones.
#[test]
fn snapshots_with_false_dates_displace_no_others() {
    let days = ["18", "19", "20", "21", "22", "23", "24"];
    let at = |day: &str, hour: u8| time(&format!("2026-11-{day}T{hour:02}:00:00Z"));
    let (mut all, mut arrived) = (Vec::new(), HashMap::new());
    for (number, day) in (0..).zip(days) {
        for (forged, hour) in [(0, 2), (1, 23)] {
            let one = snapshot(number * 2 + forged, at(day, hour), Incremental);
            arrived.insert(one.id, if forged == 1 { time("2026-11-24T23:30:00Z") } else { at(day, hour) });
            all.push(one);
        }
    }
    let decided = |rule: Rule, arrived: &HashMap<SnapshotId, Time>| {
        let now = Now::new(time(NOW), TimeZone::UTC).with_arrivals(arrived.clone());
        stay(&groups::decide(&all, &SnapshotFilter::default(), GroupBy::default(), &[rule], &now))
    };
    let daily = Rule::Every(Period::Day, UpTo(7));
    let forged: Vec<u8> = (0..7).map(|number| number * 2 + 1).collect();
    assert_eq!(decided(daily.clone(), &HashMap::new()), forged, "dates alone are believed");
    // The last one arrived on its date.
    let both: Vec<u8> = (0..14).filter(|number| *number != 12).collect();
    assert_eq!(decided(daily.clone(), &arrived), both);
    // If all arrived late, as in a copy of a repository, rules apply as usual.
    let copied = arrived.keys().map(|id| (*id, time("2027-11-24T23:30:00Z"))).collect();
    assert_eq!(decided(daily, &copied), forged);
}

#[test]
fn unselected_snapshots_stay_and_still_replace_others() {
    let mut all = line(&LINE);
    all[4].manifest.tags = vec!["a".into()];
    let selection = SnapshotFilter { tags: vec![vec!["a".into()]], ..SnapshotFilter::default() };
    let now = Now::new(time(NOW), TimeZone::UTC);
    let groups = groups::decide(&all, &selection, GroupBy::default(), &[Rule::Within(age("1d"))], &now);
    assert_eq!(groups[0].decisions.len(), 1);
    // It is the last with its tag, but not the newest of its set: it was replaced on the 23rd.
    assert_eq!(stay(&groups), Vec::<u8>::new());
}

#[test]
fn filters_choose_as_restics_do() {
    let mut one = snapshot(0, time(NOW), Full).manifest;
    one.tags = vec!["a".into(), "b".into()];
    one.sources = vec![ByteBuf::from(b"/x".to_vec()), ByteBuf::from(b"/y".to_vec())];
    let tags = |lists: &[&[&str]]| SnapshotFilter {
        tags: lists.iter().map(|list| list.iter().map(|tag| (*tag).to_owned()).collect()).collect(),
        ..SnapshotFilter::default()
    };
    let paths = |paths: &[&str]| SnapshotFilter {
        paths: paths.iter().map(|path| path.as_bytes().to_vec()).collect(),
        ..SnapshotFilter::default()
    };
    for (selection, admitted) in [
        (tags(&[&["a"]]), true),
        (tags(&[&["a", "b"]]), true),
        (tags(&[&["a", "c"]]), false),
        (tags(&[&["c"], &["b"]]), true),
        (tags(&[&[""]]), false),
        (paths(&["/x"]), true),
        (paths(&["/x", "/y"]), true),
        (paths(&["/x", "/z"]), false),
        (SnapshotFilter { hosts: vec!["other".into()], ..SnapshotFilter::default() }, false),
        (SnapshotFilter { hosts: vec!["other".into(), "host".into()], ..SnapshotFilter::default() }, true),
    ] {
        assert_eq!(selection.admits(&one), admitted, "{selection:?}");
    }
}
