//! `snap alarm`: lists alarms of backups, and settles them.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use snap_backup::model::tripwire::AlarmState;
use snap_backup::ops::rewrite::{self, Change};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::filter::SnapshotQuery;
use snap_backup::repo::snapshots::{self, Snapshot};
use snap_backup::{Control, Error, Result};

use crate::context::Context;
use crate::exit::Outcome;
use crate::terminal::output::{self, printable};
use crate::terminal::progress::stop_on_signals;

#[derive(Debug, Args)]
pub(crate) struct Alarm {
    /// Also list settled alarms
    #[arg(short, long)]
    pub(crate) all: bool,
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Accept an intended change: later backups are compared with it, too
    Accept(Which),
    /// Settle an alarm after the harm was repaired: the next backup raises none
    Clear(Which),
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Snapshots that raised an alarm [default: that of the only open alarm]
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &Alarm) -> Result<Outcome> {
    context.with(|repo| match &args.verb {
        None => list(context, repo, args.all),
        Some(Verb::Accept(which)) => set_state(context, repo, &which.snapshots, AlarmState::Accepted),
        Some(Verb::Clear(which)) => set_state(context, repo, &which.snapshots, AlarmState::Cleared),
    })
}

/// Lists the alarms. The exit code is 24 if some are not settled.
fn list(context: &Context, repo: &Repository, all: bool) -> Result<Outcome> {
    let snapshots = snapshots::list(repo)?;
    let shown: Vec<&Snapshot> = snapshots
        .iter()
        .filter(|one| one.manifest.alarm().is_some_and(|(state, _)| all || state == AlarmState::Open))
        .collect();
    if context.global.json {
        let alarms: Vec<Value> = shown.iter().filter_map(|one| json_of(one)).collect();
        output::print(&json!({"message_type": "summary", "alarms": alarms}).to_string())?;
    } else if shown.is_empty() {
        output::print("no alarms")?;
    } else {
        shown.iter().filter_map(|one| line(one)).try_for_each(|line| output::print(&line))?;
    }
    let is_open = shown.iter().any(|one| one.manifest.is_alarming());
    Ok(if is_open { Outcome::Alarm } else { Outcome::Done })
}

fn line(snapshot: &Snapshot) -> Option<String> {
    let (state, why) = snapshot.manifest.alarm()?;
    let sources: Vec<String> = snapshot.manifest.sources.iter().map(|path| output::path(path)).collect();
    Some(format!(
        "{:<8}  {}  {}  {} of {}\n    {}",
        output::alarm_state(state),
        snapshot.id.short(),
        output::local(snapshot.manifest.started),
        sources.join(", "),
        printable(&snapshot.manifest.host),
        printable(why)
    ))
}

fn json_of(snapshot: &Snapshot) -> Option<Value> {
    let (state, why) = snapshot.manifest.alarm()?;
    let mut map = output::snapshot(snapshot);
    map.insert("state".to_owned(), output::alarm_state(state).into());
    map.insert("reason".to_owned(), why.into());
    Some(Value::Object(map))
}

fn set_state(context: &Context, repo: &Repository, named: &[String], state: AlarmState) -> Result<Outcome> {
    let chosen = chosen(&snapshots::list(repo)?, named)?;
    let choice = SnapshotQuery { selectors: chosen, ..SnapshotQuery::default() };
    let change = Change { alarm: Some(state), ..Change::default() };
    let options = rewrite::Options { choice, change, ..rewrite::Options::default() };
    let report = rewrite::run(repo, &options, &Control::default().with_cancel(&stop_on_signals()?))?;
    let lost = report.rewritten.iter().filter(|one| one.new.is_none()).count();
    for one in &report.rewritten {
        let new = one.new.map(|id| id.hex());
        if context.global.json {
            let word = output::alarm_state(state);
            let line = json!({"message_type": "alarm", "state": word, "old": one.old.id.hex(), "new": new});
            output::print(&line.to_string())?;
        } else if context.prints_success() {
            output::print(&describe_change(one, state))?;
        }
    }
    Ok(if lost > 0 { Outcome::Problems } else { Outcome::Done })
}

fn describe_change(one: &rewrite::Rewritten, state: AlarmState) -> String {
    let (old, word) = (one.old.id.short(), output::alarm_state(state));
    match one.new {
        Some(new) => format!("alarm of snapshot {old} {word}: the snapshot was replaced by {}", new.short()),
        None => format!(
            "snapshot {old} was not changed: another process forgot or rewrote it in the \
                         meantime"
        ),
    }
}

/// Returns the ids of the named snapshots, each of which must have an alarm; without names, that of the only
/// open alarm.
fn chosen(all: &[Snapshot], named: &[String]) -> Result<Vec<String>> {
    let mut chosen = Vec::new();
    for selector in named {
        let (snapshot, _) = snapshots::resolve_in(all, selector)?;
        if snapshot.manifest.alarm().is_none() {
            return Err(Error::Usage(format!("snapshot {} raised no alarm", snapshot.id.short())));
        }
        chosen.push(snapshot.id.hex());
    }
    if !named.is_empty() {
        return Ok(chosen);
    }
    let open: Vec<&Snapshot> = all.iter().filter(|one| one.manifest.is_alarming()).collect();
    match open.as_slice() {
        [only] => Ok(vec![only.id.hex()]),
        [] => Err(Error::Usage(
            "there is no open alarm: `snap alarm --all` lists those that are settled".into(),
        )),
        several => {
            let ids: Vec<String> = several.iter().map(|one| one.id.short()).collect();
            Err(Error::Usage(format!(
                "{} alarms are open; give the snapshots whose alarms to settle: {}",
                ids.len(),
                ids.join(", ")
            )))
        }
    }
}
