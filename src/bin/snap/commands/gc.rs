//! `snap gc`: deletes data that no snapshot needs.

use clap::Args;
use serde_json::json;
use snap_backup::ops::gc::{self, MaxUnused, Options, Report, Similar};
use snap_backup::repo::repository::Repository;
use snap_backup::{Control, Result};

use crate::args::values;
use crate::context::Context;
use crate::exit::Outcome;
use crate::terminal::output::{self, count, size};
use crate::terminal::progress::{Progress, stop_on_signals};

/// How to collect.
#[derive(Debug, Args)]
pub(crate) struct Collect {
    /// How much unused data may stay: a percentage of the repository, a size, or unlimited
    #[arg(long, value_name = "P%|SIZE", default_value = "5%", value_parser = max_unused)]
    pub(crate) max_unused: MaxUnused,
    /// Rewrite at most this many bytes of packs
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) max_repack: Option<u64>,
    /// Also rewrite packs that were encrypted before the last key rotation (`snap key rotate`)
    #[arg(long)]
    pub(crate) reseal: bool,
    /// Also store data from before `snap config set delta on` as deltas against its older versions, as new
    /// backups do
    #[arg(long)]
    pub(crate) delta: bool,
    /// Purge all forgotten snapshots now, also those forgotten less than a day ago
    #[arg(long)]
    pub(crate) empty_trash: bool,
    /// Write nothing; only show what would be done
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

pub(crate) fn run(context: &Context, args: &Collect) -> Result<Outcome> {
    context.begin("gc", args.dry_run, |_| {});
    context.recorder.write_start();
    context.with(|repo| collect(context, repo, &options(args)))
}

/// Converts the arguments to the operation's options.
pub(crate) fn options(args: &Collect) -> Options {
    Options {
        max_unused: args.max_unused,
        max_repack: args.max_repack,
        reseal: args.reseal,
        delta: args.delta,
        empty_trash: args.empty_trash,
        dry_run: args.dry_run,
        forgotten: Vec::new(),
    }
}

/// Writes what the run deleted and stored into the run log.
pub(crate) fn record_numbers(context: &Context, report: &Report) {
    context.recorder.update(|record| {
        let after = report.before.saturating_add(report.bytes_written).saturating_sub(report.bytes_deleted);
        record.numbers.bytes_deleted = Some(report.bytes_deleted);
        record.numbers.bytes_stored = Some(report.bytes_written);
        record.numbers.repository_bytes = Some(after);
    });
}

/// Runs the garbage collection and prints the report.
pub(crate) fn collect(context: &Context, repo: &Repository, options: &Options) -> Result<Outcome> {
    let stop = stop_on_signals()?;
    let progress = Progress::start(&context.global, "gc", false);
    let result = gc::run(repo, options, &Control::new(&progress).with_cancel(&stop));
    drop(progress);
    let report = result?;
    record_numbers(context, &report);
    if report.lost > 0 {
        let lost = count(report.lost, "chunk that snapshots need is", "chunks that snapshots need are");
        let stays = if report.data_stays { ", so no file data is deleted" } else { "" };
        let text = format!("{lost} missing or damaged{stays}: run `snap check --read-data`");
        output::warn(context.global.json, &text);
        context.recorder.update(|record| record.set_error(&text));
    }
    if context.global.json {
        output::print(&json(&report, options.dry_run).to_string())?;
    } else if context.prints_success() {
        output::print(&human(&report, options.dry_run))?;
    }
    Ok(if report.lost > 0 { Outcome::Damage } else { Outcome::Done })
}

