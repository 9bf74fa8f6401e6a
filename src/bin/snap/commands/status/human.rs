//! The status as text.

use snap_backup::model::entry::Time;
use snap_backup::ops::status::{Alarm, LastSuccess, Report, SetStatus, SetVerdict, Work};
use snap_backup::run_log::{Ending, Name, RunRecord, RunState};

use crate::terminal::output::{self, count, days, printable, size};
use crate::terminal::text::Paint;

/// Formats the whole status.
pub(crate) fn text(reports: &[Report], now: Time) -> String {
    let overview: Vec<String> =
        reports.iter().flat_map(|report| &report.sets).map(|set| verdict(set, now)).collect();
    let details = reports.iter().map(|report| repository(report, now));
    let overview = (!overview.is_empty()).then(|| overview.join("\n"));
    overview.into_iter().chain(details).collect::<Vec<String>>().join("\n\n")
}

/// Formats the alarms that are not settled.
pub(crate) fn alarms(reports: &[Report], now: Time) -> String {
    let sets = reports.iter().flat_map(|report| &report.sets).filter(|set| !set.alarms.is_empty());
    let mut lines: Vec<String> = Vec::new();
    for set in sets {
        lines.push(title(set).trim_start().to_owned());
        lines.extend(set.alarms.iter().map(|alarm| format!("  {}", alarm_line(alarm, now))));
    }
    if lines.is_empty() { "no alarms".to_owned() } else { lines.join("\n") }
}

fn alarm_line(alarm: &Alarm, now: Time) -> String {
    let short: String = alarm.snapshot.chars().take(8).collect();
    format!("ALARM {} (snapshot {short}): {}", when(alarm.at, now), printable(&alarm.why))
}

/// Formats a set in one line.
fn verdict(set: &SetStatus, now: Time) -> String {
    let (word, paint) = match SetVerdict::of(set) {
        SetVerdict::Alarm => ("ALARM", Paint::Red),
        SetVerdict::Green => ("ok", Paint::Green),
        SetVerdict::Late => ("LATE", Paint::Yellow),
        SetVerdict::Failed => ("FAILED", Paint::Red),
    };
    format!("{} {}: {}", paint.on(&format!("{word:<7}")), name_of(set), sentence(set, now))
}

/// Returns the name of a set, or its sources and host.
pub(crate) fn name_of(set: &SetStatus) -> String {
    set.name.as_ref().map_or_else(|| title_of(set), |name| printable(name))
}

/// Describes the state of a set and its reason in one sentence.
pub(crate) fn sentence(set: &SetStatus, now: Time) -> String {
    let last = match set.good.first() {
        Some(good) => format!("last good backup {} ago", long(age(good.at, now))),
        None => "no good backup yet".to_owned(),
    };
    let limit = set.max_age.filter(|_| set.is_overdue());
    let late = limit.map(|limit| format!(" (at most {} allowed)", long(limit.as_secs()))).unwrap_or_default();
    match SetVerdict::of(set) {
        SetVerdict::Alarm => {
            let why = set.alarms.first().map(|alarm| printable(&alarm.why)).unwrap_or_default();
            format!("{why}; {last}{late}")
        }
        SetVerdict::Green => last,
        SetVerdict::Late => last + &late,
        SetVerdict::Failed => {
            let failure = set.failure.as_ref().map(why).unwrap_or_default();
            format!("{failure}; {last}{late}")
        }
    }
}

fn repository(report: &Report, now: Time) -> String {
    let mut lines = vec![format!("repository {}", printable(&report.location))];
    if let Some(trouble) = &report.trouble {
        lines.push(format!("  not available now, from the records: {}", printable(trouble)));
    } else if !report.opened {
        lines.push("  no password given: backups of other machines are not shown".to_owned());
    }
    for what in &report.diverged {
        lines.push(format!("  NOT AS IT WAS: {}", printable(what)));
        lines.push(
            "           `snap check` examines it; if it is intended, `snap repair known` accepts it"
                .to_owned(),
        );
    }
    lines.extend(capacity(report));
    lines.extend(report.works.iter().map(|found| work(found, now)));
    if report.work("check").is_none() {
        lines.push("  check    never, as far as this machine knows".to_owned());
    }
    if report.sets.is_empty() {
        lines.push("  no set is known here".to_owned());
    }
    for found in &report.sets {
        lines.extend(set(found, now));
    }
    lines.join("\n")
}

fn capacity(report: &Report) -> Option<String> {
    room(report).map(|text| format!("  size     {text}"))
}

/// Returns the size of the repository, and how long its free space will last.
pub(crate) fn room(report: &Report) -> Option<String> {
    let mut text = size(report.bytes?);
    if let Some(growth) = report.growth {
        let (word, rate) = if growth.bytes_per_day < 0.0 { ("shrinks", -1.0) } else { ("grows", 1.0) };
        text += &format!(", {word} {} a day", size((growth.bytes_per_day * rate) as u64));
    }
    if let Some(capacity) = report.capacity {
        text += &format!("; {} of {} free", size(capacity.free), size(capacity.total));
    }
    if let Some(left) = report.quota_left() {
        text += &format!("; {} of its quota left", size(left));
    }
    if let Some(left) = report.days_left() {
        let end = if report.ends_by_quota() { "until the quota is reached" } else { "until full" };
        text += &format!(", {} {end}", days(left));
    }
    Some(text)
}

