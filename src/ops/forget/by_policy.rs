//! Forgets snapshots that no rule keeps.

use crate::error::{Error, Result};
use crate::model::id::SnapshotId;
use crate::ops::forget;
use crate::ops::forget::groups;
use crate::ops::forget::groups::{Group, GroupBy};
use crate::ops::forget::policy::{Now, Rule};
use crate::repo::repository::Repository;
use crate::repo::snapshots;
use crate::repo::snapshots::filter::SnapshotFilter;
use crate::repo::snapshots::trash;

/// What to keep, and among which snapshots.
#[derive(Debug, Clone, Default)]
pub struct PolicyOptions {
    /// Snapshots to consider; all others stay.
    pub selection: SnapshotFilter,
    /// How snapshots are grouped. Rules apply within each group.
    pub group_by: GroupBy,
    /// Rules. A snapshot stays if any rule keeps it.
    pub rules: Vec<Rule>,
    /// Only report.
    pub dry_run: bool,
}

/// Forgets snapshots that no rule keeps. Returns for every selected snapshot whether it stays, and why.
///
/// # Errors
/// `Retention` if no rule can keep anything, since then everything would be forgotten. Otherwise when the
/// storage fails.
pub fn by_policy(repo: &Repository, options: &PolicyOptions) -> Result<Vec<Group>> {
    if !options.rules.iter().any(Rule::says_something) {
        return Err(Error::Retention("nothing says what to keep".into()));
    }
    // W1: the session exists before the listing.
    let session = match options.dry_run {
        true => None,
        false => Some(forget::open(repo)?),
    };
    let groups = plan(repo, options)?;
    if let Some(session) = session {
        let going = groups.iter().flat_map(|group| &group.decisions).filter(|one| !one.stays());
        let ids: Vec<SnapshotId> = going.map(|decision| decision.snapshot.id).collect();
        // Snapshots that another process forgot meanwhile need nothing more.
        trash::forget_all(repo, &session, &ids)?;
        session.close()?;
    }
    Ok(groups)
}

/// Returns what [`by_policy`] would decide, even without rules. Writes nothing.
///
/// # Errors
/// When the storage fails.
pub fn plan(repo: &Repository, options: &PolicyOptions) -> Result<Vec<Group>> {
    let listing = snapshots::list_all(repo)?;
    for (_, err) in &listing.unreadable {
        repo.warn(format!("{}: no rule counts that snapshot, and it stays", err.chain()));
    }
    let PolicyOptions { selection, group_by, rules, .. } = options;
    Ok(groups::decide(&listing.snapshots, selection, *group_by, rules, &Now::here()))
}
