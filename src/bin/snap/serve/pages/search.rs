//! The search page: finds files in all snapshots.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hyper::StatusCode;
use maud::{Markup, html};
use snap_backup::model::entry::{Entry, Time};
use snap_backup::model::id::SnapshotId;
use snap_backup::ops::find::{EntryType, Match, Options};
use snap_backup::ops::{find, history};
use snap_backup::{Control, Error};

use super::{frame, is_below, name, problems, size_of, time};
use crate::args::{times, values};
use crate::serve::app_state::AppState;
use crate::serve::request::PageRequest;
use crate::serve::response::HttpError;
use crate::serve::sessions::SharedSession;
use crate::serve::url::{file_at, shown_at, versions_at, zip_at};
use crate::terminal::output;

/// Maximum number of paths that are shown.
const MOST: usize = 1000;

/// A path that was found, with its versions.
struct Found {
    path: Vec<u8>,
    /// Distinct versions, each with the index of the newest snapshot that has it.
    versions: Vec<(Entry, usize)>,
    /// Whether the newest complete snapshot of the set lacks the path.
    is_gone: bool,
    last: Option<(SnapshotId, Time)>,
}

impl Found {
    /// Returns the newest version.
    fn newest(&self) -> Option<&(Entry, usize)> {
        self.versions.iter().max_by_key(|(_, last)| *last)
    }

    fn modified(&self) -> Time {
        self.newest().map(|(entry, _)| entry.meta.mtime).unwrap_or_default()
    }
}

pub(crate) fn page(
    site: &AppState,
    visit: &SharedSession,
    asked: &PageRequest,
    stop: &Arc<AtomicBool>,
) -> Result<Markup, HttpError> {
    let below = asked.value("in").unwrap_or_default();
    let below = below.strip_prefix(b"/").unwrap_or(below);
    let below = below.strip_suffix(b"/").unwrap_or(below);
    let found = match options(asked)? {
        Some(options) => answer(site, visit, (&options, below), stop)?,
        None => html! {},
    };
    Ok(frame(&site.title, "Search", "/search", html! { (form(asked)) (found) }))
}

/// Parses the search form; `None` if it is empty.
fn options(asked: &PageRequest) -> Result<Option<Options>, HttpError> {
    let words = asked.text("q");
    let bad = |what: &str, why: String| HttpError::new(StatusCode::BAD_REQUEST, format!("{what}: {why}"));
    let given = |name: &str| Some(asked.text(name)).filter(|text| !text.is_empty());
    let time =
        |name: &str| given(name).map(|text| times::past(&text).map_err(|why| bad(name, why))).transpose();
    let size =
        |name: &str| given(name).map(|text| values::size(&text).map_err(|why| bad(name, why))).transpose();
    let (newer, older, larger) = (time("newer")?, time("older")?, size("larger")?);
    if words.is_empty()
        && newer.is_none()
        && older.is_none()
        && larger.is_none()
        && asked.text("smaller").is_empty()
    {
        return Ok(None);
    }
    // A pattern without glob characters matches a part of the name.
    let is_glob = words.contains(['*', '?', '[', '/']);
    let pattern = if is_glob { words.clone() } else { format!("*{words}*") };
    let smaller = size("smaller")?;
    let types = match asked.text("kind").as_str() {
        "file" => vec![EntryType::File],
        "directory" => vec![EntryType::Dir],
        _ => Vec::new(),
    };
    let patterns = if words.is_empty() { Vec::new() } else { vec![pattern.into()] };
    let ignore_case = asked.value("case").is_none();
    Ok(Some(Options { patterns, ignore_case, newer, older, larger, smaller, types, ..Options::default() }))
}

fn form(asked: &PageRequest) -> Markup {
    let kind = asked.text("kind");
    let field = |label: &str, name: &str, hint: &str| {
        html! { label { (label) " " input name=(name) value=(asked.text(name)) placeholder=(hint) size="12"; } }
    };
    html! {
        form.search action="/search" role="search" {
            label.main { "Name " input type="search" name="q" value=(asked.text("q")) placeholder="part of a name, or *.txt, or src/**/*.rs" autofocus; }
            label { "Within " input name="in" value=(output::path(asked.value("in").unwrap_or_default())) placeholder="everywhere" size="16"; }
            label { "Kind " select name="kind" {
                @for (value, text) in [("", "anything"), ("file", "files"), ("directory", "directories")] {
                    option value=(value) selected[kind == value] { (text) }
                }
            } }
            (field("Newer than", "newer", "30d"))
            (field("Older than", "older", "2026-01-31"))
            (field("Larger than", "larger", "10M"))
            (field("Smaller than", "smaller", "1G"))
            label { input type="checkbox" name="case" checked[asked.value("case").is_some()]; " Match case" }
            button { "Search" }
        }
    }
}

