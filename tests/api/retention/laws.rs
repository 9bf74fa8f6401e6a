//! Laws of retention, tested with random snapshots and rules.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any};
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};
use serde_bytes::ByteBuf;
use snap_backup::model::entry::Time;
use snap_backup::model::id::SnapshotId;
use snap_backup::model::manifest::SnapshotKind;
use snap_backup::ops::forget::age::Age;
use snap_backup::ops::forget::groups::{self, GroupBy};
use snap_backup::ops::forget::policy::{Count, Now, Period, Rule};
use snap_backup::repo::snapshots::Snapshot;
use snap_backup::repo::snapshots::filter::SnapshotFilter;

use super::snapshot;

const DAY: i64 = 86_400;
/// The middle of the two years of snapshots.
const NOW: i64 = 1_790_000_000;

fn periods() -> impl Strategy<Value = Period> {
    prop_oneof![
        Just(Period::Hour),
        Just(Period::Day),
        Just(Period::Week),
        Just(Period::Month),
        Just(Period::Year)
    ]
}

fn counts() -> impl Strategy<Value = Count> {
    prop_oneof![8 => (0..6_u64).prop_map(Count::UpTo), 1 => Just(Count::All)]
}

fn ages() -> impl Strategy<Value = Age> {
    (0..60_u32).prop_map(Age::days)
}

fn rules() -> impl Strategy<Value = Rule> {
    prop_oneof![
        counts().prop_map(Rule::Last),
        (periods(), counts()).prop_map(|(period, count)| Rule::Every(period, count)),
        ages().prop_map(Rule::Within),
        (periods(), ages()).prop_map(|(period, age)| Rule::WithinEvery(period, age)),
        counts().prop_map(Rule::Full),
        Just(Rule::Tags(vec!["a".into()])),
        Just(Rule::Tags(vec![String::new()])),
    ]
}

fn kinds() -> impl Strategy<Value = SnapshotKind> {
    prop_oneof![Just(SnapshotKind::Full), Just(SnapshotKind::Incremental), Just(SnapshotKind::Differential)]
}

/// Oldest first. Most are in the last weeks, a few in the future, some at the same instant.
fn lines() -> impl Strategy<Value = Vec<Snapshot>> {
    let ages = prop_oneof![4 => 0..30_i64, 2 => 0..400_i64, 1 => -300..0_i64];
    let one = (ages, 0..4_i64, kinds(), any::<[bool; 3]>(), 0..10_u8);
    vec(one, 0..24).prop_map(|mut all| {
        all.sort_by_key(|(days, quarter, ..)| -days * 4 + quarter);
        let made = (0..).zip(all).map(|(number, (days, quarter, kind, [host, source, tag], odd))| {
            let sec = NOW - days * DAY + quarter * DAY / 4 - DAY;
            let mut made = snapshot(number, Time { sec, nanos: 0 }, kind);
            made.manifest.partial = odd == 0;
            if host {
                made.manifest.host = "other".into();
            }
            if source {
                made.manifest.sources = vec![ByteBuf::from(b"/else".to_vec())];
            }
            if tag {
                made.manifest.tags = vec!["a".into()];
            }
            made
        });
        made.collect()
    })
}

fn groupings() -> impl Strategy<Value = GroupBy> {
    any::<[bool; 3]>().prop_map(|[host, paths, tags]| GroupBy { host, paths, tags })
}

fn now() -> Now {
    Now::new(Time { sec: NOW, nanos: 0 }, TimeZone::get("Europe/Berlin").unwrap())
}

fn kept(all: &[Snapshot], by: GroupBy, rules: &[Rule]) -> BTreeSet<SnapshotId> {
    let groups = groups::decide(all, &SnapshotFilter::default(), by, rules, &now());
    let all = groups.iter().flat_map(|group| &group.decisions).filter(|one| one.stays());
    all.map(|one| one.snapshot.id).collect()
}

