//! `snap check`: verifies the repository.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use snap_backup::ops::check;
use snap_backup::ops::check::scrub::Budget;
use snap_backup::ops::check::{Options, Report, Subject, Subset};
use snap_backup::{Control, Result};

use super::scrub;
use super::shared::sets;
use crate::args::values;
use crate::commands::shared::hooks::Job;
use crate::context::Context;
use crate::exit::Outcome;
use crate::terminal::output::{self, count, size};
use crate::terminal::progress::{Progress, stop_on_signals};
use crate::terminal::repository_messages;
use crate::terminal::text::Paint;

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Check the repository of this set of the configuration, and as much data as the set says; can be
    /// repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) set: Vec<String>,
    /// Read both tables of every pack from the repository, even if they are cached
    #[arg(long)]
    pub(crate) tables: bool,
    /// Only compare packs and key slots with the hashes in their names, starting with the least recently
    /// verified; needs no password
    #[arg(long, conflicts_with_all = ["set", "tables", "read_data", "read_data_subset"])]
    pub(crate) scrub: bool,
    /// Skip what this machine has verified within this time, such as 30d
    #[arg(long, value_name = "TIME", value_parser = values::duration, requires = "scrub")]
    pub(crate) max_age: Option<Duration>,
    /// Stop after reading this many bytes (10G) or after this time (10m; a lower-case m is minutes)
    #[arg(long, value_name = "SIZE|TIME", value_parser = budget, requires = "scrub")]
    pub(crate) budget: Option<Budget>,
    /// Read all data, not only the structure
    #[arg(long)]
    pub(crate) read_data: bool,
    /// Read a part of the data: the N-th of T parts, a percentage, or a size
    #[arg(long, value_name = "N/T|P%|SIZE", value_parser = values::subset, conflicts_with = "read_data")]
    pub(crate) read_data_subset: Option<Subset>,
}

pub(crate) fn run(context: &Context, args: Check) -> Result<Outcome> {
    if args.scrub {
        return scrub::run(context, args.max_age, args.budget);
    }
    let sets = sets::chosen(context, &args.set, false)?;
    if sets.is_empty() {
        return check_set(context, &args);
    }
    let job = Job { verb: "check", kind: None, dry_run: false, gate: None };
    sets::each(context, &sets, job, |context| check_set(context, &args))
}

fn check_set(context: &Context, args: &Check) -> Result<Outcome> {
    let given = Options { read_data: args.read_data, subset: args.read_data_subset, tables: args.tables };
    let options = if given.read_data || given.subset.is_some() {
        given
    } else {
        Options { tables: args.tables, ..context.set_settings().check_data.0 }
    };
    let reads = options.read_data || options.subset.is_some();
    context.begin("check", false, |record| record.read_data = reads);
    context.recorder.write_start();
    let (report, said) = context.with(|repo| {
        let stop = stop_on_signals()?;
        let progress = Progress::start(&context.global, "check", false);
        let result = check::run(repo, &options, &Control::new(&progress).with_cancel(&stop));
        drop(progress);
        Ok((result?, repository_messages::take_warnings(repo)))
    })?;
    context.recorder.update(|record| {
        record.numbers.bytes_read = Some(report.bytes_read);
        record.numbers.problems = Some(report.errors.len() as u64);
        report.errors.iter().take(1).for_each(|error| record.set_error(&error.to_string()));
    });
    let warnings = [scrub::texts(&report.warnings), said].concat();
    warnings.iter().for_each(|warning| output::warn(context.global.json, warning));
    if context.global.json {
        print_json(&report, &warnings)?;
    } else {
        print(context, &report)?;
    }
    Ok(if report.errors.is_empty() { Outcome::Done } else { Outcome::Damage })
}

/// Prints the report. Errors go to standard error, one per line, because they explain the exit code. The
/// verdict is the answer and goes to standard output.
fn print(context: &Context, report: &Report) -> Result<()> {
    match context.global.verbose {
        0 => print_sum(report),
        _ => print_all(report),
    }
    hints(report).into_iter().for_each(output::hint);
    if !context.prints_success() {
        return Ok(());
    }
    let read =
        if report.bytes_read > 0 { format!("; {} read", size(report.bytes_read)) } else { String::new() };
    let verdict = match report.errors.len() as u64 + report.more {
        0 => Paint::Green.on("no errors were found"),
        number => Paint::Red.on(&count(number, "error was found", "errors were found")),
    };
    output::print(&format!(
        "checked {}, {} and {}{read}\n{verdict}",
        count(report.snapshots, "snapshot", "snapshots"),
        count(report.packs, "pack", "packs"),
        count(report.chunks, "chunk", "chunks"),
    ))
}

