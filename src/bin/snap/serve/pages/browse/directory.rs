//! Lists the entries of a directory, directories first. A very large directory is not held in memory: in the
//! order of names it is read from the first name of the page, in other orders completely for each page.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use maud::{Markup, html};
use snap_backup::Control;
use snap_backup::model::entry::{Entry, Kind, flags};
use snap_backup::model::id::ChunkId;
use snap_backup::ops::browse::{DirSize, Order, Page, SizeLimits};
use snap_backup::util::time_limit::TimeLimit;

use super::Place;
use crate::serve::pages::{csrf, name, size, size_of, time};
use crate::serve::response::HttpError;
use crate::serve::url::{archive_at, encoded, encoded_path, file_at, shown_at};
use crate::terminal::output;

/// Number of entries on a page.
const ROWS: usize = 500;
/// Maximum number of entries that are held in memory, to be sorted and split into pages.
const SORTED: usize = 10_000;
/// Query parameter: with `name`, directories stay in the order of names in a list sorted by size.
const DIRS: &str = "dirs";
/// Limits for counting the sizes of listed directories: entries to read, and time.
const COUNTED: (u64, Duration) = (20_000, Duration::from_millis(60));
/// Time limit for counting if the user asks for the sizes of all directories.
const ALL: Duration = Duration::from_secs(20);

/// Sizes of directories by their trees. Directories that cannot be read are missing.
type Sizes = HashMap<ChunkId, DirSize>;

pub(super) fn list(place: &Place<'_>, tree: ChunkId) -> Result<Markup, HttpError> {
    let browser = &place.visit.browser;
    let from = place.asked.value("from").unwrap_or_default();
    let order = order_of(place);
    if from.is_empty() {
        let mut page = browser.page(tree, b"", ROWS)?;
        let Some(next) = page.next.clone() else { return Ok(sorted(place, page.entries)) };
        let rest = browser.page(tree, &next, SORTED - ROWS)?;
        if rest.next.is_none() {
            page.entries.extend(rest.entries);
            return Ok(sorted(place, page.entries));
        }
        if order.is_none() {
            return Ok(in_parts(place, &page));
        }
    }
    let page = match order {
        None => browser.page(tree, from, ROWS)?,
        Some(order) => {
            let gone =
                || HttpError::not_found("the directory has no entry with the name at which the page begins");
            browser
                .sorted_page(tree, (order, from), ROWS, &Control::default().with_cancel(place.stop))?
                .ok_or_else(gone)?
        }
    };
    Ok(in_parts(place, &page))
}

/// Returns the requested order; `None` means by name.
fn order_of(place: &Place<'_>) -> Option<Order> {
    match place.asked.text("sort").as_str() {
        "size" => Some(Order::Size),
        "time" => Some(Order::Time),
        _ => None,
    }
}

/// A page of a directory that is too large to be held in memory. Pages are linked by the name of their first
/// entry, in any order.
fn in_parts(place: &Place<'_>, page: &Page) -> Markup {
    let here = shown_at(&place.snapshot.id, place.path);
    let sort = place.asked.text("sort");
    let to = |next: &[u8]| match sort.as_str() {
        "" => format!("{here}?from={}", encoded(next)),
        sort => format!("{here}?sort={}&from={}", encoded(sort.as_bytes()), encoded(next)),
    };
    html! {
        form.search action=(here) aria-label="Jump" {
            label { "Go to names from " input name="from" size="12" required; }
            button { "Go" }
        }
        p.note {
            "It has more than " (SORTED) " entries. "
            @match order_of(place) {
                None => { "They are sorted by name, directories and files together." }
                Some(Order::Size) => { "Directories first, by name; then files, the largest first." }
                Some(Order::Time) => { "Directories first, then files; the most recently modified first." }
            }
        }
        (table(place, &page.entries, &counted(place, &page.entries)))
        p.actions {
            @if place.asked.value("from").is_some() { a.button href=(place.asked.again(&[("from", "")])) { "First page" } }
            @if let Some(next) = &page.next {
                a.button rel="next" href=(to(next)) { "Next page" }
            }
        }
    }
}