fn is_counted(one: &Snapshot) -> bool {
    !one.manifest.partial && one.manifest.started.sec <= NOW
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn another_rule_never_forgets_more(all in lines(), by in groupings(), some in vec(rules(), 0..4), more in rules()) {
        let before = kept(&all, by, &some);
        let after = kept(&all, by, &[some, vec![more]].concat());
        prop_assert!(before.is_subset(&after));
    }

    #[test]
    fn a_higher_number_never_forgets_more(all in lines(), by in groupings(), period in periods(), number in 0..6_u64) {
        let rules = |number| {
            [Rule::Last(Count::UpTo(number)), Rule::Every(period, Count::UpTo(number)), Rule::Full(Count::UpTo(number))]
        };
        for (less, more) in rules(number).into_iter().zip(rules(number + 1)) {
            prop_assert!(kept(&all, by, &[less]).is_subset(&kept(&all, by, &[more])));
        }
    }

    #[test]
    fn no_set_loses_its_newest_and_nothing_uncounted_goes(all in lines(), by in groupings(), some in vec(rules(), 0..4)) {
        let kept = kept(&all, by, &some);
        for one in &all {
            let manifest = &one.manifest;
            let newest = all.iter().rfind(|other| {
                is_counted(other) && other.manifest.same_set(&manifest.host, &manifest.sources)
            });
            if !is_counted(one) || newest.is_some_and(|newest| newest.id == one.id) {
                prop_assert!(kept.contains(&one.id), "{} went", one.id);
            }
        }
    }

    #[test]
    fn uncounted_snapshots_do_not_affect_the_rest(all in lines(), by in groupings(), some in vec(rules(), 0..4)) {
        let counted: Vec<Snapshot> = all.iter().filter(|one| is_counted(one)).cloned().collect();
        let among: BTreeSet<SnapshotId> = counted.iter().map(|one| one.id).collect();
        let of_all = kept(&all, by, &some).intersection(&among).copied().collect::<BTreeSet<_>>();
        prop_assert_eq!(of_all, kept(&counted, by, &some));
    }

    /// This holds if a group has one set. In a group of several, a snapshot that becomes younger when its
    /// successor is removed may displace one of another set in its period.
    #[test]
    fn deciding_again_about_what_stays_forgets_nothing(all in lines(), tags in any::<bool>(), some in vec(rules(), 0..4)) {
        let by = GroupBy { host: true, paths: true, tags };
        let first = kept(&all, by, &some);
        let rest: Vec<Snapshot> = all.into_iter().filter(|one| first.contains(&one.id)).collect();
        prop_assert_eq!(kept(&rest, by, &some), first);
    }

    /// The meaning of age: every state that was current within the period can be restored.
    #[test]
    fn every_moment_within_the_time_can_be_restored(all in lines(), by in groupings(), days in 0..60_u32, back in 0..60 * DAY) {
        let moment = NOW - back % (i64::from(days) * DAY - DAY).max(1);
        let kept = kept(&all, by, &[Rule::Within(Age::days(days))]);
        for one in all.iter().filter(|one| is_counted(one) && one.manifest.started.sec <= moment) {
            let manifest = &one.manifest;
            let state = all.iter().rfind(|other| {
                is_counted(other)
                    && other.manifest.started.sec <= moment
                    && other.manifest.same_set(&manifest.host, &manifest.sources)
            });
            prop_assert!(state.is_some_and(|state| kept.contains(&state.id)));
        }
    }

    #[test]
    fn pinned_snapshots_stay_and_do_not_affect_the_rest(all in lines(), by in groupings(), some in vec(rules(), 0..4), pins in vec(any::<bool>(), 24)) {
        let before = kept(&all, by, &some);
        let mut pinned = all;
        for (one, pin) in pinned.iter_mut().zip(&pins) {
            one.manifest.set_pinned(*pin);
        }
        let chosen = pinned.iter().zip(&pins).filter(|(_, pin)| **pin).map(|(one, _)| one.id);
        let expected: BTreeSet<SnapshotId> = before.into_iter().chain(chosen).collect();
        prop_assert_eq!(kept(&pinned, by, &some), expected);
    }

    #[test]
    fn expired_snapshots_go_whatever_rules_say_others_stay(
        all in lines(), by in groupings(), some in vec(rules(), 0..4), marks in vec((0..4_u8, any::<bool>()), 24),
    ) {
        let mut marked = all.clone();
        for (one, (expires, pin)) in marked.iter_mut().zip(&marks) {
            let at = |sec| Some(Time { sec, nanos: 0 });
            one.manifest.set_expires(match expires { 0 => at(NOW), 1 => at(NOW - DAY), 2 => at(NOW + 1), _ => None });
            one.manifest.set_pinned(*pin);
        }
        let with = kept(&marked, by, &some);
        let only = kept(&marked, by, &[Rule::Unexpired]);
        for (one, (expires, pin)) in marked.iter().zip(&marks) {
            let manifest = &one.manifest;
            let newest = marked.iter().rfind(|other| {
                is_counted(other) && other.manifest.same_set(&manifest.host, &manifest.sources)
            });
            let guarded = *pin || !is_counted(one) || newest.is_some_and(|newest| newest.id == one.id);
            if *expires < 2 {
                prop_assert_eq!(with.contains(&one.id), guarded, "{}", one.id);
            }
            prop_assert_eq!(only.contains(&one.id), guarded || *expires >= 2);
        }
    }
}
