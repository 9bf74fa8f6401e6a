//! `snap status`: shows how old the last backups are, and reports problems.

mod human;
mod json;
mod metrics;
#[cfg(feature = "serve")]
mod overview;
pub(crate) mod serve;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use snap_backup::fs::atomic_file::AtomicFile;
use snap_backup::fs::sources;
use snap_backup::model::entry::Time;
use snap_backup::ops::status::{self, Options, Report, Wanted};
use snap_backup::repo::repository::Repository;
use snap_backup::run_log::{History, Name, RunLog};
use snap_backup::storage::Storage;
use snap_backup::util::host;
use snap_backup::{Error, Result, run_log};

use crate::args::global::Global;
use crate::args::values;
use crate::config::{Config, Set};
use crate::context::Context;
use crate::exit::Outcome;
use crate::terminal::output::failed;
use crate::terminal::{output, wording};
use crate::{password, schedule};

#[cfg(feature = "serve")]
pub(crate) use overview::overview;

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Exit with 23 if the last good backup of a set is older than this: 26h, 8d, 1d12h
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) max_age: Option<Duration>,
    /// Also show the sets of this host; can be repeated
    #[arg(long, value_name = "HOST", conflicts_with = "all_hosts")]
    pub(crate) host: Vec<String>,
    /// Show the sets of all machines that back up to the repository
    #[arg(long)]
    pub(crate) all_hosts: bool,
    /// Show only open alarms
    #[arg(long)]
    pub(crate) alarms: bool,
    /// Write metrics for Prometheus to this file, for the textfile collector
    #[arg(long, value_name = "FILE")]
    pub(crate) prometheus: Option<PathBuf>,
}

pub(crate) fn run(context: &Context, args: &Status) -> Result<Outcome> {
    let mut reports = gather(context, args, true)?;
    let now = Time::now();
    if args.alarms {
        reports.iter_mut().for_each(|report| report.sets.retain(|set| !set.alarms.is_empty()));
    }
    if let Some(path) = &args.prometheus {
        publish(context, path, &metrics::text(&reports, now))?;
    }
    if context.global.json {
        output::print(&json::of(&reports, now).to_string())?;
    } else if context.prints_success() || args.prometheus.is_none() {
        let text = if args.alarms { human::alarms(&reports, now) } else { human::text(&reports, now) };
        output::emit(|out| writeln!(out, "{text}").map_err(failed))?;
    }
    Ok(verdict(&reports))
}

/// Returns the metrics that need no key, so that no scrape has to wait for key derivation.
fn metrics_of(global: &Global) -> Result<String> {
    let context = Context::new(global.clone(), Config::load(global)?);
    let args = Status { max_age: None, host: Vec::new(), all_hosts: false, alarms: false, prometheus: None };
    Ok(metrics::text(&gather(&context, &args, false)?, Time::now()))
}

/// Returns the outcome. Damage found by the last check or drill takes precedence over overdue sets.
fn verdict(reports: &[Report]) -> Outcome {
    let found = |report: &Report, verb: &str| report.work(verb).is_some_and(is_damage);
    let differs = reports.iter().any(|report| !report.diverged.is_empty());
    if differs || reports.iter().any(|report| found(report, "check") || found(report, "drill")) {
        Outcome::Damage
    } else if reports.iter().any(Report::is_alarming) {
        Outcome::Alarm
    } else if reports.iter().any(Report::is_overdue) {
        Outcome::Overdue
    } else {
        Outcome::Done
    }
}

/// Returns whether the last run found damage.
fn is_damage(work: &status::Work) -> bool {
    use snap_backup::run_log::{Ending, RunState};
    let found = |run: &snap_backup::run_log::RunRecord| run.state() == RunState::Ended(Ending::Damage);
    work.is_failing() && work.bad.as_ref().is_some_and(found)
}

/// A repository to look at, and what opens it.
struct Place {
    context: Context,
    storage: Arc<dyn Storage>,
    /// Sets that should be in it.
    wanted: Vec<Wanted>,
}

/// Gathers the status of the given repository, otherwise of all in the configuration, otherwise of all that
/// this machine has used. With `opens`, repositories are opened if a password is available without asking.
fn gather(context: &Context, args: &Status, opens: bool) -> Result<Vec<Report>> {
    let history = history(context)?;
    let mut hosts = args.host.clone();
    if !args.all_hosts {
        hosts.push(host::host_name());
    }
    // If sets are configured, only these count: a renamed or removed set would be overdue forever.
    let only_wanted = !context.config.sets().is_empty() && args.host.is_empty() && !args.all_hosts;
    let options = Options {
        hosts,
        max_age: args.max_age,
        now: Time::now(),
        state: context.global.state(),
        ..Options::default()
    };
    let mut reports = Vec::new();
    for place in places(context, &history)? {
        let only_wanted = only_wanted && !place.wanted.is_empty();
        let options = Options { wanted: place.wanted, only_wanted, ..options.clone() };
        let repo = if opens { open(&place.context, &place.storage) } else { None };
        let mut report = status::status(&*place.storage, repo.as_ref(), &history, &options);
        report.trouble = report.trouble.map(|why| wording::translate(&why).into_owned());
        reports.push(report);
        if let Some(repo) = &repo {
            context.pass_on_warnings(repo);
        }
    }
    refuse_nothing(&reports)?;
    refuse_strangers(&reports, &args.host)?;
    Ok(reports)
}

