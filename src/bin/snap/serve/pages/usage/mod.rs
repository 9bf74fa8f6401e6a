//! The page that shows what uses the space in a directory, like `snap du`. It is computed in the background.

mod treemap;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hyper::StatusCode;
use maud::{Markup, html};
use snap_backup::model::id::SnapshotId;
use snap_backup::ops::du::{self, DirTotals, DirUsage, Options, Report};
use snap_backup::repo::snapshots::filter::SnapshotQuery;

use super::{frame, name, size, time, working};
use crate::serve::app_state::{AppState, snapshot};
use crate::serve::background::Found;
use crate::serve::request::PageRequest;
use crate::serve::response::HttpError;
use crate::serve::sessions::SharedSession;
use crate::serve::url::{shown_at, usage_at};
use crate::terminal::output;

/// Maximum number of directories that are listed, largest first.
const ROWS: usize = 500;

pub(crate) fn page(
    site: &AppState,
    visit: &SharedSession,
    asked: &PageRequest,
    _: &Arc<AtomicBool>,
) -> Result<Markup, HttpError> {
    let snapshot = snapshot(visit, asked)?;
    let (id, path) = (snapshot.id, asked.stored(2));
    let entry = visit.browser.entry(snapshot, &path)?;
    if !entry.is_some_and(|entry| entry.is_dir()) {
        return Err(HttpError::new(StatusCode::NOT_FOUND, "the snapshot has no such directory"));
    }
    let key = asked.key();
    // Snapshots are immutable, so the result never becomes outdated.
    let wanted = (key.as_str(), 0, asked.value("again").is_some());
    let below = path.clone();
    let work = site.background.ask(wanted, visit.shared_repo(), move |repo, control| {
        let choice = SnapshotQuery { selectors: vec![id.hex()], ..SnapshotQuery::default() };
        let options = Options { choice, below, depth: 1, ..Options::default() };
        du::run(repo, &options, control).map(|report| Found::Usage(Box::new(report)))
    });
    let found = match work.as_deref().and_then(|work| work.end()) {
        Some(Ok(Found::Usage(report))) => whole(&id, &path, report),
        Some(Err(why)) => html! {
            p.bad role="alert" { (output::printable(why)) }
            p.actions { a.button href=(asked.again(&[("again", "on")])) { "Try again" } }
        },
        _ => working(work.as_deref(), "entries"),
    };
    let content = html! {
        p { @if path.is_empty() { "The whole snapshot" } @else { code { (name(&path)) } } " of " (time(snapshot.manifest.started)) }
        (found)
        p.actions {
            a.button href=(shown_at(&id, &path)) { "The directory itself" }
            @if let Some(above) = above(&path) { a.button href=(usage_at(&id, above)) { "One level up" } }
        }
    };
    Ok(frame(&site.title, "Disk usage", "", content))
}

/// Returns the parent directory; `None` for the root.
fn above(path: &[u8]) -> Option<&[u8]> {
    if path.is_empty() {
        return None;
    }
    let slash = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    path.get(..slash)
}

fn whole(id: &SnapshotId, path: &[u8], report: &Report) -> Markup {
    let all = report.lines.iter().find(|line| line.path == path).map(|line| line.sums).unwrap_or_default();
    let mut dirs: Vec<&DirUsage> = report.lines.iter().filter(|line| line.path != path).collect();
    dirs.sort_by_key(|line| std::cmp::Reverse(line.sums.size));
    let here = rest(&all, &dirs);
    let last =
        |line: &DirUsage| output::path(line.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default());
    let mut items: Vec<treemap::Item> = dirs
        .iter()
        .map(|line| treemap::Item {
            label: format!("{}/", last(line)),
            size: line.sums.size,
            link: Some(usage_at(id, &line.path)),
        })
        .collect();
    items.push(treemap::Item { label: "files here".to_owned(), size: here.size, link: None });
    html! {
        (treemap::of("Sizes of directories", &items))
        table.stack {
            caption {
                (output::count(all.files, "file", "files")) ", " (size(all.size)) ", stored as " (size(all.stored))
                ". Data that several directories share is stored once and counted in the first."
            }
            thead { tr {
                th scope="col" { "Directory" } th.number scope="col" { "Files" } th.number scope="col" { "Size" }
                th.number scope="col" { "Share" } th.number scope="col" { "Stored" }
            } }
            tbody {
                @for line in dirs.iter().take(ROWS) {
                    (row(html! { a.dir href=(usage_at(id, &line.path)) { (last(line)) "/" } }, &line.sums, all.size))
                }
                (row(html! { "files here" }, &here, all.size))
            }
        }
        @if dirs.len() > ROWS { p.note { "The " (ROWS) " largest directories are listed; " code { "snap du" } " lists all." } }
    }
}

/// Returns the totals of the entries that are not directories.
fn rest(all: &DirTotals, dirs: &[&DirUsage]) -> DirTotals {
    let mut rest = *all;
    for line in dirs {
        rest.files = rest.files.saturating_sub(line.sums.files);
        rest.size = rest.size.saturating_sub(line.sums.size);
        rest.stored = rest.stored.saturating_sub(line.sums.stored);
    }
    rest
}

fn row(label: Markup, sums: &DirTotals, all: u64) -> Markup {
    let share = if all == 0 { 0.0 } else { sums.size as f64 / all as f64 * 100.0 };
    html! {
        tr {
            td.name { (label) }
            td.number data-label="Files" { (sums.files) }
            td.number data-label="Size" { (size(sums.size)) }
            td.number data-label="Share" { (format!("{share:.1}")) " %" }
            td.number data-label="Stored" { (size(sums.stored)) }
        }
    }
}
