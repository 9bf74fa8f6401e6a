//! The page with statistics, like `snap stats`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use maud::{Markup, html};
use snap_backup::ops::stats;
use snap_backup::ops::stats::{Line as Of, Options, Report};

use super::chart::Line;
use super::{chart, frame, link, size, time};
use crate::serve::app_state::AppState;
use crate::serve::request::{PageRequest, shown_at};
use crate::serve::response::HttpError;
use crate::serve::sessions::SharedSession;
use crate::terminal::output;
use crate::terminal::output::count;

/// Maximum number of snapshots that are listed, newest first.
const ROWS: usize = 500;

pub(crate) fn page(
    site: &AppState,
    visit: &SharedSession,
    _: &PageRequest,
    stop: &Arc<AtomicBool>,
) -> Result<Markup, HttpError> {
    let report = stats::run(visit.repo(), &Options::default(), stop)?;
    let content = html! {
        @if report.missing > 0 {
            p.bad role="alert" {
                (count(report.missing, "chunk", "chunks")) " that snapshots need are missing: run "
                code { "snap check --read-data" } "."
            }
        }
        (figures(&report))
        (chart::of("Stored for all snapshots up to each", &[growth(&report)]))
        (lines(&report))
    };
    Ok(frame(&site.title, "Statistics", "/stats", content))
}

fn figures(report: &Report) -> Markup {
    let Report { needed, packs, .. } = report;
    let ratio = |of: u64, to: u64| if to == 0 { 0.0 } else { of as f64 / to as f64 };
    let tile = |label: &str, value: String, note: String| {
        html! { div.tile { div.label { (label) } div.value { (value) } div.note { (note) } } }
    };
    let deduplicated = format!("{:.2}", ratio(report.raw, needed.plain));
    let compressed = format!("{:.2}", ratio(needed.plain, needed.stored));
    let waste = format!(
        "{} for forgotten snapshots, {} unused, {} tables",
        output::size(packs.trash),
        output::size(packs.unused),
        output::size(packs.frame)
    );
    html! {
        div.tiles {
            (tile("To restore", output::size(report.raw), format!(
                "{} in {}", count(report.files, "file", "files"), count(report.lines.len() as u64, "snapshot", "snapshots"))))
            (tile("Stored", output::size(needed.stored), count(needed.chunks, "chunk", "chunks")))
            (tile("Ratio", format!("{:.2}", ratio(report.raw, needed.stored)), format!(
                "deduplication {deduplicated}, compression {compressed}")))
            (tile("Packs", output::size(packs.bytes), waste))
        }
    }
}

fn growth(report: &Report) -> Line {
    let mut sum = 0_u64;
    let points = report.lines.iter().map(|line| {
        sum = sum.saturating_add(line.added.stored);
        chart::Point {
            at: line.snapshot.manifest.started,
            value: sum,
            link: Some(shown_at(&line.snapshot.id, b"")),
        }
    });
    Line { label: "stored".to_owned(), points: points.collect() }
}

fn lines(report: &Report) -> Markup {
    let row = |Of { snapshot, added, unique }: &Of| {
        html! {
            tr {
                td { (link(snapshot)) }
                td data-label="Time" { (time(snapshot.manifest.started)) }
                td.number data-label="Size" { (size(snapshot.manifest.counts.bytes_total)) }
                td.number data-label="Added" { (size(added.stored)) }
                td.number data-label="Unique" { (size(unique.stored)) }
            }
        }
    };
    html! {
        table.stack {
            caption { "What each snapshot added, and what only it needs: forgetting it alone frees that." }
            thead { tr {
                th scope="col" { "Snapshot" } th scope="col" { "Time" } th.number scope="col" { "Size" }
                th.number scope="col" { "Added" } th.number scope="col" { "Unique" }
            } }
            tbody { @for line in report.lines.iter().rev().take(ROWS) { (row(line)) } }
        }
    }
}
