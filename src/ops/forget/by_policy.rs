//! Forgetting what no rule keeps.

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

/// What to keep, of what.
#[derive(Debug, Clone, Default)]
pub struct PolicyOptions {
    /// Snapshots of nothing else are touched.
    pub selection: SnapshotFilter,
    /// Rules count within each group.
    pub group_by: GroupBy,
    /// What any of these keeps stays.
    pub rules: Vec<Rule>,
    /// Write nothing.
    pub dry_run: bool,
}

/// Forgets what no rule keeps. Says of every selected snapshot what became of it, and why.
///
/// # Errors
/// `Retention` when no rule says anything: then nothing says what to keep. Otherwise when the store fails.
pub fn by_policy(repo: &Repository, options: &PolicyOptions) -> Result<Vec<Group>> {
    if !options.rules.iter().any(Rule::says_something) {
        return Err(Error::Retention("nothing says what to keep".into()));
    }
    // W1: the session stands before the listing.
    let session = match options.dry_run {
        true => None,
        false => Some(forget::open(repo)?),
    };
    let groups = plan(repo, options)?;
    if let Some(session) = session {
        let going = groups.iter().flat_map(|group| &group.decisions).filter(|one| !one.stays());
        let ids: Vec<SnapshotId> = going.map(|decision| decision.snapshot.id).collect();
        // What another run forgot meanwhile is as it should be.
        trash::forget_all(repo, &session, &ids)?;
        session.close()?;
    }
    Ok(groups)
}

/// What [`by_policy`] decides, with any rules or none; nothing is written.
///
/// # Errors
/// When the store fails.
pub fn plan(repo: &Repository, options: &PolicyOptions) -> Result<Vec<Group>> {
    let listing = snapshots::list_all(repo)?;
    for (_, err) in &listing.unreadable {
        repo.warn(format!("{}: no rule counts that snapshot, and it stays", err.chain()));
    }
    let PolicyOptions { selection, group_by, rules, .. } = options;
    Ok(groups::decide(&listing.snapshots, selection, *group_by, rules, &Now::here()))
}
