//! The page with all versions of a path, each with a download link.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use maud::{Markup, html};
use snap_backup::ops::history;
use snap_backup::ops::history::{Options, Report};
use snap_backup::repo::snapshots::filter::SnapshotQuery;
use snap_backup::repo::walk::multi_walk::EntryVersion;

use super::{frame, link, name, problems, size_of, time};
use crate::serve::request::{PageRequest, archive_at, file_at, shown_at};
use crate::serve::response::HttpError;
use crate::serve::router::AppState;
use crate::serve::sessions::SharedSession;
use crate::terminal::output;

pub(crate) fn page(
    site: &AppState,
    visit: &SharedSession,
    asked: &PageRequest,
    stop: &Arc<AtomicBool>,
) -> Result<Markup, HttpError> {
    let options = Options { choice: SnapshotQuery::default(), path: asked.stored(1) };
    let report = history::run(visit.repo(), &options, &site.session_pool, stop)?;
    let gone = report.gone.iter().filter_map(|number| report.snapshots.get(*number));
    let content = html! {
        p { code { (name(&report.path)) } }
        (problems(&report.problems))
        table {
            caption {
                (output::count(report.versions.len() as u64, "version", "versions")) " in "
                (output::count(report.snapshots.len() as u64, "snapshot", "snapshots"))
            }
            thead { tr {
                th.number scope="col" { "#" }
                th scope="col" { "Modified" }
                th.number scope="col" { "Size" }
                th.wide scope="col" { "Mode" }
                th.wide scope="col" { "First in" }
                th scope="col" { "Last in" }
                th.number.wide scope="col" { "Snapshots" }
                th scope="col" { span.hidden { "Download" } }
            } }
            tbody { @for (number, version) in (1_usize..).zip(&report.versions) { (row(&report, number, version)) } }
        }
        @for snapshot in gone { p.note { "Gone since snapshot " (link(snapshot)) " of " (time(snapshot.manifest.started)) "." } }
    };
    Ok(frame(&site.title, "Versions", "", content))
}

fn row(report: &Report, number: usize, EntryVersion { entry, among }: &EntryVersion) -> Markup {
    let at = |number: Option<usize>| number.and_then(|at| report.snapshots.get(at));
    let path = &report.path;
    html! {
        tr {
            td.number { (number) }
            td { (time(entry.meta.mtime)) }
            td.number { (size_of(entry)) }
            td.wide { code { (output::permissions(entry)) } }
            td.wide { @if let Some(first) = at(among.first()) { (time(first.manifest.started)) } }
            @if let Some(last) = at(among.last()) {
                td { a.id href=(shown_at(&last.id, path)) { (last.id.short()) } }
                td.number.wide { (among.count()) }
                td {
                    @if entry.is_file() {
                        a href=(file_at(&last.id, path)) aria-label={ "Download version " (number) } { "get" }
                    }
                    @if entry.is_dir() {
                        a href=(archive_at(&last.id, path)) aria-label={ "Download version " (number) " as tar.gz" } { "tar.gz" }
                    }
                }
            }
        }
    }
}