fn answer(
    site: &AppState,
    visit: &SharedSession,
    (options, below): (&Options, &[u8]),
    stop: &Arc<AtomicBool>,
) -> Result<Markup, HttpError> {
    let mut found: Vec<Found> = Vec::new();
    let searched = find::run(
        visit.repo(),
        options,
        &mut |one| if below.is_empty() || is_below(one.path, below) { add(&mut found, one) } else { Ok(()) },
        &Control::new(&site.session_pool).with_cancel(stop),
    );
    let (summary, all) = match searched {
        Ok(summary) => (Some(summary), true),
        Err(Error::Stopped) if found.len() >= MOST => (None, false),
        Err(error) => return Err(error.into()),
    };
    found.sort_by_key(|one| std::cmp::Reverse((one.last.map(|(_, at)| at), one.modified())));
    Ok(html! {
        @if let Some(summary) = &summary { (problems(&summary.problems)) }
        p role="status" {
            @if all { (output::count(found.len() as u64, "path", "paths")) "." }
            @else { "Only " (MOST) " paths are shown: narrow the search to see the rest." }
        }
        @if !found.is_empty() { (table(&found)) }
    })
}

/// Adds a match. Versions of the same path arrive consecutively.
fn add(found: &mut Vec<Found>, one: &Match<'_>) -> snap_backup::Result<()> {
    let newest = one.among.last();
    let snapshot = newest.and_then(|at| Some((at, one.snapshots.get(at)?)));
    if found.last().is_none_or(|last| last.path != one.path) {
        if found.len() >= MOST {
            return Err(Error::Stopped);
        }
        found.push(Found { path: one.path.to_vec(), versions: Vec::new(), is_gone: true, last: None });
    }
    let (Some(found), Some((at, snapshot))) = (found.last_mut(), snapshot) else { return Ok(()) };
    match found.versions.iter_mut().find(|(entry, _)| history::is_same(entry, one.entry)) {
        Some(known) if known.1 < at => *known = (one.entry.clone(), at),
        Some(_) => {}
        None => found.versions.push((one.entry.clone(), at)),
    }
    if found.last.is_none_or(|(_, time)| time < snapshot.manifest.started) {
        found.last = Some((snapshot.id, snapshot.manifest.started));
    }
    let of_set = one.snapshots.get(at + 1..).unwrap_or_default().iter().any(|newer| {
        !newer.manifest.partial
            && newer.manifest.same_set(&snapshot.manifest.host, &snapshot.manifest.sources)
    });
    found.is_gone &= of_set;
    Ok(())
}

fn table(found: &[Found]) -> Markup {
    html! {
        table.stack {
            thead { tr {
                th scope="col" { "Path" }
                th.number scope="col" { "Size" }
                th scope="col" { "Modified" }
                th.number scope="col" { "Versions" }
                th scope="col" { "Last seen" }
                th scope="col" { span.hidden { "Download" } }
            } }
            tbody { @for one in found { (row(one)) } }
        }
    }
}

fn row(found: &Found) -> Markup {
    let path = &found.path;
    let shown = output::path(path);
    let (Some((entry, _)), Some((id, seen))) = (found.newest(), &found.last) else { return html! {} };
    html! {
        tr class=[found.is_gone.then_some("gone")] {
            td.name {
                a href=(shown_at(id, path)) { (name(path)) @if entry.is_dir() { "/" } }
                @if found.is_gone { " " span.tag { "deleted" } }
            }
            td.number data-label="Size" { (size_of(entry)) }
            td data-label="Modified" { (time(entry.meta.mtime)) }
            td.number data-label="Versions" { (found.versions.len()) }
            td data-label="Last seen" { (time(*seen)) }
            td {
                a href=(versions_at(path)) aria-label={ "Versions of " (shown) } { "Versions" } " "
                @if entry.is_file() { a href=(file_at(id, path)) aria-label={ "Download " (shown) } { "Download" } }
                @if entry.is_dir() { a href=(zip_at(id, path)) aria-label={ "Download " (shown) " as zip" } { "zip" } }
            }
        }
    }
}
