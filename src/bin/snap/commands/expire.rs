//! Rules per path, as applied by `snap rewrite --expire` and `--keep-deleted` and by `snap cleanup`.

use serde_json::{Map, Value, json};
use snap_backup::model::id::SnapshotId;
use snap_backup::ops::forget;
use snap_backup::ops::forget::groups::Group;
use snap_backup::ops::forget::policy::Decision;
use snap_backup::ops::rewrite::expire::{self, Hold, Options, Report};
use snap_backup::ops::rewrite::removed_totals::{RemovalReason, Row};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::Snapshot;
use snap_backup::repo::snapshots::filter::SnapshotQuery;
use snap_backup::{Control, Result};

use super::shared::rewritten;
use crate::args::path_rules::{self, Expiry, PathRules};
use crate::context::Context;
use crate::exit::Outcome;
use crate::terminal::output::{self, count, size};
use crate::terminal::progress::{Progress, stop_on_signals};

/// Rows that are printed without --verbose.
const ROWS: usize = 20;

/// The rules to apply, and to which snapshots.
pub(crate) struct Asked<'a> {
    pub(crate) rules: &'a PathRules,
    pub(crate) choice: SnapshotQuery,
    /// Snapshots to leave out, because an actual run would have forgotten them before.
    pub(crate) except: &'a [SnapshotId],
    /// Snapshots that are too young to be changed.
    pub(crate) young: &'a [SnapshotId],
    pub(crate) dry_run: bool,
    /// The `message_type` of the JSON output.
    pub(crate) message_type: &'a str,
}

/// Applies the rules and prints the result. Returns how many snapshots changed, and the outcome.
pub(crate) fn apply(context: &Context, repo: &Repository, asked: &Asked<'_>) -> Result<(usize, Outcome)> {
    let now = path_rules::now();
    let (rules, deleted_before) = asked.rules.at(&now);
    let options = Options {
        choice: asked.choice.clone(),
        rules,
        deleted_before,
        now: output::time(now.timestamp()),
        except: asked.except.iter().copied().collect(),
        young: asked.young.iter().copied().collect(),
        dry_run: asked.dry_run,
    };
    let stop = stop_on_signals()?;
    let progress = Progress::start(&context.global, "expire", false);
    let report = expire::run(repo, &options, &Control::new(&progress).with_cancel(&stop));
    drop(progress);
    let report = report?;
    context.print_unmatched(&report.unmatched);
    if context.global.json {
        output::print(&Value::Object(to_json(&report, asked)).to_string())?;
    } else if context.prints_success() {
        output::print(&human(&report, asked, context.global.verbose > 0))?;
    }
    context.recorder.update(|record| record.numbers.rewritten = Some(report.rewritten.len() as u64));
    let met = rewritten::warn_of_others(context, &report.rewritten, asked.dry_run);
    Ok((report.rewritten.len(), if met { Outcome::Problems } else { Outcome::Done }))
}

/// Returns the snapshots that are too young to be changed by any rule.
pub(crate) fn young(groups: &[Group]) -> Vec<SnapshotId> {
    let all = groups.iter().flat_map(|group| &group.decisions);
    let is_young =
        |one: &&Decision| one.reasons.iter().any(|why| matches!(why, forget::policy::KeepReason::Young(_)));
    all.filter(is_young).map(|one| one.snapshot.id).collect()
}

fn human(report: &Report, asked: &Asked<'_>, all: bool) -> String {
    let dry_run = asked.dry_run;
    let mut lines = Vec::new();
    let mut rows: Vec<&Row> = report.taken.rows.iter().collect();
    if !all && rows.len() > ROWS {
        // Selects the largest rows, then restores the order of paths.
        rows.sort_by_key(|row| std::cmp::Reverse(row.totals.bytes));
        rows.truncate(ROWS);
        rows.sort_by(|a, b| a.path.cmp(&b.path));
    }
    let beyond = report.taken.rows.len() - rows.len();
    let did = if dry_run { "would take" } else { "took" };
    lines.extend(rows.iter().map(|row| format!("{did} {}", row_line(row, asked.rules))));
    if beyond > 0 {
        lines.push(format!("{did} more from {beyond} smaller ones (-v shows them)"));
    }
    if let Some(rest) = &report.taken.rest {
        lines.push(format!("{did} {} more paths ({}) elsewhere", rest.paths, size(rest.totals.bytes)));
    }
    lines.extend(report.rewritten.iter().map(|one| rewritten::line(one, dry_run)));
    for (snapshot, hold) in &report.held {
        let (id, when) = (snapshot.id.short(), output::local(snapshot.manifest.started));
        lines.push(format!("snapshot {id} of {when} was not changed: it is {}", why_held(*hold)));
    }
    lines.push(ending(report, dry_run));
    lines.join("\n")
}

