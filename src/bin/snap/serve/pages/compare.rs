//! The page with the differences between two snapshots.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use maud::{Markup, html};
use snap_backup::model::id::SnapshotId;
use snap_backup::ops::diff;
use snap_backup::ops::diff::{Change, Options, Summary};
use snap_backup::repo::snapshots::Snapshot;

use super::{frame, name, time};
use crate::serve::app_state::{AppState, selector};
use crate::serve::request::{PageRequest, decoded, encoded_path, shown_at};
use crate::serve::response::HttpError;
use crate::serve::sessions::SharedSession;
use crate::terminal::output;
use crate::terminal::output::count;

/// Maximum number of differences that are shown.
const MOST: usize = 1000;

/// Number of files whose sizes before are looked up.
const SIZES: usize = 200;

struct Row {
    path: Vec<u8>,
    change: Change,
    fields: String,
    size: u64,
    /// Size in the first snapshot, of a file with another content.
    before: Option<u64>,
    is_dir: bool,
}

/// Which differences are shown.
struct Filter {
    /// Whether directories with other metadata only are shown: each change below one changes its time.
    all: bool,
    kind: String,
}

impl Filter {
    fn takes(&self, change: Change, is_dir: bool) -> bool {
        let is_noise = change == Change::Metadata && is_dir;
        (self.all || !is_noise || self.kind == "metadata")
            && (self.kind.is_empty() || self.kind == words(change).0)
    }
}

/// The term for a change, and its class.
fn words(change: Change) -> (&'static str, &'static str) {
    match change {
        Change::Added => ("added", "plus"),
        Change::Removed => ("removed", "minus"),
        Change::Type => ("other kind", "other"),
        Change::Content => ("changed", "other"),
        Change::Metadata => ("metadata", "faint"),
    }
}

pub(crate) fn page(
    site: &AppState,
    visit: &SharedSession,
    asked: &PageRequest,
    stop: &Arc<AtomicBool>,
) -> Result<Markup, HttpError> {
    let (before, after) = (chosen(visit, asked, "a")?, chosen(visit, asked, "b")?);
    // A form can only send text: there the path is percent-encoded.
    let encoded = asked.value("at").map(decoded).transpose()?;
    let path = asked.value("path").or(encoded.as_deref()).unwrap_or_default();
    let options = Options {
        before: selector(&before.id, path),
        after: OsString::from_vec(selector(&after.id, path)).into(),
        ..Options::default()
    };
    let filter = Filter { all: asked.value("all").is_some(), kind: asked.text("kind") };
    let mut hidden = 0;
    let mut rows: Vec<Row> = Vec::new();
    let summary = diff::run(
        visit.repo(),
        &options,
        &mut |found| {
            let is_dir = found.entry.is_dir();
            if !filter.takes(found.change, is_dir) {
                hidden += 1;
            } else if rows.len() < MOST {
                let (fields, size) = (found.fields.join(", "), found.entry.size());
                rows.push(Row {
                    path: found.path.to_vec(),
                    change: found.change,
                    fields,
                    size,
                    before: None,
                    is_dir,
                });
            }
            Ok(())
        },
        &site.session_pool,
        stop,
    )?;
    sizes_before(visit, before, path, &mut rows)?;
    let content = html! {
        dl {
            dt { "From" } dd { (side(before)) }
            dt { "To" } dd { (side(after)) }
            @if !path.is_empty() { dt { "In" } dd { code { (name(path)) } } }
        }
        (sums(&summary))
        (choices(asked, &filter, hidden))
        @if !rows.is_empty() {
            table.stack.list {
                thead { tr {
                    th scope="col" { "Change" } th scope="col" { "Path" } th.number scope="col" { "Size before" }
                    th.number scope="col" { "Size" } th scope="col" { "Also" } th scope="col" { span.hidden { "Versions" } }
                } }
                tbody { @for row in &rows { (line(row, (before, after), path)) } }
            }
        }
        @if rows.len() >= MOST { p { "Only the first " (MOST) " are shown; " code { "snap diff" } " lists them all." } }
        p.actions {
            a.button href={ "/compare?a=" (after.id) "&b=" (before.id) "&path=" (encoded_path(path)) } { "The other way round" }
        }
    };
    Ok(frame(&site.title, "Compare", "", content))
}

