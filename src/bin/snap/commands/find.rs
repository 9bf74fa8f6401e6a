//! `snap find`: shows where a file is, and in which snapshots. Names are printed as raw bytes.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};
use snap_backup::model::entry::{Entry, Time};
use snap_backup::ops::find::{self, EntryType, Match, Options};
use snap_backup::repo::snapshots::Snapshot;
use snap_backup::repo::snapshots::filter::{SnapshotFilter, SnapshotQuery};
use snap_backup::util::bitset::BitSet;
use snap_backup::{Control, Error, Result};

use super::ls;
use super::shared::select::Among;
use crate::args::{times, values};
use crate::context::Context;
use crate::exit::Outcome;
use crate::terminal::output::{self, count, failed};
use crate::terminal::pager;
use crate::terminal::progress::{Progress, stop_on_signals};

#[derive(Debug, Args)]
#[command(
    after_help = "A pattern without a slash is matched against the name, one with a slash against as many last \
    components of the path. /src/*.c begins at the root of the snapshot; ** matches any number of components."
)]
pub(crate) struct Find {
    /// Glob patterns, one of which must match
    #[arg(value_name = "PATTERN")]
    patterns: Vec<OsString>,
    /// Patterns are regular expressions, matched anywhere in the path
    #[arg(long)]
    regex: bool,
    /// Patterns ignore case
    #[arg(short, long = "iname", visible_alias = "ignore-case")]
    ignore_case: bool,
    /// Modified at or after this: a date, a time, or an age (30d)
    #[arg(short = 'O', long, visible_alias = "oldest", value_name = "WHEN", value_parser = times::past)]
    newer: Option<Time>,
    /// Modified before this: a date, a time, or an age (30d)
    #[arg(short = 'N', long, visible_alias = "newest", value_name = "WHEN", value_parser = times::past)]
    older: Option<Time>,
    /// Files larger than this
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    larger: Option<u64>,
    /// Files smaller than this
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    smaller: Option<u64>,
    /// Types, comma-separated: f file, d directory, l symbolic link, p pipe, s socket, c and b device
    #[arg(long = "type", value_name = "TYPES", value_parser = kind, value_delimiter = ',')]
    types: Vec<EntryType>,
    /// Files and directories that use the chunk whose id begins with this
    #[arg(long, visible_alias = "blob", value_name = "ID")]
    chunk: Option<String>,
    /// Files with the same content as this file on disk, under any name
    #[arg(long, value_name = "FILE")]
    content: Option<PathBuf>,
    /// Also show permissions and owner
    #[arg(short, long)]
    long: bool,
    /// Print only the paths, each once and followed by NUL, for `xargs -0`
    #[arg(short = '0', long, conflicts_with = "long")]
    null: bool,
    /// Only in this snapshot: latest, latest~N, an id prefix, a date or a time; can be repeated
    #[arg(short, long = "snapshot", value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    #[command(flatten)]
    among: Among,
}

fn kind(text: &str) -> Result<EntryType, String> {
    match text {
        "f" | "file" => Ok(EntryType::File),
        "d" | "dir" => Ok(EntryType::Dir),
        "l" | "symlink" => Ok(EntryType::Symlink),
        "p" | "fifo" => Ok(EntryType::Fifo),
        "s" | "socket" => Ok(EntryType::Socket),
        "c" | "chardev" => Ok(EntryType::CharDevice),
        "b" | "dev" => Ok(EntryType::BlockDevice),
        _ => Err("f, d, l, p, s, c and b, with commas between".to_owned()),
    }
}

pub(crate) fn run(context: &Context, args: Find) -> Result<Outcome> {
    args.among.with(context, |context, selection| find(context, &args, selection))
}

