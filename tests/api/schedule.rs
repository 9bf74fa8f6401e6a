//! The schedule over a simulated year.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::{DateTime, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use snap_backup::ops::schedule::cron::Cron;
use snap_backup::ops::schedule::scheduler::{End, Job, JobState, Scheduler, Skip, Step};
use snap_backup::ops::schedule::window::Window;

fn zone() -> TimeZone {
    TimeZone::get("Europe/Berlin").unwrap()
}

fn at(civil: DateTime) -> Timestamp {
    civil.to_zoned_datetime(zone()).unwrap().timestamp()
}

fn later(time: Timestamp, seconds: i64) -> Timestamp {
    time.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap()
}

fn job(name: &str, lane: &str, cron: &str) -> Job {
    Job {
        name: name.to_owned(),
        lane: lane.to_owned(),
        cron: Cron::parse(cron).unwrap(),
        zone: zone(),
        jitter: Duration::ZERO,
        catch_up: true,
        retries: 3,
        retry_wait: Duration::from_secs(60),
        window: None,
        rank: ["full", "incremental"].iter().position(|known| *known == name).unwrap_or(2),
    }
}

/// The events: starts as (job, due, started), skips as (job, times, reason).
#[derive(Default)]
struct World {
    starts: Vec<(String, Timestamp, Timestamp)>,
    skips: Vec<(String, u64, Skip)>,
    waits: Vec<(String, Timestamp)>,
    missed: BTreeMap<String, u64>,
    /// The running jobs, and when each ends.
    running: Vec<(Timestamp, String, String)>,
}

impl World {
    fn dues(&self, name: &str) -> Vec<Timestamp> {
        self.starts.iter().filter(|(job, ..)| job == name).map(|(_, due, _)| *due).collect()
    }

    fn skipped(&self, name: &str, wanted: Skip) -> u64 {
        self.skips
            .iter()
            .filter(|(job, _, why)| job == name && *why == wanted)
            .map(|(_, times, _)| times)
            .sum()
    }

    fn tick(
        &mut self,
        scheduler: &mut Scheduler,
        now: Timestamp,
        lasts: &dyn Fn(&str, Timestamp) -> SignedDuration,
    ) {
        for step in scheduler.tick(now) {
            match step {
                Step::Start { job, due, missed, .. } => {
                    let job = &scheduler.jobs()[job];
                    assert!(self.running.iter().all(|(_, _, lane)| *lane != job.lane), "two in {}", job.lane);
                    self.starts.push((job.name.clone(), due, now));
                    *self.missed.entry(job.name.clone()).or_default() += missed;
                    self.running.push((now + lasts(&job.name, due), job.name.clone(), job.lane.clone()));
                }
                Step::Wait { job, until } => self.waits.push((scheduler.jobs()[job].name.clone(), until)),
                Step::Skip { job, times, why, .. } => {
                    self.skips.push((scheduler.jobs()[job].name.clone(), times, why));
                }
            }
        }
    }

    /// Advances the clock to `end`, from one event to the next.
    fn run(
        &mut self,
        scheduler: &mut Scheduler,
        mut now: Timestamp,
        end: Timestamp,
        lasts: &dyn Fn(&str, Timestamp) -> SignedDuration,
    ) {
        loop {
            self.tick(scheduler, now, lasts);
            let ended = self.running.iter().map(|(until, ..)| *until).min();
            let Some(next) = scheduler.next(now).into_iter().chain(ended).min() else { return };
            if next > end {
                return;
            }
            assert!(next > now || ended == Some(now), "the clock stands still at {now}");
            now = next;
            let (over, running) = self.running.drain(..).partition(|(until, ..)| *until <= now);
            self.running = running;
            for (_, name, _) in over {
                scheduler.finish(&name, now, End::Done);
            }
        }
    }
}

/// All days of 2028 at a time of day; if a clock change skips it, right after the change.
fn days(time: impl Fn(DateTime) -> Option<DateTime>) -> Vec<Timestamp> {
    let mut found = Vec::new();
    let mut day = date(2028, 1, 1);
    while day.year() == 2028 {
        if let Some(civil) = time(day.at(0, 0, 0, 0)) {
            let gap = date(2028, 3, 26).at(2, 0, 0, 0) <= civil && civil < date(2028, 3, 26).at(3, 0, 0, 0);
            found.push(at(if gap { date(2028, 3, 26).at(3, 0, 0, 0) } else { civil }));
        }
        day = day.tomorrow().unwrap();
    }
    found
}

