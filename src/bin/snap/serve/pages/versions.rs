//! The page with all versions of a path, newest first, each with a download link, and when it was deleted.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use maud::{Markup, html};
use snap_backup::Control;
use snap_backup::ops::history::{self, Options, Report};
use snap_backup::repo::snapshots::Snapshot;
use snap_backup::repo::snapshots::filter::SnapshotQuery;
use snap_backup::repo::walk::multi_walk::EntryVersion;

use super::{frame, link, name, problems, size_of, time};
use crate::serve::app_state::AppState;
use crate::serve::request::PageRequest;
use crate::serve::response::HttpError;
use crate::serve::sessions::SharedSession;
use crate::serve::url::{archive_at, encoded_path, file_at, shown_at};
use crate::terminal::output;

/// A row of the page, at the position of its first snapshot.
enum Event<'a> {
    Version(usize, &'a EntryVersion),
    /// The first snapshot of a set without the path.
    Deleted(&'a Snapshot),
}

pub(crate) fn page(
    site: &AppState,
    visit: &SharedSession,
    asked: &PageRequest,
    stop: &Arc<AtomicBool>,
) -> Result<Markup, HttpError> {
    let options = Options { choice: SnapshotQuery::default(), path: asked.stored(1) };
    let report = history::run(visit.repo(), &options, &Control::new(&site.session_pool).with_cancel(stop))?;
    let all_files = report.versions.iter().all(|version| version.entry.is_file());
    let all_dirs = report.versions.iter().all(|version| version.entry.is_dir());
    let action =
        if all_dirs { "/compare".to_owned() } else { format!("/difference/{}", encoded_path(&report.path)) };
    let may_compare = report.versions.len() > 1 && (all_files || all_dirs);
    let content = html! {
        p { code { (name(&report.path)) } }
        (problems(&report.problems))
        form action=(action) {
            @if all_dirs { input type="hidden" name="at" value=(encoded_path(&report.path)); }
            (table(&report, may_compare))
            @if may_compare {
                p.actions.sticky {
                    button { @if all_dirs { "Compare the two selected" } @else { "Show the difference" } }
                    span.note { "What changed between them" }
                }
            }
        }
    };
    Ok(frame(&site.title, "Versions", "", content))
}

fn table(report: &Report, may_compare: bool) -> Markup {
    let number = report.versions.len();
    let containing: u64 = report.versions.iter().map(|version| version.among.count()).sum();
    let mut events: Vec<(usize, Event<'_>)> = Vec::new();
    for (at, version) in report.versions.iter().enumerate() {
        events.push((version.among.first().unwrap_or_default(), Event::Version(at + 1, version)));
    }
    let gone = report.gone.iter().filter_map(|at| Some((*at, Event::Deleted(report.snapshots.get(*at)?))));
    events.extend(gone);
    events.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    html! {
        table.stack {
            caption {
                (output::count(number as u64, "version", "versions")) " in "
                (output::count(containing, "snapshot", "snapshots")) ", newest first"
            }
            thead { tr {
                @if may_compare { th scope="col" { "From" } th scope="col" { "To" } }
                th.number scope="col" { "#" } th scope="col" { "Modified" } th.number scope="col" { "Size" }
                th scope="col" { "Mode" } th scope="col" { "First in" } th scope="col" { "Last in" }
                th.number scope="col" { "Snapshots" } th scope="col" { span.hidden { "Download" } }
            } }
            tbody { @for (_, event) in &events {
                @match event {
                    Event::Version(at, version) => { (row(report, (*at, number), version, may_compare)) }
                    Event::Deleted(snapshot) => {
                        tr.gone { td colspan="10" {
                            span.tag { "deleted" } " Not in snapshot " (link(snapshot)) " of "
                            (time(snapshot.manifest.started)) " on " bdi { (output::printable(&snapshot.manifest.host)) } "."
                        } }
                    }
                }
            } }
        }
    }
}

fn row(
    report: &Report,
    (number, all): (usize, usize),
    EntryVersion { entry, among }: &EntryVersion,
    may_compare: bool,
) -> Markup {
    let at = |number: Option<usize>| number.and_then(|at| report.snapshots.get(at));
    let path = &report.path;
    let (Some(first), Some(last)) = (at(among.first()), at(among.last())) else { return html! {} };
    html! {
        tr {
            @if may_compare {
                td data-label="From" { input type="radio" name="a" value=(last.id) checked[number + 1 == all] aria-label={ "from version " (number) }; }
                td data-label="To" { input type="radio" name="b" value=(last.id) checked[number == all] aria-label={ "to version " (number) }; }
            }
            td.number data-label="#" { (number) }
            td data-label="Modified" { (time(entry.meta.mtime)) }
            td.number data-label="Size" { (size_of(entry)) }
            td data-label="Mode" { code { (output::permissions(entry)) } }
            td data-label="First in" { (time(first.manifest.started)) }
            td data-label="Last in" { a href=(shown_at(&last.id, path)) { (time(last.manifest.started)) } }
            td.number data-label="Snapshots" { (among.count()) }
            td {
                @if entry.is_file() {
                    a href=(file_at(&last.id, path)) aria-label={ "Download version " (number) } { "Download" }
                }
                @if entry.is_dir() {
                    a href=(archive_at(&last.id, path)) aria-label={ "Download version " (number) " as tar.gz" } { "tar.gz" }
                }
            }
        }
    }
}
