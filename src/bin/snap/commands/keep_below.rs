//! `cleanup --keep-below`: forgets snapshots beyond the rules until the repository fits.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::json;
use snap_backup::model::entry::Time;
use snap_backup::model::id::SnapshotId;
use snap_backup::ops::forget::groups::Group;
use snap_backup::ops::forget::policy::{Decision, KeepReason};
use snap_backup::ops::keep_below::Point;
use snap_backup::ops::stats::{Options, Packs, Report};
use snap_backup::ops::{forget, keep_below, stats};
use snap_backup::repo::repository::Repository;
use snap_backup::{Control, Error, Result};

use super::forget::going;
use crate::args::values::SizeLimit;
use crate::context::Context;
use crate::terminal::json::without_nulls;
use crate::terminal::output::{self, count, size};
use crate::terminal::progress::stop_on_signals;

/// The input for `--keep-below`.
pub(crate) struct Asked<'a> {
    /// The decisions of the rules. What they forget is forgotten already, except in a dry run.
    pub(crate) groups: &'a [Group],
    /// Whether there are retention rules.
    pub(crate) ruled: bool,
    pub(crate) line: SizeLimit,
    pub(crate) dry_run: bool,
    /// Whether the garbage collection that follows purges the snapshots at once.
    pub(crate) empty_trash: bool,
    /// Whether this is a dry run in which rules per path would make room whose size is not known.
    pub(crate) is_ahead: bool,
}

impl Asked<'_> {
    /// Returns the snapshots that the rules keep, with the number of their group.
    fn left(&self) -> impl Iterator<Item = (usize, &Decision)> {
        let all = self.groups.iter().enumerate();
        let each = all.flat_map(|(set, group)| group.decisions.iter().map(move |one| (set, one)));
        each.filter(|(_, one)| !self.ruled || one.stays())
    }
}

/// The result.
pub(crate) struct Fitted {
    /// Snapshots to forget in addition to those of the rules.
    pub(crate) going: Vec<SnapshotId>,
    /// Whether the repository is below the limit after a garbage collection.
    pub(crate) fits: bool,
    /// Whether the repository is above the limit now.
    pub(crate) is_tight: bool,
}

/// Forgets as many snapshots as necessary.
pub(crate) fn fit(context: &Context, repo: &Repository, asked: &Asked<'_>) -> Result<Fitted> {
    let stop = stop_on_signals()?;
    let control = Control::default().with_cancel(&stop);
    let seen = stats::run(repo, &Options::default(), &control)?;
    let limit = limit(repo, asked.line, &seen)?;
    // In a dry run the snapshots that the rules forget still exist.
    let gone = if asked.dry_run && asked.ruled { going(asked.groups) } else { Vec::new() };
    let order = keep_below::order(&points(asked, &seen));
    let needed = needed(&seen.packs);
    let foresight = stats::Foresight::load(repo, &control)?;
    let after = |few: Range<usize>| -> Result<u64> {
        let few = order.get(few).unwrap_or_default();
        let going: Vec<SnapshotId> = gone.iter().chain(few).copied().collect();
        let freed = if going.is_empty() { 0 } else { foresight.freed(&going)?.bytes };
        Ok(needed.saturating_sub(freed))
    };
    let fewest = keep_below::fewest(order.len(), &mut |few| Ok(after(few)? <= limit))?;
    // If forgetting all of them is not enough, none is forgotten: that would cost history for nothing.
    let few = fewest.clone().unwrap_or(0..0);
    let least = if fewest.is_none() { after(0..order.len())? } else { 0 };
    let bytes = seen.packs.bytes.saturating_add(seen.packs.parity);
    let told = Told { limit, needed, after: after(few.clone())?, least, bytes, fits: fewest.is_some() };
    let going: Vec<SnapshotId> = order.get(few).unwrap_or_default().to_vec();
    foresight.close()?;
    if !going.is_empty() {
        let selectors = going.iter().map(|id| id.hex()).collect();
        forget::run(
            repo,
            &forget::Options { selectors, dry_run: asked.dry_run, ..forget::Options::default() },
        )?;
    }
    context.recorder.update(|record| {
        let forgotten = record.numbers.forgotten.unwrap_or_default();
        record.numbers.forgotten = Some(forgotten + going.len() as u64);
    });
    print(context, asked, &going, &told)?;
    Ok(Fitted { going, fits: told.fits, is_tight: bytes > limit })
}

/// Returns how many bytes the repository may have.
fn limit(repo: &Repository, line: SizeLimit, seen: &Report) -> Result<u64> {
    match line {
        SizeLimit::Bytes(bytes) => Ok(bytes),
        SizeLimit::Share(share) => {
            let room = repo.storage().capacity().ok_or_else(|| {
                Error::Usage(
                    "the size of the repository's file system is unknown: give --keep-below a size".into(),
                )
            })?;
            let may = u128::from(room.total) * u128::from(share) / 1_000_000;
            let may = u64::try_from(may).unwrap_or(u64::MAX);
            // The rest of the file system is used by other files.
            let ours = seen.packs.bytes.saturating_add(seen.packs.parity);
            let others = room.total.saturating_sub(room.free).saturating_sub(ours);
            Ok(may.saturating_sub(others))
        }
    }
}

