//! Removes fences that can no longer be needed, so that at most a month's worth of them exists.
//!
//! A fence stops its writer from committing a snapshot whose chunks a sweep may have deleted. The sweep also
//! removed that writer's session ([`crate::repo::gc::peers::remove_dead`]), and a writer that commits after a
//! silence checks before and after that its own session exists ([`crate::repo::snapshots::commit_under`]). So
//! it is stopped without the fence as well. The month is for writers whose request to create the manifest is
//! already in flight.

use crate::error::Result;
use crate::model::entry::Time;
use crate::ops::gc::collect::Collector;
use crate::repo::snapshots;
use crate::storage::ObjectKind;

/// Seconds that a fence is kept, by the storage's clock.
const STANDS: i64 = 30 * 24 * 3600;

impl Collector<'_> {
    /// Removes fences that are old enough. If the storage does not report an object's time, the fence stays.
    pub(super) fn remove_old_fences(&self, now: Time) -> Result<()> {
        let repo = self.repo;
        let sessions = repo.storage().list(ObjectKind::Sessions)?;
        let mut removed = false;
        for found in repo.storage().list(ObjectKind::Snapshots)? {
            let old = found.modified.is_some_and(|at| now.sec.saturating_sub(at.sec) >= STANDS);
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
