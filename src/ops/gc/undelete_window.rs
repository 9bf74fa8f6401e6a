//! Decides which forgotten snapshots are older than the undelete window.

use crate::error::Result;
use crate::model::entry::Time;
use crate::ops::gc::collect::Collector;
use crate::repo::sessions::trash_entries::TrashEntry;

impl Collector<'_> {
    /// Divides trash entries into those that are purged and those that remain roots.
    pub(super) fn split_trash(&self, trash: &[TrashEntry]) -> Result<(Vec<TrashEntry>, Vec<TrashEntry>)> {
        let (now, window) = (self.storage_time()?, self.repo.config().undelete_window);
        let has_expired = |entry: &TrashEntry| entry.age(now).is_some_and(|age| age >= window);
        Ok(trash.iter().copied().partition(|entry| self.options.empty_trash || has_expired(entry)))
    }

    /// Returns the time by the storage's clock, which also dates the entries. If this machine's clock were
    /// days ahead, it would purge snapshots that were forgotten just now.
    pub(super) fn storage_time(&self) -> Result<Time> {
        let Some(session) = &self.session else { return Ok(Time::now()) };
        Ok(session.storage_time()?.unwrap_or_else(Time::now))
    }
}