fn human(report: &Report, dry_run: bool) -> String {
    let freed = report.bytes_deleted.saturating_sub(report.bytes_written);
    let packs = count(report.packs_deleted, "pack", "packs");
    let mut text = if dry_run {
        format!("dry run: would free about {} of {} ({packs}", size(freed), size(report.before))
    } else {
        format!("freed {} of {} ({packs} deleted", size(freed), size(report.before))
    };
    if report.packs_moved > 0 {
        text += &format!(", {} rewritten", report.packs_moved);
    }
    text += ")";
    text += &deltas(&report.similar, dry_run);
    if report.purged > 0 {
        let verb = if dry_run { "would be purged" } else { "purged" };
        text += &format!("\n{} {verb} for good", count(report.purged, "snapshot", "snapshots"));
    }
    if report.rescued > 0 {
        let packs =
            count(report.rescued, "pack that is needed again was", "packs that are needed again were");
        text += &format!("\n{packs} kept");
    }
    if report.unused > 0 {
        text += &format!("\nabout {} of unused data are kept for now", size(report.unused));
    }
    if report.in_trash > 0 {
        text += &format!(
            "\nlater: {} in the trash, {} used only by them; --empty-trash purges them now",
            count(report.in_trash, "snapshot", "snapshots"),
            size(report.trash_plain),
        );
    }
    if !report.waiting_for.is_empty() {
        text += &format!(
            "\nlater: {} ({}) when these have ended: {}; the next run deletes them",
            count(report.later.0, "pack", "packs"),
            size(report.later.1),
            report.waiting_for.join(", "),
        );
    }
    if report.parity_removed > 0 {
        let sidecars = count(report.parity_removed, "pack", "packs");
        text += &format!("\nparity of {sidecars} removed ({})", size(report.parity_freed));
    }
    if report.parity_written > 0 {
        let packs = count(report.parity_written, "pack", "packs");
        text += &format!("\nparity of {packs} written ({})", size(report.parity_bytes));
    }
    if report.parity_later > 0 {
        let packs = count(report.parity_later, "pack", "packs");
        text += &format!("\nlater: parity of {packs}; `snap repair parity` writes it now");
    }
    if report.no_room {
        text += "\nthe disk was full, so nothing was rewritten; run `snap gc` again now that there is space";
    }
    text
}

fn deltas(similar: &Similar, dry_run: bool) -> String {
    let mut text = String::new();
    if similar.chunks > 0 {
        let chunks = count(similar.chunks, "chunk", "chunks");
        let verb = if dry_run { "would become" } else { "became" };
        text += &format!("\n{chunks} {verb} deltas: about {} less", size(similar.saves));
    }
    if similar.later > 0 {
        text +=
            &format!("\nlater: up to {} may become deltas; run `snap gc --delta` again", size(similar.later));
    }
    text
}

fn json(report: &Report, dry_run: bool) -> serde_json::Value {
    json!({
        "message_type": "summary",
        "bytes_before": report.before,
        "packs_deleted": report.packs_deleted,
        "bytes_deleted": report.bytes_deleted,
        "packs_rewritten": report.packs_moved,
        "bytes_written": report.bytes_written,
        "delta_chunks": report.similar.chunks,
        "delta_bytes_saved": report.similar.saves,
        "delta_bytes_later": report.similar.later,
        "packs_rescued": report.rescued,
        "snapshots_purged": report.purged,
        "bytes_unused": report.unused,
        "snapshots_in_trash": report.in_trash,
        "trash_plain_bytes": report.trash_plain,
        "packs_later": report.later.0,
        "bytes_later": report.later.1,
        "waiting_for": report.waiting_for,
        "chunks_lost": report.lost,
        "parity_written": report.parity_written,
        "parity_bytes": report.parity_bytes,
        "parity_removed": report.parity_removed,
        "parity_bytes_removed": report.parity_freed,
        "parity_later": report.parity_later,
        "dry_run": dry_run,
    })
}

pub(crate) fn max_unused(text: &str) -> Result<MaxUnused, String> {
    let wrong = || "a percentage below 100%, a size, or unlimited".to_owned();
    if text == "unlimited" {
        return Ok(MaxUnused::Unlimited);
    }
    let Some(percent) = text.strip_suffix('%') else { return values::size(text).map(MaxUnused::Bytes) };
    match percent.trim().parse::<f64>() {
        Ok(percent) if (0.0..100.0).contains(&percent) => Ok(MaxUnused::Share(percent / 100.0)),
        _ => Err(wrong()),
    }
}
