//! `snap repair`: saves what can be saved. Repairs are additive: what they replace stays in quarantine or
//! in the trash. Only parity sidecars and header bundles are deleted, because packs can regenerate them.

use clap::{Args, Subcommand};
use serde_json::json;
use snap_backup::ops::repair::packs::PackFate;
use snap_backup::ops::repair::snapshots::{Item, SnapshotFate};
use snap_backup::ops::repair::{gc_records, index, packs, parity, snapshots};
use snap_backup::{Control, Result};

use super::repair_known;
use crate::context::Context;
use crate::exit::Outcome;
use crate::terminal::json::without_nulls;
use crate::terminal::output::{self, count, printable, size};
use crate::terminal::progress::{Progress, stop_on_signals};

#[derive(Debug, Subcommand)]
pub(crate) enum Repair {
    /// Rebuild this machine's index cache from the packs
    Index(DryRun),
    /// Copy what can be read of damaged packs to new ones, and move the damaged ones to quarantine
    Packs(Named),
    /// Replace snapshots that lost data with what is left of them
    Snapshots(Named),
    /// Write missing and damaged parity, and remove that of packs that no longer exist
    Parity(DryRun),
    /// Abandon a garbage collection whose record cannot be read
    Gc(DryRun),
    /// Accept the repository that is at the location now, even if this machine's records differ: another
    /// repository, an older copy, or one with missing snapshots
    Known(DryRun),
}

