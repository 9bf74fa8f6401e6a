//! The status as JSON.

use serde_json::{Value, json};
use snap_backup::model::entry::Time;
use snap_backup::ops::status::{Alarm, LastSuccess, Report, SetStatus, SetVerdict, Work};
use snap_backup::run_log::{Ending, Name, RunRecord, RunState};

use crate::terminal::json::without_nulls;
use crate::terminal::output;

/// Returns one object. Fields without a value are left out.
pub(crate) fn of(reports: &[Report], now: Time) -> Value {
    without_nulls(json!({
        "message_type": "summary",
        "time": output::rfc3339(now),
        "overdue": reports.iter().any(Report::is_overdue),
        "alarming": reports.iter().any(Report::is_alarming),
        "repositories": reports.iter().map(repository).collect::<Vec<Value>>(),
    }))
}

fn repository(report: &Report) -> Value {
    let mut value = json!({
        "repository": report.location,
        "trouble": report.trouble,
        "manifests_read": report.opened,
        "sets": report.sets.iter().map(set).collect::<Vec<Value>>(),
        "works": report.works.iter().map(work).collect::<Vec<Value>>(),
        "bytes": report.bytes,
        "bytes_per_day": report.growth.map(|growth| growth.bytes_per_day),
        "disk_free": report.capacity.map(|capacity| capacity.free),
        "disk_total": report.capacity.map(|capacity| capacity.total),
        "days_left": report.days_left(),
        "differences": report.diverged,
    });
    if let Some(map) = value.as_object_mut() {
        let seconds = report.days_left().map(|days| (days * 86_400.0) as u64);
        map.extend(seconds.map(|seconds| ("seconds_until_full".to_owned(), seconds.into())));
        map.extend(report.quota.map(|quota| ("quota".to_owned(), quota.into())));
    }
    value
}

fn set(set: &SetStatus) -> Value {
    let mut value = json!({
        "set": set.name,
        "set_id": set.id,
        "hostname": set.host,
        "paths": set.sources.iter().map(path).collect::<Vec<String>>(),
        "more_paths": set.more_sources,
        "good": set.good.iter().map(good).collect::<Vec<Value>>(),
        "age": set.age.map(|age| age.as_secs()),
        "max_age": set.max_age.map(|age| age.as_secs()),
        "state": SetVerdict::of(set).word(),
        "overdue": set.is_overdue(),
        "failing": set.is_failing(),
        "failure": set.failure.as_ref().map(run),
        "alarms": set.alarms.iter().map(alarm).collect::<Vec<Value>>(),
        "running": set.running.as_ref().map(run),
        "next_run": set.next.map(output::rfc3339),
    });
    if let (Some(skipped), Some(map)) = (&set.skipped, value.as_object_mut()) {
        map.insert("skipped".to_owned(), run(skipped));
    }
    value
}

fn alarm(alarm: &Alarm) -> Value {
    json!({"time": output::rfc3339(alarm.at), "snapshot_id": alarm.snapshot, "reason": alarm.why})
}

fn path(name: &Name) -> String {
    String::from_utf8_lossy(name.as_bytes()).into_owned()
}

fn good(good: &LastSuccess) -> Value {
    json!({
        "kind": good.kind,
        "time": output::rfc3339(good.at),
        "snapshot_id": good.snapshot,
        "unchanged": good.unchanged,
        "errors": good.problems,
    })
}

fn work(work: &Work) -> Value {
    json!({
        "verb": work.verb,
        "good": work.good.as_ref().map(run),
        "bad": work.bad.as_ref().map(run),
        "failing": work.is_failing(),
    })
}

fn run(run: &RunRecord) -> Value {
    json!({
        "verb": run.verb,
        "kind": run.kind,
        "start": output::rfc3339(run.start),
        "end": run.end.map(output::rfc3339),
        "ending": match run.state() {
            RunState::Running => "running".to_owned(),
            RunState::Lost => "lost".to_owned(),
            RunState::Ended(Ending::TimeUp) => "time_up".to_owned(),
            RunState::Ended(ending) => format!("{ending:?}").to_lowercase(),
        },
        "exit": run.exit,
        "error": run.error,
    })
}
