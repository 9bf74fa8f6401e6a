//! Shows the history of a directory: the nearest snapshots in which it differs, what has changed since
//! another snapshot, and which entries it has lost.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use maud::{Markup, html};
use snap_backup::Error;
use snap_backup::model::entry::{Entry, Kind};
use snap_backup::model::id::ChunkId;
use snap_backup::repo::snapshots::Snapshot;

use super::Place;
use crate::serve::pages::{day, link, name, size_of, time};
use crate::serve::response::HttpError;
use crate::serve::url::{encoded_path, file_at, shown_at};
use crate::terminal::output;

/// Maximum number of snapshots that are searched for a different state.
const LOOKS: usize = 200;
/// Time limit for that search.
const TIME: Duration = Duration::from_millis(60);
/// Maximum number of days that are linked on which the directory changed.
const DAYS: usize = 62;
/// Maximum number of snapshots that are offered for comparison.
const OFFERED: usize = 200;
/// Maximum number of distinct states that are searched for deleted entries, newest first.
const STATES: usize = 200;
/// Maximum number of entries to read from one state.
const ENTRIES: usize = 100_000;
/// Maximum number of deleted entries that are listed.
const GONE: usize = 500;

/// Links to the snapshots in which the directory differs, and to the comparison.
pub(super) fn bar(place: &Place<'_>) -> Result<Markup, HttpError> {
    let all = of_set(place);
    let at = all.iter().position(|one| one.id == place.snapshot.id).unwrap_or(0);
    let older = all.get(..at).unwrap_or_default();
    let mut states = States { place, all: &all, looks: LOOKS, end: Instant::now() + TIME };
    let earlier = states.differing(at, (0..at).rev())?;
    let later = states.differing(at, at + 1..all.len())?;
    let days = changed_days(&mut states, at)?;
    let is_shown = place.asked.value("gone").is_some();
    Ok(html! {
        @if all.len() > 1 {
            div.travel {
                nav aria-label="Other states of this directory" {
                    (other_state(place, &earlier, "earlier"))
                    (other_state(place, &later, "later"))
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
                    @if is_shown { a.button href=(place.asked.again(&[("gone", "")])) { "Hide deleted entries" } }
                    @else { a.button href=(place.asked.again(&[("gone", "on")])) { "Show deleted entries" } }
                }
                (strip(place, &days))
            }
        }
    })
}

/// Links to another state of the directory, or explains why there is none.
fn other_state(place: &Place<'_>, nearest: &Nearest<'_>, side: &str) -> Markup {
    html! {
        @match nearest {
            Nearest::Differs(one) => {
                @let to = shown_at(&one.id, place.path);
                @if side == "earlier" { a.button rel="prev" href=(to) { "← Before: " (time(one.manifest.started)) } }
                @else { a.button href=(to) { "After: " (time(one.manifest.started)) " →" } }
            }
            Nearest::Absent(one) => {
                span.note { "No such directory in " a href=(shown_at(&one.id, b"")) { "the one of " (time(one.manifest.started)) } }
            }
            Nearest::Same => { span.note { "Nothing " (side) " differs here" } }
            Nearest::Unknown => { span.note { "Not all " (side) " snapshots were searched" } }
        }
    }
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

/// The result of searching the snapshots on one side of this one.
enum Nearest<'a> {
    /// The nearest snapshot in which the directory differs.
    Differs(&'a Snapshot),
    /// The nearest snapshot without the directory; it is unchanged in those between.
    Absent(&'a Snapshot),
    /// The directory is unchanged in all of them.
    Same,
    /// The directory is unchanged in those that were searched within the limits.
    Unknown,
}

/// States of the directory in the snapshots of a set. States that are not cached are looked up within the
/// limits.
struct States<'a> {
    place: &'a Place<'a>,
    all: &'a [&'a Snapshot],
    looks: usize,
    end: Instant,
}

impl<'a> States<'a> {
    /// Returns the directory's tree in this snapshot, or `None` if the limits are exceeded; the inner `None`
    /// means that the snapshot has no such directory.
    fn of(&mut self, number: usize) -> Result<Option<Option<ChunkId>>, HttpError> {
        let Some(snapshot) = self.all.get(number) else { return Ok(None) };
        let Place { site, visit, path, .. } = self.place;
        if let Some(known) = site.dir_states.known(snapshot, path) {
            return Ok(Some(known));
        }
        if self.looks == 0 || Instant::now() >= self.end {
            return Ok(None);
        }
        self.looks -= 1;
        Ok(Some(site.dir_states.look_up(visit, snapshot, path)?))
    }