#[derive(Debug, Args)]
pub(crate) struct DryRun {
    /// Change nothing; only show what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Id prefixes [default: all that are known to be damaged]
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Write nothing; only show what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(crate) fn run(context: &Context, args: Repair) -> Result<Outcome> {
    let stop = stop_on_signals()?;
    let progress = || Progress::start(&context.global, "repair", false);
    match args {
        Repair::Index(DryRun { dry_run }) => {
            let report = context
                .with(|repo| index::run(repo, dry_run, &Control::new(&progress()).with_cancel(&stop)))?;
            tell_index(context, &report, dry_run)
        }
        Repair::Packs(Named { ids, dry_run }) => {
            let options = packs::Options { ids, dry_run };
            let report = context
                .with(|repo| packs::run(repo, &options, &Control::new(&progress()).with_cancel(&stop)))?;
            tell_packs(context, &report, dry_run)
        }
        Repair::Snapshots(Named { ids, dry_run }) => {
            let options = snapshots::Options { ids, dry_run };
            let report = context
                .with(|repo| snapshots::run(repo, &options, &Control::new(&progress()).with_cancel(&stop)))?;
            tell_snapshots(context, &report, dry_run)
        }
        Repair::Parity(DryRun { dry_run }) => {
            let report = context
                .with(|repo| parity::run(repo, dry_run, &Control::new(&progress()).with_cancel(&stop)))?;
            tell_parity(context, &report, dry_run)
        }
        Repair::Gc(DryRun { dry_run }) => {
            let report = context.with(|repo| gc_records::run(repo, dry_run))?;
            tell_gc_records(context, &report, dry_run)
        }
        Repair::Known(DryRun { dry_run }) => repair_known::run(context, dry_run),
    }
}

fn tell_parity(context: &Context, report: &parity::Report, dry_run: bool) -> Result<Outcome> {
    let outcome = if report.damaged.is_empty() { Outcome::Done } else { Outcome::Damage };
    if context.global.json {
        let summary = json!({
            "message_type": "summary",
            "parity": report.share,
            "written": report.written,
            "renewed": report.renewed,
            "bytes_written": report.bytes,
            "whole": report.whole,
            "removed": report.removed,
            "wrong": report.wrong,
            "damaged_packs": report.damaged,
            "dry_run": dry_run,
        });
        return output::print(&summary.to_string()).map(|()| outcome);
    }
    for why in &report.wrong {
        output::eprint(&format!("snap: {}", printable(why)));
    }
    for why in &report.damaged {
        output::error(&format!("{why}: run `snap repair packs`"));
    }
    if !context.prints_success() {
        return Ok(outcome);
    }
    let share = match report.share {
        0 => "parity is off (`snap config set parity 10%` turns it on)".to_owned(),
        share => format!("parity of {share}%"),
    };
    let does = if dry_run { "dry run: " } else { "" };
    output::print(&format!(
        "{does}{share}: {} written ({}), {} renewed, {} intact, {} of deleted packs removed",
        report.written,
        size(report.bytes),
        report.renewed,
        report.whole,
        report.removed
    ))?;
    Ok(outcome)
}

fn tell_gc_records(context: &Context, report: &gc_records::Report, dry_run: bool) -> Result<Outcome> {
    if context.global.json {
        let summary = json!({
            "message_type": "summary",
            "unreadable": report.unreadable,
            "given_up": report.given_up,
            "removed": report.removed,
            "left_to_gc": report.left_to_gc,
            "dry_run": dry_run,
        });
        return output::print(&without_nulls(summary).to_string()).map(|()| Outcome::Done);
    }
    for why in &report.unreadable {
        output::eprint(&format!("snap: {}", printable(why)));
    }
    if !context.prints_success() {
        return Ok(Outcome::Done);
    }
    for name in &report.removed {
        let done = if dry_run { "would be removed" } else { "was removed" };
        output::print(&format!("{} {done}: its number is impossibly high", printable(name)))?;
    }
    output::print(&match (report.given_up, dry_run) {
        _ if report.unreadable.is_empty() => "all gc records can be read".to_owned(),
        (Some(number), true) => {
            format!("garbage collection {number} would be abandoned: it would delete nothing more")
        }
        (Some(number), false) => {
            format!(
                "garbage collection {number} was abandoned: what it has not deleted yet is kept, and the \
                 next `snap gc` decides about it"
            )
        }
        (None, _) if report.left_to_gc => {
            "another garbage collection is unfinished: `snap gc` completes it and removes this record"
                .to_owned()
        }
        (None, true) => "the garbage collection has ended: its record would be removed".to_owned(),
        (None, false) => "the garbage collection had ended: its record was removed".to_owned(),
    })?;
    Ok(Outcome::Done)
}

fn tell_index(context: &Context, report: &index::Report, dry_run: bool) -> Result<Outcome> {
    let stays = !dry_run && report.segments.iter().any(|segment| !segment.removed);
    let outcome = match report.unreadable.is_empty() {
        false => Outcome::Damage,
        true if stays => Outcome::Problems,
        true => Outcome::Done,
    };
    if context.global.json {
        let summary = json!({
            "message_type": "summary",
            "packs": report.packs,
            "chunks": report.chunks,
            "unreadable": report.unreadable,
            "wrong_in_cache": report.wrong,
            "wrong_segments": report.segments.iter().map(|segment| &segment.why).collect::<Vec<_>>(),
            "segments_removed": report.segments.iter().filter(|segment| segment.removed).count(),
            "dry_run": dry_run,
        });
        return output::print(&summary.to_string()).map(|()| outcome);
    }
    for why in &report.unreadable {
        output::error(&format!("{why}: run `snap repair packs`"));
    }
    for segment in &report.segments {
        let what = match (dry_run, segment.removed) {
            (true, _) => "it would be removed",
            (false, true) => "it was removed; the packs contain the same data",
            (false, false) => "it could not be removed",
        };
        output::eprint(&format!("snap: {}: {what}", printable(&segment.why)));
    }
    if context.prints_success() {
        let read = format!(
            "{} of {}",
            count(report.chunks, "chunk", "chunks"),
            count(report.packs, "pack", "packs")
        );
        output::print(&if !dry_run {
            format!("rebuilt the local index cache: {read}")
        } else {
            format!("dry run: would read {read}; the cache differs for {}", report.wrong)
        })?;
    }
    Ok(outcome)
}

fn tell_packs(context: &Context, report: &packs::Report, dry_run: bool) -> Result<Outcome> {
    let outcome = if report.has_lost() { Outcome::Problems } else { Outcome::Done };
    if context.global.json {
        let all: Vec<_> = report
            .packs
            .iter()
            .map(|(id, fate)| match fate {
                PackFate::Whole => json!({"id": id.hex(), "fate": "whole"}),
                PackFate::Condemned => json!({"id": id.hex(), "fate": "condemned"}),
                PackFate::Gone => json!({"id": id.hex(), "fate": "gone"}),
                PackFate::Salvaged { saved, bytes, lost, waiting, mended, unknown, aside } => json!({
                    "id": id.hex(), "fate": "salvaged", "chunks_saved": saved, "bytes_saved": bytes,
                    "chunks_lost": lost, "chunks_waiting": waiting, "rebuilt_from_parity": mended, "unknown": unknown, "quarantine": aside,
                }),
            })
            .collect();
        let summary = json!({
            "message_type": "summary",
            "packs": all,
            "bytes_written": report.bytes_written,
            "dry_run": dry_run,
        });
        return output::print(&summary.to_string()).map(|()| outcome);
    }
    if !context.prints_success() {
        return Ok(outcome);
    }
    for (id, fate) in &report.packs {
        output::print(&pack(&id.short(), fate, dry_run))?;
    }
    if report.packs.is_empty() {
        output::print("no pack here is known to be damaged; `snap check --read-data` looks for damage")?;
    }
    if report.has_lost() || report.gone > 0 {
        output::print(
            "next: back up again, which stores what the sources still have; then run `snap check`, and \
             `snap repair snapshots` for what remains lost",
        )?;
    }
    Ok(outcome)
}

fn pack(id: &str, fate: &PackFate, dry_run: bool) -> String {
    match fate {
        PackFate::Whole => format!("pack {id} is intact"),
        PackFate::Condemned => format!(
            "pack {id} is being deleted by a garbage collection: run `snap gc`, \
                                        then this command again"
        ),
        PackFate::Gone => {
            format!(
                "pack {id} was repaired or deleted by another process in the meantime: `snap check` lists \
                 what is lost"
            )
        }
        PackFate::Salvaged { unknown: true, aside, .. } => {
            let does = if dry_run { "would be" } else { "was" };
            format!(
                "pack {id}: neither of its tables can be read, so nothing could be saved; it {does} moved \
                 to {aside}"
            )
        }
        PackFate::Salvaged { saved, bytes, lost, waiting, mended, aside, .. } => {
            let (saves, does) = if dry_run { ("would save", "would be") } else { ("saved", "was") };
            let saved = count(*saved, "chunk", "chunks");
            let how = if *mended { ", with its parity" } else { "" };
            let waiting = match waiting {
                0 => String::new(),
                some => format!(", {some} kept as deltas whose bases cannot be read at the moment"),
            };
            let lost = format!("{lost} lost{waiting}{how}; it {does} moved to {aside}");
            format!("pack {id}: {saves} {saved} ({}), {lost}", size(*bytes))
        }
    }
}

fn tell_snapshots(context: &Context, report: &snapshots::Report, dry_run: bool) -> Result<Outcome> {
    let is_back = |fate: &SnapshotFate| {
        matches!(fate, SnapshotFate::Recovered | SnapshotFate::Healed | SnapshotFate::Forgotten)
    };
    let all_back = report.items.iter().all(|item| is_back(&item.fate));
    let outcome = if all_back { Outcome::Done } else { Outcome::Problems };
    if context.global.json {
        let items: Vec<_> = report.items.iter().map(item_json).collect();
        let summary = json!({
            "message_type": "summary",
            "snapshots": report.examined,
            "damaged": items,
            "dry_run": dry_run,
        });
        return output::print(&summary.to_string()).map(|()| outcome);
    }
    for item in &report.items {
        let short: String = item.id.chars().take(8).collect();
        for problem in &item.losses.problems {
            output::eprint(&format!("snap: snapshot {short}: /{}", printable(&problem.to_string())));
        }
        let more = item.losses.entries - item.losses.problems.len() as u64;
        if more > 0 {
            output::eprint(&format!("snap: snapshot {short}: and {more} more"));
        }
        output::print(&printable(&verdict(&short, item, dry_run)))?;
    }
    if report.items.is_empty() && context.prints_success() {
        let examined = count(report.examined, "snapshot", "snapshots");
        output::print(&format!("{examined} checked: nothing is missing"))?;
    }
    Ok(outcome)
}

fn verdict(short: &str, item: &Item, dry_run: bool) -> String {
    let lost =
        format!("{} ({}) lost", count(item.losses.entries, "entry", "entries"), size(item.losses.bytes));
    let back = format!("the original is in the trash (`snap undelete {short}`)");
    match &item.fate {
        SnapshotFate::Replaced(Some(new)) => {
            format!("snapshot {short}: {lost}; replaced by {}, {back}", new.short())
        }
        SnapshotFate::Recovered => {
            let does = if dry_run { "would be" } else { "was" };
            format!("snapshot {short}: its manifest is damaged; it {does} restored from this machine's cache")
        }
        SnapshotFate::Replaced(None) => {
            format!("snapshot {short}: {lost}; it would be replaced by a snapshot of the rest")
        }
        SnapshotFate::Healed => {
            format!(
                "snapshot {short} is complete again, because a backup stored the missing data; it is \
                     kept"
            )
        }
        SnapshotFate::Forgotten => {
            format!("snapshot {short} was forgotten by another process in the meantime: it is not replaced")
        }
        SnapshotFate::Empty => {
            format!("snapshot {short}: none of it can be read: `snap forget {short}` forgets it")
        }
        SnapshotFate::Unreadable(why) => {
            format!("snapshot {short}: {why}: `snap forget {short}` forgets it")
        }
    }
}

fn item_json(item: &Item) -> serde_json::Value {
    let (fate, new) = match &item.fate {
        SnapshotFate::Replaced(new) => ("replaced", *new),
        SnapshotFate::Recovered => ("recovered", None),
        SnapshotFate::Healed => ("healed", None),
        SnapshotFate::Forgotten => ("forgotten", None),
        SnapshotFate::Empty => ("empty", None),
        SnapshotFate::Unreadable(_) => ("unreadable", None),
    };
    let problems: Vec<_> = item
        .losses
        .problems
        .iter()
        .map(|problem| json!({"path": String::from_utf8_lossy(&problem.path), "error": problem.message}))
        .collect();
    json!({
        "id": item.id,
        "fate": fate,
        "replaced_by": new.map(|new| new.hex()),
        "entries_lost": item.losses.entries,
        "bytes_lost": item.losses.bytes,
        "lost": problems,
    })
}
