//! Forgets snapshots that no rule keeps.

use jiff::tz::TimeZone;

use crate::error::{Error, Result};
use crate::model::entry::Time;
use crate::model::id::SnapshotId;
use crate::model::records::AuditAct;
use crate::ops::forget;
use crate::ops::forget::age::Age;
use crate::ops::forget::groups::{self, Group, GroupBy};
use crate::ops::forget::policy::{Now, Rule};
use crate::repo::repository::Repository;
use crate::repo::sessions::clock;
use crate::repo::snapshots::filter::SnapshotFilter;
use crate::repo::snapshots::trash;
use crate::repo::{audit, snapshots};

/// What to keep, and among which snapshots.
#[derive(Debug, Clone, Default)]
pub struct PolicyOptions {
    /// Snapshots to consider; all others stay.
    pub selection: SnapshotFilter,
    /// How snapshots are grouped. Rules apply within each group.
    pub group_by: GroupBy,
    /// Rules. A snapshot stays if any rule keeps it.
    pub rules: Vec<Rule>,
    /// Snapshots younger than this are always kept.
    pub min_age: Option<Age>,
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
        return Err(Error::Retention("no rule says what to keep".into()));
    }
    // W1: the session exists before the listing.
    let session = if options.dry_run { None } else { Some(forget::open(repo)?) };
    let now = match &session {
        None => Time::now(),
        Some(session) => clock::present(repo, session, Time::now())?,
    };
    let groups = decide(repo, options, now)?;
    if let Some(session) = session {
        let going = groups.iter().flat_map(|group| &group.decisions).filter(|one| !one.stays());
        let ids: Vec<SnapshotId> = going.map(|decision| decision.snapshot.id).collect();
        let noted = audit::note_snapshots(repo, AuditAct::Forget, &ids)?;
        // Snapshots that another process has forgotten in the meantime need no further action.
        trash::forget_all(repo, &session, &ids, &noted)?;
        session.close()?;
    }
    Ok(groups)
}

/// Returns what [`by_policy`] would decide, even without rules. Writes nothing.
///
/// # Errors
/// When the storage fails.
pub fn plan(repo: &Repository, options: &PolicyOptions) -> Result<Vec<Group>> {
    decide(repo, options, Time::now())
}

fn decide(repo: &Repository, options: &PolicyOptions, now: Time) -> Result<Vec<Group>> {
    let listing = snapshots::list_all(repo)?;
    for (_, err) in &listing.unreadable {
        repo.control().warn(format!("{}: the rules do not count this snapshot, and it is kept", err.chain()));
    }
    let PolicyOptions { selection, group_by, rules, .. } = options;
    let now = Now::new(now, TimeZone::system()).with_arrivals(listing.arrivals).with_min_age(options.min_age);
    Ok(groups::decide(&listing.snapshots, selection, *group_by, rules, &now))
}
