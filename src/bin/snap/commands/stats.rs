//! `snap stats`: shows the size of the data, how much space it takes, and which snapshots account for it.

use std::io::IsTerminal;

use clap::Args;
use serde_json::{Value, json};
use snap_backup::ops::stats::{self, Freed, Options, Report, SnapshotStats};
use snap_backup::repo::snapshots::filter::{SnapshotFilter, SnapshotQuery};
use snap_backup::repo::walk::ref_graph::ChunkTotals;
use snap_backup::{Control, Result};

use super::shared::select::Among;
use crate::context::Context;
use crate::exit::Outcome;
use crate::terminal::json::without_nulls;
use crate::terminal::output::{count, size};
use crate::terminal::progress::stop_on_signals;
use crate::terminal::table::Narrow;
use crate::terminal::{chart, output};

#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// latest, latest~N, an id prefix, a date or a time [default: all snapshots]
    #[arg(value_name = "SNAPSHOT", conflicts_with = "Filters")]
    pub(crate) snapshots: Vec<String>,
    #[command(flatten)]
    pub(crate) among: Among,
}

pub(crate) fn run(context: &Context, args: &Stats) -> Result<Outcome> {
    args.among.with(context, |context, selection| stats(context, args, selection))
}

fn stats(context: &Context, args: &Stats, selection: SnapshotFilter) -> Result<Outcome> {
    let choice = SnapshotQuery { selectors: args.snapshots.clone(), selection };
    let options = Options { choice, sets: false };
    context.with(|repo| {
        let report = stats::run(repo, &options, &Control::default().with_cancel(&stop_on_signals()?))?;
        if report.missing > 0 {
            let text = format!(
                "{} missing: run `snap check --read-data`",
                count(report.missing, "chunk that snapshots need is", "chunks that snapshots need are")
            );
            output::warn(context.global.json, &text);
        }
        let freed = if options.choice == SnapshotQuery::default() {
            None
        } else {
            let ids: Vec<_> = report.lines.iter().map(|line| line.snapshot.id).collect();
            Some(stats::freed(repo, &ids, &Control::default().with_cancel(&stop_on_signals()?))?)
        };
        if context.global.json {
            output::print(&json(&report, freed.as_ref()).to_string())?;
        } else {
            output::print(&human(&report, freed.as_ref()))?;
            if std::io::stdout().is_terminal() {
                chart(&report)?;
            }
        }
        Ok(if report.missing > 0 { Outcome::Damage } else { Outcome::Done })
    })
}

fn human(report: &Report, freed: Option<&Freed>) -> String {
    let mut text = lines(&report.lines).join("\n");
    let Report { needed, packs, .. } = report;
    text += &format!(
        "\n{}, {} ({}) to restore",
        count(report.lines.len() as u64, "snapshot", "snapshots"),
        count(report.files, "file", "files"),
        size(report.raw)
    );
    text += &format!(
        "\nneeded:  {} in {}, stored as {}",
        size(needed.plain),
        count(needed.chunks, "chunk", "chunks"),
        size(needed.stored)
    );
    text += &format!(
        "\nratio:   {:.2} (each chunk once: {:.2}, compressed: {:.2})",
        ratio(report.raw, needed.stored),
        ratio(report.raw, needed.plain),
        ratio(needed.plain, needed.stored)
    );
    if let Some(freed) = freed {
        text += &format!(
            "\nfreed:   {} of packs if {} forgotten and purged",
            size(freed.bytes),
            if report.lines.len() == 1 { "it is" } else { "all of these are" }
        );
    }
    let share = ratio(packs.unused, packs.bytes) * 100.0;
    text += &format!(
        "\nrepository: {} in {}: {} needed, {} only by forgotten snapshots, {} unused ({share:.1} %), {} tables and padding",
        size(packs.bytes),
        count(packs.packs, "pack", "packs"),
        size(packs.needed),
        size(packs.trash),
        size(packs.unused),
        size(packs.frame)
    );
    if packs.parity > 0 {
        text += &format!("; plus {} of parity", size(packs.parity));
    }
    if report.deltas.blocks > 0 {
        text += &format!(
            "\ndeltas:  {} in {}, stored as {}: saves about {}; {} are kept only for them",
            size(report.deltas.plain),
            count(report.deltas.blocks, "block", "blocks"),
            size(report.deltas.stored),
            size(report.saved()),
            size(report.bases.stored)
        );
    }
    text
}

