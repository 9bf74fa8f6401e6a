//! `snap du`: shows which directories take the space of a snapshot or of the repository.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use snap_backup::ops::du::{self, DirUsage, Options, Report};
use snap_backup::repo::snapshots::filter::{SnapshotFilter, SnapshotQuery};
use snap_backup::{Control, Error, Result};

use super::shared::select::Among;
use super::shared::selector::text_and_path;
use crate::context::Context;
use crate::exit::Outcome;
use crate::terminal::output::{self, count, failed, size};
use crate::terminal::pager;
use crate::terminal::progress::{Progress, stop_on_signals};
use crate::terminal::table::Narrow;

#[derive(Debug, Args)]
#[command(
    after_help = "Size: of a restore of the newest snapshot. Stored: what the selected snapshots use of the repository, \
    each chunk counted once. Growth: the part of it that the oldest of them, or --since, does not use. Unique: the \
    part of it that no other snapshot uses."
)]
pub(crate) struct Du {
    /// latest, latest~N, an id prefix, a date or a time, with :PATH for a directory [default: all snapshots]
    #[arg(value_name = "SNAPSHOT[:PATH]", conflicts_with = "Filters")]
    snapshots: Vec<OsString>,
    /// Only below this directory, by its stored path
    #[arg(long, value_name = "PATH")]
    below: Option<OsString>,
    /// Compute growth since this snapshot
    #[arg(long, value_name = "SNAPSHOT")]
    since: Option<String>,
    /// Number of directory levels to show
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    depth: usize,
    /// Also show how much no other snapshot uses
    #[arg(long)]
    unique: bool,
    /// Sort by this column, largest first, or by path
    #[arg(long, value_name = "COLUMN")]
    sort: Option<Column>,
    /// Show only the first N rows
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    #[command(flatten)]
    among: Among,
}

/// What lines are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Column {
    /// The path
    Path,
    /// Bytes to restore
    Size,
    /// Bytes in the repository
    Stored,
    /// Bytes added since then
    Growth,
    /// Bytes that no other snapshot uses
    Unique,
}

pub(crate) fn run(context: &Context, args: &Du) -> Result<Outcome> {
    args.among.with(context, |context, selection| du(context, args, selection))
}

fn du(context: &Context, args: &Du, selection: SnapshotFilter) -> Result<Outcome> {
    let mut options = Options {
        choice: SnapshotQuery { selectors: Vec::new(), selection },
        below: args.below.clone().map(OsStringExt::into_vec).unwrap_or_default(),
        since: args.since.clone(),
        depth: args.depth,
        unique: args.unique,
    };
    context.with(|repo| {
        for selector in &args.snapshots {
            let (text, path) = text_and_path(repo, selector, &SnapshotFilter::default())?;
            if let Some(path) = path {
                if !options.below.is_empty() && options.below != path {
                    let selector = selector.display();
                    return Err(Error::Usage(format!("{selector}: only one directory can be given")));
                }
                options.below = path;
            }
            options.choice.selectors.push(text);
        }
        let stop = stop_on_signals()?;
        let progress = Progress::start(&context.global, "du", false);
        let report = du::run(repo, &options, &Control::new(&progress).with_cancel(&stop));
        drop(progress);
        let report = report?;
        if report.missing > 0 {
            let missing = count(report.missing, "chunk is", "chunks are");
            let text = format!("{missing} missing: run `snap check --read-data`");
            output::warn(context.global.json, &text);
        }
        let lines = sorted(&report, args);
        pager::emit_paged(|out| {
            let shown: Vec<String> = if context.global.json {
                json(&report, &lines, args.unique)
            } else {
                human(context, &report, &lines, args.unique)
            };
            shown.iter().try_for_each(|line| writeln!(out, "{line}").map_err(failed))
        })?;
        Ok(if report.missing > 0 { Outcome::Damage } else { Outcome::Done })
    })
}

