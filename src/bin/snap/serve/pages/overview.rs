//! The first page: the status of each set of each repository.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use jiff::civil::Date;
use maud::{Markup, html};
use snap_backup::model::entry::Time;
use snap_backup::model::id::SnapshotId;
use snap_backup::ops::status::{Day, SetVerdict};

use super::{csrf, frame, time};
use crate::serve::app_state::AppState;
use crate::serve::overview::{LastWork, Overview, RepositoryStatus, SetCard};
use crate::serve::request::PageRequest;
use crate::serve::response::HttpError;
use crate::serve::sessions::SharedSession;
use crate::serve::url::{encoded, shown_at};
use crate::terminal::output::{self, count};

pub(crate) fn page(
    site: &AppState,
    visit: &SharedSession,
    asked: &PageRequest,
    _: &Arc<AtomicBool>,
) -> Result<Markup, HttpError> {
    let overview = site.overview(visit)?;
    let runs = asked.csrf.as_ref().filter(|_| site.allow.run.is_some()).map(|_| asked);
    let is_still = asked.value("refresh") == Some(b"off");
    let content = html! {
        (summary(&overview))
        @for repository in &overview.repositories { (section(visit, repository, runs)) }
        p.actions {
            a.button href="/status" { "Details as text" }
            @if site.allow.restore.is_some() || site.allow.run.is_some() { a.button href="/jobs" { "Jobs" } }
            @if is_still { a.button href="/" { "Refresh every minute" } }
            @else { a.button href="/?refresh=off" { "Stop refreshing" } }
        }
        p.note { "As of " (time(Time::now())) "." }
    };
    Ok(frame(&site.title, "Overview", "/", content))
}

/// Returns how many sets have which status.
fn summary(overview: &Overview) -> Markup {
    let cards = || overview.repositories.iter().flat_map(|one| &one.cards);
    let number = |verdict: SetVerdict| cards().filter(|card| card.verdict == verdict).count() as u64;
    let all = cards().count() as u64;
    let bad = [
        (SetVerdict::Alarm, "has an alarm", "have an alarm"),
        (SetVerdict::Failed, "failed", "failed"),
        (SetVerdict::Late, "is late", "are late"),
    ];
    let told: Vec<String> = bad
        .into_iter()
        .filter(|(verdict, ..)| number(*verdict) > 0)
        .map(|(verdict, one, more)| count(number(verdict), one, more))
        .collect();
    html! {
        p.lead role="status" {
            @if all == 0 { "There is no backup yet: " code { "snap backup" } " makes one." }
            @else if told.is_empty() { "All is well: " (count(all, "set has", "sets have")) " a good backup that is recent enough." }
            @else { "Of " (count(all, "set", "sets")) ", " (told.join(" and ")) "." }
        }
    }
}

fn section(visit: &SharedSession, repository: &RepositoryStatus, runs: Option<&PageRequest>) -> Markup {
    html! {
        section.repository {
            h2 { bdi { (output::printable(&repository.location)) } @if !repository.is_served { " " span.tag { "not served here" } } }
            @for note in &repository.notes {
                p class=(if repository.is_bad { "bad" } else { "note" }) { (output::printable(note)) }
            }
            dl.facts {
                @if let Some(room) = &repository.room { div { dt { "Space" } dd { (room) } } }
                @for work in &repository.works { (last_work(work)) }
            }
            @if repository.cards.is_empty() { p.note { "No set is known here." } }
            div.cards { @for card in &repository.cards { (set_card(visit, card, repository.is_served, runs)) } }
        }
    }
}

fn last_work(work: &LastWork) -> Markup {
    let label = if work.verb == "drill" { "Last drill" } else { "Last check" };
    html! {
        div {
            dt { (label) }
            dd {
                @if let Some(at) = work.at { (time(at)) ": " }
                @if work.is_bad { strong.minus { (work.text) } } @else { (work.text) }
            }
        }
    }
}

/// Returns the CSS class, the symbol and the word for a verdict. Colour is never the only distinction.
fn look(verdict: SetVerdict) -> (&'static str, &'static str, &'static str) {
    match verdict {
        SetVerdict::Green => ("good", "✓", "OK"),
        SetVerdict::Late => ("late", "!", "Late"),
        SetVerdict::Failed => ("failed", "✕", "Failed"),
        SetVerdict::Alarm => ("failed", "▲", "Alarm"),
    }
}

