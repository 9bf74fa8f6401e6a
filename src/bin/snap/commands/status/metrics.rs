//! The status in the text format of Prometheus. Names and meanings are documented in docs/status.md and must
//! not change.

use std::fmt::Write;

use snap_backup::model::entry::Time;
use snap_backup::ops::status::{Report, SetStatus};
use snap_backup::run_log::RunRecord;

/// A metric and its help text.
struct Metric {
    name: &'static str,
    help: &'static str,
    lines: String,
}

impl Metric {
    const fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, lines: String::new() }
    }

    fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> =
            labels.iter().map(|(name, text)| format!("{name}=\"{}\"", escaped(text))).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(self.lines, "{}{{{}}} {value}", self.name, labels.join(","));
    }
}

/// Formats all metrics. Metrics without a value are left out.
pub(crate) fn text(reports: &[Report], now: Time) -> String {
    let mut metrics = Vec::new();
    metrics.extend(of_sets(reports));
    metrics.extend(of_works(reports));
    metrics.extend(of_room(reports));
    let mut text = String::new();
    for metric in metrics.iter().filter(|metric| !metric.lines.is_empty()) {
        let Metric { name, help, lines } = metric;
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{lines}");
    }
    let name = "snap_status_timestamp_seconds";
    let _ = write!(
        text,
        "# HELP {name} Time at which the metrics were written.\n# TYPE {name} gauge\n{name} {}\n",
        seconds(now)
    );
    text
}

fn of_sets(reports: &[Report]) -> [Metric; 7] {
    let mut success = Metric::new(
        "snap_backup_last_success_timestamp_seconds",
        "Start of the newest successful backup of a kind.",
    );
    let mut failure =
        Metric::new("snap_backup_last_failure_timestamp_seconds", "Start of the newest failed backup.");
    let mut failing =
        Metric::new("snap_backup_failing", "Whether the newest finished backup failed: 1 or 0.");
    let mut limit = Metric::new(
        "snap_backup_max_age_seconds",
        "Age of the last successful backup at which a set is overdue.",
    );
    let mut overdue = Metric::new("snap_backup_overdue", "Whether a set is overdue: 1 or 0.");
    let mut alarms = Metric::new("snap_backup_alarms", "Number of open alarms of a set.");
    let mut next =
        Metric::new("snap_backup_next_run_timestamp_seconds", "Start of the next scheduled run of a set.");
    for (report, set) in reports.iter().flat_map(|report| report.sets.iter().map(move |set| (report, set))) {
        let name = called(set);
        let labels =
            [("repository", report.location.as_str()), ("host", set.host.as_str()), ("set", name.as_str())];
        for good in &set.good {
            success.add(&[&labels[..], &[("kind", good.kind.as_str())]].concat(), seconds(good.at));
        }
        if let Some(run) = &set.failure {
            failure.add(&labels, seconds(run.start));
        }
        failing.add(&labels, flag(set.is_failing()));
        if let Some(age) = set.max_age {
            limit.add(&labels, age.as_secs() as f64);
        }
        overdue.add(&labels, flag(set.is_overdue()));
        alarms.add(&labels, set.alarms.len() as f64);
        if let Some(at) = set.next {
            next.add(&labels, seconds(at));
        }
    }
    [success, failure, failing, limit, overdue, alarms, next]
}

fn of_works(reports: &[Report]) -> [Metric; 3] {
    let mut success = Metric::new(
        "snap_work_last_success_timestamp_seconds",
        "Start of the newest successful run of a command.",
    );
    let mut failure = Metric::new(
        "snap_work_last_failure_timestamp_seconds",
        "Start of the newest failed run of a command.",
    );
    let mut failing = Metric::new("snap_work_failing", "Whether the newest run of a command failed: 1 or 0.");
    for (report, work) in
        reports.iter().flat_map(|report| report.works.iter().map(move |work| (report, work)))
    {
        let labels = [("repository", report.location.as_str()), ("verb", work.verb.as_str())];
        let add = |metric: &mut Metric, run: &Option<RunRecord>| {
            if let Some(run) = run {
                metric.add(&labels, seconds(run.start));
            }
        };
        add(&mut success, &work.good);
        add(&mut failure, &work.bad);
        failing.add(&labels, flag(work.is_failing()));
    }
    [success, failure, failing]
}

fn of_room(reports: &[Report]) -> [Metric; 7] {
    let mut reachable =
        Metric::new("snap_repository_reachable", "Whether the repository could be reached: 1 or 0.");
    let mut diverged = Metric::new(
        "snap_repository_differences",
        "Number of differences from this machine's records, such as missing snapshots.",
    );
    let mut bytes = Metric::new("snap_repository_bytes", "Size of all packs.");
    let mut growth =
        Metric::new("snap_repository_growth_bytes_per_day", "Growth of all packs per day, over thirty days.");
    let mut free =
        Metric::new("snap_repository_disk_free_bytes", "Free space of the repository's file system.");
    let mut total = Metric::new("snap_repository_disk_bytes", "Size of the repository's file system.");
    let mut days = Metric::new(
        "snap_repository_days_left",
        "Days until the file system or the quota is full, at the \
                                                  current growth.",
    );
    for report in reports {
        let labels = [("repository", report.location.as_str())];
        let add = |metric: &mut Metric, value: Option<f64>| {
            if let Some(value) = value {
                metric.add(&labels, value);
            }
        };
        add(&mut reachable, Some(flag(report.trouble.is_none())));
        add(&mut diverged, report.trouble.is_none().then_some(report.diverged.len() as f64));
        add(&mut bytes, report.bytes.map(|bytes| bytes as f64));
        add(&mut growth, report.growth.map(|growth| growth.bytes_per_day));
        add(&mut free, report.capacity.map(|capacity| capacity.free as f64));
        add(&mut total, report.capacity.map(|capacity| capacity.total as f64));
        add(&mut days, report.days_left());
    }
    [reachable, diverged, bytes, growth, free, total, days]
}

/// Returns the name of a set, otherwise its sources.
fn called(set: &SetStatus) -> String {
    set.name.clone().unwrap_or_else(|| {
        let paths = set.sources.iter().map(|path| String::from_utf8_lossy(path.as_bytes()).into_owned());
        paths.collect::<Vec<String>>().join(",")
    })
}

fn seconds(at: Time) -> f64 {
    at.sec as f64
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
