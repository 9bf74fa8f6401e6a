//! A list of the entries of a directory: directories first and sorted, or of a very large one in the order of
//! names, which needs no more of it than is shown.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use maud::{Markup, html};
use snap_backup::model::entry::{Entry, Kind, flags};
use snap_backup::model::id::ChunkId;
use snap_backup::ops::browse::{DirSize, SizeLimits};
use snap_backup::util::time_limit::TimeLimit;

use super::Place;
use crate::serve::pages::{csrf, name, size, size_of, time};
use crate::serve::request::{archive_at, encoded, encoded_path, file_at, shown_at};
use crate::serve::response::HttpError;
use crate::terminal::output;

/// Number of entries on a page.
const ROWS: usize = 500;
/// Number of entries up to which a directory is read as a whole, to be sorted.
const SORTED: usize = 10_000;
/// Entries that are read for the sizes of the directories in a list, and how long that may take.
const COUNTED: (u64, Duration) = (20_000, Duration::from_millis(60));
/// How long the sizes of directories are counted if somebody asks for all of them.
const ALL: Duration = Duration::from_secs(20);

/// Sizes of directories by their trees. One that cannot be read has none.
type Sizes = HashMap<ChunkId, DirSize>;

pub(super) fn list(place: &Place<'_>, tree: ChunkId) -> Result<Markup, HttpError> {
    let from = place.asked.value("from").filter(|from| !from.is_empty());
    if let Some(from) = from {
        let page = place.visit.browser.page(tree, from, ROWS)?;
        return Ok(in_parts(place, &page.entries, page.next.as_deref(), true));
    }
    let mut page = place.visit.browser.page(tree, b"", ROWS)?;
    let Some(next) = page.next.clone() else { return Ok(sorted(place, page.entries)) };
    let rest = place.visit.browser.page(tree, &next, SORTED - ROWS)?;
    match rest.next {
        Some(_) => Ok(in_parts(place, &page.entries, Some(&next), false)),
        None => {
            page.entries.extend(rest.entries);
            Ok(sorted(place, page.entries))
        }
    }
}

/// A part of a directory that is too large to be sorted.
fn in_parts(place: &Place<'_>, entries: &[Entry], next: Option<&[u8]>, is_later: bool) -> Markup {
    let here = shown_at(&place.snapshot.id, place.path);
    html! {
        form.search action=(here) aria-label="Jump" {
            label { "Go to names from " input name="from" size="12" required; }
            button { "Go" }
        }
        p.note { "It has more than " (SORTED) " entries, which are in the order of their names." }
        (table(place, entries, &counted(place, entries), false))
        p.actions {
            @if is_later { a.button href=(here) { "First page" } }
            @if let Some(next) = next { a.button rel="next" href={ (here) "?from=" (encoded(next)) } { "Next page" } }
        }
    }
}

/// The whole directory, sorted and in pages.
fn sorted(place: &Place<'_>, mut entries: Vec<Entry>) -> Markup {
    let order = place.asked.text("sort");
    let mut sizes = Sizes::new();
    if order == "size" || entries.len() <= ROWS {
        sizes = counted(place, &entries);
    }
    let size = |entry: &Entry| tree_of(entry).map_or(entry.size(), |tree| bytes(sizes.get(&tree)));
    match order.as_str() {
        "size" => entries.sort_by_key(|entry| (!entry.is_dir(), Reverse(size(entry)))),
        "time" => entries.sort_by_key(|entry| (!entry.is_dir(), Reverse(entry.meta.mtime))),
        _ => entries.sort_by_key(|entry| !entry.is_dir()),
    }
    let start = place.asked.text("start").parse::<usize>().unwrap_or(0).min(entries.len());
    let end = entries.len().min(start.saturating_add(ROWS));
    let pages = entries.len().div_ceil(ROWS);
    let to = |page: usize| place.asked.again(&[("start", &(page * ROWS).to_string())]);
    let shown = entries.get(start..end).unwrap_or_default();
    if sizes.is_empty() {
        sizes = counted(place, shown);
    }
    html! {
        @if entries.is_empty() { p { "It is empty." } }
        @else { (table(place, shown, &sizes, true)) }
        @if pages > 1 {
            nav.pages aria-label="Pages of the list" {
                @for page in 0..pages {
                    @if page * ROWS == start { a href=(to(page)) aria-current="page" { (page + 1) } }
                    @else { a rel=[(page * ROWS == start + ROWS).then_some("next")] href=(to(page)) { (page + 1) } }
                }
            }
        }
    }
}

fn tree_of(entry: &Entry) -> Option<ChunkId> {
    match entry.kind {
        Kind::Dir { tree } => Some(tree),
        _ => None,
    }
}

fn bytes(size: Option<&DirSize>) -> u64 {
    size.map_or(0, |size| size.bytes)
}

