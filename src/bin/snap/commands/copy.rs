//! `snap copy`: copies snapshots to another repository.

use clap::Args;
use serde_json::{Value, json};
use snap_backup::ops::copy::{self, Copied, Options, Report};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::filter::{SnapshotFilter, SnapshotQuery};
use snap_backup::repo::write::delta_writer::Delta;
use snap_backup::{Control, Error, Result};

use super::init;
use super::shared::select::Among;
use crate::args::values;
use crate::commands::shared::destination::Other;
use crate::context::Context;
use crate::exit::Outcome;
use crate::terminal::output::{self, count, size};
use crate::terminal::progress::{Progress, stop_on_signals};

#[derive(Debug, Args)]
#[command(
    after_help = "Snapshots that exist there are not copied again, so an interrupted run can be repeated. A repository \
    created with --init names its chunks as the source does, so blocks are copied without compressing them again."
)]
pub(crate) struct Copy {
    /// latest, latest~N, an id prefix, a date or a time [default: all that the filters select]
    #[arg(value_name = "SNAPSHOT", conflicts_with = "Filters")]
    snapshots: Vec<String>,
    #[command(flatten)]
    pub(crate) other: Other,
    /// Create it if it does not exist
    #[arg(long)]
    init: bool,
    /// With --init: create it without encryption
    #[arg(long, requires = "init")]
    no_encryption: bool,
    /// Compression of data that cannot be copied as stored: fast, default, best, none or a zstd level
    #[arg(long, value_name = "LEVEL", value_parser = values::level)]
    compression: Option<i32>,
    /// Store chunks that are similar to stored ones there as deltas: auto (unless it is remote), on or off
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = values::delta)]
    delta: Delta,
    /// Write nothing; only show what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    among: Among,
}

pub(crate) fn run(context: &Context, args: &Copy) -> Result<Outcome> {
    args.among.with(context, |context, selection| copy(context, args, selection))
}

fn copy(context: &Context, args: &Copy, selection: SnapshotFilter) -> Result<Outcome> {
    context.begin("copy", args.dry_run, |_| {});
    context.recorder.write_start();
    let choice = SnapshotQuery { selectors: args.snapshots.clone(), selection };
    let options = Options { choice, level: args.compression, delta: args.delta, dry_run: args.dry_run };
    let other = args.other.context(context);
    context.with(|from| {
        let storage = other.storage()?;
        let to = match args.init && !Repository::exists(&*storage)? {
            true if args.dry_run => return Err(init::makes_none(&*storage)),
            true => Other::make(&other, storage, from, args.no_encryption)?,
            false => other.open(storage).map_err(missing)?,
        };
        other.with_open(&to, |to| {
            let stop = stop_on_signals()?;
            let progress = Progress::start(&context.global, "copy", true);
            let result = copy::run(from, to, &options, &Control::new(&progress).with_cancel(&stop));
            drop(progress);
            let report = result?;
            context.recorder.update(|record| {
                let sum = |of: fn(&Copied) -> u64| report.copied.iter().map(of).sum::<u64>();
                record.numbers.bytes_added = Some(sum(|one| one.bytes_added));
                record.numbers.bytes_stored = Some(sum(|one| one.bytes_stored));
            });
            for (snapshot, why) in &report.damaged {
                let text = format!("snapshot {} was not copied: {}", snapshot.id.short(), why.chain());
                output::warn(context.global.json, &text);
                context.recorder.update(|record| record.set_error(&text));
            }
            if context.global.json {
                output::print(&json(&report, args.dry_run).to_string())?;
            } else if context.prints_success() {
                output::print(&human(&report, to, args.dry_run))?;
            }
            Ok(if report.damaged.is_empty() { Outcome::Done } else { Outcome::Damage })
        })
    })
}

fn missing(error: Error) -> Error {
    match error {
        Error::NoRepository { location } => Error::NoOtherRepository { location },
        other => other,
    }
}

fn human(report: &Report, to: &Repository, dry_run: bool) -> String {
    let mut lines: Vec<String> = report.copied.iter().map(|one| line(one, dry_run)).collect();
    let copied = count(report.copied.len() as u64, "snapshot", "snapshots");
    let place = output::printable(&to.location());
    let there = report.there;
    lines.push(match (report.copied.is_empty(), dry_run) {
        (true, _) => {
            format!("nothing to copy to {place}: {} there", count(there, "snapshot is", "snapshots are"))
        }
        (_, true) => {
            format!("dry run: {copied} would be copied to {place}, {there} exist there; nothing written")
        }
        (_, false) => format!("{copied} copied to {place}, {there} existed there"),
    });
    lines.join("\n")
}

fn line(one: &Copied, dry_run: bool) -> String {
    let (id, when) = (one.old.id.short(), output::local(one.old.manifest.started));
    match one.new {
        Some(new) => format!(
            "snapshot {id} of {when} is {} there: {} added, stored as {}",
            new.short(),
            size(one.bytes_added),
            size(one.bytes_stored)
        ),
        None if dry_run => format!("snapshot {id} of {when} would be copied"),
        None => format!("snapshot {id} of {when} was not copied"),
    }
}

fn json(report: &Report, dry_run: bool) -> Value {
    let one = |one: &Copied| {
        json!({
            "old": one.old.id.hex(),
            "new": one.new.map(|id| id.hex()),
            "bytes_added": one.bytes_added,
            "bytes_stored": one.bytes_stored,
        })
    };
    json!({
        "message_type": "summary",
        "copied": report.copied.iter().map(one).collect::<Vec<_>>(),
        "there": report.there,
        "damaged": report.damaged.iter().map(|(snapshot, _)| snapshot.id.hex()).collect::<Vec<_>>(),
        "blocks_as_they_are": report.alike,
        "dry_run": dry_run,
    })
}
