//! Decides which forgotten snapshots are older than the undelete window.

use crate::error::Result;
use crate::model::entry::Time;
use crate::ops::gc::collect::Collector;
use crate::repo::sessions::trash_entries::TrashEntry;

impl Collector<'_> {
    /// Divides trash entries into those that are purged and those that stay roots.
    pub(super) fn divide(&self, trash: &[TrashEntry]) -> Result<(Vec<TrashEntry>, Vec<TrashEntry>)> {
        let (now, window) = (self.now_there()?, self.repo.config().undelete_window);
        let outlived = |entry: &TrashEntry| entry.age(now).is_some_and(|age| age >= window);
        Ok(trash.iter().copied().partition(|entry| self.options.empty_trash || outlived(entry)))
    }

    /// Returns the time by the storage's clock, which dates the entries. This machine's clock may be days
    /// ahead and would purge snapshots forgotten just now.
    pub(super) fn now_there(&self) -> Result<Time> {
        let Some(session) = &self.session else { return Ok(Time::now()) };
        Ok(session.storage_time()?.unwrap_or_else(Time::now))
    }
}
