//! Removes fences that are older than a month.
//!
//! A fence stops its writer from committing a snapshot whose chunks a sweep may have deleted. An old one is
//! not needed: the sweep also removed the writer's session ([`crate::repo::gc::peers::remove_dead`]), and a
//! writer that was silent for long checks before and after its commit that its session exists
//! ([`crate::repo::snapshots::commit_under`]). The month is for a writer whose request to create the manifest
//! is already in flight.

use crate::error::Result;
use crate::model::entry::Time;
use crate::ops::gc::collect::Collector;
use crate::repo::snapshots;
use crate::storage::ObjectKind;

/// Minimum age in seconds of a fence that is removed, by the storage's clock.
const MIN_AGE: i64 = 30 * 24 * 3600;

impl Collector<'_> {
    /// Removes fences that are old enough and whose session is gone. A fence stays if the storage does not
    /// report its time.
    pub(super) fn remove_old_fences(&self, now: Time) -> Result<()> {
        let repo = self.repo;
        let sessions = repo.storage().list(ObjectKind::Sessions)?;
        let mut removed = false;
        for found in repo.storage().list(ObjectKind::Snapshots)? {
            let old = found.modified.is_some_and(|at| now.sec.saturating_sub(at.sec) >= MIN_AGE);
            if !old || sessions.iter().any(|session| session.name == found.name) {
                continue;
            }
            match snapshots::fence(repo, &found) {
                Ok(Some(_)) => {
                    repo.storage().remove(ObjectKind::Snapshots, &found.name)?;
                    repo.cache().drop_object(&found.name);
                    removed = true;
                }
                Ok(None) => {}
                // Damage is reported by `check`.
                Err(err) if err.is_damage() => {}
                Err(err) => return Err(err),
            }
        }
        if removed { repo.storage().sync(ObjectKind::Snapshots) } else { Ok(()) }
    }
}