    /// Finds the nearest of these snapshots in which the directory has another state than in snapshot `at`.
    fn differing(
        &mut self,
        at: usize,
        numbers: impl Iterator<Item = usize>,
    ) -> Result<Nearest<'a>, HttpError> {
        let Some(here) = self.of(at)? else { return Ok(Nearest::Unknown) };
        for number in numbers {
            let (Some(there), Some(snapshot)) = (self.of(number)?, self.all.get(number)) else {
                return Ok(Nearest::Unknown);
            };
            match there {
                there if there == here => {}
                Some(_) => return Ok(Nearest::Differs(snapshot)),
                None => return Ok(Nearest::Absent(snapshot)),
            }
        }
        Ok(Nearest::Same)
    }
}

/// The days on which the directory changed, newest first, each with the last snapshot of that day with a
/// change.
struct Days<'a> {
    days: Vec<(String, &'a Snapshot)>,
    /// Whether the list may be incomplete.
    is_part: bool,
}

fn changed_days<'a>(states: &mut States<'a>, at: usize) -> Result<Days<'a>, HttpError> {
    let newest = states.all.len().saturating_sub(1).min(at.saturating_add(LOOKS / 2));
    let mut found = Days { days: Vec::new(), is_part: newest + 1 < states.all.len() };
    for number in (0..=newest).rev() {
        let before = if number == 0 { Some(None) } else { states.of(number - 1)? };
        let (Some(here), Some(before), Some(snapshot)) = (states.of(number)?, before, states.all.get(number))
        else {
            found.is_part = true;
            break;
        };
        let day = day(snapshot);
        let is_new = found.days.last().is_none_or(|(last, _)| *last != day);
        if here != before && here.is_some() && is_new {
            if found.days.len() >= DAYS {
                found.is_part = true;
                break;
            }
            found.days.push((day, snapshot));
        }
    }
    Ok(found)
}

/// Links to the days, grouped by month.
fn strip(place: &Place<'_>, found: &Days<'_>) -> Markup {
    let here = day(place.snapshot);
    let mut months: Vec<(&str, Vec<&(String, &Snapshot)>)> = Vec::new();
    for day in &found.days {
        let month = day.0.get(..7).unwrap_or_default();
        match months.last_mut() {
            Some((last, days)) if *last == month => days.push(day),
            _ => months.push((month, vec![day])),
        }
    }
    html! {
        @if !found.days.is_empty() {
            nav.days aria-label="Days on which this directory changed" {
                span.note { "Changed on" }
                ul { @for (month, days) in &months { li {
                    span { (month) }
                    @for (day, snapshot) in days {
                        " " a href=(shown_at(&snapshot.id, place.path)) aria-current=[(*day == here).then_some("date")]
                            aria-label={ (day) ", " (output::local(snapshot.manifest.started).get(11..16).unwrap_or_default()) } { (day.get(8..).unwrap_or_default()) }
                    }
                } } }
                @if found.is_part { span.note { "and perhaps on other days" } }
            }
        }
    }
}

/// A deleted entry, and the index of the last snapshot that has it.
struct Gone {
    entry: Entry,
    last: usize,
}

/// Lists entries of the directory that earlier snapshots of the set have, but this one does not.
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
        h2 { "Deleted from here" }
        @if found.is_empty() { p role="status" { "No entry that earlier snapshots have here is missing in this one." } }
        @else {
            table.stack.list {
                thead { tr {
                    th scope="col" { "Name" } th.number scope="col" { "Size" } th scope="col" { "Last in" }
                    th scope="col" { "Deleted since" } th scope="col" { span.hidden { "Download" } }
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
            "deleted entries are shown for directories of up to {ENTRIES} entries: `snap diff` compares \
             larger ones"
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
            td data-label="Deleted since" { (time(since.manifest.started)) }
            td { @if entry.is_file() { a href=(file_at(&last.id, &path)) aria-label={ "Download " (output::path(&entry.name)) } { "Download" } } }
        }
    }
}
