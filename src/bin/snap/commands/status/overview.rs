//! Gathers the status of all configured repositories for the overview of `snap serve`. It asks for no
//! password and opens no other repository. Remote repositories are not even listed, so that the page never
//! waits for the network.

use jiff::tz::TimeZone;
use snap_backup::Result;
use snap_backup::model::entry::Time;
use snap_backup::ops::status::{self, Options, Report, SetStatus, SetVerdict, Work};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::Snapshot;
use snap_backup::run_log::History;

use super::{Place, history, human, places};
use crate::args::global::Global;
use crate::config::Config;
use crate::context::Context;
use crate::serve::overview::{DAYS, LastWork, Overview, RepositoryStatus, SetCard};
use crate::terminal::output;

/// Returns the status of the served repository, whose snapshots are given, and of the other repositories of
/// the configuration.
pub(crate) fn overview(global: &Global, repo: &Repository, snapshots: &[Snapshot]) -> Result<Overview> {
    let context = Context::new(global.clone(), Config::load(global)?);
    let history = history(&context)?;
    let now = Time::now();
    let options = Options { now, state: context.global.state(), ..Options::default() };
    let (mut wanted, mut others) = (Vec::new(), Vec::new());
    for place in everywhere(&context, &history)? {
        if place.storage.location() == repo.location() { wanted = place.wanted } else { others.push(place) }
    }
    let options_here = Options { wanted, ..options.clone() };
    let here = status::look_among(repo, snapshots, &history, &options_here);
    let text = human::text(std::slice::from_ref(&here), now);
    let mut repositories = vec![repository(&here, true, &history, snapshots, now)];
    for Place { storage, wanted, .. } in others {
        let options = Options { wanted, ..options.clone() };
        let report = if storage.is_remote() {
            status::remembered(&*storage, &history, &options)
        } else {
            status::status(&*storage, None, &history, &options)
        };
        repositories.push(repository(&report, false, &history, &[], now));
    }
    Ok(Overview { text, repositories })
}

/// Returns the repositories of the configuration, and that of `-r`, which need not be in it.
fn everywhere(context: &Context, history: &History) -> Result<Vec<Place>> {
    let mut all = places(context, history)?;
    if context.given.repo.is_some() {
        let given = Global { repo: None, ..context.given.clone() };
        let whole = Context::new(given, Config::load(&context.given)?);
        // Without a configuration these would be repositories that were merely used once.
        if !whole.config.repositories().is_empty() || !whole.config.sets().is_empty() {
            let known: Vec<String> = all.iter().map(|place| place.storage.location()).collect();
            let more = places(&whole, history)?;
            all.extend(more.into_iter().filter(|place| !known.contains(&place.storage.location())));
        }
    }
    Ok(all)
}

fn repository(
    report: &Report,
    is_served: bool,
    history: &History,
    snapshots: &[Snapshot],
    now: Time,
) -> RepositoryStatus {
    let mut notes: Vec<String> = report
        .diverged
        .iter()
        .map(|what| format!("The repository differs from this machine's records: {what}"))
        .collect();
    notes.extend(report.trouble.clone());
    if !is_served && report.bytes.is_none() && report.trouble.is_none() {
        notes.push("on another machine: from this machine's records of its runs".to_owned());
    }
    RepositoryStatus {
        location: report.location.clone(),
        is_served,
        is_bad: !report.diverged.is_empty() || report.trouble.is_some(),
        notes,
        room: human::room(report),
        works: ["check", "drill"].into_iter().map(|verb| work(verb, report.work(verb))).collect(),
        cards: report.sets.iter().map(|set| set_card(set, history, snapshots, now)).collect(),
    }
}

fn set_card(set: &SetStatus, history: &History, snapshots: &[Snapshot], now: Time) -> SetCard {
    SetCard {
        verdict: SetVerdict::of(set),
        set: set.name.clone(),
        title: human::title_of(set),
        host: set.host.clone(),
        sources: set.sources.iter().map(|name| name.as_bytes().to_vec()).collect(),
        sentence: human::sentence(set, now),
        last: set.good.first().map(|good| (good.at, good.snapshot.clone())),
        next: set.next,
        running: set.running.as_ref().map(|run| run.start),
        alarms: set
            .alarms
            .iter()
            .map(|alarm| (alarm.at, alarm.snapshot.clone(), alarm.why.clone()))
            .collect(),
        days: status::days(set, history, snapshots, (now, &TimeZone::system()), DAYS),
    }
}

fn work(verb: &'static str, work: Option<&Work>) -> LastWork {
    let good = work.and_then(|work| work.good.as_ref());
    let bad = work.filter(|work| work.is_failing()).and_then(|work| work.bad.as_ref());
    let (at, text) = match (good, bad) {
        (_, Some(bad)) => (Some(bad.start), format!("failed: {}", human::why(bad))),
        (Some(good), None) => (Some(good.start), human::what(good)),
        (None, None) => (None, "never, as far as this machine knows".to_owned()),
    };
    LastWork { verb, at, text: output::printable(&text), is_bad: bad.is_some() }
}