#[test]
fn every_due_time_of_a_year_runs_once() {
    let (from, to) = (at(date(2028, 1, 1).at(0, 0, 0, 0)), at(date(2028, 12, 31).at(23, 59, 59, 0)));
    let asleep = (at(date(2028, 6, 9).at(12, 10, 0, 0)), at(date(2028, 6, 12).at(12, 0, 0, 0)));
    let jobs = vec![
        job("full", "a", "0 1 * * 0"),
        job("incremental", "a", "0 2 * * 1-6"),
        job("cleanup", "a", "0 3 * * 1"),
        job("in the gap", "b", "30 2 * * 0"),
        job("hourly", "c", "15 * * * *"),
        job("leap", "b", "0 4 29 2 *"),
        job("slow", "d", "*/30 * * * *"),
    ];
    // One job takes longer than its interval on one day, and a full backup delays the jobs after it.
    let busy = (at(date(2028, 9, 1).at(0, 0, 0, 0)), at(date(2028, 9, 2).at(0, 0, 0, 0)));
    let lasts = |name: &str, due: Timestamp| match name {
        "slow" if busy.0 <= due && due < busy.1 => SignedDuration::from_mins(45),
        "full" => SignedDuration::from_hours(3),
        _ => SignedDuration::from_mins(2),
    };
    let mut scheduler = Scheduler::new(jobs.clone(), BTreeMap::new(), from, "seed");
    let mut world = World::default();
    world.run(&mut scheduler, from, asleep.0, &lasts);
    assert!(world.running.is_empty());
    // The machine is switched off, not suspended: only the saved state remains.
    let states: BTreeMap<String, JobState> = scheduler.states().clone();
    let mut scheduler = Scheduler::new(jobs, states, asleep.1, "seed");
    world.run(&mut scheduler, asleep.1, to, &lasts);

    let weekday = |civil: DateTime| civil.weekday().to_sunday_zero_offset();
    let all = |name: &str| match name {
        "full" => days(|day| (weekday(day) == 0).then(|| day.with().hour(1).build().unwrap())),
        "incremental" => days(|day| (weekday(day) != 0).then(|| day.with().hour(2).build().unwrap())),
        "cleanup" => days(|day| (weekday(day) == 1).then(|| day.with().hour(3).build().unwrap())),
        "in the gap" => {
            days(|day| (weekday(day) == 0).then(|| day.with().hour(2).minute(30).build().unwrap()))
        }
        "leap" => vec![at(date(2028, 2, 29).at(4, 0, 0, 0))],
        "hourly" => (0..366 * 24).map(|hour| from + SignedDuration::from_mins(hour * 60 + 15)).collect(),
        _ => (1..366 * 48).map(|half| from + SignedDuration::from_mins(half * 30)).collect::<Vec<_>>(),
    };
    let off = |due: &Timestamp| asleep.0 < *due && *due <= asleep.1;
    for name in ["full", "incremental", "cleanup", "in the gap", "leap", "hourly"] {
        let (mut expected, missed): (Vec<_>, Vec<_>) = all(name).into_iter().partition(|due| !off(due));
        expected.extend(missed.last());
        expected.sort();
        assert_eq!(world.dues(name), expected, "{name}");
        let made_up = missed.len().saturating_sub(1) as u64;
        assert_eq!(world.missed[name], made_up, "{name}: once, not once for each, and said how many");
        assert_eq!(world.skips.iter().filter(|(job, ..)| job == name).count(), 0, "{name}");
    }
    // Of the 48 times of the busy day, each that came during a run was skipped and reported. None is missing
    // from the log.
    let slow = all("slow");
    let skipped = world.skipped("slow", Skip::Running);
    assert!((23..=25).contains(&skipped), "{skipped}");
    assert_eq!(world.dues("slow").len() as u64 + skipped + world.missed["slow"], slow.len() as u64);
    let mut once = world.dues("slow");
    once.dedup();
    assert_eq!(once.len(), world.dues("slow").len(), "a time was run for twice");
}