/// Returns all lines except the first, which is the total.
fn sorted<'a>(report: &'a Report, args: &Du) -> Vec<&'a DirUsage> {
    let by = args.sort.unwrap_or(if report.since.is_some() { Column::Growth } else { Column::Stored });
    let mut lines: Vec<&DirUsage> = report.lines.iter().skip(1).collect();
    let key = |line: &DirUsage| match by {
        Column::Path => 0,
        Column::Size => line.sums.size,
        Column::Stored => line.sums.stored,
        Column::Growth => line.sums.grown,
        Column::Unique => line.sums.unique,
    };
    // The sort is stable: lines with equal values stay in order of their paths.
    lines.sort_by_key(|line| std::cmp::Reverse(key(line)));
    lines.truncate(args.top.unwrap_or(usize::MAX));
    lines
}

fn human(context: &Context, report: &Report, lines: &[&DirUsage], unique: bool) -> Vec<String> {
    let (grows, start) = (report.since.is_some(), report.lines.first());
    let head = ["Size", "Files", "Stored", "Growth", "Unique", "Path"].map(str::to_owned);
    let cells = |line: &DirUsage, path: String| {
        let sums = &line.sums;
        [
            size(sums.size),
            sums.files.to_string(),
            size(sums.stored),
            size(sums.grown),
            size(sums.unique),
            path,
        ]
    };
    let mut rows = vec![head];
    rows.extend(lines.iter().map(|line| cells(line, format!("{}/", output::path(&line.path)))));
    let total = |path: &[u8]| if path.is_empty() { "total".into() } else { output::path(path) };
    rows.extend(start.map(|line| cells(line, total(&line.path))));
    let mut shown = match (grows, unique) {
        (true, true) => only(&rows, [0, 1, 2, 3, 4, 5]),
        (true, false) => only(&rows, [0, 1, 2, 3, 5]),
        (false, true) => only(&rows, [0, 1, 2, 4, 5]),
        (false, false) => only(&rows, [0, 1, 2, 5]),
    };
    if context.prints_success() {
        let mut text = count(report.snapshots as u64, "snapshot", "snapshots");
        if let Some([one]) = report.since.as_deref() {
            text += &format!("; growth since {} of {}", one.id.short(), output::local(one.manifest.started));
        } else if let Some(since) = &report.since {
            text += &format!("; growth since the oldest of each of {} hosts and sources", since.len());
        }
        shown.push(text);
    }
    shown
}

/// Formats only these columns; the last one is text.
fn only<const N: usize>(rows: &[[String; 6]], columns: [usize; N]) -> Vec<String> {
    let cell = |row: &[String; 6], column: usize| row.get(column).cloned().unwrap_or_default();
    let rows: Vec<[String; N]> = rows.iter().map(|row| columns.map(|column| cell(row, column))).collect();
    let narrow = Narrow { cut: &[(N - 1, 16)], drop: &[1, 0] };
    output::table(&rows, |column| column + 1 < N, &narrow)
}

fn json(report: &Report, lines: &[&DirUsage], unique: bool) -> Vec<String> {
    let object = |line: &DirUsage, kind: &str| {
        let mut map = Map::new();
        map.insert("message_type".to_owned(), kind.into());
        output::put_bytes(&mut map, "path", &line.path);
        let sums = &line.sums;
        map.insert("files".to_owned(), sums.files.into());
        map.insert("size".to_owned(), sums.size.into());
        map.insert("stored".to_owned(), sums.stored.into());
        if report.since.is_some() {
            map.insert("size_before".to_owned(), sums.size_before.into());
            map.insert("growth".to_owned(), sums.grown.into());
        }
        if unique {
            map.insert("unique".to_owned(), sums.unique.into());
        }
        map
    };
    let mut shown: Vec<String> =
        lines.iter().map(|line| Value::Object(object(line, "directory")).to_string()).collect();
    if let Some(start) = report.lines.first() {
        let mut map = object(start, "summary");
        map.insert("snapshots".to_owned(), report.snapshots.into());
        let since = report.since.iter().flatten().map(|one| one.id.hex()).collect::<Vec<_>>();
        map.insert("since".to_owned(), json!(since));
        map.insert("chunks_missing".to_owned(), report.missing.into());
        shown.push(Value::Object(map).to_string());
    }
    shown
}
