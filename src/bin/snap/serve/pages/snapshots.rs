//! The list of snapshots, newest first and grouped by day, with filters, and a chart of their sizes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hyper::StatusCode;
use maud::{Markup, html};
use snap_backup::model::entry::Time;
use snap_backup::model::id::SnapshotId;
use snap_backup::model::manifest::Manifest;
use snap_backup::repo::snapshots::Snapshot;

use super::chart::Line;
use super::{chart, day, frame, link, name, size};
use crate::args::times;
use crate::serve::app_state::AppState;
use crate::serve::request::PageRequest;
use crate::serve::response::HttpError;
use crate::serve::sessions::SharedSession;
use crate::serve::url::{archive_at, shown_at};
use crate::terminal::output;

/// Number of snapshots on a page.
const ROWS: usize = 100;
/// Maximum number of lines in a chart, because more cannot be distinguished.
const LINES: usize = 6;

pub(crate) fn page(
    site: &AppState,
    visit: &SharedSession,
    asked: &PageRequest,
    _: &Arc<AtomicBool>,
) -> Result<Markup, HttpError> {
    let filter = Filter::of(asked)?;
    let everything = visit.browser.snapshots();
    let all: Vec<&Snapshot> = everything.iter().filter(|one| filter.takes(one)).collect();
    let end = match asked.text("before") {
        before if before.is_empty() => all.len(),
        before => end_of(visit, &all, &before)?,
    };
    let start = end.saturating_sub(ROWS);
    let shown = all.get(start..end).unwrap_or_default();
    let content = html! {
        @if everything.is_empty() {
            p { "There is no snapshot yet: " code { "snap backup" } " makes one." }
        } @else {
            (form(asked, everything))
            (chart::of("Size of the files in each snapshot", &growth(&all)))
            @if all.is_empty() { p role="status" { "No snapshot matches." } }
            @else { (table(visit, &all, shown)) }
            @if let Some(first) = shown.first().filter(|_| start > 0) {
                p.actions { a.button rel="next" href=(asked.again(&[("before", &first.id.hex())])) { "Older snapshots" } }
            }
        }
    };
    Ok(frame(&site.title, "Snapshots", "/snapshots", content))
}

/// Selects the snapshots to list. Names are compared in their displayed form.
struct Filter {
    host: String,
    sources: Vec<String>,
    tag: String,
    kind: String,
    since: Option<Time>,
    until: Option<Time>,
}

impl Filter {
    fn of(asked: &PageRequest) -> Result<Self, HttpError> {
        let time = |name: &str| {
            let text = asked.text(name);
            let bad = |why: String| HttpError::new(StatusCode::BAD_REQUEST, format!("{name}: {why}"));
            (!text.is_empty()).then(|| times::past(&text).map_err(bad)).transpose()
        };
        Ok(Self {
            host: asked.text("host"),
            sources: asked.values("source").filter(|source| !source.is_empty()).map(output::path).collect(),
            tag: asked.text("tag"),
            kind: asked.text("kind"),
            since: time("since")?,
            until: time("until")?,
        })
    }

    fn takes(&self, Snapshot { manifest, .. }: &Snapshot) -> bool {
        let has = |source: &String| manifest.sources.iter().any(|known| output::path(known) == *source);
        (self.host.is_empty() || output::printable(&manifest.host) == self.host)
            && self.sources.iter().all(has)
            && (self.tag.is_empty() || manifest.tags.iter().any(|tag| output::printable(tag) == self.tag))
            && match self.kind.as_str() {
                "" => true,
                "partial" => manifest.partial,
                kind => manifest.kind.to_string() == kind,
            }
            && self.since.is_none_or(|since| manifest.started >= since)
            && self.until.is_none_or(|until| manifest.started < until)
    }
}

fn form(asked: &PageRequest, all: &[Snapshot]) -> Markup {
    let shown = |text: &String| output::printable(text);
    let hosts: BTreeSet<String> = all.iter().map(|one| shown(&one.manifest.host)).collect();
    let tags: BTreeSet<String> = all.iter().flat_map(|one| &one.manifest.tags).map(shown).collect();
    let choice = |label: &str, name: &str, values: &BTreeSet<String>| {
        let chosen = asked.text(name);
        html! {
            label { (label) " " select name=(name) {
                option value="" { "any" }
                @for value in values { option value=(value) selected[chosen == *value] { (value) } }
            } }
        }
    };
    let kinds = ["full", "incremental", "differential", "partial"].map(str::to_owned).into();
    html! {
        form.search action="/snapshots" aria-label="Filter" {
            @if hosts.len() > 1 { (choice("Host", "host", &hosts)) }
            label { "Source " input name="source" value=(output::path(asked.value("source").unwrap_or_default())) placeholder="/home" size="14"; }
            @if !tags.is_empty() { (choice("Tag", "tag", &tags)) }
            (choice("Kind", "kind", &kinds))
            label { "Since " input name="since" value=(asked.text("since")) placeholder="30d" size="10"; }
            label { "Until " input name="until" value=(asked.text("until")) placeholder="2026-01-31" size="10"; }
            button { "Filter" }
        }
    }
}