#[test]
fn jobs_of_one_repository_run_one_by_one_in_due_order() {
    let from = at(date(2028, 1, 2).at(0, 0, 0, 0));
    let jobs =
        vec![job("later", "a", "20 1 * * *"), job("long", "a", "0 1 * * *"), job("other", "b", "30 1 * * *")];
    let mut scheduler = Scheduler::new(jobs, BTreeMap::new(), from, "seed");
    let mut world = World::default();
    let lasts = |name: &str, _: Timestamp| SignedDuration::from_mins(if name == "long" { 60 } else { 1 });
    world.run(&mut scheduler, from, at(date(2028, 1, 2).at(12, 0, 0, 0)), &lasts);
    let started: Vec<(&str, i64)> = world
        .starts
        .iter()
        .map(|(name, _, start)| (name.as_str(), start.duration_since(from).as_mins()))
        .collect();
    assert_eq!(started, [("long", 60), ("other", 90), ("later", 120)]);
}

#[test]
fn missed_runs_are_skipped_without_catch_up() {
    let from = at(date(2028, 1, 3).at(0, 0, 0, 0));
    let jobs = vec![Job { catch_up: false, ..job("a", "a", "0 2 * * *") }];
    let mut scheduler = Scheduler::new(jobs.clone(), BTreeMap::new(), from, "seed");
    let morning = at(date(2028, 1, 5).at(9, 0, 0, 0));
    let due = at(date(2028, 1, 5).at(2, 0, 0, 0));
    assert_eq!(scheduler.tick(morning), [Step::Skip { job: 0, due, times: 3, why: Skip::Missed }]);
    let next = at(date(2028, 1, 6).at(2, 4, 0, 0));
    assert!(
        matches!(scheduler.tick(next)[..], [Step::Start { missed: 0, .. }]),
        "a few minutes late is in time"
    );
}

#[test]
fn interrupted_job_is_restarted_and_counted_once() {
    let from = at(date(2028, 1, 3).at(0, 0, 0, 0));
    let jobs = vec![job("a", "a", "0 2 * * *")];
    let mut scheduler = Scheduler::new(jobs.clone(), BTreeMap::new(), from, "seed");
    let due = at(date(2028, 1, 3).at(2, 0, 0, 0));
    assert_eq!(scheduler.tick(due), [Step::Start { job: 0, due, attempt: 1, missed: 0 }]);
    // The machine stops here: only what was saved before the start remains.
    let left = serde_json::to_string(scheduler.states()).unwrap();
    let morning = at(date(2028, 1, 3).at(9, 0, 0, 0));
    let mut scheduler = Scheduler::new(jobs, serde_json::from_str(&left).unwrap(), morning, "seed");
    assert_eq!(scheduler.tick(morning), [Step::Start { job: 0, due, attempt: 1, missed: 0 }]);
    assert_eq!(scheduler.tick(morning), [], "it runs already");
    assert_eq!(scheduler.finish("a", morning, End::Interrupted), None);
    assert_eq!(
        scheduler.tick(morning),
        [Step::Start { job: 0, due, attempt: 1, missed: 0 }],
        "stopped is still owed"
    );
    scheduler.finish("a", morning, End::Done);
    assert_eq!(scheduler.tick(morning), []);
}

#[test]
fn failed_job_is_retried_with_growing_waits_then_given_up() {
    let from = at(date(2028, 1, 3).at(0, 0, 0, 0));
    let mut scheduler = Scheduler::new(vec![job("a", "a", "0 2 * * *")], BTreeMap::new(), from, "seed");
    let mut now = at(date(2028, 1, 3).at(2, 0, 0, 0));
    let mut waits = Vec::new();
    for attempt in 1..=4 {
        assert!(matches!(scheduler.tick(now)[..], [Step::Start { attempt: said, .. }] if said == attempt));
        let Some(again) = scheduler.finish("a", now, End::Failed) else { break };
        assert_eq!(scheduler.tick(now), [], "not before its time");
        assert_eq!(scheduler.next(now), Some(again));
        waits.push(again.duration_since(now).as_secs());
        now = again;
    }
    assert_eq!(waits, [60, 120, 240]);
    assert_eq!(scheduler.tick(now), []);
    assert_eq!(scheduler.next(now), Some(at(date(2028, 1, 4).at(2, 0, 0, 0))));
}

