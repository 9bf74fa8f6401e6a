//! A directory through time: the snapshots before and after this one in which it differs, what has changed in
//! it since another one, and what it has lost.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use maud::{Markup, html};
use snap_backup::Error;
use snap_backup::model::entry::{Entry, Kind};
use snap_backup::model::id::ChunkId;
use snap_backup::repo::snapshots::Snapshot;

use super::Place;
use crate::serve::pages::{link, name, size_of, time};
use crate::serve::request::{encoded_path, file_at, shown_at};
use crate::serve::response::HttpError;
use crate::terminal::output;

/// Snapshots that are looked into for one in which the directory differs.
const LOOKS: usize = 200;
/// How long to look for them in each direction.
const TIME: Duration = Duration::from_millis(40);
/// Snapshots that are offered for comparing.
const OFFERED: usize = 200;
/// Distinct states of the directory that are searched for what is gone, newest first.
const STATES: usize = 200;
/// Entries of one state that are read.
const ENTRIES: usize = 100_000;
/// Entries that are listed as gone.
const GONE: usize = 500;

/// Links to the snapshots in which the directory differs, and to what has changed.
pub(super) fn bar(place: &Place<'_>) -> Result<Markup, HttpError> {
    let all = of_set(place);
    let at = all.iter().position(|one| one.id == place.snapshot.id).unwrap_or(0);
    let (older, newer) = (all.get(..at).unwrap_or_default(), all.get(at + 1..).unwrap_or_default());
    let earlier = differing(place, &mut older.iter().rev().copied())?;
    let later = differing(place, &mut newer.iter().copied())?;
    let to = |snapshot: &Snapshot| shown_at(&snapshot.id, place.path);
    let is_shown = place.asked.value("gone").is_some();
    Ok(html! {
        @if all.len() > 1 {
            div.travel {
                nav aria-label="Other states of this directory" {
                    @if let Some(earlier) = earlier { a.button rel="prev" href=(to(earlier)) { "← Before: " (time(earlier.manifest.started)) } }
                    @else { span.note { "Nothing earlier differs here" } }
                    @if let Some(later) = later { a.button href=(to(later)) { "After: " (time(later.manifest.started)) " →" } }
                    @else { span.note { "Nothing later differs here" } }
                }
                @if !older.is_empty() {
                    form action="/compare" {
                        input type="hidden" name="b" value=(place.snapshot.id);
                        input type="hidden" name="at" value=(encoded_path(place.path));
                        label { "What changed here since " select name="a" {
                            @for one in older.iter().rev().take(OFFERED) { option value=(one.id) { (output::local(one.manifest.started)) } }
                        } }
                        " " button { "Show" }
                    }
                    @if is_shown { a.button href=(place.asked.again(&[("gone", "")])) { "Hide what is gone" } }
                    @else { a.button href=(place.asked.again(&[("gone", "on")])) { "Show what is gone" } }
                }
            }
        }
    })
}

/// Returns the complete snapshots of the same host and sources, and this one, oldest first.
fn of_set<'a>(place: &Place<'a>) -> Vec<&'a Snapshot> {
    let manifest = &place.snapshot.manifest;
    let is_of = |one: &&Snapshot| {
        one.id == place.snapshot.id
            || !one.manifest.partial && one.manifest.same_set(&manifest.host, &manifest.sources)
    };
    place.visit.browser.snapshots().iter().filter(is_of).collect()
}

/// Returns the first of these snapshots in which the directory has another state.
fn differing<'a>(
    place: &Place<'_>,
    snapshots: &mut dyn Iterator<Item = &'a Snapshot>,
) -> Result<Option<&'a Snapshot>, HttpError> {
    let begun = Instant::now();
    for snapshot in snapshots.take(LOOKS).take_while(|_| begun.elapsed() < TIME) {
        if snapshot.manifest.root == place.snapshot.manifest.root {
            continue;
        }
        let there = place.visit.browser.entry(snapshot, place.path)?;
        if let Some(there) = there.filter(|there| there.kind != place.entry.kind) {
            return Ok(there.is_dir().then_some(snapshot));
        }
    }
    Ok(None)
}

/// An entry that is gone, and the places of the last snapshot that has it and of the first without it.
struct Gone {
    entry: Entry,
    last: usize,
}

/// Lists what earlier snapshots of the set have in the directory, and this one has not.
pub(super) fn gone(place: &Place<'_>) -> Result<Markup, HttpError> {
    let all = of_set(place);
    let at = all.iter().position(|one| one.id == place.snapshot.id).unwrap_or(0);
    let older = all.get(..at).unwrap_or_default();
    let mut found: BTreeMap<Vec<u8>, Gone> = BTreeMap::new();
    let here = names(place)?;
    let mut seen: HashSet<ChunkId> = HashSet::new();
    for (number, snapshot) in older.iter().enumerate().rev() {
        if place.stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted.into());
        }
        let there = place.visit.browser.entry(snapshot, place.path)?;
        let Some(Kind::Dir { tree }) = there.map(|there| there.kind) else { continue };
        if seen.len() >= STATES || found.len() >= GONE || !seen.insert(tree) {
            continue;
        }
        for entry in place.visit.browser.page(tree, b"", ENTRIES)?.entries {
            if !here.contains(&entry.name) && !found.contains_key(&entry.name) {
                found.insert(entry.name.clone(), Gone { entry, last: number });
            }
        }
    }
    Ok(html! {
        h2 { "Gone from here" }
        @if found.is_empty() { p role="status" { "Nothing that earlier snapshots have here is missing in this one." } }
        @else {
            table.stack.list {
                thead { tr {
                    th scope="col" { "Name" } th.number scope="col" { "Size" } th scope="col" { "Last in" }
                    th scope="col" { "Gone since" } th scope="col" { span.hidden { "Download" } }
                } }
                tbody { @for one in found.values().take(GONE) { (row(place, &all, one)) } }
            }
        }
    })
}

fn names(place: &Place<'_>) -> Result<HashSet<Vec<u8>>, HttpError> {
    let Kind::Dir { tree } = place.entry.kind else { return Ok(HashSet::new()) };
    let page = place.visit.browser.page(tree, b"", ENTRIES)?;
    match page.next {
        None => Ok(page.entries.into_iter().map(|entry| entry.name).collect()),
        Some(_) => Err(Error::Usage(format!(
            "what is gone is shown for directories of up to {ENTRIES} entries: `snap diff` compares larger ones"
        ))
        .into()),
    }
}

fn row(place: &Place<'_>, all: &[&Snapshot], Gone { entry, last }: &Gone) -> Markup {
    let path = match place.path {
        [] => entry.name.clone(),
        above => [above, b"/", &entry.name].concat(),
    };
    let (Some(last), Some(since)) = (all.get(*last), all.get(*last + 1)) else { return html! {} };
    html! {
        tr.gone {
            td.name { a href=(shown_at(&last.id, &path)) { (name(&entry.name)) @if entry.is_dir() { "/" } } }
            td.number data-label="Size" { (size_of(entry)) }
            td data-label="Last in" { (link(last)) " of " (time(last.manifest.started)) }
            td data-label="Gone since" { (time(since.manifest.started)) }
            td { @if entry.is_file() { a href=(file_at(&last.id, &path)) aria-label={ "Download " (output::path(&entry.name)) } { "Download" } } }
        }
    }
}
