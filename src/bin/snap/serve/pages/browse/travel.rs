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
use crate::serve::pages::{day, link, name, size_of, time};
use crate::serve::request::{encoded_path, file_at, shown_at};
use crate::serve::response::HttpError;
use crate::terminal::output;

/// Snapshots that are looked into for those in which the directory differs.
const LOOKS: usize = 200;
/// How long to look for them.
const TIME: Duration = Duration::from_millis(60);
/// Days on which the directory changed that are linked.
const DAYS: usize = 62;
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
                    @if is_shown { a.button href=(place.asked.again(&[("gone", "")])) { "Hide what is gone" } }
                    @else { a.button href=(place.asked.again(&[("gone", "on")])) { "Show what is gone" } }
                }
                (strip(place, &days))
            }
        }
    })
}

/// Links to another state of the directory, or says why there is no link.
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
            Nearest::Unknown => { span.note { "Not all " (side) " snapshots were looked into" } }
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

/// What is known of the snapshots on one side of this one.
enum Nearest<'a> {
    /// The nearest one in which the directory differs.
    Differs(&'a Snapshot),
    /// The nearest one without such a directory; in all between it is the same.
    Absent(&'a Snapshot),
    /// It is the same in all.
    Same,
    /// It is the same in those for which there was time.
    Unknown,
}

/// The states that the directory has in the snapshots of a set. Those that are not known already are looked up,
/// as far as there is time for.
struct States<'a> {
    place: &'a Place<'a>,
    all: &'a [&'a Snapshot],
    looks: usize,
    end: Instant,
}

impl<'a> States<'a> {
    /// Returns the directory's tree in this snapshot, if there was time to look; the tree is `None` if the
    /// snapshot has no such directory.
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

    /// Looks for the first of these snapshots in which the directory has another state than in snapshot `at`.
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

/// The days on which the directory changed, each with its last snapshot that differs from the one before,
/// newest first.
struct Days<'a> {
    days: Vec<(String, &'a Snapshot)>,
    /// Whether there may be more on one of the sides.
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

/// The days as links, month by month.
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
