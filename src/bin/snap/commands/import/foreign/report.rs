//! The output of an import from another program: its plan, each new snapshot, and the summary.

use std::time::Duration;

use serde_json::{Map, Value};
use snap_backup::model::id::SnapshotId;
use snap_backup::model::manifest::Counts;
use snap_backup::ops::backup::states::{self, PastState, Planned};
use snap_backup::{Problem, Result};

use super::{Found, Job};
use crate::exit::{Outcome, outcome};
use crate::terminal::output::{self, count, duration, local, size};
use crate::terminal::progress::Progress;

/// Progress and results so far.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Ids of the new snapshots, oldest first.
    pub(super) made: Vec<String>,
    /// Number of snapshots that had been imported before.
    pub(super) there: u64,
    /// Number of snapshots of which nothing could be saved.
    pub(super) failed: u64,
    pub(super) counts: Counts,
    pub(super) problems: Vec<Problem>,
    /// Number of snapshots that were verified, and of paths that differ.
    pub(super) verified: Option<(u64, u64)>,
    pub(super) seconds: f64,
}

impl Done {
    pub(super) fn take(&mut self, summary: &states::Report) {
        self.made.extend(summary.made.iter().map(|id| id.hex()));
        self.failed = summary.failed;
        self.counts = summary.counts;
        self.problems.extend(summary.problems.iter().cloned());
    }
}

/// A new snapshot.
pub(super) struct Made<'a> {
    pub(super) id: Option<SnapshotId>,
    pub(super) counts: &'a Counts,
    pub(super) number: usize,
    pub(super) total: usize,
    /// Time since the first snapshot was started.
    pub(super) elapsed: Duration,
}

impl Made<'_> {
    /// Formats the position in the list, and the estimated time for the rest.
    fn place(&self) -> String {
        let (number, total) = (self.number, self.total);
        match total.saturating_sub(number) {
            0 => format!("{number} of {total}"),
            left => {
                let seconds = self.elapsed.as_secs_f64() * left as f64 / number.max(1) as f64;
                format!("{number} of {total}, about {} left", duration(seconds))
            }
        }
    }
}

/// Prints the plan of the import. `estimate` returns the estimated seconds for reading this many bytes of
/// these snapshots.
pub(super) fn plan(
    job: &Job<'_>,
    planned: &[Planned],
    estimate: &dyn Fn(&[Found], u64) -> Option<f64>,
) -> Result<Outcome> {
    let is_new = |one: &&Planned| one.there.is_none();
    let new: Vec<Found> =
        planned.iter().filter(is_new).filter_map(|one| job.found_of(&one.state).cloned()).collect();
    let bytes = if new.is_empty() { None } else { job.other.to_read(&new) };
    let seconds = bytes.and_then(|bytes| estimate(&new, bytes));
    let there = (planned.len() - new.len()) as u64;
    if job.context.global.json {
        let mut text = String::new();
        for one in planned {
            let status = if one.there.is_some() { "present" } else { "planned" };
            text += &format!("{}\n", Value::Object(object(job, &one.state, status, one.there)));
        }
        let mut map = sums(&Done { there, ..Done::default() }, true);
        map.insert("imported".to_owned(), new.len().into());
        if let Some(bytes) = bytes {
            map.insert("bytes_to_read".to_owned(), bytes.into());
        }
        if let Some(seconds) = seconds {
            map.insert("seconds_estimated".to_owned(), seconds.into());
        }
        return output::print(&(text + &Value::Object(map).to_string())).map(|()| Outcome::Done);
    }
    if job.context.prints_success() {
        output::print(&human_plan(job, planned, new.len() as u64, (bytes, seconds)))?;
    }
    Ok(Outcome::Done)
}

fn human_plan(
    job: &Job<'_>,
    planned: &[Planned],
    new: u64,
    (bytes, seconds): (Option<u64>, Option<f64>),
) -> String {
    let mut text = String::new();
    for one in planned {
        let fate = match one.there {
            Some(id) => format!("exists already, as snapshot {}", id.short()),
            None => "would be imported".to_owned(),
        };
        text += &format!("{}  {}  {fate}\n", local(one.state.time), name(job, &one.state));
    }
    let there = planned.len() as u64 - new;
    let saved = count(new, "snapshot would", "snapshots would");
    text += &format!("dry run: {saved} be saved, {} there already", count(there, "was", "were"));
    let mut dated = planned.iter().filter(|one| one.there.is_none()).map(|one| one.state.time);
    if let Some(first) = dated.next() {
        text += &format!("\nfrom:    {} to {}", local(first), local(dated.next_back().unwrap_or(first)));
    }
    if let Some(bytes) = bytes {
        text += &format!("\nto read: at least {}", size(bytes));
    }
    if let Some(seconds) = seconds {
        text += &format!(
            "\ntakes:   about {}, at the rate at which {} read a sample",
            duration(seconds),
            job.other.program().name
        );
    }
    text
}

