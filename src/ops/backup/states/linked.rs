//! Files with several hard links in a past state: what was stored of one for an earlier state need not be
//! read again, and two names are hard links of each other only if the state has both.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use crate::error::{Error, Result};
use crate::fs::walk::{Walk, WalkEvent};
use crate::model::entry::{Entry, Meta};
use crate::ops::backup::compare::Comparer;
use crate::ops::backup::states::{StoredFile, Version};
use crate::progress::Action;
use crate::repo::commit::reachability;

impl Comparer<'_, '_> {
    /// Returns whether an inode with several names has more than one of them in the sources. Those of a live
    /// source are not counted: only the number of links of each is known.
    pub(in crate::ops::backup) fn has_names_inside(&mut self, inode: (u64, u64)) -> Result<bool> {
        if self.run.options.recorded.is_none() {
            return Ok(true);
        }
        if self.linked_inside.is_none() {
            self.linked_inside = Some(self.count_names()?);
        }
        Ok(self.linked_inside.as_ref().is_some_and(|inside| inside.contains(&inode)))
    }

    /// Walks once more. In states that are copies of each other nearly every file has several links, but
    /// nearly none two in one state.
    fn count_names(&self) -> Result<HashSet<(u64, u64)>> {
        let begun = self.run.begun;
        let walk = Walk::start(begun.plan.clone(), begun.survey_options(), &begun.stop)?;
        let (mut once, mut often) = (HashSet::new(), HashSet::new());
        for found in walk.found.iter().flatten() {
            if let WalkEvent::Entry(_, Some(inode)) | WalkEvent::Lone(_, _, Some(inode)) = found
                && !once.insert(inode)
            {
                often.insert(inode);
            }
            if self.run.failed.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
        }
        Ok(often)
    }

    /// Returns what an earlier state of this run stored of a file, if it is the same version. If the parent's
    /// entry has the same content, the parent vouches for it; else all of it is looked up.
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
        match reachability::entry_stands(&mut self.reader, &probe) {
            Ok(true) => Ok(Some(file)),
            Ok(false) => Ok(None),
            Err(err) if err.is_damage() => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// Completes a file with what was stored of it.
    pub(in crate::ops::backup) fn reuse(
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
                self.tally.suffixes.was(&entry.name);
                self.unchanged(entry, &before.meta)
            }
            Some(_) => {
                self.tally.suffixes.was(&entry.name);
                self.tally.files_changed += 1;
                self.not_read(&entry, Action::Changed);
                self.complete(entry, false)
            }
            None => {
                self.tally.suffixes.comes(&entry.name);
                self.tally.files_new += 1;
                self.not_read(&entry, Action::New);
                self.complete(entry, false)
            }
        }
    }

    /// Remembers a file of a past state for the states after it.
    pub(in crate::ops::backup) fn remember(&self, version: Option<Version>, entry: &Entry) {
        if let (Some(recorded), Some(version)) = (&self.run.options.recorded, version)
            && let Some(file) = StoredFile::of(entry)
        {
            recorded.linked.insert(version, file);
        }
    }
}
