//! The page with statistics, like `snap stats`. They are computed in the background.

mod sets;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use maud::{Markup, html};
use snap_backup::ops::stats::{self, Options, Report, SnapshotStats as Of};

use super::chart::Line;
use super::{chart, frame, link, size, time, working};
use crate::serve::app_state::AppState;
use crate::serve::background::{Found, Work};
use crate::serve::request::PageRequest;
use crate::serve::response::HttpError;
use crate::serve::sessions::SharedSession;
use crate::serve::url::shown_at;
use crate::terminal::output::{self, count};

/// Maximum number of snapshots that are listed, newest first.
const ROWS: usize = 500;

pub(crate) fn page(
    site: &AppState,
    visit: &SharedSession,
    asked: &PageRequest,
    _: &Arc<AtomicBool>,
) -> Result<Markup, HttpError> {
    if asked.path.len() > 1 {
        return Err(HttpError::not_found("there is no such page"));
    }
    let basis = visit.basis();
    let wanted = ("stats", basis, asked.value("again").is_some());
    let work = site.background.ask(wanted, visit.shared_repo(), |repo, control| {
        let options = Options { sets: true, ..Options::default() };
        stats::run(repo, &options, control).map(|report| Found::Stats(Box::new(report)))
    });
    let content = match work.as_deref().and_then(|work| Some((work, work.end()?))) {
        Some((work, Ok(Found::Stats(report)))) => html! {
            (age(work, basis))
            (whole(report))
        },
        Some((_, Err(why))) => html! {
            p.bad role="alert" { (output::printable(why)) }
            p.actions { a.button href="/stats?again=on" { "Try again" } }
        },
        _ => working(work.as_deref(), "snapshots"),
    };
    Ok(frame(&site.title, "Statistics", "/stats", content))
}

/// Shows when the statistics were computed, and offers to compute them again if the snapshots have changed
/// since.
fn age(work: &Work, basis: u64) -> Markup {
    html! {
        p.note {
            "As of " (time(work.started)) "."
            @if work.basis != basis { " Snapshots were added or removed since. " a href="/stats?again=on" { "Count again" } }
        }
    }
}

fn whole(report: &Report) -> Markup {
    html! {
        @if report.missing > 0 {
            p.bad role="alert" {
                (count(report.missing, "chunk that snapshots need is", "chunks that snapshots need are")) " missing: run "
                code { "snap check --read-data" } "."
            }
        }
        (figures(report))
        (chart::of("Files of all sets, and what is stored for all snapshots", &growth(report)))
        (sets::table(report))
        (lines(report))
    }
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
        "{} for forgotten snapshots, {} unused, {} tables and padding",
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

/// Returns two lines: the total size of the newest snapshots of all sets, and the stored size of all
/// snapshots so far.
fn growth(report: &Report) -> [Line; 2] {
    let (mut original, mut stored) = (Vec::new(), Vec::new());
    let (mut newest, mut sizes, mut sum) = (HashMap::new(), 0_u64, 0_u64);
    for line in &report.lines {
        let manifest = &line.snapshot.manifest;
        let now = manifest.counts.bytes_total;
        let before = newest.insert((&manifest.host, &manifest.sources), now).unwrap_or(0);
        sizes = sizes.saturating_sub(before).saturating_add(now);
        sum = sum.saturating_add(line.added.stored);
        for (points, value) in [(&mut original, sizes), (&mut stored, sum)] {
            let link = Some(shown_at(&line.snapshot.id, b""));
            points.push(chart::Point { at: manifest.started, value, link });
        }
    }
    let label = |label: &str| label.to_owned();
    [
        Line { label: label("original size of the newest snapshots"), points: original },
        Line { label: label("stored for all snapshots"), points: stored },
    ]
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
        h2 { "Storage per snapshot" }
        table.stack {
            caption { "What each snapshot added, and what only it needs, which forgetting it alone frees." }
            thead { tr {
                th scope="col" { "Snapshot" } th scope="col" { "Time" } th.number scope="col" { "Size" }
                th.number scope="col" { "Added" } th.number scope="col" { "Unique" }
            } }
            tbody { @for line in report.lines.iter().rev().take(ROWS) { (row(line)) } }
        }
    }
}