fn ending(report: &Report, dry_run: bool) -> String {
    let (rewritten, unchanged) = (report.rewritten.len() as u64, report.unchanged);
    let rewritten = count(rewritten, "snapshot", "snapshots");
    match (report.rewritten.is_empty(), dry_run) {
        (true, _) if unchanged == 0 => {
            "rules per path: nothing to do, no snapshot that they apply to is old enough".to_owned()
        }
        (true, _) => {
            let old = count(unchanged, "snapshot that is", "snapshots that are");
            format!("rules per path: nothing to do in {old} old enough")
        }
        (_, true) => format!("rules per path: {rewritten} would be rewritten; nothing written"),
        (_, false) => format!("rules per path: {rewritten} rewritten; the old ones are in the trash"),
    }
}

/// Formats a row: `/home/me/Downloads: 3 paths, 12 files (1.2 GiB), from 5 snapshots: **/Downloads/** after
/// 30d`.
fn row_line(row: &Row, rules: &PathRules) -> String {
    let totals = &row.totals;
    let what = output::entries(totals.files, totals.dirs, totals.others);
    let paths = if row.paths > 1 { format!("{} paths in it, ", row.paths) } else { String::new() };
    format!(
        "/{}: {paths}{what} ({}) from {}: {}",
        output::path(&row.path),
        size(totals.bytes),
        count(row.snapshots.count(), "snapshot", "snapshots"),
        why_taken(row.reason, rules),
    )
}

fn why_taken(reason: RemovalReason, rules: &PathRules) -> String {
    match (rule(reason, rules), rules.keep_deleted) {
        (Some(rule), _) => {
            format!("{} after {}", output::printable(&rule.pattern.to_string_lossy()), rule.after)
        }
        (None, Some(age)) => format!("deleted more than {age} ago"),
        (None, None) => String::new(),
    }
}

fn rule(reason: RemovalReason, rules: &PathRules) -> Option<&Expiry> {
    match reason {
        RemovalReason::Rule(at) => rules.expire.get(at),
        RemovalReason::Deleted | RemovalReason::Excluded => None,
    }
}

fn why_held(hold: Hold) -> String {
    match hold {
        Hold::Pinned => "pinned".to_owned(),
        Hold::Alarm(id) => format!("held by the alarm of snapshot {}", id.short()),
    }
}

fn to_json(report: &Report, asked: &Asked<'_>) -> Map<String, Value> {
    let rewritten: Vec<Value> = report.rewritten.iter().map(rewritten::to_json).collect();
    let held: Vec<Value> = report.held.iter().map(held_json).collect();
    let rows: Vec<Value> = report.taken.rows.iter().map(|row| row_json(row, asked.rules)).collect();
    let mut map = Map::new();
    map.insert("message_type".to_owned(), asked.message_type.into());
    map.insert("rewritten".to_owned(), rewritten.into());
    map.insert("unchanged".to_owned(), report.unchanged.into());
    map.insert("held".to_owned(), held.into());
    map.insert("taken".to_owned(), rows.into());
    if let Some(rest) = &report.taken.rest {
        map.insert("taken_elsewhere".to_owned(), json!({"paths": rest.paths, "bytes": rest.totals.bytes}));
    }
    map.insert("trees_rewritten".to_owned(), report.trees_built.into());
    map.insert("patterns_unmatched".to_owned(), report.unmatched.clone().into());
    map.insert("dry_run".to_owned(), asked.dry_run.into());
    map
}

fn held_json((snapshot, hold): &(Snapshot, Hold)) -> Value {
    let id = snapshot.id.hex();
    match hold {
        Hold::Pinned => json!({"snapshot": id, "reason": "pinned"}),
        Hold::Alarm(alarm) => json!({"snapshot": id, "reason": "alarm", "alarm": alarm.hex()}),
    }
}

fn row_json(row: &Row, rules: &PathRules) -> Value {
    let mut map = Map::new();
    output::put_bytes(&mut map, "path", &[b"/", row.path.as_slice()].concat());
    let rule = rule(row.reason, rules);
    map.insert("reason".to_owned(), if rule.is_some() { "expire" } else { "deleted" }.into());
    if let Some(rule) = rule {
        map.insert("pattern".to_owned(), rule.pattern.to_string_lossy().into());
        map.insert("after".to_owned(), rule.after.to_string().into());
    }
    for (name, number) in [
        ("paths", row.paths),
        ("files", row.totals.files),
        ("dirs", row.totals.dirs),
        ("others", row.totals.others),
        ("bytes", row.totals.bytes),
        ("snapshots", row.snapshots.count()),
    ] {
        map.insert(name.to_owned(), number.into());
    }
    Value::Object(map)
}
