//! Determines the status of each set.

use std::time::Duration;

use crate::model::entry::Time;
use crate::ops::status::{AHEAD, Alarm, LastSuccess, Options, SetStatus, StoredSnapshots, Wanted};
use crate::repo::snapshots::Snapshot;
use crate::run_log::{self, Ending, Name, RunRecord, RunState};
use crate::storage::Storage;

/// Exit code of a backup with an alarm.
const ALARM: u8 = 24;

/// A further attempt at least this much later shows that a set is intended.
const TRIED_AGAIN: Duration = Duration::from_secs(3600);

pub(super) fn set_statuses(
    storage: &dyn Storage,
    standing: &StoredSnapshots,
    runs: &[&RunRecord],
    options: &Options,
) -> Vec<SetStatus> {
    let mut sets: Vec<SetStatus> = options.wanted.iter().map(wanted).collect();
    let backups = || runs.iter().copied().filter(|run| run.verb == "backup");
    for run in backups() {
        let Some(id) = &run.set_id else { continue };
        if !sets.iter().any(|set| set.id == *id) {
            sets.push(SetStatus {
                more_sources: run.more_sources,
                ..new(id, &run.host, run.sources.clone())
            });
        }
    }
    if let StoredSnapshots::Manifests(all) = standing {
        for snapshot in all {
            let id = id_of(snapshot);
            if !sets.iter().any(|set| set.id == id) {
                let sources = snapshot.manifest.sources.iter().map(|path| Name::of(path)).collect();
                sets.push(new(&id, &snapshot.manifest.host, sources));
            }
        }
    }
    let wanted = |set: &SetStatus| set.name.is_some();
    sets.retain(|set| {
        wanted(set) || !options.only_wanted && (options.hosts.is_empty() || options.hosts.contains(&set.host))
    });
    for set in &mut sets {
        let of_set: Vec<&RunRecord> = backups().filter(|run| is_of(run, set)).collect();
        set.running =
            of_set.iter().rev().find(|run| run.state() == RunState::Running).map(|run| (*run).clone());
        set.skipped = of_set.last().filter(|run| was_skipped(run)).map(|run| (*run).clone());
        set.failure = of_set.iter().rev().find(|run| run.is_bad()).map(|run| (*run).clone());
        set.good = good(storage, standing, &of_set, set, options.now);
        set.alarms = alarms(storage, standing, &of_set, set);
        set.age = set.good.first().map(|good| age(good.at, options.now));
    }
    let is_any_good = sets.iter().any(|set| !set.good.is_empty());
    for set in &mut sets {
        let of_set: Vec<&RunRecord> = backups().filter(|run| is_of(run, set)).collect();
        let is_slip = is_any_good && is_slip(set, &of_set, options);
        set.max_age = set.max_age.or(options.max_age.filter(|_| !is_slip));
    }
    sets
}

/// Returns whether a run was skipped or reached its time limit.
fn was_skipped(run: &RunRecord) -> bool {
    matches!(run.state(), RunState::Ended(Ending::Skipped | Ending::TimeUp))
}

/// Returns whether a set is probably a typing error: it is in no configuration, was never saved, and was
/// either not tried again later or not within the age limit. It is still reported, but not as overdue.
fn is_slip(set: &SetStatus, runs: &[&RunRecord], options: &Options) -> bool {
    let was_saved = !set.good.is_empty() || runs.iter().any(|run| run.is_good());
    let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return false };
    let is_over = options.max_age.is_some_and(|limit| age(last.start, options.now) > limit);
    set.name.is_none() && !was_saved && (age(first.start, last.start) < TRIED_AGAIN || is_over)
}

pub(super) fn new(id: &str, host: &str, sources: Vec<Name>) -> SetStatus {
    SetStatus {
        id: id.to_owned(),
        name: None,
        host: host.to_owned(),
        sources,
        more_sources: 0,
        good: Vec::new(),
        failure: None,
        running: None,
        skipped: None,
        age: None,
        max_age: None,
        next: None,
        alarms: Vec::new(),
    }
}

