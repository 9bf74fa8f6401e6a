//! `snap diff`: shows differences. Names are printed as raw bytes.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};
use snap_backup::ops::diff::{self, Difference, DifferenceKind, DifferenceTotals, Options, Report};
use snap_backup::repo::snapshots::filter::SnapshotFilter;
use snap_backup::{Control, Result};

use super::shared::select::Among;
use crate::context::Context;
use crate::exit::{Outcome, outcome};
use crate::terminal::output::{self, count, failed, size};
use crate::terminal::pager;
use crate::terminal::progress::{Progress, stop_on_signals};
use crate::terminal::text::Paint;

#[derive(Debug, Args)]
#[command(after_help = "+ added, - removed, M content changed, T type changed, U only metadata changed")]
pub(crate) struct Diff {
    /// The first snapshot, with :PATH for a part of it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub(crate) before: OsString,
    /// A second snapshot, or a directory on disk if it begins with / or ./, or names no snapshot
    #[arg(value_name = "SNAPSHOT[:PATH]|DIR")]
    pub(crate) after: PathBuf,
    /// Do not list entries that differ only in metadata
    #[arg(long)]
    pub(crate) no_metadata: bool,
    /// End each line with NUL, because names can contain newlines, and print no totals
    #[arg(short = '0', long)]
    pub(crate) null: bool,
    #[command(flatten)]
    pub(crate) among: Among,
}

pub(crate) fn run(context: &Context, args: &Diff) -> Result<Outcome> {
    args.among.with(context, |context, selection| diff(context, args, selection))
}

fn diff(context: &Context, args: &Diff, among: SnapshotFilter) -> Result<Outcome> {
    let options = Options { before: args.before.as_bytes().to_vec(), after: args.after.clone(), among };
    let end = output::line_end(args.null, context.global.json)?;
    context.with(|repo| {
        let stop = stop_on_signals()?;
        let mut result = Ok(Outcome::Done);
        pager::emit_paged(|out| {
            let progress = Progress::start(&context.global, "diff", false);
            let summary = diff::run(
                repo,
                &options,
                &mut |difference| {
                    if args.no_metadata && difference.change == DifferenceKind::Metadata {
                        return Ok(());
                    }
                    if context.global.json {
                        return writeln!(out, "{}", Value::Object(object(difference))).map_err(failed);
                    }
                    let written = line(out, difference, context.global.verbose > 0);
                    written.and_then(|()| out.write_all(end)).map_err(failed)
                },
                &Control::new(&progress).with_cancel(&stop),
            );
            drop(progress);
            let summary = summary?;
            result = Ok(outcome(&summary.problems));
            if context.global.json {
                writeln!(out, "{}", statistics(&summary)).map_err(failed)
            } else if context.prints_success() && !args.null {
                writeln!(out, "{}", human(&summary)).map_err(failed)
            } else {
                Ok(())
            }
        })?;
        result
    })
}

fn line(out: &mut dyn Write, difference: &Difference<'_>, verbose: bool) -> io::Result<()> {
    let paint = match difference.change.letter() {
        '+' => Paint::Green,
        '-' => Paint::Red,
        'U' => Paint::Faint,
        _ => Paint::Yellow,
    };
    let slash = if difference.entry.is_dir() { "/" } else { "" };
    let (letter, name) = (difference.change.letter(), output::name(difference.path));
    if paint.shows() {
        // On a terminal, names are printed as text.
        write!(out, "{}", paint.on(&format!("{letter}    {}{slash}", String::from_utf8_lossy(&name))))?;
    } else {
        write!(out, "{letter}    ")?;
        out.write_all(&name)?;
        out.write_all(slash.as_bytes())?;
    }
    if verbose && !difference.fields.is_empty() {
        write!(out, " ({})", difference.fields.join(", "))?;
    }
    Ok(())
}

fn object(difference: &Difference<'_>) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("message_type".to_owned(), "change".into());
    output::put_bytes(&mut map, "path", difference.path);
    map.insert("modifier".to_owned(), difference.change.letter().to_string().into());
    if !difference.fields.is_empty() {
        map.insert("metadata".to_owned(), difference.fields.clone().into());
    }
    map
}

fn totals(totals: &DifferenceTotals) -> Value {
    json!({"files": totals.files, "dirs": totals.dirs, "others": totals.others, "bytes": totals.bytes})
}

fn statistics(summary: &Report) -> Value {
    json!({
        "message_type": "statistics",
        "source_snapshot": summary.before.hex(),
        "target_snapshot": summary.after.map(|id| id.hex()),
        "changed_files": summary.content,
        "changed_types": summary.types,
        "changed_metadata": summary.metadata,
        "added": totals(&summary.added),
        "removed": totals(&summary.removed),
        "problems": summary.problems.len(),
    })
}

/// Formats the totals, with the letters of the changes beside them as an explanation.
fn human(summary: &Report) -> String {
    let part = |totals: &DifferenceTotals| match output::entries(totals.files, totals.dirs, totals.others) {
        without_bytes if totals.files == 0 => without_bytes,
        text => format!("{text} ({})", size(totals.bytes)),
    };
    if summary.is_same() && summary.problems.is_empty() {
        return "no difference".to_owned();
    }
    let mut text = format!(
        "+ added:            {}\n- removed:          {}\nM content changed:  {}\nT type changed:     {}\nU metadata changed: {}",
        part(&summary.added),
        part(&summary.removed),
        summary.content,
        summary.types,
        summary.metadata,
    );
    if !summary.problems.is_empty() {
        let number = summary.problems.len() as u64;
        text += &format!("\n{} not be read: see the warnings", count(number, "path could", "paths could"));
    }
    text
}
