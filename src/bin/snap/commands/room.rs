//! `cleanup --keep-below`: beyond the rules, as many snapshots go as must for the repository to fit.

use serde_json::json;
use snap_backup::model::entry::Time;
use snap_backup::model::id::SnapshotId;
use snap_backup::ops::forget::groups::Group;
use snap_backup::ops::forget::policy::{Decision, Reason};
use snap_backup::ops::room::Point;
use snap_backup::ops::stats::{Options, Packs, Report};
use snap_backup::ops::{forget, room, stats};
use snap_backup::repo::repository::Repository;
use snap_backup::{Error, Result};

use crate::context::Context;
use crate::terminal::output;
use crate::terminal::output::{count, size};
use crate::terminal::progress::stop_on_signals;
use crate::args::values::Line;

/// What came of it.
pub(crate) struct Fitted {
    /// What goes beside what rules let go.
    pub(crate) going: Vec<SnapshotId>,
    /// It is below the line, once what goes is collected.
    pub(crate) fits: bool,
}

/// Forgets what must go; `groups` are what the rules decided, and what they let go is gone.
pub(crate) fn fit(
    context: &Context,
    repo: &Repository,
    groups: &[Group],
    line: Line,
    dry_run: bool,
) -> Result<Fitted> {
    let stop = stop_on_signals()?;
    let seen = stats::run(repo, &Options::default(), &stop)?;
    let limit = limit(repo, line, &seen)?;
    let gone: Vec<SnapshotId> = decisions(groups).filter(|one| !one.stays()).map(|one| one.snapshot.id).collect();
    // Where nothing was written, what rules let go still stands.
    let gone = if dry_run { gone } else { Vec::new() };
    let order = room::order(&points(groups, &seen));
    let needed = needed(&seen.packs);
    let mut after = needed;
    let fewest = room::fewest(order.len(), &mut |many| {
        let going: Vec<SnapshotId> = gone.iter().chain(order.iter().take(many)).copied().collect();
        let freed = if going.is_empty() { 0 } else { stats::freed(repo, &going, &stop)?.bytes };
        after = needed.saturating_sub(freed);
        Ok(after <= limit)
    })?;
    let many = fewest.unwrap_or(order.len());
    let going: Vec<SnapshotId> = order.into_iter().take(many).collect();
    let all: Vec<SnapshotId> = gone.iter().chain(&going).copied().collect();
    let freed = if all.is_empty() { 0 } else { stats::freed(repo, &all, &stop)?.bytes };
    let told = Told { limit, needed, after: needed.saturating_sub(freed), dry_run, bytes: seen.packs.bytes };
    if !going.is_empty() {
        let selectors = going.iter().map(|id| id.hex()).collect();
        forget::run(repo, &forget::Options { selectors, dry_run, ..forget::Options::default() })?;
    }
    context.recorder.note(|record| {
        let forgotten = record.numbers.forgotten.unwrap_or_default();
        record.numbers.forgotten = Some(forgotten + going.len() as u64);
    });
    tell(context, groups, &going, fewest.is_some(), &told)?;
    Ok(Fitted { going, fits: fewest.is_some() })
}

/// Bytes that the repository may have.
fn limit(repo: &Repository, line: Line, seen: &Report) -> Result<u64> {
    match line {
        Line::Bytes(bytes) => Ok(bytes),
        Line::Share(share) => {
            let room = repo.storage().room().ok_or_else(|| {
                Error::Usage("nobody knows how large the file system of the repository is: give --keep-below a size".into())
            })?;
            let may = u128::from(room.total) * u128::from(share) / 1_000_000;
            let may = u64::try_from(may).unwrap_or(u64::MAX);
            // What others have there is none of the repository's.
            let ours = seen.packs.bytes.saturating_add(seen.packs.parity);
            let others = room.total.saturating_sub(room.free).saturating_sub(ours);
            Ok(may.saturating_sub(others))
        }
    }
}

/// Bytes of packs and parity once all that no standing snapshot needs is collected.
fn needed(packs: &Packs) -> u64 {
    let stored = packs.needed.saturating_add(packs.trash).saturating_add(packs.unused).max(1);
    let beside = u128::from(packs.frame.saturating_add(packs.parity)) * u128::from(packs.needed) / u128::from(stored);
    packs.needed.saturating_add(u64::try_from(beside).unwrap_or(u64::MAX))
}

fn decisions(groups: &[Group]) -> impl Iterator<Item = &Decision> {
    groups.iter().flat_map(|group| &group.decisions)
}

/// What the rules keep, or all where there is none.
fn points(groups: &[Group], seen: &Report) -> Vec<Point> {
    let now = Time::now();
    let of = |set: usize, one: &Decision| Point {
        id: one.snapshot.id,
        age: u64::try_from(now.sec.saturating_sub(one.snapshot.manifest.started.sec)).unwrap_or(0),
        set,
        unique: seen.lines.iter().find(|line| line.snapshot.id == one.snapshot.id).map_or(0, |line| line.unique.stored),
        stays: one.successor.is_none() || one.reasons.iter().any(holds),
    };
    let staying = |one: &&Decision| one.stays() || one.expired.is_none();
    groups
        .iter()
        .enumerate()
        .flat_map(|(set, group)| group.decisions.iter().filter(staying).map(move |one| of(set, one)))
        .collect()
}

/// What is stronger than the want of room.
fn holds(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::Tags(_) | Reason::Pinned | Reason::Newest | Reason::Partial | Reason::Future | Reason::Alarm(_)
    )
}

/// Numbers of the answer.
struct Told {
    limit: u64,
    needed: u64,
    after: u64,
    bytes: u64,
    dry_run: bool,
}

fn tell(context: &Context, groups: &[Group], going: &[SnapshotId], fits: bool, told: &Told) -> Result<()> {
    let Told { limit, needed, after, bytes, dry_run } = *told;
    if context.global.json {
        let ids: Vec<String> = going.iter().map(|id| id.hex()).collect();
        let line = json!({
            "message_type": "room",
            "limit": limit,
            "bytes": bytes,
            "bytes_needed": needed,
            "bytes_after": after,
            "forgotten": ids,
            "fits": fits,
            "dry_run": dry_run,
        });
        return output::tell(&line.to_string());
    }
    if !fits {
        let text = format!(
            "{} is as small as it gets, above the line of {}: what is left is pinned, tagged, held by an alarm, partial, or the newest of its sources",
            size(after),
            size(limit)
        );
        output::warn(false, &text);
    }
    if !context.talks() {
        return Ok(());
    }
    if going.is_empty() {
        let text = format!("room: {} are needed, the line is {}: nothing more has to go", size(after), size(limit));
        return output::tell(&text);
    }
    for one in decisions(groups).filter(|one| going.contains(&one.snapshot.id)) {
        let done = if dry_run { "would forget" } else { "forgot" };
        let when = output::local(one.snapshot.manifest.started);
        output::tell(&format!("{done} snapshot {} of {when}, for room", one.snapshot.id.short()))?;
    }
    output::tell(&format!(
        "room: {} {} to come from {} to {}, the line is {}; {} stay",
        count(going.len() as u64, "snapshot", "snapshots"),
        if dry_run { "would go" } else { "go" },
        size(needed),
        size(after),
        size(limit),
        decisions(groups).filter(|one| (one.stays() || one.expired.is_none()) && !going.contains(&one.snapshot.id)).count(),
    ))
}
