//! A temporary directory that only its owner can read. It is removed when dropped. Directories that killed
//! processes left behind are removed when the next one is created.

use std::fs::{DirBuilder, File, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::error::{Error, Result};
use crate::fs::{metadata, stat};
use crate::model::entry::attrs;
use crate::sys::fs::{FlockOperation, Mode, OFlags, flock, open};
use crate::sys::long_path;
use crate::sys::users;

const PREFIX: &str = ".snap-scratch-";

/// A private temporary directory. A lock on it shows that it is in use.
#[derive(Debug)]
pub struct PrivateDir {
    path: PathBuf,
    _lock: File,
}

impl PrivateDir {
    /// Creates one in `parent`.
    ///
    /// # Errors
    /// The directory cannot be created.
    pub fn new(parent: &Path) -> Result<Self> {
        remove_abandoned(parent);
        let now = crate::model::entry::Time::now();
        let name = format!("{PREFIX}{}-{}-{}", std::process::id(), now.sec, now.nanos);
        let path = parent.join(name);
        DirBuilder::new().mode(0o700).create(&path).map_err(Error::io("create the directory", &path))?;
        let lock = File::open(&path).map_err(Error::io("open", &path))?;
        // Without the lock, another process might consider it abandoned.
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|err| Error::io("lock", &path)(err.into()))?;
        Ok(Self { path, _lock: lock })
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the directory.
    ///
    /// # Errors
    /// Something in it could not be removed.
    pub fn remove(self) -> Result<()> {
        remove(&self.path).map_err(Error::io("remove", &self.path))
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        // After `remove` there is nothing to do. If this fails, the next one tries again.
        let _ = remove(&self.path);
    }
}

/// Removes what this user's killed processes have left behind. Best effort.
fn remove_abandoned(parent: &Path) {
    let Ok(found) = fs::read_dir(parent) else { return };
    let me = users::this_user();
    for entry in found.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(dir) = open(entry.path(), flags, Mode::empty()).map(File::from) else {
            continue;
        };
        let is_own = dir.metadata().is_ok_and(|found| found.uid() == me);
        if is_own && flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = remove(&entry.path());
        }
    }
}

/// Removes a directory. Restored files may have flags or modes that prevent removal; these are cleared
/// first.
fn remove(path: &Path) -> io::Result<()> {
    let gone = |result: io::Result<()>| match result {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    if gone(fs::remove_dir_all(path)).is_ok() {
        return Ok(());
    }
    for entry in stat::walk(path, true).flatten() {
        unlock(entry.path());
    }
    gone(fs::remove_dir_all(path))
}

fn unlock(path: &Path) {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let Ok(file) = long_path::open(path, flags) else { return };
    // If this fails, the removal reports it.
    let _ = metadata::set_attrs(file.as_fd(), 0, attrs::KNOWN);
    let file = File::from(file);
    if file.metadata().is_ok_and(|found| found.is_dir()) {
        let _ = file.set_permissions(Permissions::from_mode(0o700));
    }
}