#[test]
fn a_new_time_takes_the_place_of_a_retry() {
    let from = at(date(2028, 1, 3).at(0, 0, 0, 0));
    let jobs = vec![Job { retry_wait: Duration::from_secs(7200), ..job("a", "a", "0 * * * *") }];
    let mut scheduler = Scheduler::new(jobs, BTreeMap::new(), from, "seed");
    let one = at(date(2028, 1, 3).at(1, 0, 0, 0));
    assert_eq!(scheduler.tick(one).len(), 1);
    assert!(scheduler.finish("a", one, End::Failed).is_some());
    let two = at(date(2028, 1, 3).at(2, 0, 0, 0));
    assert_eq!(scheduler.tick(two), [Step::Start { job: 0, due: two, attempt: 1, missed: 0 }]);
    scheduler.finish("a", two, End::Done);
    assert_eq!(scheduler.tick(at(date(2028, 1, 3).at(2, 59, 0, 0))), []);
}

#[test]
fn jitter_delays_by_a_constant_part_of_its_value() {
    let from = at(date(2028, 1, 3).at(0, 0, 0, 0));
    let due = at(date(2028, 1, 3).at(2, 0, 0, 0));
    let start_of = |seed: &str| {
        let jobs = vec![Job { jitter: Duration::from_secs(600), ..job("a", "a", "0 2 * * *") }];
        let mut scheduler = Scheduler::new(jobs, BTreeMap::new(), from, seed);
        let start = scheduler.next(from).unwrap();
        assert_eq!(scheduler.tick(start - SignedDuration::from_secs(1)), []);
        assert!(matches!(scheduler.tick(start)[..], [Step::Start { due: said, .. }] if said == due));
        let by = start.duration_since(due).as_secs();
        assert!((0..=600).contains(&by), "{by}");
        by
    };
    let all: Vec<i64> = (0..20).map(|seed| start_of(&seed.to_string())).collect();
    assert_eq!(all, (0..20).map(|seed| start_of(&seed.to_string())).collect::<Vec<_>>());
    assert!(all.iter().collect::<std::collections::BTreeSet<_>>().len() > 10, "{all:?}");
}

#[test]
fn a_clock_that_was_far_ahead_does_not_stop_the_schedule() {
    let now = at(date(2028, 1, 3).at(0, 0, 0, 0));
    let ahead = JobState { handled: at(date(2031, 1, 1).at(0, 0, 0, 0)), open: None };
    let mut scheduler =
        Scheduler::new(vec![job("a", "a", "0 2 * * *")], BTreeMap::from([("a".to_owned(), ahead)]), now, "");
    let due = at(date(2028, 1, 3).at(2, 0, 0, 0));
    assert_eq!(scheduler.next(now), Some(due));
    assert_eq!(scheduler.tick(due).len(), 1);
}

#[test]
fn running_jobs_are_not_disturbed() {
    let from = at(date(2028, 1, 3).at(0, 0, 0, 0));
    let mut scheduler = Scheduler::new(vec![job("a", "x", "0 1 * * *")], BTreeMap::new(), from, "");
    let one = at(date(2028, 1, 3).at(1, 0, 0, 0));
    assert_eq!(scheduler.tick(one).len(), 1);
    scheduler.replace(vec![job("a", "x", "30 1 * * *"), job("b", "x", "15 1 * * *")], one);
    let two = at(date(2028, 1, 3).at(2, 0, 0, 0));
    assert!(
        matches!(scheduler.tick(two)[..], [Step::Skip { job: 0, why: Skip::Running, .. }]),
        "the lane is taken"
    );
    scheduler.finish("a", two, End::Done);
    assert!(matches!(scheduler.tick(two)[..], [Step::Start { job: 1, .. }]));
}

#[test]
fn invalid_and_never_due_expressions_are_refused() {
    for text in ["", "x", "* * * *", "60 * * * *", "0 0 30 2 *", "0 0 * * 8", "@never", "0 0 0 0 0 0 0"] {
        assert!(Cron::parse(text).is_err(), "{text}");
    }
    for text in ["@daily", "*/5 * * * *", "*/2 * * * * *", "0 9 * * MON#1", "0 0 L * *", "0 1 * * SUN"] {
        assert!(Cron::parse(text).is_ok(), "{text}");
    }
}