/// Prints a chart of how the chosen snapshots grew, by what each added.
fn chart(report: &Report) -> Result<()> {
    let mut sum = 0;
    let points = report.lines.iter().map(|line| {
        sum += line.added.stored;
        (line.snapshot.manifest.started, sum)
    });
    let points: Vec<_> = points.collect();
    let shown = chart::lines(&points, size);
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Ok(()) };
    if shown.is_empty() {
        return Ok(());
    }
    let margin = size(last.1).chars().count().max(size(0).chars().count());
    let axis = chart::axis(margin, &output::local(first.0), &output::local(last.0));
    output::print(&format!("\nneeded by these, over time:\n{}\n{axis}", shown.join("\n")))
}

/// Formats a table with columns as wide as their widest cell.
fn lines(lines: &[SnapshotStats]) -> Vec<String> {
    let head = ["ID", "Time", "Kind", "Files", "Size", "Added", "Unique"].map(str::to_owned);
    let row = |line: &SnapshotStats| {
        let manifest = &line.snapshot.manifest;
        [
            line.snapshot.id.short(),
            output::local(manifest.started),
            manifest.kind.to_string(),
            output::files(&manifest.counts).to_string(),
            size(manifest.counts.bytes_total),
            size(line.added.stored),
            size(line.unique.stored),
        ]
    };
    let rows: Vec<[String; 7]> = std::iter::once(head).chain(lines.iter().map(row)).collect();
    output::table(&rows, |column| column >= 3, &Narrow { cut: &[], drop: &[3, 2, 5] })
}

/// Returns the ratio; 0 if the divisor is 0.
fn ratio(of: u64, to: u64) -> f64 {
    if to == 0 { 0.0 } else { of as f64 / to as f64 }
}

fn json(report: &Report, freed: Option<&Freed>) -> Value {
    let amount = |amount: &ChunkTotals| json!({"chunks": amount.chunks, "bytes": amount.plain, "bytes_stored": amount.stored});
    let line = |line: &SnapshotStats| {
        let mut map = output::snapshot(&line.snapshot);
        map.insert("added".to_owned(), amount(&line.added));
        map.insert("unique".to_owned(), amount(&line.unique));
        Value::Object(map)
    };
    let Report { needed, packs, .. } = report;
    without_nulls(json!({
        "message_type": "summary",
        "snapshots_count": report.lines.len(),
        "total_file_count": report.files,
        "total_size": report.raw,
        "total_uncompressed_size": needed.plain,
        "total_stored_size": needed.stored,
        "total_blob_count": needed.chunks,
        "compression_ratio": ratio(needed.plain, needed.stored),
        "dedup_ratio": ratio(report.raw, needed.plain),
        "ratio": ratio(report.raw, needed.stored),
        "packs_count": packs.packs,
        "packs_size": packs.bytes,
        "packs_needed": packs.needed,
        "packs_trash": packs.trash,
        "packs_unused": packs.unused,
        "packs_frame": packs.frame,
        "parity_size": packs.parity,
        "deltas": output::deltas(&report.deltas),
        "deltas_saved": report.saved(),
        "kept_for_deltas": amount(&report.bases),
        "chunks_missing": report.missing,
        "freed_if_forgotten": freed.map(|freed| freed.bytes),
        "snapshots": report.lines.iter().map(line).collect::<Vec<Value>>(),
    }))
}