fn end_of(visit: &SharedSession, all: &[&Snapshot], before: &str) -> Result<usize, HttpError> {
    let gone = || HttpError::not_found("there is no such snapshot: it may have been forgotten since");
    let id = SnapshotId::parse(before).map_err(|_| gone())?;
    visit.browser.snapshot(&id).ok_or_else(gone)?;
    Ok(all.iter().position(|one| one.id == id).unwrap_or(0))
}

fn table(visit: &SharedSession, all: &[&Snapshot], shown: &[&Snapshot]) -> Markup {
    let newest = all.last();
    let chosen =
        (newest.and_then(|one| visit.browser.before(one)).map(|one| one.id), newest.map(|one| one.id));
    let mut days: Vec<(String, Vec<&Snapshot>)> = Vec::new();
    for snapshot in shown.iter().rev() {
        match days.last_mut() {
            Some((known, of_day)) if *known == day(snapshot) => of_day.push(snapshot),
            _ => days.push((day(snapshot), vec![snapshot])),
        }
    }
    html! {
        form action="/compare" {
            table.stack {
                caption { (output::count(all.len() as u64, "snapshot", "snapshots")) }
                thead { tr {
                    th scope="col" { "From" } th scope="col" { "To" } th scope="col" { "Snapshot" }
                    th scope="col" { "Time" } th scope="col" { "Host" } th scope="col" { "Kind" }
                    th.number scope="col" { "Files" } th.number scope="col" { "Size" } th.number scope="col" { "Stored" }
                    th scope="col" { "Paths and tags" } th scope="col" { span.hidden { "Download" } }
                } }
                @for (day, of_day) in &days {
                    tbody {
                        tr.day { th colspan="11" scope="rowgroup" { (day) } }
                        @for snapshot in of_day { (row(snapshot, chosen)) }
                    }
                }
            }
            p.actions.sticky { button { "Compare the two selected" } span.note { "What changed between them" } }
        }
    }
}

/// Formats a snapshot. `chosen` is preselected for comparison: the newest one, and its predecessor of the
/// same host and sources.
fn row(snapshot: &Snapshot, chosen: (Option<SnapshotId>, Option<SnapshotId>)) -> Markup {
    let Snapshot { id, manifest } = snapshot;
    let counts = &manifest.counts;
    let (from, to) = (chosen.0 == Some(*id), chosen.1 == Some(*id));
    let clock: String = output::local(manifest.started).chars().skip(11).collect();
    html! {
        tr {
            td data-label="From" { input type="radio" name="a" value=(id) checked[from] aria-label={ "compare from " (id.short()) }; }
            td data-label="To" { input type="radio" name="b" value=(id) checked[to] aria-label={ "compare to " (id.short()) }; }
            td data-label="Snapshot" { (link(snapshot)) }
            td data-label="Time" { time datetime=(output::rfc3339(manifest.started)) { (clock) } }
            td.host data-label="Host" { bdi { (output::printable(&manifest.host)) } }
            td data-label="Kind" { (manifest.kind) @if manifest.partial { " " span.tag { "partial" } } }
            td.number data-label="Files" { (output::files(counts)) }
            td.number data-label="Size" { (size(counts.bytes_total)) }
            td.number data-label="Stored" { (size(counts.bytes_stored)) }
            td data-label="Paths" { div { (about(manifest)) } }
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
        @if manifest.is_alarming() { " " span.tag.minus { "alarm" } }
        @if let Some(text) = manifest.description() { " " span.note { (output::printable(text)) } }
    }
}

/// Returns a chart line for each host and its sources; those with the most snapshots come first.
fn growth(all: &[&Snapshot]) -> Vec<Line> {
    let mut sets: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for Snapshot { id, manifest } in all.iter().filter(|one| !one.manifest.partial) {
        let points = sets.entry((&manifest.host, &manifest.sources)).or_default();
        points.push(chart::Point {
            at: manifest.started,
            value: manifest.counts.bytes_total,
            link: Some(shown_at(id, b"")),
        });
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