/// The default schedule, in one repository.
fn default_jobs() -> Vec<Job> {
    [("cleanup", "0 3 * * 1"), ("full", "0 1 * * 0"), ("incremental", "0 2 * * 1-6")]
        .map(|(name, cron)| job(name, "one", cron))
        .into()
}

/// Returns every job that starts when the machine is back at `now`, in order.
fn starts_after_a_gap(jobs: &[Job], gap_began: Timestamp, now: Timestamp) -> Vec<String> {
    let mut scheduler = Scheduler::new(jobs.to_vec(), BTreeMap::new(), gap_began, "seed");
    let mut starts = Vec::new();
    loop {
        let started: Vec<String> = scheduler
            .tick(now)
            .into_iter()
            .filter_map(|step| match step {
                Step::Start { job, .. } => Some(jobs[job].name.clone()),
                Step::Skip { .. } | Step::Wait { .. } => None,
            })
            .collect();
        let [name] = &started[..] else {
            assert!(started.is_empty(), "{started:?} at once in one repository");
            return starts;
        };
        scheduler.finish(name, now, End::Done);
        starts.push(name.clone());
    }
}

#[test]
fn missed_backups_run_before_a_missed_cleanup_at_any_hour() {
    // Each range contains every weekday and hour, the end of a month or a leap day, or a clock change of the
    // time zone.
    let weeks =
        [date(2026, 11, 23), date(2026, 12, 27), date(2027, 3, 22), date(2027, 10, 25), date(2028, 2, 26)];
    for week in weeks {
        for hour in 0..8 * 24 {
            let now = later(at(week.at(0, 30, 0, 0)), hour * 3600);
            let starts = starts_after_a_gap(&default_jobs(), later(now, -15 * 24 * 3600), now);
            assert_eq!(starts, ["full", "incremental", "cleanup"], "at {now}");
        }
    }
}

#[test]
fn backups_that_become_due_do_not_hold_a_cleanup_back_for_ever() {
    // Two sets back up in turn, and each is due again before the other has ended.
    let jobs = vec![
        job("a", "one", "0 * * * *"),
        job("b", "one", "30 * * * *"),
        job("cleanup", "one", "10 0 * * *"),
    ];
    let begin = at(date(2027, 5, 3).at(0, 0, 0, 0));
    let mut scheduler = Scheduler::new(jobs.clone(), BTreeMap::new(), later(begin, -1), "seed");
    let mut starts: Vec<String> = Vec::new();
    for half_hour in 0..6 {
        let now = later(begin, half_hour * 1800);
        if let Some(running) = starts.last() {
            scheduler.finish(running, now, End::Done);
        }
        starts.extend(scheduler.tick(now).into_iter().filter_map(|step| match step {
            Step::Start { job, .. } => Some(jobs[job].name.clone()),
            Step::Skip { .. } | Step::Wait { .. } => None,
        }));
    }
    assert_eq!(starts, ["a", "b", "cleanup", "a", "b", "a"]);
}

#[test]
fn a_job_whose_window_is_closed_starts_when_that_opens() {
    let window = Window::parse("22:00-06:00").ok();
    let jobs = vec![
        Job { window, ..job("noon", "a", "0 12 * * *") },
        Job { window, ..job("night", "b", "0 2 * * *") },
        Job { window, catch_up: false, ..job("strict", "c", "0 12 * * *") },
    ];
    let (from, to) = (at(date(2028, 7, 1).at(0, 0, 0, 0)), at(date(2028, 7, 4).at(0, 0, 0, 0)));
    let mut scheduler = Scheduler::new(jobs, BTreeMap::new(), from, "seed");
    let mut world = World::default();
    world.run(&mut scheduler, from, to, &|_, _| SignedDuration::from_mins(5));
    let started = |name: &str| {
        let starts = world.starts.iter().filter(|(job, ..)| job == name);
        starts.map(|(_, _, at)| zone().to_datetime(*at)).collect::<Vec<_>>()
    };
    let each = |hour| [1, 2, 3].map(|day| date(2028, 7, day).at(hour, 0, 0, 0));
    assert_eq!(started("noon"), each(22));
    assert_eq!(started("night"), each(2));
    assert_eq!(started("strict"), each(22), "waiting is not missing");
    assert_eq!(world.waits.len(), 6, "each wait is told once");
}
