//! Entries with temporary names, and how one replaces what has its final name. What a killed run left behind
//! is found by its name and removed, unless another run is writing to the same target.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::fs::target::Target;
use crate::fs::target::inode_flags::unlock;
use crate::fs::target::root::Shared;
use crate::fs::target::root::dir_handle::Dir;
use crate::fs::target::root::temp_name::is_temp;
use crate::sys::fs::{AtFlags, rename_new, renameat, unlinkat};
use crate::sys::io::Errno;

impl Target {
    /// Returns the names that killed runs left in a directory; none while another run is writing to this
    /// target.
    pub fn leftovers(&self, names: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let own = self.shared.prefix.as_bytes();
        let is_left = |name: &Vec<u8>| self.shared.alone && is_temp(name) && !name.starts_with(own);
        names.into_iter().filter(is_left).collect()
    }

    /// Removes a leftover that is not a directory.
    ///
    /// # Errors
    /// The path is refused or a system call fails.
    pub fn remove_leftover(&self, path: &[u8]) -> Result<()> {
        let (dir, name) = self.shared.place(path)?;
        unlinkat(&dir.fd, name, AtFlags::empty()).map_err(self.shared.at("remove", path))
    }
}

/// A temporary name. Once armed, the entry with this name is removed on drop.
pub(super) struct Temp {
    pub(super) shared: Arc<Shared>,
    pub(super) dir: Arc<Dir>,
    pub(super) name: String,
    armed: bool,
}

impl Temp {
    pub(super) fn new(shared: &Arc<Shared>, dir: Arc<Dir>) -> Self {
        Self { shared: Arc::clone(shared), dir, name: shared.temp(), armed: false }
    }

    /// Wraps a name that already exists.
    pub(super) fn of_existing(shared: &Arc<Shared>, dir: Arc<Dir>, name: String) -> Self {
        Self { shared: Arc::clone(shared), dir, name, armed: true }
    }

    /// Leaves the entry to another owner.
    pub(super) fn leave(mut self) {
        self.armed = false;
    }

    /// Arms it: an entry with this name exists now.
    pub(super) fn arm(mut self) -> Self {
        self.armed = true;
        self
    }

    /// Renames the entry to its final name. If `is_new`, the name must be free; otherwise it is replaced.
    pub(super) fn publish_as(self, path: &[u8], is_new: bool) -> Result<()> {
        if is_new { self.publish_new(path) } else { self.publish(path) }
    }

    /// Renames the entry to its final name, which must be free. On a file system that folds names, an
    /// equivalent name, for instance from the same snapshot, also counts as taken.
    pub(super) fn publish_new(mut self, path: &[u8]) -> Result<()> {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let fd = &self.dir.fd;
        let renamed = match rename_new(fd, self.name.as_str(), fd, name) {
            // The file system lacks RENAME_NOREPLACE. No other thread of this run may interfere.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                let _alone = self.shared.naming.lock();
                match self.dir.stat(name) {
                    Err(Errno::NOENT) => renameat(fd, self.name.as_str(), fd, name),
                    other => other.and(Err(Errno::EXIST)),
                }
            }
            other => other,
        };
        if renamed == Err(Errno::EXIST) {
            return Err(created_meanwhile(&self.shared, path));
        }
        renamed.map_err(self.shared.at("write", path))?;
        self.armed = false;
        Ok(())
    }

    /// Renames the entry to its final name, replacing anything but a directory that is not empty.
    pub(super) fn publish(mut self, path: &[u8]) -> Result<()> {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let fd = &self.dir.fd;
        let rename = || renameat(fd, self.name.as_str(), fd, name);
        let result = match rename() {
            Err(Errno::PERM) if unlock(fd, name) => rename(),
            Err(Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY) => {
                self.shared.forget(path);
                match unlinkat(fd, name, AtFlags::REMOVEDIR) {
                    Err(Errno::EXIST | Errno::NOTEMPTY) => {
                        let shown = self.shared.show(path);
                        let why = format!("{} is a directory that is not empty", shown.display());
                        return Err(Error::Refused(why));
                    }
                    other => other.map_err(self.shared.at("remove", path))?,
                }
                rename()
            }
            other => other,
        };
        result.map_err(self.shared.at("write", path))?;
        self.armed = false;
        Ok(())
    }
}

/// The error for a name that was free when the run started and is taken now.
pub(super) fn created_meanwhile(shared: &Shared, path: &[u8]) -> Error {
    let shown = shared.show(path);
    Error::Refused(format!(
        "{} was created in the meantime, by another program or under a name that the target's file system \
         does not distinguish from it",
        shown.display()
    ))
}

impl Drop for Temp {
    fn drop(&mut self) {
        if self.armed {
            // A failure cannot be handled here; the name shows that the file is temporary.
            let _ = unlinkat(&self.dir.fd, self.name.as_str(), AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::Path;

    use super::is_temp;
    use crate::fs::target::Target;
    use crate::fs::target::support::{Everything, meta, target, write};

    #[test]
    fn only_names_of_runs_are_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let one = target(dir.path());
        let name = one.shared.temp();
        assert!(is_temp(name.as_bytes()), "{name}");
        let mut forged = name.clone().into_bytes();
        forged[12] ^= 1;
        for other in [&forged[..], b".snap-tmp-", b".snap-tmp-5", &name.as_bytes()[..name.len() - 1], b"x"] {
            assert!(!is_temp(other), "{other:?}");
        }
        fs::write(dir.path().join(&name), "").unwrap();
        let left = |target: &Target| target.leftovers(target.names(b"").unwrap().unwrap());
        assert!(left(&one).is_empty(), "its own");
        assert!(left(&target(dir.path())).is_empty(), "of a run that has not ended");
        drop(one);
        let next = target(dir.path());
        assert_eq!(left(&next), [name.as_bytes()]);
        next.remove_leftover(name.as_bytes()).unwrap();
    }

    #[test]
    fn files_and_directories_replace_each_other() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("kept"), "").unwrap();
        let target = target(dir.path());
        target.make_dir(b"x").unwrap();
        target.make_dir(b"x/y").unwrap();
        write(&target, b"x/y/z", b"1").unwrap();
        symlink(outside.path(), dir.path().join("x/out")).unwrap();
        assert!(write(&target, b"x", b"2").is_err(), "a directory with something in it was replaced");
        assert_eq!(fs::read(dir.path().join("x/y/z")).unwrap(), b"1");
        target.clear(b"x", false, &mut Everything).unwrap();
        write(&target, b"x", b"2").unwrap();
        assert_eq!(fs::read(dir.path().join("x")).unwrap(), b"2");
        assert!(outside.path().join("kept").exists());
        target.make_dir(b"x").unwrap();
        assert!(write(&target, b"x/y/z", b"1").is_err());
        write(&target, b"x/z", b"3").unwrap();
        target.clear(b"x/z", false, &mut Everything).unwrap();
        target.symlink(b"x", b"nowhere", &meta(0o777), false).unwrap();
        assert_eq!(fs::read_link(dir.path().join("x")).unwrap(), Path::new("nowhere"));
        assert_eq!(fs::symlink_metadata(dir.path().join("x")).unwrap().mtime(), 1_000_000_000);
    }
}
