//! Removes entries of the target one by one, as far as a filter allows. Gives the owner permission for
//! directories whose mode would prevent that.

use std::os::fd::OwnedFd;
use std::path::Path;

use crate::error::{Error, Result};
use crate::fs::protected_dirs::Protected;
use crate::fs::target::Target;
use crate::fs::target::existing::Existing;
use crate::fs::target::root::dir_handle::{DIR_FLAGS, Dir};
use crate::sys::fs::{
    AtFlags, Mode, Stat, chmod_at, file_type, fstat, mode_of, open_beneath, openat, unlinkat,
};
use crate::sys::io::Errno;

/// Decides what is removed, and is notified of the results.
pub trait RemovalFilter {
    /// Returns whether this entry may be removed.
    fn selects(&self, path: &[u8], is_dir: bool) -> bool;
    /// Returns whether something below this directory may have to be removed.
    fn may_select_below(&self, dir: &[u8]) -> bool;
    /// The entry was removed, or would be in a dry run.
    fn removed(&mut self, path: &[u8], size: u64);
    /// The entry should be removed but could not.
    fn not_removed(&mut self, path: &[u8], err: Error);
    /// The entry is a protected directory, which is not removed.
    fn protected(&mut self, path: &[u8], found: &Protected);
    /// Returns the reason why a directory that contains these names must not be removed, if there is one.
    fn reason_to_keep(&self, dir: &Path, names: &[Vec<u8>]) -> Option<Protected>;
}

/// A directory that is being emptied.
struct Level {
    path: Vec<u8>,
    names: std::vec::IntoIter<Vec<u8>>,
    /// Whether something in it is kept.
    keeps_entries: bool,
}

/// Gives the owner read, write and search permission for a directory, if this user may change the mode.
pub(super) fn make_usable(dir: &OwnedFd, name: &[u8], found: &Stat) -> Result<(), Errno> {
    match chmod_at(dir, name, mode_of(found.st_mode) | Mode::RWXU) {
        Err(Errno::PERM | Errno::ACCESS) => Ok(()),
        other => other,
    }
}

impl Target {
    /// Removes an entry and everything below it, as far as `filter` allows. Follows no links, never leaves
    /// the target and never enters another file system. With `dry`, only reports what would be removed.
    ///
    /// # Errors
    /// The path is refused. What cannot be removed is passed to `filter`.
    pub fn clear(&self, path: &[u8], dry: bool, filter: &mut dyn RemovalFilter) -> Result<()> {
        let mut open: Vec<Level> = Vec::new();
        self.begin_to_clear(path, dry, filter, &mut open)?;
        while let Some(level) = open.last_mut() {
            if let Some(name) = level.names.next() {
                let path = [&level.path, b"/".as_slice(), &name].concat();
                self.begin_to_clear(&path, dry, filter, &mut open)?;
                continue;
            }
            let Some(level) = open.pop() else { break };
            let removed = !level.keeps_entries
                && filter.selects(&level.path, true)
                && self.remove_dir(&level.path, dry, filter);
            if !removed && let Some(above) = open.last_mut() {
                above.keeps_entries = true;
            }
        }
        Ok(())
    }

    /// Removes a file; a directory becomes the next level.
    fn begin_to_clear(
        &self,
        path: &[u8],
        dry: bool,
        filter: &mut dyn RemovalFilter,
        open: &mut Vec<Level>,
    ) -> Result<()> {
        let (dir, name) = self.shared.place(path)?;
        let found = match dir.stat(name) {
            Err(Errno::NOENT) => return Ok(()),
            other => other.map_err(self.shared.at("read the metadata of", path))?,
        };
        let is_dir = file_type(found.st_mode).is_dir();
        let result = if let Some(protected) = self.protected(&Existing(found)) {
            filter.protected(path, protected);
            Ok(None)
        } else if is_dir {
            if filter.selects(path, true) || filter.may_select_below(path) {
                self.list_to_clear(path, &dir, &found, dry).map(Some)
            } else {
                Ok(None)
            }
        } else if filter.selects(path, false) {
            let removed = if dry { Ok(()) } else { unlinkat(&dir.fd, name, AtFlags::empty()) };
            if removed.is_ok() {
                filter.removed(path, u64::try_from(found.st_size).unwrap_or(0));
                return Ok(());
            }
            removed.map(|()| None)
        } else {
            Ok(None)
        };
        match result {
            Ok(Some(level)) => match filter.reason_to_keep(&self.shared.show(path), level.names.as_slice()) {
                Some(kept) => filter.protected(path, &kept),
                None => {
                    open.push(level);
                    return Ok(());
                }
            },
            Ok(None) => {}
            Err(errno) => filter.not_removed(path, self.shared.at("remove", path)(errno)),
        }
        if let Some(above) = open.last_mut() {
            above.keeps_entries = true;
        }
        Ok(())
    }

    fn list_to_clear(&self, path: &[u8], above: &Dir, found: &Stat, dry: bool) -> Result<Level, Errno> {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if !dry && found.st_mode & 0o700 != 0o700 {
            make_usable(&above.fd, name, found)?;
        }
        let fd = match open_beneath(&above.fd, name, DIR_FLAGS, true) {
            // Without openat2, a bind mount of the same file system cannot be told from a directory.
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => {
                openat(&above.fd, name, DIR_FLAGS, Mode::empty())?
            }
            other => other?,
        };
        let dir = Dir::new(fd)?;
        if fstat(&dir.fd)?.st_dev != fstat(&above.fd)?.st_dev {
            return Err(Errno::XDEV);
        }
        Ok(Level { path: path.to_vec(), names: dir.names()?.into_iter(), keeps_entries: false })
    }

    fn remove_dir(&self, path: &[u8], dry: bool, filter: &mut dyn RemovalFilter) -> bool {
        self.shared.forget(path);
        let removed = if dry {
            Ok(())
        } else {
            self.shared.place(path).and_then(|(dir, name)| {
                let gone = unlinkat(&dir.fd, name, AtFlags::REMOVEDIR);
                gone.map_err(self.shared.at("remove", path))
            })
        };
        match removed {
            Ok(()) => filter.removed(path, 0),
            Err(err) => {
                filter.not_removed(path, err);
                return false;
            }
        }
        true
    }
}
