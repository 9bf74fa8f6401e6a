//! Restores symbolic links, pipes, sockets, devices, and hard links. They are created after the files of
//! their batch.

use std::sync::atomic::Ordering;

use crate::error::{Error, Result};
use crate::fs::target::Existing;
use crate::model::entry::{Entry, Kind, Meta};
use crate::ops::restore::Job;
use crate::ops::restore::overwrite::Action;

/// A further name of a file with hard links.
pub(super) struct Link {
    pub(super) first: Vec<u8>,
    pub(super) path: Vec<u8>,
    /// The entry, without a file's content: that is restored under the first name.
    pub(super) entry: Entry,
}

impl Job<'_> {
    /// Returns what exists at the path. Does not access the disk if the directory is new.
    pub(super) fn existing(&self, path: &[u8], dir_is_new: bool) -> Result<Option<Existing>> {
        match &self.target {
            Some(target) if !dir_is_new => target.existing(path),
            _ => Ok(None),
        }
    }

    /// Creates a symbolic link, a pipe, a socket or a device.
    pub(super) fn create_node(&self, path: &[u8], entry: &Entry, dir_is_new: bool) {
        match self.restore_node(path, entry, dir_is_new) {
            Ok(Some(action)) => self.record_action(action, path, 0),
            // A device that this user may not create. The target counts these.
            Ok(None) => self.mark_not_restored(path, entry.meta.link, false),
            Err(err) => {
                self.mark_not_restored(path, entry.meta.link, true);
                self.record_error(path, &err);
            }
        }
    }

    fn restore_node(&self, path: &[u8], entry: &Entry, dir_is_new: bool) -> Result<Option<Action>> {
        let found = self.existing(path, dir_is_new)?;
        let action = match &found {
            None => Action::Created,
            Some(found) if self.options.overwrite.keeps(found, &entry.meta) => return Ok(Some(Action::Kept)),
            Some(found) if self.node_matches(path, found, entry)? => return Ok(Some(Action::Unchanged)),
            Some(_) => Action::Updated,
        };
        if found.is_some_and(|found| found.is_dir()) {
            self.make_room(path)?;
        }
        if self.options.dry_run {
            return Ok(Some(action));
        }
        let meta = self.with_xattr_values(&entry.meta)?;
        let created = match &entry.kind {
            Kind::Symlink { target } => {
                self.target()?.symlink(path, target, &meta, found.is_none()).map(|()| true)?
            }
            kind => self.target()?.special(path, kind, &meta, found.is_none())?,
        };
        Ok(created.then_some(action))
    }

    fn node_matches(&self, path: &[u8], found: &Existing, entry: &Entry) -> Result<bool> {
        let target = self.target()?;
        if !found.has_kind(&entry.kind) || !target.is_set(path, found, &*self.with_xattr_values(&entry.meta)?)
        {
            return Ok(false);
        }
        match &entry.kind {
            Kind::Symlink { target: to } => Ok(target.read_link(path)? == *to),
            _ => Ok(true),
        }
    }

    /// Returns whether the overwrite rule keeps the existing entry, if any.
    pub(super) fn is_kept(&self, path: &[u8], meta: &Meta, dir_is_new: bool) -> Result<bool> {
        let found = self.existing(path, dir_is_new)?;
        Ok(found.is_some_and(|found| self.options.overwrite.keeps(&found, meta)))
    }

    /// Creates a further name of a file, if its first name was restored.
    pub(super) fn create_link(&self, link: &Link) {
        match self.restore_link(link) {
            Ok(Some(action)) => self.record_action(action, &link.path, link.entry.size()),
            Ok(None) => {}
            Err(err) => self.record_error(&link.path, &err),
        }
    }

    fn restore_link(&self, link: &Link) -> Result<Option<Action>> {
        match self.not_restored(&link.first) {
            Some(true) => {
                let first = String::from_utf8_lossy(&link.first).into_owned();
                return Err(Error::Refused(format!("it is a hard link of {first}, which was not restored")));
            }
            Some(false) => {
                self.target()?.count_skipped_device();
                return Ok(None);
            }
            None => {}
        }
        let (first, found) = (self.existing(&link.first, false)?, self.existing(&link.path, false)?);
        let action = match (&first, &found) {
            (_, None) => Action::Created,
            (Some(first), Some(found)) if first.is_same_inode(found) => return Ok(Some(Action::Unchanged)),
            _ => Action::Updated,
        };
        if found.is_some_and(|found| found.is_dir()) {
            self.make_room(&link.path)?;
        }
        if !self.options.dry_run && !self.target()?.hard_link(&link.first, &link.path, found.is_none())? {
            return self.copy_link(link, found.as_ref());
        }
        Ok(Some(action))
    }

    /// Restores a name that cannot be a hard link as an independent file with the content of the first name.
    fn copy_link(&self, link: &Link, found: Option<&Existing>) -> Result<Option<Action>> {
        let Link { first, path, entry } = link;
        self.tally.copied_links.fetch_add(1, Ordering::Relaxed);
        if !entry.is_file() {
            return self.restore_node(path, entry, found.is_none());
        }
        let (target, meta) = (self.target()?, self.with_xattr_values(&entry.meta)?);
        let file = found.filter(|found| found.is_file() && !found.has_other_names());
        if let Some(file) = file.filter(|_| target.have_same_content(first, path).unwrap_or(false)) {
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
