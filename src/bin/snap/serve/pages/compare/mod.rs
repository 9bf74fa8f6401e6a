//! The page with the differences between two snapshots, as a tree.

mod tree;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use maud::{Markup, html};
use snap_backup::Control;
use snap_backup::model::id::SnapshotId;
use snap_backup::ops::diff::{self, Difference, DifferenceKind, Options, Report};
use snap_backup::repo::snapshots::Snapshot;

use self::tree::Tree;
use super::{frame, name, time};
use crate::serve::app_state::{AppState, selector};
use crate::serve::request::{PageRequest, decoded};
use crate::serve::response::HttpError;
use crate::serve::sessions::SharedSession;
use crate::serve::url::{encoded_path, shown_at, versions_at};
use crate::terminal::output::{self, count};

/// Which differences are shown.
struct Filter {
    /// Whether to show directories that differ only in metadata. Usually only their times changed, because of
    /// a change below.
    all: bool,
    kind: String,
}

impl Filter {
    fn takes(&self, change: DifferenceKind, is_dir: bool) -> bool {
        let is_noise = change == DifferenceKind::Metadata && is_dir;
        (self.all || !is_noise || self.kind == "metadata")
            && (self.kind.is_empty() || self.kind == words(change).0)
    }
}

/// Returns the term for a change, and its CSS class.
fn words(change: DifferenceKind) -> (&'static str, &'static str) {
    match change {
        DifferenceKind::Added => ("added", "plus"),
        DifferenceKind::Removed => ("removed", "minus"),
        DifferenceKind::Type => ("other type", "other"),
        DifferenceKind::Content => ("changed", "other"),
        DifferenceKind::Metadata => ("metadata", "faint"),
    }
}

pub(crate) fn page(
    site: &AppState,
    visit: &SharedSession,
    asked: &PageRequest,
    stop: &Arc<AtomicBool>,
) -> Result<Markup, HttpError> {
    let (before, after) = (chosen(visit, asked, "a")?, chosen(visit, asked, "b")?);
    // A form can only send text, so it sends the path percent-encoded.
    let encoded = asked.value("at").map(decoded).transpose()?;
    let path = asked.value("path").or(encoded.as_deref()).unwrap_or_default();
    if let Some(content) = one_sided(visit, (before, after), path)? {
        return Ok(frame(&site.title, "Compare", "", content));
    }
    let filter = Filter { all: asked.value("all").is_some(), kind: asked.text("kind") };
    let (summary, tree) = compared(site, visit, (before, after, path), &filter, stop)?;
    let content = html! {
        dl {
            dt { "From" } dd { (side(before)) }
            dt { "To" } dd { (side(after)) }
            @if !path.is_empty() { dt { "In" } dd { code { (name(path)) } } }
        }
        (sums(&summary, &tree))
        (choices(asked, &filter, tree.has_hidden()))
        (tree.table((before, after), path))
        p.actions {
            a.button href={ "/compare?a=" (after.id) "&b=" (before.id) "&path=" (encoded_path(path)) } { "Swap the two" }
        }
    };
    Ok(frame(&site.title, "Compare", "", content))
}

fn compared(
    site: &AppState,
    visit: &SharedSession,
    (before, after, path): (&Snapshot, &Snapshot, &[u8]),
    filter: &Filter,
    stop: &Arc<AtomicBool>,
) -> Result<(Report, Tree), HttpError> {
    let options = Options {
        before: selector(&before.id, path),
        after: OsString::from_vec(selector(&after.id, path)).into(),
        ..Options::default()
    };
    let mut tree = Tree::default();
    let mut take = |found: &Difference<'_>| {
        if filter.takes(found.change, found.entry.is_dir()) {
            tree.add(found)
        } else {
            tree.hide()
        }
        Ok(())
    };
    let summary =
        diff::run(visit.repo(), &options, &mut take, &Control::new(&site.session_pool).with_cancel(stop))?;
    Ok((summary, tree))
}

/// Returns a message if only one of the snapshots has the path, so that there is nothing to compare.
fn one_sided(
    visit: &SharedSession,
    (before, after): (&Snapshot, &Snapshot),
    path: &[u8],
) -> Result<Option<Markup>, HttpError> {
    let has = |snapshot| visit.browser.entry(snapshot, path).map(|entry| entry.is_some());
    let (word, which, there) = match (has(before)?, has(after)?) {
        (true, false) => ("removed", "second", before),
        (false, true) => ("added", "first", after),
        _ => return Ok(None),
    };
    Ok(Some(html! {
        dl {
            dt { "From" } dd { (side(before)) }
            dt { "To" } dd { (side(after)) }
        }
        p role="status" {
            "The " (which) " snapshot does not have " code { (name(path)) } ": all of it was " (word) "."
        }
        p.actions {
            a.button href=(shown_at(&there.id, path)) { "Show it in the other snapshot" }
            a.button href={ "/compare?a=" (before.id) "&b=" (after.id) } { "Compare the whole snapshots" }
            a.button href=(versions_at(path)) { "All versions" }
        }
    }))
}

pub(super) fn chosen<'a>(
    visit: &'a SharedSession,
    asked: &PageRequest,
    name: &str,
) -> Result<&'a Snapshot, HttpError> {
    let id = SnapshotId::parse(&asked.text(name)).ok();
    let gone =
        || HttpError::not_found("select two snapshots: one of these does not exist, or has been forgotten");
    id.and_then(|id| visit.browser.snapshot(&id)).ok_or_else(gone)
}

fn side(snapshot: &Snapshot) -> Markup {
    html! { (super::link(snapshot)) " of " (time(snapshot.manifest.started)) }
}

fn sums(summary: &Report, tree: &Tree) -> Markup {
    let files = |number| count(number, "file", "files");
    html! {
        @if summary.is_same() { p role="status" { "There are no differences." } }
        @else {
            p role="status" {
                (files(summary.added.files)) " added (" (output::size(summary.added.bytes)) "), "
                (files(summary.removed.files)) " removed (" (output::size(summary.removed.bytes)) "), "
                (count(summary.content + summary.types, "path", "paths")) " with different content, "
                (summary.metadata) " with only different metadata. "
                "Files that differ: " (output::size(tree.sizes().0)) " before, " (output::size(tree.sizes().1)) " after."
            }
        }
    }
}

/// Links that select one kind of change, or all.
fn choices(asked: &PageRequest, filter: &Filter, has_hidden: bool) -> Markup {
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
        @if has_hidden && filter.kind.is_empty() {
            p.note {
                "Directories that differ only in metadata are hidden. "
                a href=(asked.again(&[("all", "on")])) { "Show all" }
            }
        }
    }
}

fn joined(base: &[u8], path: &[u8]) -> Vec<u8> {
    if base.is_empty() { path.to_vec() } else { [base, b"/", path].concat() }
}
