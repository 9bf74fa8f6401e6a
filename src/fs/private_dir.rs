//! A directory for a while, for what nobody else may read. It goes when it is dropped; what a killed run left behind goes
//! when the next is made.

use std::fs::{DirBuilder, File, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

use rustix::fs::{FlockOperation, OFlags};

use crate::error::{Error, Result};
use crate::fs::{long_path, metadata, stat};
use crate::model::entry::attrs;

const PREFIX: &str = ".snap-scratch-";

/// The directory. A lock on it says that it is in use.
#[derive(Debug)]
pub struct PrivateDir {
    path: PathBuf,
    _lock: File,
}

impl PrivateDir {
    /// In `parent`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(parent: &Path) -> Result<Self> {
        sweep(parent);
        let now = crate::model::entry::Time::now();
        let name = format!("{PREFIX}{}-{}-{}", std::process::id(), now.sec, now.nanos);
        let path = parent.join(name);
        DirBuilder::new().mode(0o700).create(&path).map_err(Error::io("make the directory", &path))?;
        let lock = File::open(&path).map_err(Error::io("open", &path))?;
        // Without a lock another drill might take it for one that was left behind.
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|err| Error::io("lock", &path)(err.into()))?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it.
    ///
    /// # Errors
    /// When something of it is still there.
    pub fn remove(self) -> Result<()> {
        remove(&self.path).map_err(Error::io("remove", &self.path))
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        // After `remove` there is nothing; else the next one tries again.
        let _ = remove(&self.path);
    }
}

/// Removes what this user's dead runs have left behind. Best effort.
fn sweep(parent: &Path) {
    let Ok(found) = fs::read_dir(parent) else { return };
    let me = rustix::process::getuid().as_raw();
    for entry in found.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(dir) = rustix::fs::open(entry.path(), flags, rustix::fs::Mode::empty()).map(File::from) else {
            continue;
        };
        let mine = dir.metadata().is_ok_and(|found| found.uid() == me);
        if mine && rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = remove(&entry.path());
        }
    }
}

/// What was restored may be locked against removal.
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
    // What cannot be unlocked is found out when it is removed.
    let _ = metadata::set_attrs(file.as_fd(), 0, attrs::KNOWN);
    let file = File::from(file);
    if file.metadata().is_ok_and(|found| found.is_dir()) {
        let _ = file.set_permissions(Permissions::from_mode(0o700));
    }
}
