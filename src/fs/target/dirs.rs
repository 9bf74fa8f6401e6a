//! Directories of the target: creates, lists and finishes them.

use std::os::fd::AsFd;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::fs::metadata::XattrTarget;
use crate::fs::target::Target;
use crate::fs::target::existing::Existing;
use crate::fs::target::inode_flags::{attrs_of, unlock};
use crate::fs::target::remove::make_usable;
use crate::fs::target::root::dir_handle::Dir;
use crate::fs::target::temp::created_meanwhile;
use crate::model::entry::{Meta, attrs, flags};
use crate::sys::fs::{
    AtFlags, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, fchmod, file_type, fstat, futimens, mkdirat,
    mode_of, statat, unlinkat,
};
use crate::sys::io::Errno;

impl Target {
    /// Creates a directory whose parent exists. An existing directory is kept. Anything else is replaced,
    /// except a symbolic link to a directory.
    ///
    /// # Errors
    /// The path is refused or a system call fails.
    pub fn make_dir(&self, path: &[u8]) -> Result<()> {
        let shared = &self.shared;
        if path.is_empty() || shared.is_followed(path) {
            return Ok(());
        }
        let (dir, name) = shared.place(path)?;
        let make = || mkdirat(&dir.fd, name, Mode::RWXU);
        match make() {
            Err(Errno::EXIST) => {}
            other => return other.map_err(shared.at("create", path)),
        }
        let found = dir.stat(name).map_err(shared.at("read the metadata of", path))?;
        if dir.leads_to_dir(name, &found) {
            let why = format!(
                "{} is a symbolic link to a directory: it was not changed",
                shared.show(path).display()
            );
            return Err(Error::Refused(why));
        }
        unlock(&dir.fd, name);
        if file_type(found.st_mode).is_dir() {
            if found.st_mode & 0o700 != 0o700 {
                make_usable(&dir.fd, name, &found).map_err(shared.at("change the mode of", path))?;
            }
            return Ok(());
        }
        unlinkat(&dir.fd, name, AtFlags::empty()).map_err(shared.at("remove", path))?;
        make().map_err(shared.at("create", path))
    }

    /// Creates a directory where nothing exists.
    ///
    /// # Errors
    /// The name has been taken in the meantime, the path is refused or a system call fails.
    pub fn make_new_dir(&self, path: &[u8]) -> Result<()> {
        let shared = &self.shared;
        let (dir, name) = shared.place(path)?;
        match mkdirat(&dir.fd, name, Mode::RWXU) {
            Err(Errno::EXIST) => Err(created_meanwhile(shared, path)),
            other => other.map_err(shared.at("create", path)),
        }
    }

    /// Opens a directory; the empty path is the root.
    ///
    /// # Errors
    /// The path is refused, leads through a symbolic link, or a system call fails.
    pub fn dir(&self, path: &[u8]) -> Result<Arc<Dir>> {
        self.shared.dir(path)
    }

    /// Sets owner, mode and times of a directory, once nothing more is written to it.
    ///
    /// # Errors
    /// The path is refused or a system call fails.
    pub fn finish_dir(&self, path: &[u8], meta: &Meta) -> Result<()> {
        let shared = &self.shared;
        let dir = shared.dir(path)?;
        let found = fstat(&dir.fd).map_err(shared.at("read the metadata of", path))?;
        let extras = shared.owners.has_xattrs(XattrTarget::Open(dir.fd.as_fd()), &meta.xattrs)
            && (attrs_of(&dir.fd) ^ meta.attrs) & attrs::KNOWN == 0;
        if extras && shared.owners.is_set(&found, meta) {
            return Ok(());
        }
        let current = Some((found.st_uid, found.st_gid));
        let times = meta.flags & flags::ANCESTOR_ONLY == 0;
        let set = shared.owners.set_all(dir.fd.as_fd(), meta, current, times);
        set.map(|notes| shared.note(path, notes))
            .and_then(|()| shared.set_attrs(&dir.fd, path, meta, attrs_of(&dir.fd)))
            .map_err(shared.at("set the attributes of", path))
    }

    /// Returns the state of a directory, which may be reached through a followed link.
    ///
    /// # Errors
    /// There is no such directory or a system call fails.
    pub fn stat_dir(&self, path: &[u8]) -> Result<Existing> {
        let shared = &self.shared;
        fstat(&shared.dir(path)?.fd).map(Existing).map_err(shared.at("read the metadata of", path))
    }

    /// Restores the mode and modification time that a directory had before. Does nothing if another directory
    /// has taken its place.
    ///
    /// # Errors
    /// There is no such directory any more. Failing to set its metadata is not an error.
    pub fn restore_attributes(&self, path: &[u8], was: &Existing) -> Result<()> {
        let shared = &self.shared;
        let dir = shared.dir(path)?;
        let now = fstat(&dir.fd).map_err(shared.at("read the metadata of", path))?;
        if (now.st_dev, now.st_ino) != was.id() {
            return Ok(());
        }
        // Only the owner and root can have changed these, and they can change them back.
        if now.st_mode != was.0.st_mode {
            let _ = fchmod(&dir.fd, mode_of(was.0.st_mode));
        }
        if (now.st_mtime, now.st_mtime_nsec) != (was.0.st_mtime, was.0.st_mtime_nsec) {
            let nanos = was.0.st_mtime_nsec.try_into().unwrap_or(0);
            let times = Timestamps {
                last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
                last_modification: Timespec { tv_sec: was.0.st_mtime, tv_nsec: nanos },
            };
            let _ = futimens(&dir.fd, &times);
        }
        Ok(())
    }
}

impl Dir {
    /// Returns whether an entry is a symbolic link to a directory.
    fn leads_to_dir(&self, name: &[u8], found: &Stat) -> bool {
        file_type(found.st_mode).is_symlink()
            && statat(&self.fd, name, AtFlags::empty()).is_ok_and(|found| file_type(found.st_mode).is_dir())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use crate::fs::ownership::SkippedMetadata;
    use crate::fs::target::support::{meta, target, write};

    #[test]
    fn mode_and_time_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let target = target(dir.path());
        target.make_dir(b"d").unwrap();
        write(&target, b"d/f", b"text").unwrap();
        target.finish_dir(b"d", &meta(0o1755)).unwrap();
        for (name, mode) in [("d", 0o1755), ("d/f", 0o640)] {
            let found = fs::symlink_metadata(dir.path().join(name)).unwrap();
            assert_eq!(found.mode() & 0o7777, mode);
            assert_eq!((found.mtime(), found.mtime_nsec()), (1_000_000_000, 5));
        }
        assert_eq!(target.skipped_metadata(), SkippedMetadata::default());
    }
}