/// Returns the size of packs and parity after a garbage collection.
fn needed(packs: &Packs) -> u64 {
    let stored = packs.needed.saturating_add(packs.trash).saturating_add(packs.unused).max(1);
    let beside =
        u128::from(packs.frame.saturating_add(packs.parity)) * u128::from(packs.needed) / u128::from(stored);
    packs.needed.saturating_add(u64::try_from(beside).unwrap_or(u64::MAX))
}

fn points(asked: &Asked<'_>, seen: &Report) -> Vec<Point> {
    let now = Time::now();
    let unique: HashMap<SnapshotId, u64> =
        seen.lines.iter().map(|line| (line.snapshot.id, line.unique.stored)).collect();
    let of = |(set, one): (usize, &Decision)| Point {
        id: one.snapshot.id,
        age: u64::try_from(now.sec.saturating_sub(one.snapshot.manifest.started.sec)).unwrap_or(0),
        set,
        unique: unique.get(&one.snapshot.id).copied().unwrap_or(0),
        stays: one.successor.is_none() || one.reasons.iter().any(holds),
    };
    asked.left().map(of).collect()
}

/// Returns whether this reason keeps a snapshot even if space is short.
fn holds(reason: &KeepReason) -> bool {
    matches!(
        reason,
        KeepReason::Tags(_)
            | KeepReason::Pinned
            | KeepReason::Newest
            | KeepReason::Partial
            | KeepReason::Future
            | KeepReason::Young(_)
            | KeepReason::Alarm(_)
    )
}

/// Numbers for the output.
struct Told {
    limit: u64,
    needed: u64,
    after: u64,
    /// The smallest possible size, if even that exceeds the limit.
    least: u64,
    bytes: u64,
    fits: bool,
}

fn print(context: &Context, asked: &Asked<'_>, going: &[SnapshotId], told: &Told) -> Result<()> {
    let Told { limit, needed, after, bytes, fits, .. } = *told;
    let dry_run = asked.dry_run;
    if context.global.json {
        let ids: Vec<String> = going.iter().map(|id| id.hex()).collect();
        let stay = asked.left().map(|(_, one)| one.snapshot.id).filter(|id| !going.contains(id));
        let stay: Option<Vec<String>> = dry_run.then(|| stay.map(|id| id.hex()).collect());
        let line = json!({
            "message_type": "room",
            "limit": limit,
            "bytes": bytes,
            "bytes_needed": needed,
            "bytes_after": after,
            "bytes_least": (!fits).then_some(told.least),
            "forgotten": ids,
            "stay": stay,
            "paths_not_counted": asked.is_ahead.then_some(true),
            "fits": fits,
            "dry_run": dry_run,
        });
        return output::print(&without_nulls(line).to_string());
    }
    if !fits {
        let text = format!(
            "no snapshot is forgotten to free space, because that would not be enough: the size cannot fall \
             below {}, which is above the limit of {}, because of snapshots that are pinned, tagged, \
             younger than --min-age, held by an alarm, partial, or the newest of their sources (a \
             percentage is one of the whole file system, including other files)",
            size(told.least),
            size(limit)
        );
        output::warn(false, &text);
    }
    if !context.prints_success() || !fits {
        return Ok(());
    }
    if going.is_empty() {
        let text = format!(
            "space: {} are needed, the limit is {}: no more snapshots have to be forgotten",
            size(after),
            size(limit)
        );
        return output::print(&text);
    }
    for (_, one) in asked.left() {
        let (id, when) = (one.snapshot.id.short(), output::local(one.snapshot.manifest.started));
        let told = match (going.contains(&one.snapshot.id), dry_run) {
            (true, true) => format!("would forget snapshot {id} of {when} to free space"),
            (true, false) => format!("forgot snapshot {id} of {when} to free space"),
            (false, true) => format!("would keep   snapshot {id} of {when}"),
            (false, false) => continue,
        };
        output::print(&told)?;
    }
    if asked.is_ahead {
        output::print(
            "the space that rules per path would free is not counted here: fewer snapshots may be \
                       forgotten",
        )?;
    }
    let later = match (asked.dry_run, asked.empty_trash) {
        (true, _) => "",
        (false, true) => "; --empty-trash purges them now",
        (false, false) => "; the space is freed when they are purged, after a day or with --empty-trash",
    };
    output::print(&format!(
        "space: {} {} to get from {} to {}, the limit is {}; {} are kept{later}",
        count(going.len() as u64, "snapshot", "snapshots"),
        if dry_run { "would be forgotten" } else { "were forgotten" },
        size(needed),
        size(after),
        size(limit),
        asked.left().count() - going.len(),
    ))
}
