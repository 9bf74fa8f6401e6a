//! `snap export`: writes a snapshot as a tar archive.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;
use serde_json::{Value, json};
use snap_backup::fs::atomic_file::AtomicFile;
use snap_backup::ops::export::{self, Format, Options, Report};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::filter::SnapshotFilter;
use snap_backup::{Control, Error, Result};

use super::shared::select::{self, Among};
use crate::context::Context;
use crate::exit::Outcome;
use crate::terminal::json::without_nulls;
use crate::terminal::output::{self, count, duration, size};
use crate::terminal::progress::{Progress, stop_on_signals};

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// latest, latest~N, an id prefix, a date or a time, with :PATH for a part of it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub(crate) selector: OsString,
    /// Stored path of the part, if not given after the colon
    #[arg(value_name = "PATH")]
    pub(crate) stored: Option<OsString>,
    /// The archive to write; - (the default): standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// tar, tar.gz or tar.zst [default: by the file's extension, else tar.gz]
    #[arg(long, value_name = "FORMAT", value_parser = named)]
    pub(crate) format: Option<Format>,
    /// Compression level: 1 to 12 for tar.gz [default: 6], 1 to 19 for tar.zst [default: 3]
    #[arg(long, value_name = "N")]
    pub(crate) level: Option<i32>,
    /// Only what changed since the snapshot's parent; the first member, .snap-deleted, lists deleted paths
    #[arg(long)]
    pub(crate) delta: bool,
    /// Like --delta, but since this snapshot
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "delta")]
    pub(crate) since: Option<String>,
    /// Replace an existing file
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) among: Among,
}

pub(crate) fn run(context: &Context, args: &Export) -> Result<Outcome> {
    args.among.with(context, |context, selection| export(context, args, selection))
}

fn export(context: &Context, args: &Export, among: SnapshotFilter) -> Result<Outcome> {
    let file = args.output.as_deref().filter(|path| *path != Path::new("-"));
    if file.is_none() && io::stdout().is_terminal() {
        return Err(Error::Usage(
            "an archive cannot be written to the terminal: give a file with -o, or pipe the output".into(),
        ));
    }
    if file.is_none() && context.global.json {
        return Err(Error::Usage(
            "the archive is written to standard output: give a file with -o to get JSON there".into(),
        ));
    }
    let options = Options {
        selector: select::joined(&args.selector, args.stored.as_ref()),
        among,
        delta: args.delta,
        since: args.since.clone(),
        format: format(args, file)?,
        level: args.level,
        prefix: Vec::new(),
        names: None,
        count_ahead: Progress::is_watched(&context.global),
    };
    context.with(|repo| {
        let stop = stop_on_signals()?;
        let summary = match file {
            Some(path) => {
                context.may_write(path)?;
                let mut whole = AtomicFile::create_private(path, args.force)?;
                let summary = write(context, repo, &options, &mut whole, &stop)?;
                whole.publish()?;
                summary
            }
            None => {
                // Rust's standard output is line-buffered and would search for newlines, which is useless in
                // an archive.
                let out = io::stdout().as_fd().try_clone_to_owned().map_err(output::failed)?;
                write(context, repo, &options, &mut File::from(out), &stop)?
            }
        };
        if context.global.json {
            output::print(&json(&summary).to_string())?;
        } else if context.prints_success() && file.is_some() {
            output::print(&human(&summary, file))?;
        } else if context.prints_success() {
            output::eprint(&human(&summary, file));
        }
        Ok(Outcome::Done)
    })
}

fn write(
    context: &Context,
    repo: &Repository,
    options: &Options,
    out: &mut (dyn Write + Send),
    stop: &Arc<AtomicBool>,
) -> Result<Report> {
    let progress = Progress::start(&context.global, "export", true);
    export::run(repo, options, out, &Control::new(&progress).with_cancel(stop))
}

/// Returns the given format; otherwise that of the file's name; otherwise gzip.
fn format(args: &Export, file: Option<&Path>) -> Result<Format> {
    if let Some(format) = args.format {
        return Ok(format);
    }
    let Some(file) = file else { return Ok(Format::default()) };
    let named = file.extension().and_then(|_| Format::of_name(file.as_os_str().as_bytes()));
    let plain = file.extension().is_none();
    named.or(plain.then(Format::default)).ok_or_else(|| {
        let name = output::printable(&file.display().to_string());
        Error::Usage(format!(
            "the extension of {name} is not that of a known format: use --format tar, tar.gz or tar.zst"
        ))
    })
}

fn json(summary: &Report) -> Value {
    let counts = &summary.counts;
    without_nulls(json!({
        "message_type": "summary",
        "snapshot_id": summary.snapshot.hex(),
        "since": summary.since.map(|id| id.hex()),
        "files_exported": counts.files,
        "dirs_exported": counts.dirs,
        "others_exported": counts.others,
        "bytes_exported": counts.bytes,
        "archive_bytes": counts.archive_bytes,
        "left_out": counts.left_out,
        "deleted": counts.deleted,
        "total_duration": summary.duration.as_secs_f64(),
    }))
}

fn human(summary: &Report, file: Option<&Path>) -> String {
    let counts = &summary.counts;
    let to = file
        .map_or_else(String::new, |file| format!(" to {}", output::printable(&file.display().to_string())));
    let mut text = format!(
        "exported {} ({}) of snapshot {}{to} in {}",
        output::entries(counts.files, counts.dirs, counts.others),
        size(counts.bytes),
        summary.snapshot.short(),
        duration(summary.duration.as_secs_f64()),
    );
    if let Some(since) = summary.since {
        let deleted = count(counts.deleted, "path was deleted", "paths were deleted");
        text += &format!("\nonly what changed since snapshot {}; {deleted}", since.short());
    }
    if counts.left_out > 0 {
        text += &format!("\n{} not exported", count(counts.left_out, "socket was", "sockets were"));
    }
    text
}

fn named(text: &str) -> Result<Format, String> {
    Format::of_name(format!(".{text}").as_bytes()).ok_or_else(|| "one of tar, tar.gz and tar.zst".to_owned())
}