/// Refuses an unknown host, because it is probably mistyped, and its backups would go unmonitored.
fn refuse_strangers(reports: &[Report], hosts: &[String]) -> Result<()> {
    let known: BTreeSet<&str> =
        reports.iter().flat_map(|report| &report.sets).map(|set| set.host.as_str()).collect();
    let Some(stranger) = hosts.iter().find(|host| !known.contains(host.as_str())) else { return Ok(()) };
    let known = known.into_iter().collect::<Vec<_>>().join(", ");
    Err(Error::NotFound {
        what: format!("no backup of host {stranger} is known"),
        help: if known.is_empty() {
            "`snap status --all-hosts` shows all hosts of the repository".to_owned()
        } else {
            format!("known hosts are {known}; `snap status --all-hosts` shows all hosts of the repository")
        },
    })
}

/// Refuses a single repository that does not exist and has no history, because it is probably mistyped.
fn refuse_nothing(reports: &[Report]) -> Result<()> {
    match reports {
        [only] if only.trouble.is_some() && only.sets.is_empty() && only.works.is_empty() => {
            Err(Error::NoRepository { location: only.location.clone() })
        }
        _ => Ok(()),
    }
}

fn history(context: &Context) -> Result<History> {
    let Some(dir) = context.global.state() else {
        let why = "there is no directory for the records of runs: set SNAP_STATE_DIR";
        output::warn(context.global.json, why);
        return Ok(History::default());
    };
    let run_log = RunLog::new(dir);
    let history = run_log.read()?;
    if history.unreadable > 0 {
        let lines = output::count(history.unreadable, "line", "lines");
        let file = run_log.file();
        let text = format!("{lines} of the run records in {} cannot be read", file.display());
        output::warn(context.global.json, &text);
    }
    Ok(history)
}

fn places(context: &Context, history: &History) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    let named = context.given.repo().is_some();
    let configured = !context.config.repositories().is_empty() || !context.config.sets().is_empty();
    if named || !configured && (context.global.repo.is_some() || context.legacy.is_some()) {
        add(&mut places, context.with_new_recorder())?;
    } else {
        for entry in context.config.repositories() {
            add(&mut places, context.for_repository(&entry.name))?;
        }
    }
    for set in context.config.sets() {
        let of_set = context.for_set(set);
        let wanted = wanted(set)?;
        // If a repository is given, only its sets are shown.
        let location = of_set.storage()?.location();
        if !named || places.iter().any(|place| place.storage.location() == location) {
            add(&mut places, of_set)?.wanted.push(wanted);
        }
    }
    if places.is_empty() {
        let used: BTreeSet<&str> = history.runs.iter().map(|run| run.repository.as_str()).collect();
        for location in used {
            add(&mut places, context.for_repository(location))?;
        }
    }
    if places.is_empty() {
        return Err(Error::Usage(
            "no repository given, and there are no records of runs on this machine: give one with -r REPO \
             or SNAP_REPO"
                .into(),
        ));
    }
    Ok(places)
}

/// Adds the repository of a context, or returns the existing entry. The password of the first context is used
/// for all.
fn add(places: &mut Vec<Place>, context: Context) -> Result<&mut Place> {
    let storage = context.storage()?;
    let location = storage.location();
    let at = places.iter().position(|place| place.storage.location() == location).unwrap_or(places.len());
    if at == places.len() {
        places.push(Place { context, storage, wanted: Vec::new() });
    }
    places.get_mut(at).ok_or(Error::Stopped)
}

fn wanted(set: &Set) -> Result<Wanted> {
    let host = set.host().unwrap_or_else(host::host_name);
    let sources = sources::plan(set.sources(), None)?.sources;
    Ok(Wanted {
        name: set.name.clone(),
        id: run_log::set_id(&host, &sources),
        host,
        sources: sources.iter().map(|path| Name::of(path)).collect(),
        max_age: set.settings.max_age,
        next: schedule::next(set, jiff::Timestamp::now()).map(output::time),
    })
}

/// Opens a repository. Returns `None`, after a warning, if no password is available or it is wrong; the rest
/// of the status is still shown.
fn open(context: &Context, storage: &Arc<dyn Storage>) -> Option<Repository> {
    let encrypted = Repository::is_encrypted(&**storage).ok()?;
    if encrypted && !password::is_given(&context.global) {
        return None;
    }
    match context.open(Arc::clone(storage)) {
        Ok(repo) => Some(repo),
        Err(error) => {
            let text = format!("{}; only information that needs no key is shown", error.chain());
            output::warn(context.global.json, &text);
            None
        }
    }
}

/// Writes the file atomically, so that readers never see a part of it.
fn publish(context: &Context, path: &Path, text: &str) -> Result<()> {
    context.may_write(path)?;
    let mut file = AtomicFile::create(path, true)?;
    file.write_all(text.as_bytes()).map_err(Error::io("write", path))?;
    file.publish()
}
