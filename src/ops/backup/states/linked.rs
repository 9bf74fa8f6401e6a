//! Files with several hard links in past states: a file that was stored for an earlier state is not read
//! again, and two names are recorded as hard links of each other only if both are in the state.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use crate::error::{Error, Result};
use crate::fs::walk::{Walk, WalkEvent};
use crate::model::entry::{Entry, Meta};
use crate::ops::backup::Run;
use crate::ops::backup::compare::Comparer;
use crate::ops::backup::states::{StoredFile, Version};
use crate::progress::Action;
use crate::repo::commit::reachability;

impl Comparer<'_, '_> {
    /// Returns whether the sources contain more than one name of an inode that has several. Returns true for
    /// a live source, whose names are not counted.
    pub(in crate::ops::backup) fn has_names_inside(&mut self, inode: (u64, u64)) -> Result<bool> {
        if self.run.options.recorded.is_none() {
            return Ok(true);
        }
        if self.linked_inside.is_none() {
            self.linked_inside = Some(self.find_linked_inside()?);
        }
        Ok(self.linked_inside.as_ref().is_some_and(|inside| inside.contains(&inode)))
    }

    /// Returns the inodes that a second walk finds under several names. In states that are copies of each
    /// other nearly every file has several links, but rarely two in the same state.
    fn find_linked_inside(&self) -> Result<HashSet<(u64, u64)>> {
        let backup = self.run.backup;
        let walk = Walk::start(backup.plan.clone(), backup.walk_options(), &backup.stop)?;
        let (mut once, mut repeated) = (HashSet::new(), HashSet::new());
        for found in walk.found.iter().flatten() {
            if let WalkEvent::Entry(_, Some(inode)) | WalkEvent::SingleFile(_, _, Some(inode)) = found
                && !once.insert(inode)
            {
                repeated.insert(inode);
            }
            if self.run.failed.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
        }
        Ok(repeated)
    }

    /// Returns what an earlier state of this run stored of the same version of a file. If the parent's entry
    /// has the same content, its chunks are known to exist; otherwise all of them are looked up.
    pub(in crate::ops::backup) fn stored_earlier(
        &mut self,
        version: Option<&Version>,
        before: Option<&Entry>,
        size: u64,
    ) -> Result<Option<StoredFile>> {
        let (Some(version), Some(recorded)) = (version, &self.run.options.recorded) else { return Ok(None) };
        let Some(file) = recorded.linked.get(version) else { return Ok(None) };
        if let Some(before) = before.filter(|before| StoredFile::of(before).as_ref() == Some(&file))
            && self.may_reuse(before)?
        {
            return Ok(Some(file));
        }
        let meta = Meta { xattrs: file.xattrs.clone(), ..Meta::default() };
        let probe = Entry { name: Vec::new(), kind: file.kind(size), meta };
        match reachability::entry_is_usable(&mut self.reader, &probe) {
            Ok(true) => Ok(Some(file)),
            Ok(false) => Ok(None),
            Err(err) if err.is_damage() => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// Completes the entry of a file whose content an earlier state stored.
    pub(in crate::ops::backup) fn complete_stored(
        &mut self,
        mut entry: Entry,
        file: StoredFile,
        before: Option<Entry>,
    ) -> Result<()> {
        entry.kind = file.kind(entry.size());
        entry.meta.xattrs = file.xattrs;
        match before {
            Some(before) if before.kind == entry.kind => {
                entry.meta.corrupt_since = before.meta.corrupt_since;
                self.tally.suffixes.add_old(&entry.name);
                self.complete_unchanged(entry, &before.meta)
            }
            Some(_) => {
                self.tally.suffixes.add_old(&entry.name);
                self.tally.files_changed += 1;
                self.count_unread(&entry, Action::Changed);
                self.complete(entry, false)
            }
            None => {
                self.tally.suffixes.add_new(&entry.name);
                self.tally.files_new += 1;
                self.count_unread(&entry, Action::New);
                self.complete(entry, false)
            }
        }
    }
}

impl Run<'_> {
    /// Records a file of a past state for later states.
    pub(in crate::ops::backup) fn record_linked(&self, version: Option<Version>, entry: &Entry) {
        if let (Some(recorded), Some(version)) = (&self.options.recorded, version)
            && let Some(file) = StoredFile::of(entry)
        {
            recorded.linked.insert(version, file);
        }
    }
}
