//! Fences that nobody can need any more are removed, so that there are never more than a month brings.
//!
//! A fence stops the writer that it is for from committing what a sweep may have deleted. That writer's session went with it
//! ([`crate::repo::gc::peers::bury_dead`]), and whoever commits after a silence looks for its own session, before and after
//! ([`crate::repo::snapshots::commit_under`]): so without the fence it is stopped all the same. The month is for writers whose
//! request to create the manifest is already on its way.

use crate::error::Result;
use crate::model::entry::Time;
use crate::ops::gc::collect::Collector;
use crate::repo::snapshots;
use crate::storage::ObjectKind;

/// Seconds that a fence stands, by the store's clock.
const STANDS: i64 = 30 * 24 * 3600;

impl Collector<'_> {
    /// Removes those that have stood long enough. Where the store does not say when one was made, it stays.
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
                // Whatever it is, it is for `check` to say.
                Err(err) if err.is_damage() => {}
                Err(err) => return Err(err),
            }
        }
        if removed { repo.storage().sync(ObjectKind::Snapshots) } else { Ok(()) }
    }
}