fn work(work: &Work, now: Time) -> String {
    let mut text = match &work.good {
        Some(good) => format!("  {:<8} {} ({})", work.verb, when(good.start, now), what(good)),
        None if work.is_failing() => format!("  {:<8} never succeeded", work.verb),
        // Refused and interrupted runs did not fail.
        None => format!("  {:<8} not done yet", work.verb),
    };
    if let Some(bad) = work.bad.as_ref().filter(|_| work.is_failing()) {
        text += &format!("\n  {:<8} FAILED {}: {}", work.verb, when(bad.start, now), why(bad));
    }
    text
}

/// Returns what a run of a verb other than `backup` did.
pub(crate) fn what(run: &RunRecord) -> String {
    let numbers = &run.numbers;
    match run.verb.as_str() {
        "check" if run.read_data => format!("{} read", size(numbers.bytes_read.unwrap_or_default())),
        "check" => "structure only".to_owned(),
        "drill" => {
            let said = run.said.as_ref().map(|said| format!("; the command said: {}", printable(said)));
            format!(
                "{} restored, {} compared with the source{}",
                count(numbers.files.unwrap_or_default(), "file", "files"),
                numbers.compared.unwrap_or_default(),
                said.unwrap_or_default()
            )
        }
        "forget" => {
            format!("{} forgotten", count(numbers.forgotten.unwrap_or_default(), "snapshot", "snapshots"))
        }
        _ => format!("{} deleted", size(numbers.bytes_deleted.unwrap_or_default())),
    }
}

fn set(set: &SetStatus, now: Time) -> Vec<String> {
    let mut lines = vec![title(set)];
    match set.age {
        None => lines.push(format!("    no good backup is known{}", overdue(set))),
        Some(_) => {
            for (at, one) in set.good.iter().enumerate() {
                lines.push(format!(
                    "    {}{}",
                    good(one, now),
                    if at == 0 { overdue(set) } else { String::new() }
                ));
            }
        }
    }
    for alarm in &set.alarms {
        lines.push(format!("    {}", alarm_line(alarm, now)));
    }
    if let Some(running) = &set.running {
        lines.push(format!("    running since {}", when(running.start, now)));
    }
    if let Some(skipped) = &set.skipped {
        let word = if skipped.state() == RunState::Ended(Ending::TimeUp) { "not through" } else { "skipped" };
        lines.push(format!("    {word} {}: {}", when(skipped.start, now), why(skipped)));
    }
    if let Some(failure) = &set.failure {
        let word = if set.is_failing() { "FAILED" } else { "failed earlier, succeeded since:" };
        lines.push(format!("    {word} {}: {}", when(failure.start, now), why(failure)));
    }
    if let Some(next) = set.next {
        lines.push(format!("    next run {}", output::local(next)));
    }
    lines
}

fn title(set: &SetStatus) -> String {
    let text = match &set.name {
        Some(name) => format!("  set {}: ", printable(name)),
        None => "  set ".to_owned(),
    };
    text + &title_of(set)
}

/// Returns the sources and the host of a set: `/a, /b of vm`.
pub(crate) fn title_of(set: &SetStatus) -> String {
    let paths = set.sources.iter().map(|name: &Name| output::path(name.as_bytes())).collect::<Vec<_>>();
    let mut text = format!("{} of {}", paths.join(", "), printable(&set.host));
    if set.more_sources > 0 {
        text += &format!(", and {} more", set.more_sources);
    }
    text
}

fn good(good: &LastSuccess, now: Time) -> String {
    let short: String = good.snapshot.chars().take(8).collect();
    let mut text = format!("{:<12} {} (snapshot {short}", good.kind, when(good.at, now));
    if good.unchanged {
        text += ", nothing changed since";
    }
    if good.problems > 0 {
        text += &format!(", without {}", count(good.problems, "item", "items"));
    }
    text + ")"
}

fn overdue(set: &SetStatus) -> String {
    match set.max_age.filter(|_| set.is_overdue()) {
        Some(limit) => format!("  OVERDUE: older than {}", long(limit.as_secs())),
        None => String::new(),
    }
}

/// Returns why a run failed.
pub(crate) fn why(run: &RunRecord) -> String {
    let text = match (run.state(), &run.error) {
        (_, Some(error)) => error.clone(),
        (RunState::Lost, None) => "it was killed, or the machine was stopped".to_owned(),
        (_, None) => format!("exit code {}", run.exit.unwrap_or_default()),
    };
    printable(&text)
}

fn when(at: Time, now: Time) -> String {
    format!("{}, {} ago", output::local(at), long(age(at, now)))
}

fn age(at: Time, now: Time) -> u64 {
    u64::try_from(now.sec.saturating_sub(at.sec)).unwrap_or(0)
}

/// Formats a duration in its two largest units.
fn long(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, 0) => format!("{hours} h"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, 0, _) => format!("{days} d"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}