/// The complete directory, sorted and split into pages.
fn sorted(place: &Place<'_>, mut entries: Vec<Entry>) -> Markup {
    let by_size = order_of(place) == Some(Order::Size);
    let mut sizes = Sizes::new();
    if by_size || entries.len() <= ROWS {
        sizes = counted(place, &entries);
    }
    let all_counted = place.asked.text(DIRS) != "name" && sizes.values().all(|size| size.is_complete);
    sort(&mut entries, order_of(place), &sizes, all_counted);
    let start = place.asked.text("start").parse::<usize>().unwrap_or(0).min(entries.len());
    let end = entries.len().min(start.saturating_add(ROWS));
    let shown = entries.get(start..end).unwrap_or_default();
    if sizes.is_empty() {
        sizes = counted(place, shown);
    }
    let dirs = if by_size && !all_counted { "name" } else { "" };
    html! {
        @if entries.is_empty() { p { "This directory is empty." } }
        @else {
            @if by_size && !all_counted {
                p.note {
                    "Directories are sorted by name, because not all of their sizes are known. "
                    a href=(place.asked.again(&[("sizes", "all"), ("start", ""), (DIRS, "")])) { "Count them all" }
                }
            }
            (table(place, shown, &sizes))
        }
        (pages(place, entries.len(), start, dirs))
    }
}

/// Sorts entries, which are in the order of names, with directories first. Directories are sorted by size
/// only if all of their sizes are known.
fn sort(entries: &mut [Entry], order: Option<Order>, sizes: &Sizes, all_counted: bool) {
    let size = |entry: &Entry| match tree_of(entry) {
        Some(tree) if all_counted => sizes.get(&tree).map_or(0, |size| size.bytes),
        Some(_) => 0,
        None => entry.size(),
    };
    match order {
        Some(Order::Size) => entries.sort_by_key(|entry| (!entry.is_dir(), Reverse(size(entry)))),
        Some(Order::Time) => entries.sort_by_key(|entry| (!entry.is_dir(), Reverse(entry.meta.mtime))),
        None => entries.sort_by_key(|entry| !entry.is_dir()),
    }
}

/// Links to the pages of a list. `dirs` keeps the order of directories from page to page, because the next
/// page may know more of their sizes.
fn pages(place: &Place<'_>, number: usize, start: usize, dirs: &str) -> Markup {
    let pages = number.div_ceil(ROWS);
    let to = |page: usize| place.asked.again(&[("start", &(page * ROWS).to_string()), (DIRS, dirs)]);
    html! {
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

/// Counts the sizes of directories within the limits.
fn counted(place: &Place<'_>, entries: &[Entry]) -> Sizes {
    let is_all = place.asked.value("sizes").is_some();
    let (most, time) = if is_all { (u64::MAX, ALL) } else { COUNTED };
    let (end, stop) = (Instant::now() + time, Arc::clone(place.stop));
    let time = TimeLimit::when(move || Instant::now() >= end || stop.load(Ordering::Relaxed));
    let mut limits = SizeLimits { entries: most, time };
    let mut sizes = Sizes::new();
    for tree in entries.iter().filter_map(tree_of) {
        // A damaged directory has no size, but must not prevent the list.
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
            Some(DirSize { bytes, .. }) => { span title="a lower bound: counting was stopped early" { "> " (output::size(*bytes)) " …" } }
            None => { span title="a part of it cannot be read" { "?" } }
        }
    }
}

fn table(place: &Place<'_>, entries: &[Entry], sizes: &Sizes) -> Markup {
    let ticks = place.asked.csrf.is_some();
    let list = html! {
        table.stack.list {
            thead.sort { tr {
                @if ticks { th scope="col" { span.hidden { "Choose" } } }
                (head(place, "Name", "", "name"))
                (head(place, "Size", "size", "number"))
                (head(place, "Modified", "time", ""))
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
                    span.note { "Selected entries:" }
                    button name="as" value="zip" { "Download as zip" }
                    button name="as" value="tar" { "Download as tar.gz" }
                    button name="as" value="restore" { "Restore …" }
                }
            }
        } @else { (list) }
        @if sizes.values().any(|size| !size.is_complete) {
            p.note { "Sizes with … are lower bounds: counting was stopped early. " a href=(place.asked.again(&[("sizes", "all"), (DIRS, "")])) { "Count them all" } }
        }
    }
}

fn head(place: &Place<'_>, label: &str, order: &str, class: &str) -> Markup {
    let is_order = place.asked.text("sort") == order;
    let (way, sign) = if order.is_empty() { ("ascending", " ↑") } else { ("descending", " ↓") };
    let to = place.asked.again(&[("sort", order), ("start", ""), ("from", ""), (DIRS, "")]);
    html! {
        th scope="col" class={ "order " (class) } aria-sort=[is_order.then_some(way)] {
            a href=(to) { (label) } @if is_order { span aria-hidden="true" { (sign) } }
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
            td data-label="Modified" { @if entry.meta.flags & flags::ANCESTOR_ONLY == 0 { (time(entry.meta.mtime)) } }
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
