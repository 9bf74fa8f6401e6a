//! The page for a path in a snapshot: a list of a directory, or the details of another entry.

mod directory;
mod file;
mod travel;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hyper::StatusCode;
use maud::{Markup, html};
use snap_backup::model::entry::{Entry, Kind};
use snap_backup::repo::snapshots::Snapshot;

use super::{csrf, frame, name, size, snapshots, time};
use crate::serve::app_state::{AppState, snapshot};
use crate::serve::request::PageRequest;
use crate::serve::response::HttpError;
use crate::serve::sessions::SharedSession;
use crate::serve::url::{
    archive_at, encoded, encoded_path, file_at, shown_at, usage_at, versions_at, zip_at,
};
use crate::terminal::output;

/// The path in a snapshot that a page shows.
struct Place<'a> {
    site: &'a AppState,
    visit: &'a SharedSession,
    snapshot: &'a Snapshot,
    path: &'a [u8],
    entry: &'a Entry,
    asked: &'a PageRequest,
    stop: &'a Arc<AtomicBool>,
}

pub(crate) fn page(
    site: &AppState,
    visit: &SharedSession,
    asked: &PageRequest,
    stop: &Arc<AtomicBool>,
) -> Result<Markup, HttpError> {
    let snapshot = snapshot(visit, asked)?;
    let path = asked.stored(2);
    let nothing = || HttpError::new(StatusCode::NOT_FOUND, "the snapshot has no such entry");
    let entry = visit.browser.entry(snapshot, &path)?.ok_or_else(nothing)?;
    let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let title =
        if path.is_empty() { format!("Snapshot {}", snapshot.id.short()) } else { output::path(last) };
    let place = Place { site, visit, snapshot, path: &path, entry: &entry, asked, stop };
    let what = match entry.kind {
        Kind::Dir { tree } => html! {
            (travel::bar(&place)?)
            (directory::list(&place, tree)?)
            @if asked.value("gone").is_some() { (travel::gone(&place)?) }
        },
        _ => file::preview(&place)?,
    };
    let content = html! {
        (way(snapshot, asked))
        @if path.is_empty() { (of_snapshot(snapshot)) } @else { (file::facts(&entry)) }
        (actions(&place))
        (what)
    };
    Ok(frame(&site.title, &title, "", content))
}

/// Links to the parent directories.
fn way(snapshot: &Snapshot, asked: &PageRequest) -> Markup {
    let id = &snapshot.id;
    let parts = asked.path.get(2..).unwrap_or_default();
    html! {
        nav.way aria-label="Path" { ol {
            li { a href=(shown_at(id, b"")) { (id.short()) } " of " (time(snapshot.manifest.started)) }
            @for (number, part) in parts.iter().enumerate() {
                li {
                    @if number + 1 == parts.len() { span aria-current="page" { (name(part)) } }
                    @else {
                        @let above = parts.get(..=number).unwrap_or_default().join(&b'/');
                        a href=(shown_at(id, &above)) { (name(part)) }
                    }
                }
            }
        } }
    }
}

fn of_snapshot(snapshot: &Snapshot) -> Markup {
    let manifest = &snapshot.manifest;
    let counts = &manifest.counts;
    html! {
        dl {
            dt { "Of" } dd { bdi { (output::printable(&manifest.host)) } ": " (snapshots::about(manifest)) }
            dt { "Kind" } dd { (manifest.kind) @if manifest.partial { ", interrupted" } }
            dt { "Holds" } dd {
                (output::count(output::files(counts), "file", "files")) ", "
                (output::count(counts.dirs, "directory", "directories")) ", " (size(counts.bytes_total))
            }
            dt { "Added" } dd { (size(counts.bytes_added)) ", stored as " (size(counts.bytes_stored)) }
        }
    }
}

fn actions(place: &Place<'_>) -> Markup {
    let Place { snapshot, path, entry, .. } = place;
    let id = &snapshot.id;
    html! {
        div.actions {
            @if entry.is_file() { a.button.first href=(file_at(id, path)) { "Download" } }
            @if entry.is_dir() {
                a.button href=(zip_at(id, path)) { "Download as zip" }
                a.button href=(archive_at(id, path)) { "Download as tar.gz" }
            }
            @if place.asked.csrf.is_some() { (restore(place)) }
            @if !path.is_empty() { a.button href=(versions_at(path)) { "Versions" } }
            @if let Some(before) = place.visit.browser.before(snapshot) && entry.is_dir() {
                a.button href={ "/compare?a=" (before.id) "&b=" (id) "&path=" (encoded_path(path)) } {
                    "Compare with the previous snapshot"
                }
            }
            @if entry.is_dir() { a.button href=(usage_at(id, path)) { "Disk usage" } }
            @if entry.is_dir() && !path.is_empty() { a.button href={ "/search?in=" (encoded(path)) } { "Search here" } }
        }
    }
}

/// Buttons for the command and the form that restore this directory or entry.
fn restore(place: &Place<'_>) -> Markup {
    let (dir, name) = if place.entry.is_dir() {
        (place.path, None)
    } else {
        match place.path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => {
                let (dir, name) = place.path.split_at(slash);
                (dir, name.strip_prefix(b"/"))
            }
            None => (&b""[..], Some(place.path)),
        }
    };
    html! {
        form method="post" action={ "/pick/" (place.snapshot.id) "/" (encoded_path(dir)) } {
            (csrf(place.asked))
            @match name {
                Some(name) => { input type="hidden" name="e" value=(encoded(name)); }
                None => { input type="hidden" name="whole" value="on"; }
            }
            button name="as" value="restore" { "Restore …" }
        }
    }
}
