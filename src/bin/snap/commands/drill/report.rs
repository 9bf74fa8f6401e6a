//! The results of a drill, and how they are told.

use serde_json::json;
use snap_backup::Result;
use snap_backup::ops::drill::Compared;

use crate::commands::drill::trial::Tried;
use crate::context::Context;
use crate::terminal::output::{self, count, size};

/// The results of a drill.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) snapshots: u64,
    pub(super) compared: Compared,
    pub(super) too_large: u64,
    /// Number of files that could not be restored, or differ.
    pub(super) problems: u64,
    pub(super) damage: bool,
    pub(super) timed_out: bool,
    pub(super) cursor: u64,
    /// Results of the command, one for each snapshot.
    pub(super) tried: Vec<Tried>,
}

/// Reports an error at once, because it explains the exit code.
pub(super) fn report_wrong(context: &Context, report: &mut Report, what: &str, damage: bool) {
    report.damage |= damage;
    report.problems += 1;
    tell_wrong(context, what);
}

pub(super) fn tell_wrong(context: &Context, what: &str) {
    context.recorder.update(|record| {
        if record.error.is_none() {
            record.set_error(what);
        }
    });
    if context.global.json {
        let error = json!({"message": what});
        let object = json!({"message_type": "error", "error": error, "during": "drill", "item": ""});
        output::eprint(&object.to_string());
    } else {
        output::error(what);
    }
}

pub(super) fn note(context: &Context, report: &Report) {
    context.recorder.update(|record| {
        record.cursor = Some(report.cursor);
        record.numbers.files = Some(report.compared.files);
        record.numbers.bytes = Some(report.compared.bytes);
        record.numbers.compared = Some(report.compared.live);
        record.numbers.problems = Some(report.problems);
    });
}

pub(super) fn print(context: &Context, report: &Report) -> Result<()> {
    let Compared { files, bytes, live, .. } = &report.compared;
    if context.global.json {
        let summary = json!({
            "message_type": "summary",
            "snapshots": report.snapshots,
            "files": files,
            "bytes": bytes,
            "files_compared_with_source": live,
            "files_too_large": report.too_large,
            "num_errors": report.problems,
            "damage": report.damage,
            "timed_out": report.timed_out,
            "runs": report.tried.iter().map(Tried::json).collect::<Vec<_>>(),
        });
        return output::print(&summary.to_string());
    }
    if !context.prints_success() {
        return Ok(());
    }
    let mut text = format!(
        "restored and compared {} ({}) of {}; {live} of them with the source, too",
        count(*files, "file", "files"),
        size(*bytes),
        count(report.snapshots, "snapshot", "snapshots"),
    );
    if report.too_large > 0 {
        text += &format!(
            "\n{} larger than --bytes and never part of a sample",
            count(report.too_large, "file is", "files are")
        );
    }
    if report.timed_out {
        text += "\ntime limit reached: the next drill continues there";
    }
    for tried in report.tried.iter().filter(|tried| tried.trouble.is_none()) {
        let said = if tried.said.is_empty() {
            String::new()
        } else {
            format!(": {}", output::printable(&tried.said))
        };
        let short: String = tried.snapshot.chars().take(8).collect();
        text += &format!("\nthe command succeeded in snapshot {short}{said}");
    }
    text +=
        &match report.problems + report.tried.iter().filter(|tried| tried.trouble.is_some()).count() as u64 {
            // This case is reported as an error.
            0 if *files == 0 && (report.too_large > 0 || report.timed_out) => String::new(),
            0 => "\nno errors were found".to_owned(),
            number => format!("\n{}", count(number, "error was found", "errors were found")),
        };
    output::print(&text)
}
