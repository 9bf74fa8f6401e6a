//! Rules per path: removes paths from old snapshots, and long-deleted files from the snapshots that still
//! have them. All snapshots are rewritten in one pass.

use std::collections::HashSet;
use std::ffi::OsString;

use crate::error::Result;
use crate::fs::filter::PathRules;
use crate::model::id::SnapshotId;
use crate::ops::rewrite::expiring::{Expiring, Plan};
pub use crate::ops::rewrite::expiring::{ExpiryRule, Hold, Options};
use crate::ops::rewrite::removed_totals::Taken;
use crate::ops::rewrite::replace::{Replacing, earlier_rewrites};
use crate::ops::rewrite::{Change, Rewritten, trees};
use crate::progress::Control;
use crate::repo::commit::write_session;
use crate::repo::repository::Repository;
use crate::repo::sessions::clock;
use crate::repo::snapshots::Snapshot;
use crate::repo::walk::snapshot_set::SnapshotSet;

/// Result of applying rules per path.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Changed snapshots.
    pub rewritten: Vec<Rewritten>,
    /// Number of snapshots that are old enough for a rule but contain nothing to remove.
    pub unchanged: u64,
    /// Snapshots that are old enough for a rule but keep everything, and why.
    pub held: Vec<(Snapshot, Hold)>,
    /// What is removed, by directory.
    pub taken: Taken,
    /// Number of rebuilt directories, each counted once for all snapshots that share the result.
    pub trees_built: u64,
    /// Patterns that matched nothing in the snapshots that are old enough.
    pub unmatched: Vec<String>,
}

/// Checks patterns of rules without a repository.
///
/// # Errors
/// One is invalid.
pub fn check_patterns(patterns: &[OsString]) -> Result<()> {
    PathRules::new(patterns).map(drop)
}

/// Applies rules per path. Never changes the newest complete snapshot of a host and its sources, pinned ones,
/// those protected by an open alarm, partial ones, and those dated in the future. After a failure the changes
/// made so far remain, and another run does the rest.
///
/// # Errors
/// When a selector names nothing, a pattern is invalid, a tree is damaged, something that a snapshot needs is
/// being garbage-collected, the storage fails, or the run was interrupted.
pub fn run(repo: &Repository, options: &Options, control: &Control<'_>) -> Result<Report> {
    let (observer, stop) = (control.observer(), control.cancel());
    let patterns: Vec<&OsString> = options.rules.iter().map(|rule| &rule.pattern).collect();
    PathRules::new(&patterns)?;
    let options = &by_storage_clock(repo, options)?;
    let (mut plan, mut earlier) = (Plan::default(), Vec::new());
    let mut past = SnapshotSet::open(repo, observer, |all| {
        earlier = earlier_rewrites(all);
        let places = options.choice.places(repo, all)?;
        let chosen = places.into_iter().filter_map(|at| all.get(at)).map(|one| one.id);
        let chosen: HashSet<SnapshotId> = chosen.filter(|id| !options.except.contains(id)).collect();
        let left: Vec<&Snapshot> = all.iter().filter(|one| !options.except.contains(&one.id)).collect();
        plan = Plan::new(&left, &chosen, options);
        Ok((0..all.len()).filter(|at| all.get(*at).is_some_and(|one| plan.reads(&one.id))).collect())
    })?;
    let mut report = Report { held: std::mem::take(&mut plan.held), ..Report::default() };
    if plan.losing.is_empty() {
        past.close()?;
        return Ok(report);
    }
    let mut removal = Expiring::new(&past.snapshots, &plan, &options.rules)?;
    let mut rebuilt = trees::rebuild(repo, &mut past, &mut removal, options.dry_run, observer, stop)?;
    report.taken = std::mem::take(&mut rebuilt.taken);
    report.unmatched = std::mem::take(&mut rebuilt.unmatched);
    report.trees_built = rebuilt.built;
    let numbered = (0..).zip(std::mem::take(&mut past.snapshots));
    let losing = numbered.filter(|(_, one)| plan.losing.contains(&one.id)).collect();
    let change = Change::default();
    let replacing = Replacing { repo, change: &change, rebuilt, earlier, dry_run: options.dry_run };
    (report.rewritten, report.unchanged) = replacing.run(losing, observer, stop)?;
    past.close()?;
    Ok(report)
}

/// Moves all times back by as much as this machine's clock is ahead of the storage's, so that a wrong clock
/// makes no snapshot old. Does nothing in a dry run, which writes no object that the storage would date.
fn by_storage_clock(repo: &Repository, options: &Options) -> Result<Options> {
    let mut options = options.clone();
    if options.dry_run {
        return Ok(options);
    }
    repo.may_write()?;
    let (session, _) = write_session::open(repo)?;
    let present = clock::present(repo, &session, options.now)?;
    session.close()?;
    let ahead = options.now.sec.saturating_sub(present.sec);
    let rules = options.rules.iter_mut().map(|rule| &mut rule.before);
    for time in rules.chain(&mut options.deleted_before).chain([&mut options.now]) {
        time.sec = time.sec.saturating_sub(ahead);
    }
    Ok(options)
}