pub(super) fn chosen<'a>(
    visit: &'a SharedSession,
    asked: &PageRequest,
    name: &str,
) -> Result<&'a Snapshot, HttpError> {
    let id = SnapshotId::parse(&asked.text(name)).ok();
    let gone = || HttpError::not_found("choose two snapshots that stand: one may have been forgotten since");
    id.and_then(|id| visit.browser.snapshot(&id)).ok_or_else(gone)
}

fn side(snapshot: &Snapshot) -> Markup {
    html! { (super::link(snapshot)) " of " (time(snapshot.manifest.started)) }
}

fn sums(summary: &Summary) -> Markup {
    let files = |number| count(number, "file", "files");
    html! {
        @if summary.is_same() { p role="status" { "Nothing differs." } }
        @else {
            p role="status" {
                (files(summary.added.files)) " added (" (output::size(summary.added.bytes)) "), "
                (files(summary.removed.files)) " removed (" (output::size(summary.removed.bytes)) "), "
                (count(summary.content + summary.types, "path", "paths")) " with another content, "
                (summary.metadata) " with other metadata only."
            }
        }
    }
}

/// Looks up the sizes that the first of the files with another content had.
fn sizes_before(
    visit: &SharedSession,
    before: &Snapshot,
    base: &[u8],
    rows: &mut [Row],
) -> Result<(), HttpError> {
    let changed = rows.iter_mut().filter(|row| row.change == Change::Content && !row.is_dir);
    for row in changed.take(SIZES) {
        let entry = visit.browser.entry(before, &joined(base, &row.path))?;
        row.before = entry.map(|entry| entry.size());
    }
    Ok(())
}

/// Links that show only one kind of change, or all.
fn choices(asked: &PageRequest, filter: &Filter, hidden: u64) -> Markup {
    let kinds = [
        ("", "All kinds"),
        ("added", "Added"),
        ("removed", "Removed"),
        ("changed", "Changed"),
        ("metadata", "Metadata"),
    ];
    html! {
        nav.pages aria-label="Kinds of changes" {
            @for (kind, label) in kinds {
                @if filter.kind == kind { a href=(asked.again(&[("kind", kind)])) aria-current="page" { (label) } }
                @else { a href=(asked.again(&[("kind", kind)])) { (label) } }
            }
        }
        @if hidden > 0 && filter.kind.is_empty() {
            p.note {
                (count(hidden, "directory is", "directories are")) " left out that differ in metadata only. "
                a href=(asked.again(&[("all", "on")])) { "Show all" }
            }
        }
    }
}

fn joined(base: &[u8], path: &[u8]) -> Vec<u8> {
    if base.is_empty() { path.to_vec() } else { [base, b"/", path].concat() }
}

fn line(row: &Row, (before, after): (&Snapshot, &Snapshot), base: &[u8]) -> Markup {
    let (word, class) = words(row.change);
    let id = if row.change == Change::Removed { &before.id } else { &after.id };
    let path = joined(base, &row.path);
    let is_text = row.change == Change::Content && !row.is_dir;
    let difference = format!("/difference/{}?a={}&b={}", encoded_path(&path), before.id, after.id);
    let shown = output::path(&row.path);
    let size = |bytes: Option<u64>| html! { @if let Some(bytes) = bytes.filter(|_| !row.is_dir) { (super::size(bytes)) } @else { "–" } };
    let (old, new) = match row.change {
        Change::Removed => (Some(row.size), None),
        Change::Added => (None, Some(row.size)),
        Change::Content => (row.before, Some(row.size)),
        Change::Type | Change::Metadata => (None, Some(row.size)),
    };
    html! {
        tr {
            td class=(class) { (row.change.letter()) " " (word) }
            td.name { a href=(shown_at(id, &path)) { (name(&row.path)) @if row.is_dir { "/" } } }
            td.number data-label="Before" { (size(old)) }
            td.number data-label="Size" { (size(new)) }
            td data-label="Also" { (row.fields) }
            td {
                @if is_text { a href=(difference) aria-label={ "Lines that differ: " (shown) } { "lines" } " " a href=(shown_at(&before.id, &path)) aria-label={ "Before: " (shown) } { "before" } }
            }
        }
    }
}
