//! Decides what may be taken from the parent without reading it again.

use std::path::Path;

use crate::codec::tree::stored_xattrs;
use crate::error::Result;
use crate::fs::xattr::{self, FoundXattrs};
use crate::model::entry::{Entry, Time, flags};
use crate::ops::backup::compare::Comparer;
use crate::ops::backup::messages::Context;
use crate::ops::backup::messages::Message;
use crate::ops::backup::states::Comparison;
use crate::repo::commit::reachability;

impl Comparer<'_, '_> {
    /// Sets the extended attributes of an entry that is not read itself. Uses the parent's if the inode has
    /// not changed since.
    pub(super) fn set_xattrs(
        &mut self,
        entry: &mut Entry,
        before: Option<&Entry>,
        place: Option<&Path>,
    ) -> Result<()> {
        if let Some(before) = before
            && !self.run.parent_choice.rereads
            && self.has_same_inode(before, entry)
            && self.may_reuse(before)?
        {
            entry.meta.xattrs.clone_from(&before.meta.xattrs);
            return Ok(());
        }
        let found = match place {
            Some(place) => xattr::of_path(place),
            None => xattr::of_path(&self.path_stack.place_of(&entry.name)),
        };
        let found =
            found.unwrap_or_else(|err| FoundXattrs { problems: vec![err.to_string()], values: Vec::new() });
        let (xattrs, values) = stored_xattrs::split_values(self.run.repo.hasher(), found.values);
        entry.meta.xattrs = xattrs;
        if self.run.supplement().is_some() {
            self.run.add_xattrs(&self.stored_path(&entry.name), entry);
        }
        if !found.problems.is_empty() {
            let stored = self.stored_path(&entry.name);
            self.run.report_incomplete(&stored, entry, &found.problems);
        }
        // The reader sends the values of files that are read, which may be isolated.
        let context = Context { owner: entry.meta.uid, file: None };
        values.into_iter().try_for_each(|value| self.send(Message::Value { context, value }))
    }

    /// Returns whether a time is safely before the parent's start. A later change may have left the same
    /// times.
    fn is_safely_past(&self, time: Time) -> bool {
        let started = self.run.parent_choice.compare.as_ref().map(|parent| parent.manifest.started);
        started
            .is_some_and(|started| time < Time { sec: started.sec.saturating_sub(2), nanos: started.nanos })
    }

    /// Compares type and ctime, which must be safely before the parent's start: any change of an attribute
    /// sets the ctime. Directories that only lead to a source have no recorded times.
    fn has_same_inode(&self, before: &Entry, now: &Entry) -> bool {
        let (old, new) = (&before.meta, &now.meta);
        let is_reliable = match &self.run.options.recorded {
            // Past states do not change while they are read.
            Some(recorded) => recorded.comparison == Comparison::Originals && new.ctime != Time::default(),
            None => self.is_safely_past(new.ctime),
        };
        std::mem::discriminant(&before.kind) == std::mem::discriminant(&now.kind)
            && (old.flags | new.flags) & flags::ANCESTOR_ONLY == 0
            && old.ctime == new.ctime
            && is_reliable
    }

    /// Compares size, mtime and type. The mtime must be safely before the parent's start.
    fn has_same_mtime(&self, before: &Entry, now: &Entry, size: u64) -> bool {
        let (old, new) = (&before.meta, &now.meta);
        before.is_file()
            && before.size() == size
            && old.flags & flags::CHANGED_WHILE_READ == 0
            && old.mtime == new.mtime
            && self.is_safely_past(new.mtime)
    }

    /// Compares size, mtime, ctime and type. Both times must be safely before the parent's start. For a past
    /// state, its options determine what is compared.
    pub(super) fn is_unchanged(&self, before: &Entry, now: &Entry, size: u64) -> bool {
        if let Some(recorded) = &self.run.options.recorded {
            let was_read_whole = before.meta.flags & flags::CHANGED_WHILE_READ == 0;
            return was_read_whole && recorded.is_unchanged(before, now, size);
        }
        !self.run.parent_choice.rereads
            && self.has_same_mtime(before, now, size)
            && (self.run.options.ignore_ctime || self.has_same_inode(before, now))
    }

    /// Returns whether the file cannot have been written since the parent, so that different bytes are bit
    /// rot. Checks the ctime even if it is ignored elsewhere, because tools that reset the mtime cannot set
    /// it. Returns false for past states.
    pub(super) fn is_steady(&self, before: &Entry, now: &Entry, size: u64) -> bool {
        self.run.options.recorded.is_none()
            && self.has_same_mtime(before, now, size)
            && self.has_same_inode(before, now)
            && before.meta.born == now.meta.born
            && before.meta.lost == 0
    }

    /// Returns whether an unchanged file is read again.
    pub(super) fn is_due(&self, name: &[u8]) -> bool {
        let hasher = self.run.repo.hasher();
        self.run.reread_arc.is_some_and(|arc| arc.holds(hasher, &self.stored_path(name)))
    }

    /// Returns whether a file's chunks may be reused. Those of an untrusted parent are looked up one by one
    /// (W2). A file that a repair could not save completely is read again.
    pub(in crate::ops::backup) fn may_reuse(&mut self, before: &Entry) -> Result<bool> {
        if before.meta.lost != 0 {
            return Ok(false);
        }
        if self.run.parent_choice.trusted {
            return Ok(true);
        }
        match reachability::entry_is_usable(&mut self.reader, before) {
            Err(err) if err.is_damage() => Ok(false),
            other => other,
        }
    }
}
