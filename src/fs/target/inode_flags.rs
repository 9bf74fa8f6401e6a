//! Inode flags of the target. Immutable and append-only files cannot be changed, renamed or linked. Therefore
//! these flags are set last, and cleared on existing files that must be changed.

use std::os::fd::{AsFd, OwnedFd};

use crate::error::{Error, ErrorKind, Problem, Result};
use crate::fs::metadata::XattrTarget;
use crate::fs::target::Target;
use crate::fs::target::root::Shared;
use crate::fs::target::root::dir_handle::{Dir, READ_FLAGS};
use crate::fs::{metadata, stat};
use crate::model::entry::{Meta, attrs};
use crate::sys::fs::{Mode, openat};
use crate::sys::io::Errno;
use crate::sys::xattr::Unopened;

impl Target {
    /// Sets the immutable and append-only flags: the last step of a restore. Failures are passed to
    /// `problem`.
    pub fn lock(&self, problem: &mut dyn FnMut(&[u8], &Error)) {
        let shared = &self.shared;
        let all = std::mem::take(&mut *shared.locks.lock());
        for (path, wanted) in all {
            if let Err(err) = self.lock_one(&path, wanted) {
                problem(&path, &err);
            }
        }
    }

    fn lock_one(&self, path: &[u8], wanted: u32) -> Result<()> {
        let shared = &self.shared;
        let fd = if path.is_empty() {
            shared.dir(path)?.fd.try_clone().map_err(Error::io("open", shared.show(path)))?
        } else {
            let (dir, name) = shared.place(path)?;
            openat(&dir.fd, name, READ_FLAGS, Mode::empty()).map_err(shared.at("open", path))?
        };
        let set = shared.owners.set_attrs(fd.as_fd(), wanted, attrs::LOCKS);
        set.map_err(shared.at("set the flags of", path))
    }
}

impl Shared {
    /// Sets the flags of an open file or directory whose present ones are `current`. Immutable and
    /// append-only are deferred to [`Target::lock`].
    pub(super) fn set_attrs(
        &self,
        fd: impl AsFd,
        path: &[u8],
        meta: &Meta,
        current: u32,
    ) -> Result<(), Errno> {
        let wanted = meta.attrs & attrs::KNOWN;
        if (wanted ^ current) & !attrs::LOCKS != 0 {
            self.owners.set_attrs(fd.as_fd(), wanted, !attrs::LOCKS)?;
        }
        if wanted & attrs::LOCKS != 0 {
            let mut locks = self.locks.lock();
            locks.push((path.to_vec(), wanted));
        }
        Ok(())
    }

    /// Returns whether an entry has the extended attributes and inode flags of `meta`.
    pub(super) fn has_extras(&self, dir: &Dir, name: &[u8], meta: &Meta) -> bool {
        let entry = Unopened::new(dir.as_fd(), name);
        stat::stat(dir, name).is_ok_and(|found| (found.attrs ^ meta.attrs) & attrs::KNOWN == 0)
            && self.owners.has_xattrs(XattrTarget::Unopened(&entry), &meta.xattrs)
    }

    /// Records what the target cannot store, to be reported as problems of the path.
    pub(super) fn note(&self, path: &[u8], notes: Vec<String>) {
        if !notes.is_empty() {
            let mut all = self.notes.lock();
            all.extend(notes.into_iter().map(|why| Problem::new(path, ErrorKind::Io, why)));
        }
    }
}

/// Returns the flags of an open file; 0 if they cannot be read.
pub(super) fn attrs_of(file: impl AsFd) -> u32 {
    stat::stat_open(file).map_or(0, |found| found.attrs)
}

/// Clears the flags that prevent changes to an open file. Returns the flags that remain.
pub(super) fn unlock_open(file: impl AsFd) -> u32 {
    let fd = file.as_fd();
    let found = attrs_of(fd);
    if found & attrs::LOCKS == 0 {
        return found;
    }
    match metadata::set_attrs(fd, 0, attrs::LOCKS) {
        Ok(0) => found & !attrs::LOCKS,
        _ => found,
    }
}

/// Clears the flags that prevent changes to an entry; true if there were any.
pub(super) fn unlock(dir: &OwnedFd, name: &[u8]) -> bool {
    let locked = stat::stat(dir, name).is_ok_and(|found| found.attrs & attrs::LOCKS != 0);
    locked
        && openat(dir, name, READ_FLAGS, Mode::empty())
            .and_then(|fd| metadata::set_attrs(fd.as_fd(), 0, attrs::LOCKS))
            .is_ok_and(|skipped| skipped == 0)
}