/// Returns the name of the snapshot that users know, and its host.
fn name(job: &Job<'_>, state: &PastState) -> String {
    let found = job.found_of(state).map(|found| found.name.as_str()).unwrap_or_default();
    output::printable(&format!("{found} of {}", state.host))
}

fn object(job: &Job<'_>, state: &PastState, status: &str, id: Option<SnapshotId>) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("message_type".to_owned(), "state".into());
    map.insert("status".to_owned(), status.into());
    map.insert("time".to_owned(), output::rfc3339(state.time).into());
    if let Some(found) = job.found_of(state) {
        map.insert("original_id".to_owned(), found.id.clone().into());
        map.insert("original_name".to_owned(), found.name.clone().into());
    }
    map.insert("hostname".to_owned(), state.host.clone().into());
    map.insert("tags".to_owned(), state.tags.clone().into());
    if let Some(id) = id {
        map.insert("snapshot_id".to_owned(), id.hex().into());
    }
    map
}

/// Prints a snapshot as soon as it is saved.
pub(super) fn made(job: &Job<'_>, progress: &Progress, state: &PastState, made: &Made<'_>) -> Result<()> {
    let Made { id, counts, .. } = made;
    if job.context.global.json {
        let mut map = object(job, state, "imported", *id);
        map.extend(output::counts(counts));
        return output::print(&Value::Object(map).to_string());
    }
    if !job.context.prints_success() {
        return Ok(());
    }
    progress.print(&format!(
        "{}  snapshot {} saved ({}): {} read  {}",
        local(state.time),
        id.map(|id| id.short()).unwrap_or_default(),
        made.place(),
        size(counts.bytes_read),
        name(job, state),
    ))
}

/// Prints the summary and returns the outcome.
pub(super) fn summary(job: &Job<'_>, done: &Done) -> Result<Outcome> {
    if job.context.global.json {
        output::print(&Value::Object(sums(done, false)).to_string())?;
    } else if job.context.prints_success() {
        output::print(&human(done))?;
    }
    Ok(match done.verified {
        Some((_, 1..)) => Outcome::Problems,
        _ => outcome(&done.problems),
    })
}

fn sums(done: &Done, dry_run: bool) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("message_type".to_owned(), "summary".into());
    map.insert("dry_run".to_owned(), dry_run.into());
    map.insert("imported".to_owned(), done.made.len().into());
    map.insert("skipped".to_owned(), done.there.into());
    map.insert("failed".to_owned(), done.failed.into());
    map.insert("snapshots".to_owned(), done.made.clone().into());
    if !dry_run {
        map.extend(output::counts(&done.counts));
        map.insert("problems".to_owned(), done.problems.len().into());
        map.insert("total_duration".to_owned(), done.seconds.into());
    }
    if let Some((verified, differences)) = done.verified {
        map.insert("verified".to_owned(), verified.into());
        map.insert("differences".to_owned(), differences.into());
    }
    map
}

fn human(done: &Done) -> String {
    let saved = count(done.made.len() as u64, "snapshot was", "snapshots were");
    let mut text = format!("{saved} saved, {} there already", count(done.there, "was", "were"));
    if !done.made.is_empty() {
        text += &format!(
            "\nread:    {} of {} in {}\nadded:   {}, stored as {}",
            size(done.counts.bytes_read),
            size(done.counts.bytes_total),
            duration(done.seconds),
            size(done.counts.bytes_added),
            size(done.counts.bytes_stored),
        );
    }
    if !done.problems.is_empty() {
        text += &format!("\n{}: see the warnings", count(done.problems.len() as u64, "problem", "problems"));
    }
    if let Some((number, differences)) = done.verified {
        let read = count(number, "snapshot was", "snapshots were");
        let differ = match differences {
            0 => "no difference".to_owned(),
            _ => format!(
                "{} different from the import: see the warnings",
                count(differences, "path is", "paths are")
            ),
        };
        text += &format!("\nverify:  {read} read again, {differ}");
    }
    text
}
