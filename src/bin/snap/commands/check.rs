//! `snap check`: verifies the repository.

use serde_json::json;
use snap_backup::Result;
use snap_backup::ops::check::{self, Options, Report};

use super::Context;
use crate::args;
use crate::output::{self, count, printable, size};
use crate::progress::{Progress, stop_on_signals};
use crate::report::Outcome;

pub(super) fn run(context: &Context, args: args::Check) -> Result<Outcome> {
    let options = Options { read_data: args.read_data, subset: args.read_data_subset };
    let report = context.with(|repo| {
        let stop = stop_on_signals()?;
        let progress = Progress::start(&context.global, "check", false);
        let result = check::run(repo, &options, &progress, &stop);
        drop(progress);
        result
    })?;
    for warning in &report.warnings {
        output::warn(context.global.json, warning);
    }
    if context.global.json {
        print_json(&report)?;
    } else {
        print(context, &report)?;
    }
    Ok(if report.errors.is_empty() { Outcome::Done } else { Outcome::Damage })
}

/// Errors go to standard error, each as a line: they are the reason for the exit code. The verdict is the answer.
fn print(context: &Context, report: &Report) -> Result<()> {
    for error in &report.errors {
        output::complain(&format!("snap: error: {}", printable(error)));
    }
    if !context.talks() {
        return Ok(());
    }
    let read =
        if report.bytes_read > 0 { format!("; {} read", size(report.bytes_read)) } else { String::new() };
    let verdict = match report.errors.len() as u64 {
        0 => "no errors were found".to_owned(),
        number => count(number, "error was found", "errors were found"),
    };
    output::tell(&format!(
        "checked {}, {} and {}{read}\n{verdict}",
        count(report.snapshots, "snapshot", "snapshots"),
        count(report.packs, "pack", "packs"),
        count(report.chunks, "chunk", "chunks"),
    ))
}

fn print_json(report: &Report) -> Result<()> {
    for error in &report.errors {
        let error = json!({"message": error});
        output::complain(
            &json!({"message_type": "error", "error": error, "during": "check", "item": ""}).to_string(),
        );
    }
    let summary = json!({
        "message_type": "summary",
        "num_errors": report.errors.len(),
        "errors": report.errors,
        "warnings": report.warnings,
        "snapshots": report.snapshots,
        "packs": report.packs,
        "chunks": report.chunks,
        "bytes_read": report.bytes_read,
    });
    output::tell(&summary.to_string())
}