/// Returns hints for each kind of damage.
fn hints(report: &Report) -> Vec<&'static str> {
    let mut hints = Vec::new();
    let is_data =
        |subject: &Subject| !matches!(subject, Subject::Parity | Subject::Segment | Subject::KeySlot);
    if report.subjects.keys().any(is_data) {
        hints.push(
            "back up again, which stores what the sources still have; then run `snap repair packs`, and \
             `snap repair snapshots` for what remains lost (docs/repair.md)",
        );
    }
    if report.subjects.contains_key(&Subject::Parity) {
        hints.push("`snap repair parity` rewrites parity");
    }
    if report.subjects.contains_key(&Subject::KeySlot) {
        hints.push(
            "`snap key list` shows damaged key slots and `snap key remove` removes one; its password can be \
             added again",
        );
    }
    if report.subjects.contains_key(&Subject::Segment) {
        hints.push(
            "`snap repair index` removes damaged header bundles: they are only an optimization and are \
             written again",
        );
    }
    hints
}

/// Prints a summary of what is damaged and which snapshots are affected: few users want the ids of objects.
fn print_sum(report: &Report) {
    let objects: Vec<String> =
        report.subjects.iter().filter_map(|(subject, number)| words(*subject, *number)).collect();
    if !objects.is_empty() {
        output::error(&format!("damaged: {}", objects.join(", ")));
    }
    let whole = report.errors.iter().filter(|error| error.subject() == Subject::Repository);
    whole.for_each(|error| output::error(&error.to_string()));
    for (id, entries) in &report.affected {
        let paths = report.paths.iter().filter(|(of, _)| of == id);
        let shown: Vec<String> =
            paths.take(PATHS).map(|(_, path)| format!("/{}", String::from_utf8_lossy(path))).collect();
        let more = entries.saturating_sub(shown.len() as u64);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let entries = count(*entries, "entry", "entries");
        output::error(&format!("snapshot {}: {entries} affected: {}{more}", id.short(), shown.join(", ")));
    }
    if !report.errors.is_empty() {
        output::note(false, "-v lists every object and path");
    }
}

/// Maximum number of paths that are named per snapshot.
const PATHS: usize = 5;

fn words(subject: Subject, number: u64) -> Option<String> {
    let (one, many) = match subject {
        Subject::Pack => ("pack", "packs"),
        Subject::Manifest => ("snapshot's manifest", "snapshots' manifests"),
        Subject::KeySlot => ("key slot", "key slots"),
        Subject::Config => ("configuration", "configurations"),
        Subject::Record => ("record", "records"),
        Subject::Segment => ("header bundle", "header bundles"),
        Subject::Parity => ("pack's parity", "packs' parity"),
        Subject::Entry | Subject::Repository => return None,
    };
    Some(count(number, one, many))
}

fn print_all(report: &Report) {
    report.errors.iter().for_each(|error| output::error(&error.to_string()));
    if report.more > 0 {
        output::error(&format!("and {} more", report.more));
    }
    for (id, entries) in &report.affected {
        let entries = count(*entries, "entry", "entries");
        output::error(&format!("snapshot {}: {entries} affected", id.short()));
    }
}

fn print_json(report: &Report, warnings: &[String]) -> Result<()> {
    for error in &scrub::texts(&report.errors) {
        let error = json!({"message": error});
        output::eprint(
            &json!({"message_type": "error", "error": error, "during": "check", "item": ""}).to_string(),
        );
    }
    let affected: Vec<_> = report
        .affected
        .iter()
        .map(|(id, entries)| json!({"snapshot": id.hex(), "entries": entries}))
        .collect();
    let summary = json!({
        "message_type": "summary",
        "num_errors": report.errors.len() as u64 + report.more,
        "errors": scrub::texts(&report.errors),
        "affected": affected,
        "warnings": warnings,
        "snapshots": report.snapshots,
        "packs": report.packs,
        "chunks": report.chunks,
        "bytes_read": report.bytes_read,
    });
    output::print(&summary.to_string())
}

fn budget(text: &str) -> Result<Budget, String> {
    if let Ok(time) = values::duration(text) {
        return Ok(Budget::Time(time));
    }
    values::size(text).map(Budget::Bytes).map_err(|_| "a size like 10G or a time like 30m".to_owned())
}
