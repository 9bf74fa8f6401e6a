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
use crate::serve::request::{PageRequest, shown_at};
use crate::serve::response::HttpError;
use crate::serve::router::{AppState, selector};
use crate::serve::sessions::SharedSession;
use crate::terminal::output;
use crate::terminal::output::count;

/// Maximum number of differences that are shown.
const MOST: usize = 1000;

struct Row {
    path: Vec<u8>,
    change: Change,
    fields: String,
    size: u64,
    is_dir: bool,
}

pub(crate) fn page(
    site: &AppState,
    visit: &SharedSession,
    asked: &PageRequest,
    stop: &Arc<AtomicBool>,
) -> Result<Markup, HttpError> {
    let (before, after) = (chosen(visit, asked, "a")?, chosen(visit, asked, "b")?);
    let path = asked.value("path").unwrap_or_default();
    let options = Options {
        before: selector(&before.id, path),
        after: OsString::from_vec(selector(&after.id, path)).into(),
        ..Options::default()
    };
    let mut rows = Vec::new();
    let summary = diff::run(
        visit.repo(),
        &options,
        &mut |found| {
            if rows.len() < MOST {
                let fields = found.fields.join(", ");
                let (size, is_dir) = (found.entry.size(), found.entry.is_dir());
                rows.push(Row { path: found.path.to_vec(), change: found.change, fields, size, is_dir });
            }
            Ok(())
        },
        &site.session_pool,
        stop,
    )?;
    let content = html! {
        dl {
            dt { "From" } dd { (side(before)) }
            dt { "To" } dd { (side(after)) }
            @if !path.is_empty() { dt { "In" } dd { code { (name(path)) } } }
        }
        (sums(&summary))
        @if !rows.is_empty() {
            table {
                thead { tr {
                    th scope="col" { "Change" } th scope="col" { "Path" } th.number scope="col" { "Size" }
                    th.wide scope="col" { "Also" }
                } }
                tbody { @for row in &rows { (line(row, before, after, path)) } }
            }
        }
        @if rows.len() >= MOST { p { "Only the first " (MOST) " are shown; " code { "snap diff" } " lists them all." } }
        p.actions {
            a.button href={ "/compare?a=" (after.id) "&b=" (before.id) "&path=" (super::super::request::encoded_path(path)) } { "The other way round" }
        }
    };
    Ok(frame(&site.title, "Compare", "", content))
}

fn chosen<'a>(visit: &'a SharedSession, asked: &PageRequest, name: &str) -> Result<&'a Snapshot, HttpError> {
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

fn line(row: &Row, before: &Snapshot, after: &Snapshot, base: &[u8]) -> Markup {
    let (word, class) = match row.change {
        Change::Added => ("added", "plus"),
        Change::Removed => ("removed", "minus"),
        Change::Type => ("other kind", "other"),
        Change::Content => ("changed", "other"),
        Change::Metadata => ("metadata", "faint"),
    };
    let id = if row.change == Change::Removed { &before.id } else { &after.id };
    let path = if base.is_empty() { row.path.clone() } else { [base, b"/", &row.path].concat() };
    html! {
        tr {
            td class=(class) { (row.change.letter()) " " (word) }
            td.name { a href=(shown_at(id, &path)) { (name(&row.path)) @if row.is_dir { "/" } } }
            td.number { @if row.is_dir { "–" } @else { (super::size(row.size)) } }
            td.wide { (row.fields) }
        }
    }
}
