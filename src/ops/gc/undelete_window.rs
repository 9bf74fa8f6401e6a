//! Which forgotten snapshots have outlived the undelete window, by whose clock.

use crate::error::Result;
use crate::model::entry::Time;
use crate::ops::gc::collect::Collector;
use crate::repo::snapshots::trash::TrashEntry;
use crate::storage::ObjectKind;

impl Collector<'_> {
    /// Entries that are purged, and those that stay roots.
    pub(super) fn divide(&self, trash: &[TrashEntry]) -> Result<(Vec<TrashEntry>, Vec<TrashEntry>)> {
        let (now, window) = (self.now_there()?, self.repo.config().undelete_window);
        let outlived = |entry: &TrashEntry| entry.age(now).is_some_and(|age| age >= window);
        Ok(trash.iter().copied().partition(|entry| self.options.empty_trash || outlived(entry)))
    }

    /// What time it is by the store's clock, which dates the entries: when it wrote this session's last heartbeat. This
    /// machine's may be days ahead of it, and would purge what was forgotten just now.
    pub(super) fn now_there(&self) -> Result<Time> {
        let Some(session) = &self.session else { return Ok(Time::now()) };
        session.beat()?;
        let listed = self.repo.storage().list(ObjectKind::Sessions)?;
        let beat = format!("{}.beat", session.id);
        let found = listed.into_iter().find(|found| found.name == beat);
        Ok(found.and_then(|found| found.modified).unwrap_or_else(Time::now))
    }
}
