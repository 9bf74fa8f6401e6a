//! The search page: finds files in all snapshots.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hyper::StatusCode;
use maud::{Markup, html};
use snap_backup::Error;
use snap_backup::model::entry::Entry;
use snap_backup::model::id::SnapshotId;
use snap_backup::ops::find;
use snap_backup::ops::find::{Options, Type};

use super::{frame, name, problems, size_of, time};
use crate::args::{times, values};
use crate::serve::request::{PageRequest, shown_at, versions_at};
use crate::serve::response::HttpError;
use crate::serve::router::AppState;
use crate::serve::sessions::SharedSession;
use crate::terminal::output;

/// Maximum number of matches that are shown.
const MOST: usize = 1000;

/// A path that was found.
struct Found {
    path: Vec<u8>,
    entry: Entry,
    last: Option<SnapshotId>,
    count: u64,
}

pub(crate) fn page(
    site: &AppState,
    visit: &SharedSession,
    asked: &PageRequest,
    stop: &Arc<AtomicBool>,
) -> Result<Markup, HttpError> {
    let found = match options(asked)? {
        Some(options) => answer(site, visit, &options, stop)?,
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
    if words.is_empty() && newer.is_none() && older.is_none() && larger.is_none() {
        return Ok(None);
    }
    // A pattern without glob characters matches a part of the name.
    let is_glob = words.contains(['*', '?', '[', '/']);
    let pattern = if is_glob { words.clone() } else { format!("*{words}*") };
    let types = match asked.text("kind").as_str() {
        "file" => vec![Type::File],
        "directory" => vec![Type::Dir],
        _ => Vec::new(),
    };
    let patterns = if words.is_empty() { Vec::new() } else { vec![pattern.into()] };
    let ignore_case = asked.value("case").is_none();
    Ok(Some(Options { patterns, ignore_case, newer, older, larger, types, ..Options::default() }))
}

fn form(asked: &PageRequest) -> Markup {
    let kind = asked.text("kind");
    let field = |label: &str, name: &str, hint: &str| {
        html! { label { (label) " " input name=(name) value=(asked.text(name)) placeholder=(hint) size="12"; } }
    };
    html! {
        form.search action="/search" role="search" {
            label.main { "Name " input type="search" name="q" value=(asked.text("q")) placeholder="part of a name, or *.txt, or src/**/*.rs" autofocus; }
            label { "Kind " select name="kind" {
                @for (value, text) in [("", "anything"), ("file", "files"), ("directory", "directories")] {
                    option value=(value) selected[kind == value] { (text) }
                }
            } }
            (field("Newer than", "newer", "30d"))
            (field("Older than", "older", "2026-01-31"))
            (field("Larger than", "larger", "10M"))
            label { input type="checkbox" name="case" checked[asked.value("case").is_some()]; " Match case" }
            button { "Search" }
        }
    }
}

fn answer(
    site: &AppState,
    visit: &SharedSession,
    options: &Options,
    stop: &Arc<AtomicBool>,
) -> Result<Markup, HttpError> {
    let mut found: Vec<Found> = Vec::new();
    let searched = find::run(
        visit.repo(),
        options,
        &mut |one| {
            if found.len() >= MOST {
                return Err(Error::Stopped);
            }
            let last = one.among.last().and_then(|at| one.snapshots.get(at)).map(|snapshot| snapshot.id);
            found.push(Found {
                path: one.path.to_vec(),
                entry: one.entry.clone(),
                last,
                count: one.among.count(),
            });
            Ok(())
        },
        &site.session_pool,
        stop,
    );
    let (summary, all) = match searched {
        Ok(summary) => (Some(summary), true),
        Err(Error::Stopped) if found.len() >= MOST => (None, false),
        Err(error) => return Err(error.into()),
    };
    Ok(html! {
        @if let Some(summary) = &summary { (problems(&summary.problems)) }
        p role="status" {
            @if all { (output::count(found.len() as u64, "match", "matches")) "." }
            @else { "The first " (MOST) " matches: ask for less to see the rest." }
        }
        @if !found.is_empty() {
            table {
                thead { tr {
                    th scope="col" { "Path" }
                    th.number scope="col" { "Size" }
                    th scope="col" { "Modified" }
                    th.number.wide scope="col" { "Snapshots" }
                    th scope="col" { span.hidden { "Versions" } }
                } }
                tbody { @for one in &found { (row(one)) } }
            }
        }
    })
}

fn row(found: &Found) -> Markup {
    let Found { path, entry, last, count } = found;
    html! {
        tr {
            td.name {
                @if let Some(id) = last { a href=(shown_at(id, path)) { (name(path)) @if entry.is_dir() { "/" } } }
            }
            td.number { (size_of(entry)) }
            td { (time(entry.meta.mtime)) }
            td.number.wide { (count) }
            td { a href=(versions_at(path)) aria-label={ "Versions of " (output::path(path)) } { "versions" } }
        }
    }
}
