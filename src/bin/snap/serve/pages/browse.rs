//! The page for a path in a snapshot: a directory in parts, or the details of another entry.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hyper::StatusCode;
use maud::{Markup, html};
use snap_backup::model::entry::{Entry, Kind, flags};
use snap_backup::model::id::ChunkId;
use snap_backup::repo::snapshots::Snapshot;

use super::{frame, kind, name, size, size_of, snapshots, time};
use crate::serve::request::{PageRequest, archive_at, encoded, encoded_path, file_at, shown_at, versions_at};
use crate::serve::response::HttpError;
use crate::serve::router::{AppState, snapshot};
use crate::serve::sessions::SharedSession;
use crate::terminal::output;

/// Number of entries on a page.
const ROWS: usize = 500;

pub(crate) fn page(
    site: &AppState,
    visit: &SharedSession,
    asked: &PageRequest,
    _: &Arc<AtomicBool>,
) -> Result<Markup, HttpError> {
    let snapshot = snapshot(visit, asked)?;
    let path = asked.stored(2);
    let nothing = || HttpError::new(StatusCode::NOT_FOUND, "the snapshot holds no such thing");
    let entry = visit.browser.entry(snapshot, &path)?.ok_or_else(nothing)?;
    let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let title =
        if path.is_empty() { format!("Snapshot {}", snapshot.id.short()) } else { output::path(last) };
    let what = match entry.kind {
        Kind::Dir { tree } => directory(visit, snapshot, &path, tree, asked)?,
        _ => html! {},
    };
    let content = html! {
        (way(snapshot, asked))
        @if path.is_empty() { (of_snapshot(snapshot)) } @else { (facts(&entry)) }
        (actions(visit, snapshot, &path, &entry))
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

fn facts(entry: &Entry) -> Markup {
    let meta = &entry.meta;
    let who = |name: Option<&str>, id: u32| name.map_or_else(|| id.to_string(), output::printable);
    let timeless = meta.flags & flags::PASSAGE != 0;
    html! {
        dl {
            dt { "Kind" } dd { (kind(entry)) }
            @if entry.is_file() { dt { "Size" } dd { (output::size(entry.size())) " (" (entry.size()) " bytes)" } }
            @if let Kind::Symlink { target } = &entry.kind { dt { "Target" } dd { (name(target)) } }
            @if !timeless { dt { "Modified" } dd { (time(meta.mtime)) } }
            dt { "Mode" } dd { code { (output::permissions(entry)) } }
            dt { "Owner" } dd { (who(meta.user.as_deref(), meta.uid)) ":" (who(meta.group.as_deref(), meta.gid)) }
        }
        @if let Some(why) = meta.loss() { p.bad { (why) } }
        @if meta.flags & flags::CHANGED_WHILE_READ != 0 {
            p.bad { "It changed each time it was read: it may mix versions." }
        }
    }
}

fn actions(visit: &SharedSession, snapshot: &Snapshot, path: &[u8], entry: &Entry) -> Markup {
    let id = &snapshot.id;
    html! {
        p.actions {
            @if entry.is_file() { a.button href=(file_at(id, path)) { "Download" } }
            @if entry.is_dir() { a.button href=(archive_at(id, path)) { "Download as tar.gz" } }
            @if !path.is_empty() { a.button href=(versions_at(path)) { "Versions" } }
            @if let Some(before) = visit.browser.before(snapshot) && entry.is_dir() {
                a.button href={ "/compare?a=" (before.id) "&b=" (id) "&path=" (encoded_path(path)) } {
                    "Compare with the one before"
                }
            }
        }
    }
}

fn directory(
    visit: &SharedSession,
    snapshot: &Snapshot,
    path: &[u8],
    tree: ChunkId,
    asked: &PageRequest,
) -> Result<Markup, HttpError> {
    let from = asked.value("from").unwrap_or_default();
    let page = visit.browser.page(tree, from, ROWS)?;
    let here = shown_at(&snapshot.id, path);
    let more = page.next.map(|next| format!("{here}?from={}", encoded(&next)));
    Ok(html! {
        @if page.entries.is_empty() { p { "It is empty." } }
        @else {
            table {
                thead { tr {
                    th scope="col" { "Name" }
                    th.number scope="col" { "Size" }
                    th scope="col" { "Modified" }
                    th.wide scope="col" { "Mode" }
                    th scope="col" { span.hidden { "Download" } }
                } }
                tbody { @for entry in &page.entries { (row(snapshot, path, entry)) } }
            }
        }
        @if !from.is_empty() || more.is_some() {
            p.actions {
                @if !from.is_empty() { a.button href=(here) { "First page" } }
                @if let Some(more) = more { a.button rel="next" href=(more) { "Next page" } }
            }
        }
    })
}

fn row(snapshot: &Snapshot, above: &[u8], entry: &Entry) -> Markup {
    let path = if above.is_empty() { entry.name.clone() } else { [above, b"/", &entry.name].concat() };
    let id = &snapshot.id;
    let shown = output::path(&entry.name);
    html! {
        tr {
            td.name {
                a href=(shown_at(id, &path)) { (name(&entry.name)) @if entry.is_dir() { "/" } }
                @if let Kind::Symlink { target } = &entry.kind { " → " (name(target)) }
            }
            td.number { (size_of(entry)) }
            td { @if entry.meta.flags & flags::PASSAGE == 0 { (time(entry.meta.mtime)) } }
            td.wide { code { (output::permissions(entry)) } }
            td {
                @if entry.is_file() { a href=(file_at(id, &path)) aria-label={ "Download " (shown) } { "get" } }
                @if entry.is_dir() {
                    a href=(archive_at(id, &path)) aria-label={ "Download " (shown) " as tar.gz" } { "tar.gz" }
                }
            }
        }
    }
}