fn wanted(wanted: &Wanted) -> SetStatus {
    SetStatus {
        name: Some(wanted.name.clone()),
        max_age: wanted.max_age,
        next: wanted.next,
        ..new(&wanted.id, &wanted.host, wanted.sources.clone())
    }
}

/// Returns whether a run belongs to a set. A run that failed before it knew its sources may still have the
/// set's name.
pub(super) fn is_of(run: &RunRecord, set: &SetStatus) -> bool {
    match &run.set_id {
        Some(id) => *id == set.id,
        None => run.set.is_some() && run.set == set.name,
    }
}

pub(super) fn id_of(snapshot: &Snapshot) -> String {
    run_log::set_id(&snapshot.manifest.host, &snapshot.manifest.sources)
}

/// Returns the newest backup of each kind whose snapshot exists, newest first.
fn good(
    storage: &dyn Storage,
    standing: &StoredSnapshots,
    runs: &[&RunRecord],
    set: &SetStatus,
    now: Time,
) -> Vec<LastSuccess> {
    let mut all: Vec<LastSuccess> =
        runs.iter().filter(|run| run.is_good()).filter_map(|run| of_run(run)).collect();
    if let StoredSnapshots::Manifests(snapshots) = standing {
        let of_set = snapshots.iter().filter(|found| !found.manifest.partial && id_of(found) == set.id);
        all.extend(of_set.map(of_snapshot));
    }
    all.retain(|good| good.at.sec <= now.sec.saturating_add(AHEAD));
    // A run can be in the log and in a manifest: the log entry started first.
    all.sort_by_key(|good| std::cmp::Reverse(good.at));
    let mut newest: Vec<LastSuccess> = Vec::new();
    for good in all {
        if !newest.iter().any(|known| known.kind == good.kind) && standing.has(storage, &good.snapshot) {
            newest.push(good);
        }
    }
    newest
}

/// Returns the alarms of a set. Without the key they are taken from the run log: settling an alarm replaces
/// its snapshot, so the recorded snapshot no longer exists.
fn alarms(
    storage: &dyn Storage,
    standing: &StoredSnapshots,
    runs: &[&RunRecord],
    set: &SetStatus,
) -> Vec<Alarm> {
    let mut found: Vec<Alarm> = match standing {
        StoredSnapshots::Manifests(all) => {
            let open = all.iter().filter(|one| one.manifest.is_alarming() && id_of(one) == set.id);
            open.map(|one| Alarm {
                at: one.manifest.started,
                snapshot: one.id.hex(),
                why: one.manifest.alarm().map(|(_, why)| why.to_owned()).unwrap_or_default(),
            })
            .collect()
        }
        _ => runs
            .iter()
            .filter(|run| run.verb == "backup" && run.exit == Some(ALARM))
            .filter_map(|run| alarm_of(run))
            .collect(),
    };
    found.retain(|alarm| standing.has(storage, &alarm.snapshot));
    found.sort_by_key(|alarm| std::cmp::Reverse(alarm.at));
    found
}

fn alarm_of(run: &RunRecord) -> Option<Alarm> {
    Some(Alarm { at: run.start, snapshot: run.snapshot.clone()?, why: run.error.clone().unwrap_or_default() })
}

fn of_run(run: &RunRecord) -> Option<LastSuccess> {
    Some(LastSuccess {
        at: run.start,
        kind: run.made.clone()?,
        snapshot: run.snapshot.clone()?,
        unchanged: run.unchanged,
        problems: run.numbers.problems.unwrap_or_default(),
    })
}

fn of_snapshot(snapshot: &Snapshot) -> LastSuccess {
    LastSuccess {
        at: snapshot.manifest.started,
        kind: snapshot.manifest.kind.to_string(),
        snapshot: snapshot.id.hex(),
        unchanged: false,
        problems: snapshot.manifest.counts.errors,
    }
}

/// Returns the age in whole seconds; 0 for a time in the future.
fn age(at: Time, now: Time) -> Duration {
    Duration::from_secs(u64::try_from(now.sec.saturating_sub(at.sec)).unwrap_or(0))
}
