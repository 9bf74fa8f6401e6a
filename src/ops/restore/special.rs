//! Restores entries without content of their own (symbolic links, pipes, sockets, devices) and hard links.
//! They are created after the files.

use std::sync::atomic::Ordering;

use crate::error::{Error, Result};
use crate::fs::target::Existing;
use crate::model::entry::{Entry, Kind, Meta};
use crate::ops::restore::Job;
use crate::ops::restore::overwrite::Action;

/// A further name of a hard-linked file.
pub(super) struct Link {
    pub(super) first: Vec<u8>,
    pub(super) path: Vec<u8>,
    /// The entry. A file's has no content, which is restored under the first name.
    pub(super) entry: Entry,
}

impl Job<'_> {
    /// Returns what exists at the path. Looks only if something can be there.
    pub(super) fn existing(&self, path: &[u8], fresh: bool) -> Result<Option<Existing>> {
        match &self.target {
            Some(target) if !fresh => target.existing(path),
            _ => Ok(None),
        }
    }

    /// Creates a symbolic link, a pipe, a socket or a device.
    pub(super) fn node(&self, path: &[u8], entry: &Entry, fresh: bool) {
        match self.make_node(path, entry, fresh) {
            Ok(Some(did)) => self.record_action(did, path, 0),
            // A device that this user may not create; the target counts it.
            Ok(None) => self.mark_wrong(path, entry.meta.link, false),
            Err(err) => {
                self.mark_wrong(path, entry.meta.link, true);
                self.problem(path, &err);
            }
        }
    }

    fn make_node(&self, path: &[u8], entry: &Entry, fresh: bool) -> Result<Option<Action>> {
        let found = self.existing(path, fresh)?;
        let did = match &found {
            None => Action::Created,
            Some(found) if self.options.overwrite.keeps(found, &entry.meta) => return Ok(Some(Action::Kept)),
            Some(found) if self.is_same(path, found, entry)? => return Ok(Some(Action::Unchanged)),
            Some(_) => Action::Updated,
        };
        if found.is_some_and(|found| found.is_dir()) {
            self.make_way(path)?;
        }
        if self.options.dry_run {
            return Ok(Some(did));
        }
        let meta = self.whole(&entry.meta)?;
        let made = match &entry.kind {
            Kind::Symlink { target } => {
                self.target()?.symlink(path, target, &meta, found.is_none()).map(|()| true)?
            }
            kind => self.target()?.special(path, kind, &meta, found.is_none())?,
        };
        Ok(made.then_some(did))
    }

    fn is_same(&self, path: &[u8], found: &Existing, entry: &Entry) -> Result<bool> {
        let target = self.target()?;
        if !found.is_a(&entry.kind) || !target.is_set(path, found, &*self.whole(&entry.meta)?) {
            return Ok(false);
        }
        match &entry.kind {
            Kind::Symlink { target: to } => Ok(target.read_link(path)? == *to),
            _ => Ok(true),
        }
    }

    /// Returns whether the overwrite rule keeps what exists at a hard link's name.
    pub(super) fn keeps(&self, path: &[u8], meta: &Meta, fresh: bool) -> Result<bool> {
        let found = self.existing(path, fresh)?;
        Ok(found.is_some_and(|found| self.options.overwrite.keeps(&found, meta)))
    }

    /// Creates a further name of a file whose first name exists by now.
    pub(super) fn link(&self, link: &Link) {
        match self.make_link(link) {
            Ok(Some(did)) => self.record_action(did, &link.path, link.entry.size()),
            Ok(None) => {}
            Err(err) => self.problem(&link.path, &err),
        }
    }

    fn make_link(&self, link: &Link) -> Result<Option<Action>> {
        match self.is_wrong(&link.first) {
            Some(true) => {
                let first = String::from_utf8_lossy(&link.first).into_owned();
                return Err(Error::Refused(format!("it is a hard link of {first}, which was not restored")));
            }
            Some(false) => {
                self.target()?.leave_out_device();
                return Ok(None);
            }
            None => {}
        }
        let (first, found) = (self.existing(&link.first, false)?, self.existing(&link.path, false)?);
        let did = match (&first, &found) {
            (_, None) => Action::Created,
            (Some(first), Some(found)) if first.is_one_with(found) => return Ok(Some(Action::Unchanged)),
            _ => Action::Updated,
        };
        if found.is_some_and(|found| found.is_dir()) {
            self.make_way(&link.path)?;
        }
        if !self.options.dry_run && !self.target()?.hard_link(&link.first, &link.path, found.is_none())? {
            return self.copy_link(link, found.as_ref());
        }
        Ok(Some(did))
    }

    /// Restores a name that cannot be a hard link as an independent file with the snapshot's content.
    fn copy_link(&self, link: &Link, found: Option<&Existing>) -> Result<Option<Action>> {
        let Link { first, path, entry } = link;
        self.tally.copied_links.fetch_add(1, Ordering::Relaxed);
        if !entry.is_file() {
            return self.make_node(path, entry, found.is_none());
        }
        let (target, meta) = (self.target()?, self.whole(&entry.meta)?);
        let file = found.filter(|found| found.is_file() && !found.has_other_names());
        if let Some(file) = file.filter(|_| target.are_alike(first, path).unwrap_or(false)) {
            if target.is_set(path, file, &meta) {
                return Ok(Some(Action::Unchanged));
            }
            target.set(path, file, &meta)?;
            return Ok(Some(Action::Updated));
        }
        target.copy(first, path, &meta, found.is_none())?;
        Ok(Some(if found.is_none() { Action::Created } else { Action::Updated }))
    }
}