/// Counts the sizes of directories, as far as there is time for.
fn counted(place: &Place<'_>, entries: &[Entry]) -> Sizes {
    let is_all = place.asked.value("sizes").is_some();
    let (most, time) = if is_all { (u64::MAX, ALL) } else { COUNTED };
    let (end, stop) = (Instant::now() + time, Arc::clone(place.stop));
    let time = TimeLimit::when(move || Instant::now() >= end || stop.load(Ordering::Relaxed));
    let mut limits = SizeLimits { entries: most, time };
    let mut sizes = Sizes::new();
    for tree in entries.iter().filter_map(tree_of) {
        // A damaged directory has no size; the list is there for the others.
        if let Ok(size) = place.visit.browser.size_below(tree, &place.site.dir_sizes, &mut limits) {
            sizes.insert(tree, size);
        }
    }
    sizes
}

fn size_in_list(entry: &Entry, sizes: &Sizes) -> Markup {
    let Some(tree) = tree_of(entry) else { return size_of(entry) };
    html! {
        @match sizes.get(&tree) {
            Some(DirSize { bytes, is_complete: true }) => { (size(*bytes)) }
            Some(DirSize { bytes: 0, .. }) => { span title="not counted yet" { "…" } }
            Some(DirSize { bytes, .. }) => { span title="more than this: it was not counted to the end" { "> " (output::size(*bytes)) " …" } }
            None => { span title="a part of it cannot be read" { "?" } }
        }
    }
}

fn table(place: &Place<'_>, entries: &[Entry], sizes: &Sizes, may_sort: bool) -> Markup {
    let ticks = place.asked.csrf.is_some();
    let list = html! {
        table.stack.list {
            thead { tr {
                @if ticks { th scope="col" { span.hidden { "Choose" } } }
                (head(place, "Name", "", "name", may_sort))
                (head(place, "Size", "size", "number", may_sort))
                (head(place, "Modified", "time", "", may_sort))
                th scope="col" { "Mode" }
                th scope="col" { span.hidden { "Download" } }
            } }
            tbody { @for entry in entries { (row(place, entry, sizes, ticks)) } }
        }
    };
    let at = format!("/pick/{}/{}", place.snapshot.id, encoded_path(place.path));
    html! {
        @if ticks {
            form.pick method="post" action=(at) {
                (csrf(place.asked))
                (list)
                p.actions.sticky {
                    span.note { "With what is ticked:" }
                    button name="as" value="zip" { "Download as zip" }
                    button name="as" value="tar" { "Download as tar.gz" }
                    button name="as" value="restore" { "Restore …" }
                }
            }
        } @else { (list) }
        @if sizes.values().any(|size| !size.is_complete) {
            p.note { "Sizes with … were not counted to the end. " a href=(place.asked.again(&[("sizes", "all")])) { "Count them all" } }
        }
    }
}

fn head(place: &Place<'_>, label: &str, order: &str, class: &str, may_sort: bool) -> Markup {
    let is_order = place.asked.text("sort") == order;
    let way = if order.is_empty() { "ascending" } else { "descending" };
    html! {
        th scope="col" class=(class) aria-sort=[(may_sort && is_order).then_some(way)] {
            @if may_sort { a href=(place.asked.again(&[("sort", order), ("start", "")])) { (label) } @if is_order { span aria-hidden="true" { @if order.is_empty() { " ↑" } @else { " ↓" } } } }
            @else { (label) }
        }
    }
}

fn row(place: &Place<'_>, entry: &Entry, sizes: &Sizes, ticks: bool) -> Markup {
    let path = match place.path {
        [] => entry.name.clone(),
        above => [above, b"/", &entry.name].concat(),
    };
    let id = &place.snapshot.id;
    let shown = output::path(&entry.name);
    html! {
        tr {
            @if ticks { td.tick { input type="checkbox" name="e" value=(encoded(&entry.name)) aria-label={ "Choose " (shown) }; } }
            td.name {
                a class=[entry.is_dir().then_some("dir")] href=(shown_at(id, &path)) { (name(&entry.name)) @if entry.is_dir() { "/" } }
                @if let Kind::Symlink { target } = &entry.kind { " → " (name(target)) }
            }
            td.number data-label="Size" { (size_in_list(entry, sizes)) }
            td data-label="Modified" { @if entry.meta.flags & flags::PASSAGE == 0 { (time(entry.meta.mtime)) } }
            td data-label="Mode" { code { (output::permissions(entry)) } }
            td {
                @if entry.is_file() { a href=(file_at(id, &path)) aria-label={ "Download " (shown) } { "Download" } }
                @if entry.is_dir() {
                    a href=(archive_at(id, &path)) aria-label={ "Download " (shown) " as tar.gz" } { "tar.gz" }
                }
            }
        }
    }
}