fn set_card(visit: &SharedSession, card: &SetCard, is_served: bool, runs: Option<&PageRequest>) -> Markup {
    let (class, sign, word) = look(card.verdict);
    let browsable = |id: &str| {
        let id = SnapshotId::parse(id).ok().filter(|_| is_served)?;
        visit.browser.snapshot(&id).map(|snapshot| snapshot.id)
    };
    let title = output::printable(&card.title);
    html! {
        article class={ "card " (class) } {
            div.head {
                h3 { bdi { (card.set.as_deref().map_or_else(|| title.clone(), output::printable)) } }
                span class={ "pill " (class) } { span aria-hidden="true" { (sign) } " " (word) }
            }
            @if card.set.is_some() { p.note { bdi { (title) } } }
            p.sentence { (capitalized(&card.sentence)) "." }
            (strip(&card.days))
            dl {
                @if let Some((at, id)) = &card.last {
                    dt { "Last good" }
                    dd { @if let Some(id) = browsable(id) { a href=(shown_at(&id, b"")) { (time(*at)) } } @else { (time(*at)) } }
                }
                @if let Some(at) = card.running { dt { "Running" } dd { "since " (time(at)) } }
                @if let Some(at) = card.next { dt { "Next run" } dd { (time(at)) } }
                @for (at, id, why) in &card.alarms {
                    dt.minus { "Alarm" }
                    dd {
                        @if let Some(id) = browsable(id) { a href=(shown_at(&id, b"")) { (time(*at)) } } @else { (time(*at)) }
                        ": " (output::printable(why))
                    }
                }
            }
            @if let (Some(asked), Some(set)) = (runs, &card.set) { (run(asked, set)) }
            @if is_served { (links(card, card.last.as_ref().and_then(|(_, id)| browsable(id)))) }
        }
    }
}

fn links(card: &SetCard, latest: Option<SnapshotId>) -> Markup {
    let mut list = format!("/snapshots?host={}", encoded(output::printable(&card.host).as_bytes()));
    for source in &card.sources {
        list += &format!("&source={}", encoded(output::path(source).as_bytes()));
    }
    html! {
        p.actions {
            @if let Some(id) = latest {
                a.button href=(shown_at(&id, b"")) aria-label={ "Browse latest of " (output::printable(&card.title)) } { "Browse latest" }
            }
            a.button href=(list) aria-label={ "Snapshots of " (output::printable(&card.title)) } { "Snapshots" }
        }
    }
}

/// Buttons that start the backup, check or drill of a set.
fn run(asked: &PageRequest, set: &str) -> Markup {
    html! {
        form.actions method="post" action="/run" {
            (csrf(asked))
            input type="hidden" name="set" value=(set);
            @for (what, words) in [("backup", "Back up now"), ("check", "Check"), ("drill", "Drill")] {
                button name="what" value=(what) aria-label={ (words) ": " (output::printable(set)) } { (words) }
            }
        }
    }
}

fn capitalized(text: &str) -> String {
    let text = output::printable(text);
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// Draws a square for each day, and adds the totals as text for screen readers.
fn strip(days: &[(Date, Day)]) -> Markup {
    let number = |day: Day| days.iter().filter(|(_, known)| *known == day).count();
    let all = [Day::Good, Day::Partial, Day::Failed, Day::None];
    let told: Vec<String> = all
        .into_iter()
        .filter(|day| number(*day) > 0)
        .map(|day| format!("{} {}", number(day), day.word()))
        .collect();
    let (first, last) = (days.first().map(|(date, _)| *date), days.last().map(|(date, _)| *date));
    let label = format!("The last {} days: {}", days.len(), told.join(", "));
    html! {
        @if let (Some(first), Some(last)) = (first, last) {
            figure.strip {
                svg viewBox={ "0 0 " (days.len() * 10) " 18" } role="img" aria-label=(label) {
                    @for (at, (date, day)) in days.iter().enumerate() {
                        @let (class, top, height) = shape(*day);
                        rect class=(class) x=(at * 10) y=(top) width="8" height=(height) rx="2" {
                            title { (date) ": " (day.word()) }
                        }
                    }
                }
                figcaption { span { (first) } span { (told.join(", ")) } span { (last) } }
            }
        }
    }
}

/// Returns a shape for each kind of day. Shapes differ in height, for users who cannot distinguish the
/// colours.
fn shape(day: Day) -> (&'static str, usize, usize) {
    match day {
        Day::Good => ("day-good", 0, 18),
        Day::Partial => ("day-partial", 5, 13),
        Day::Failed => ("day-failed", 10, 8),
        Day::None => ("day-none", 15, 3),
    }
}
