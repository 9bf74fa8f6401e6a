//! The first page: all snapshots, newest first, and a chart of their size.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use maud::{Markup, html};
use snap_backup::model::id::SnapshotId;
use snap_backup::model::manifest::Manifest;
use snap_backup::repo::snapshots::Snapshot;

use super::chart::Line;
use super::{chart, frame, link, name, size, time};
use crate::serve::request::{PageRequest, archive_at};
use crate::serve::response::HttpError;
use crate::serve::router::AppState;
use crate::serve::sessions::SharedSession;
use crate::terminal::output;

/// Number of snapshots on a page.
const ROWS: usize = 100;
/// Maximum number of lines in a chart: more cannot be distinguished.
const LINES: usize = 6;

pub(crate) fn page(
    site: &AppState,
    visit: &SharedSession,
    asked: &PageRequest,
    _: &Arc<AtomicBool>,
) -> Result<Markup, HttpError> {
    let all = visit.browser.snapshots();
    let end = match asked.text("before") {
        before if before.is_empty() => all.len(),
        before => end_of(visit, &before)?,
    };
    let start = end.saturating_sub(ROWS);
    let shown = all.get(start..end).unwrap_or_default();
    let newest = all.last();
    let chosen =
        (newest.and_then(|one| visit.browser.before(one)).map(|one| one.id), newest.map(|one| one.id));
    let content = html! {
        @if all.is_empty() {
            p { "There is no snapshot yet: " code { "snap backup" } " makes one." }
        } @else {
            (chart::of("Size of the files in each snapshot", &growth(all)))
            form action="/compare" {
                table {
                    caption { (output::count(all.len() as u64, "snapshot", "snapshots")) }
                    thead { (head()) }
                    tbody { @for snapshot in shown.iter().rev() { (row(snapshot, chosen)) } }
                }
                p.actions { button { "Compare the two chosen" } }
            }
            @if let Some(first) = shown.first().filter(|_| start > 0) {
                p { a rel="next" href={ "/?before=" (first.id) } { "Older snapshots" } }
            }
        }
    };
    Ok(frame(&site.title, "Snapshots", "/", content))
}

fn end_of(visit: &SharedSession, before: &str) -> Result<usize, HttpError> {
    let gone = || HttpError::not_found("there is no such snapshot: it may have been forgotten since");
    let id = SnapshotId::parse(before).map_err(|_| gone())?;
    visit.browser.snapshots().iter().position(|one| one.id == id).ok_or_else(gone)
}

fn head() -> Markup {
    html! {
        tr {
            th scope="col" { abbr title="compare from" { "A" } }
            th scope="col" { abbr title="compare to" { "B" } }
            th scope="col" { "Snapshot" }
            th scope="col" { "Time" }
            th.wide scope="col" { "Host" }
            th.wide scope="col" { "Kind" }
            th.number.wide scope="col" { "Files" }
            th.number scope="col" { "Size" }
            th.number.wide scope="col" { "Added" }
            th.wide scope="col" { "Paths and tags" }
            th scope="col" { span.hidden { "Download" } }
        }
    }
}

/// Formats a snapshot. `chosen` is preselected for comparing: the newest one, and its predecessor of the
/// same host and sources.
fn row(snapshot: &Snapshot, chosen: (Option<SnapshotId>, Option<SnapshotId>)) -> Markup {
    let Snapshot { id, manifest } = snapshot;
    let counts = &manifest.counts;
    let (from, to) = (chosen.0 == Some(*id), chosen.1 == Some(*id));
    html! {
        tr {
            td { input type="radio" name="a" value=(id) checked[from] aria-label={ "compare from " (id.short()) }; }
            td { input type="radio" name="b" value=(id) checked[to] aria-label={ "compare to " (id.short()) }; }
            td { (link(snapshot)) }
            td { (time(manifest.started)) }
            td.wide { bdi { (output::printable(&manifest.host)) } }
            td.wide { (manifest.kind) @if manifest.partial { " " span.tag { "partial" } } }
            td.number.wide { (output::files(counts)) }
            td.number { (size(counts.bytes_total)) }
            td.number.wide { (size(counts.bytes_stored)) }
            td.wide { (about(manifest)) }
            td { a href=(archive_at(id, b"")) aria-label={ "Download " (id.short()) " as tar.gz" } { "tar.gz" } }
        }
    }
}

/// Formats sources, tags, pin and description of a snapshot.
pub(super) fn about(manifest: &Manifest) -> Markup {
    html! {
        @for (number, source) in manifest.sources.iter().enumerate() {
            @if number > 0 { ", " }
            (name(source))
        }
        @for tag in &manifest.tags { " " span.tag { bdi { (output::printable(tag)) } } }
        @if manifest.is_pinned() { " " span.tag { "pinned" } }
        @if let Some(text) = manifest.description() { " " span.note { (output::printable(text)) } }
    }
}

/// Returns a chart line for each host and its sources, those with the most snapshots first.
fn growth(all: &[Snapshot]) -> Vec<Line> {
    let mut sets: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for Snapshot { manifest, .. } in all.iter().filter(|one| !one.manifest.partial) {
        let points = sets.entry((&manifest.host, &manifest.sources)).or_default();
        points.push((manifest.started, manifest.counts.bytes_total));
    }
    let line = |((host, sources), points): ((&String, &Vec<_>), _)| {
        let sources: Vec<String> =
            sources.iter().map(|source: &serde_bytes::ByteBuf| output::path(source)).collect();
        Line { label: format!("{host}: {}", sources.join(", ")), points }
    };
    let mut lines: Vec<Line> = sets.into_iter().map(line).collect();
    lines.sort_by_key(|line| std::cmp::Reverse(line.points.len()));
    lines.truncate(LINES);
    lines
}