fn find(context: &Context, args: &Find, selection: SnapshotFilter) -> Result<Outcome> {
    let options = Options {
        choice: SnapshotQuery { selectors: args.snapshots.clone(), selection },
        patterns: args.patterns.clone(),
        regex: args.regex,
        ignore_case: args.ignore_case,
        newer: args.newer,
        older: args.older,
        larger: args.larger,
        smaller: args.smaller,
        types: args.types.clone(),
        chunk: args.chunk.clone(),
        content: args.content.clone(),
    };
    let by_limits = [options.larger, options.smaller].iter().any(Option::is_some)
        || [options.newer, options.older].iter().any(Option::is_some);
    let by_content = options.chunk.is_some() || options.content.is_some();
    if options.patterns.is_empty() && options.types.is_empty() && !by_limits && !by_content {
        return Err(Error::Usage(
            "nothing to search for: give a pattern, or --newer, --larger ...".to_owned(),
        ));
    }
    output::line_end(args.null, context.global.json)?;
    context.with(|repo| {
        let stop = stop_on_signals()?;
        let mut result = Ok(Outcome::Done);
        pager::emit_paged(|out| {
            let progress = Progress::start(&context.global, "find", false);
            let mut head = context.prints_success() && !context.global.json && !args.null;
            let mut last = None;
            let summary = find::run(
                repo,
                &options,
                &mut |found| {
                    if context.global.json {
                        return writeln!(out, "{}", Value::Object(object(found))).map_err(failed);
                    }
                    if args.null {
                        return path(out, found.path, &mut last).map_err(failed);
                    }
                    if std::mem::take(&mut head) {
                        writeln!(out, "{HEAD}").map_err(failed)?;
                    }
                    line(out, found, args.long).map_err(failed)
                },
                &Control::new(&progress).with_cancel(&stop),
            );
            drop(progress);
            let summary = summary?;
            context.print_unmatched(&summary.unmatched);
            result = Ok(if summary.problems.is_empty() { Outcome::Done } else { Outcome::Damage });
            if context.global.json {
                let value = json!({
                    "message_type": "summary",
                    "snapshots": summary.snapshots,
                    "matches": summary.matches,
                    "patterns_unmatched": summary.unmatched,
                    "problems": summary.problems.len(),
                });
                writeln!(out, "{value}").map_err(failed)
            } else if context.prints_success() && !args.null {
                let matches = count(summary.matches, "match", "matches");
                let snapshots = count(summary.snapshots, "snapshot", "snapshots");
                writeln!(out, "{matches} in {snapshots}").map_err(failed)
            } else {
                Ok(())
            }
        })?;
        result
    })
}

const HEAD: &str = "Snapshots           Count  Modified                   Size  Path";

/// Formats the first and the last snapshot that contain this version.
pub(crate) fn range(snapshots: &[Snapshot], among: &BitSet) -> String {
    let short = |number: Option<usize>| {
        number.and_then(|at| snapshots.get(at)).map(|found| found.id.short()).unwrap_or_default()
    };
    let (first, last) = (short(among.first()), short(among.last()));
    if among.count() == 1 { first } else { format!("{first}..{last}") }
}

/// Like `range` for JSON: all runs of consecutive snapshots, and their total number.
pub(crate) fn put_range(map: &mut Map<String, Value>, snapshots: &[Snapshot], among: &BitSet) {
    let id = |number: usize| snapshots.get(number).map(|found| found.id.hex());
    let runs: Vec<Value> =
        among.runs().into_iter().map(|(first, last)| json!([id(first), id(last)])).collect();
    map.insert("first".to_owned(), json!(among.first().and_then(id)));
    map.insert("last".to_owned(), json!(among.last().and_then(id)));
    map.insert("count".to_owned(), among.count().into());
    map.insert("ranges".to_owned(), runs.into());
}

/// Formats the size for display; only files have one.
pub(crate) fn shown_size(entry: &Entry) -> String {
    if entry.is_file() { output::size(entry.size()) } else { "-".to_owned() }
}

fn line(out: &mut dyn Write, found: &Match<'_>, long: bool) -> io::Result<()> {
    let range = range(found.snapshots, found.among);
    write!(out, "{range:<18}  {:>5}  ", found.among.count())?;
    if long {
        return ls::long(out, found.path, found.entry).and_then(|()| out.write_all(b"\n"));
    }
    let (time, size) = (output::local(found.entry.meta.mtime), shown_size(found.entry));
    write!(out, "{time}  {size:>10}  ")?;
    ls::name(out, found.path, found.entry)?;
    out.write_all(if found.entry.is_dir() { b"/\n" } else { b"\n" })
}

/// Prints a path once. Matches are sorted by path, so versions of one path follow each other.
fn path(out: &mut dyn Write, path: &[u8], last: &mut Option<Vec<u8>>) -> io::Result<()> {
    if last.as_deref() == Some(path) {
        return Ok(());
    }
    *last = Some(path.to_vec());
    out.write_all(&output::name(path))?;
    out.write_all(b"\0")
}

fn object(found: &Match<'_>) -> Map<String, Value> {
    let mut map = ls::node(found.path, found.entry);
    map.insert("message_type".to_owned(), "match".into());
    put_range(&mut map, found.snapshots, found.among);
    map
}
