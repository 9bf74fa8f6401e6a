//! Inode flags of the target. Immutable and append-only things cannot be changed, renamed or linked any more, so
//! they are locked when all else is done, and unlocked where they stand in the way.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::PoisonError;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::fs::metadata::XattrTarget;
use crate::fs::target::Target;
use crate::fs::target::dirs::Dir;
use crate::fs::target::root::Shared;
use crate::fs::xattr::path_in;
use crate::fs::{metadata, stat};
use crate::model::entry::{Meta, attrs};

/// What can be asked for its flags without being read, and blocks nobody.
const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

impl Target {
    /// Makes immutable and append-only what should be so: the last step of a restore. A failure is told to `problem`.
    pub fn lock(&self, problem: &mut dyn FnMut(&[u8], &Error)) {
        let shared = &self.shared;
        let all = std::mem::take(&mut *shared.locks.lock().unwrap_or_else(PoisonError::into_inner));
        for (path, wanted) in all {
            if let Err(err) = self.lock_one(&path, wanted) {
                problem(&path, &err);
            }
        }
    }

    fn lock_one(&self, path: &[u8], wanted: u32) -> Result<()> {
        let shared = &self.shared;
        let fd = match path.is_empty() {
            true => shared.dir(path)?.fd.try_clone().map_err(Error::io("open", shared.show(path)))?,
            false => {
                let (dir, name) = shared.place(path)?;
                rustix::fs::openat(&dir.fd, name, FLAGS, Mode::empty()).map_err(shared.at("open", path))?
            }
        };
        let set = shared.owners.set_attrs(fd.as_fd(), wanted, attrs::LOCKS);
        set.map_err(shared.at("set the flags of", path))
    }
}

impl Shared {
    /// Sets the flags of an open file or directory whose own are `current`, but for those that lock it: their time
    /// comes later.
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
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            locks.push((path.to_vec(), wanted));
        }
        Ok(())
    }

    /// Whether an entry has the extended attributes and the flags that it should have.
    pub(super) fn has_extras(&self, dir: &Dir, name: &[u8], meta: &Meta) -> bool {
        let path = path_in(dir.as_fd(), name);
        stat::look(dir, name).is_ok_and(|found| (found.attrs ^ meta.attrs) & attrs::KNOWN == 0)
            && self.owners.has_xattrs(XattrTarget::Named(&path), &meta.xattrs)
    }

    /// Keeps what did not fit the target, to be told as problems of the path.
    pub(super) fn note(&self, path: &[u8], notes: Vec<String>) {
        if !notes.is_empty() {
            let mut all = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(notes.into_iter().map(|why| (path.to_vec(), why)));
        }
    }
}

/// The flags of an open file; none where they cannot be had.
pub(super) fn attrs_of(file: impl AsFd) -> u32 {
    stat::look_open(file).map_or(0, |found| found.attrs)
}

/// Takes away what keeps an open file from being changed. Returns the flags that it has now.
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

/// Takes away what keeps an entry from being changed or replaced; true if there was something.
pub(super) fn unlock(dir: &OwnedFd, name: &[u8]) -> bool {
    let locked = stat::look(dir, name).is_ok_and(|found| found.attrs & attrs::LOCKS != 0);
    locked
        && rustix::fs::openat(dir, name, FLAGS, Mode::empty())
            .and_then(|fd| metadata::set_attrs(fd.as_fd(), 0, attrs::LOCKS))
            .is_ok_and(|left_out| left_out == 0)
}
