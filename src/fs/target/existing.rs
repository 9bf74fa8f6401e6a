//! Inspects and reads what already exists in the target. Never follows links, never changes anything.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use crate::error::{Error, Result};
use crate::fs::target::Target;
use crate::fs::target::inode_flags::unlock_open;
use crate::fs::target::root::dir_handle::READ_FLAGS;
use crate::model::entry::{Kind, Meta, Time};
use crate::sys::fs::{
    FileType, Mode, SeekFrom, Stat, file_type, fstat, makedev, openat, readlinkat, seek, sync_volume,
};
use crate::sys::io::Errno;

/// Bytes that are read at once where zeros are expected.
const STRIDE: usize = 64 << 10;

/// The state of an entry of the target at the time of `stat`.
#[derive(Debug, Clone, Copy)]
pub struct Existing(pub(super) Stat);

impl Existing {
    fn kind(&self) -> FileType {
        file_type(self.0.st_mode)
    }

    /// Returns whether it is a directory. A symbolic link to one is not.
    pub fn is_dir(&self) -> bool {
        self.kind().is_dir()
    }

    /// Returns whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind().is_file()
    }

    /// Returns whether it is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.kind().is_symlink()
    }

    /// Returns device and inode number.
    pub fn id(&self) -> (u64, u64) {
        (self.0.st_dev, self.0.st_ino)
    }

    /// Returns whether its owner may read, write and search it.
    pub fn is_usable(&self) -> bool {
        self.0.st_mode & 0o700 == 0o700
    }

    /// Returns the size of a file in bytes.
    pub fn size(&self) -> u64 {
        u64::try_from(self.0.st_size).unwrap_or(0)
    }

    /// Returns when the content last changed.
    pub fn mtime(&self) -> Time {
        Time { sec: self.0.st_mtime, nanos: u32::try_from(self.0.st_mtime_nsec).unwrap_or(0) }
    }

    /// Returns when the inode last changed.
    pub fn ctime(&self) -> Time {
        Time { sec: self.0.st_ctime, nanos: u32::try_from(self.0.st_ctime_nsec).unwrap_or(0) }
    }

    /// Returns whether it has other hard links, in the target or elsewhere.
    pub fn has_other_names(&self) -> bool {
        self.0.st_nlink > 1 && !self.is_dir()
    }

    /// Returns whether both are hard links of one file.
    pub fn is_same_inode(&self, other: &Self) -> bool {
        self.id() == other.id()
    }

    /// Returns whether it has this type and, for a device node, these numbers. Content is not compared.
    pub fn has_kind(&self, kind: &Kind) -> bool {
        let device = |major: &u32, minor: &u32| self.0.st_rdev == makedev(*major, *minor);
        match (kind, self.kind()) {
            (Kind::File { .. }, FileType::RegularFile)
            | (Kind::Dir { .. }, FileType::Directory)
            | (Kind::Symlink { .. }, FileType::Symlink)
            | (Kind::Fifo, FileType::Fifo)
            | (Kind::Socket, FileType::Socket) => true,
            (Kind::CharDevice { major, minor }, FileType::CharacterDevice)
            | (Kind::BlockDevice { major, minor }, FileType::BlockDevice) => device(major, minor),
            _ => false,
        }
    }

    /// Returns whether `now` is the same file and nobody has written to it. The ctime of a file with several
    /// hard links is ignored: it changes as soon as one of the links is replaced, which this run may do
    /// itself.
    pub(super) fn is_still(&self, now: &Stat) -> bool {
        let ctime = |stat: &Stat| (stat.st_ctime, stat.st_ctime_nsec);
        self.has_same_version(now) && (self.has_other_names() || ctime(&self.0) == ctime(now))
    }

    /// Like [`Self::is_still`], but ignores the ctime, which also changes when a file is renamed.
    pub(super) fn has_same_version(&self, now: &Stat) -> bool {
        let version =
            |stat: &Stat| (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
        version(&self.0) == version(now)
    }
}

impl Target {
    /// Returns the state of the entry at the path without following a link; `None` if it or a directory above
    /// it does not exist.
    ///
    /// # Errors
    /// The path is refused or a system call fails.
    pub fn existing(&self, path: &[u8]) -> Result<Option<Existing>> {
        let shared = &self.shared;
        let (dir, name) = match shared.place(path) {
            Err(Error::Io { source, .. }) if Errno::from_io_error(&source).is_some_and(is_absent) => {
                return Ok(None);
            }
            other => other?,
        };
        match dir.stat(name) {
            Err(errno) if is_absent(errno) => Ok(None),
            other => other.map(|stat| Some(Existing(stat))).map_err(shared.at("read the metadata of", path)),
        }
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// It is not a regular file, is not the file `existing`, or has changed since; or a system call fails.
    pub fn read(&self, path: &[u8], existing: Option<&Existing>) -> Result<File> {
        let shared = &self.shared;
        let (dir, name) = shared.place(path)?;
        let fd = openat(&dir.fd, name, READ_FLAGS, Mode::empty());
        let fd = fd.map_err(shared.at("open", path))?;
        let found = fstat(&fd).map_err(shared.at("read the metadata of", path))?;
        let still = existing.is_none_or(|existing| existing.is_still(&found));
        if !still || !file_type(found.st_mode).is_file() {
            return Err(Error::Refused(format!("{} changed in the meantime", shared.show(path).display())));
        }
        Ok(File::from(fd))
    }

    /// Returns whether two files have the same bytes.
    ///
    /// # Errors
    /// One of them is not a file or a system call fails.
    pub fn have_same_content(&self, one: &[u8], other: &[u8]) -> Result<bool> {
        let failed = || Error::io("compare", self.shared.show(other));
        let (one, two) = (self.read(one, None)?, self.read(other, None)?);
        let size = one.metadata().map_err(failed())?.len();
        if two.metadata().map_err(failed())?.len() != size {
            return Ok(false);
        }
        let (mut one, mut two) =
            (BufReader::with_capacity(STRIDE, one), BufReader::with_capacity(STRIDE, two));
        loop {
            let (a, b) = (one.fill_buf().map_err(failed())?, two.fill_buf().map_err(failed())?);
            let len = a.len().min(b.len());
            if len == 0 {
                return Ok(a.len() == b.len());
            }
            if a.get(..len) != b.get(..len) {
                return Ok(false);
            }
            one.consume(len);
            two.consume(len);
        }
    }

    /// Returns the target of a symbolic link.
    ///
    /// # Errors
    /// It is not a link or a system call fails.
    pub fn read_link(&self, path: &[u8]) -> Result<Vec<u8>> {
        let shared = &self.shared;
        let (dir, name) = shared.place(path)?;
        let target = readlinkat(&dir.fd, name, Vec::new());
        target.map(|target| target.into_bytes()).map_err(shared.at("read", path))
    }

    /// Returns the names in a directory, sorted; `None` if there is no such directory.
    ///
    /// # Errors
    /// The path is refused or a system call fails.
    pub fn names(&self, path: &[u8]) -> Result<Option<Vec<Vec<u8>>>> {
        match self.shared.dir(path) {
            Err(Error::Io { source, .. }) if Errno::from_io_error(&source).is_some_and(is_absent) => Ok(None),
            dir => dir?.names().map(Some).map_err(self.shared.at("list", path)),
        }
    }

    /// Returns whether owner, mode, times, extended attributes and flags are already as in `meta`.
    pub fn is_set(&self, path: &[u8], existing: &Existing, meta: &Meta) -> bool {
        self.shared.owners.is_set(&existing.0, meta)
            && self.shared.place(path).is_ok_and(|(dir, name)| self.shared.has_extras(&dir, name, meta))
    }

    /// Sets all metadata of a file whose content is already right. The file is only opened for reading.
    ///
    /// # Errors
    /// It changed since `existing`, or a system call fails.
    pub fn set(&self, path: &[u8], existing: &Existing, meta: &Meta) -> Result<()> {
        let file = self.read(path, Some(existing))?;
        let current = Some((existing.0.st_uid, existing.0.st_gid));
        let shared = &self.shared;
        let attrs = unlock_open(&file);
        let set = shared.owners.set_all(file.as_fd(), meta, current, true);
        set.map(|notes| shared.note(path, notes))
            .and_then(|()| shared.set_attrs(&file, path, meta, attrs))
            .map_err(shared.at("set the attributes of", path))
    }

    /// Syncs the file system of the target.
    ///
    /// # Errors
    /// The system call fails.
    pub fn sync(&self) -> Result<()> {
        sync_volume(&self.shared.dir(b"")?.fd).map_err(self.shared.at("sync", b""))
    }
}

/// Returns whether an error means that there is no such entry, or no directory above it.
fn is_absent(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

/// Drops the file's pages from the kernel's cache, so that it is read from the disk next.
pub fn forget_cached(file: &File) {
    // This is only advice. If the kernel ignores it, the cached pages are read.
    crate::sys::fs::forget_cached(file);
}

/// Returns whether a range of a file reads as zeros. Holes are not read, and bytes beyond the end count as
/// zeros.
///
/// # Errors
/// A system call fails.
pub fn is_zero(file: &File, at: u64, len: u64) -> io::Result<bool> {
    let end = at.saturating_add(len);
    let (mut at, mut buffer) = (at, vec![0u8; STRIDE]);
    while at < end {
        at = match seek(file, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => return Ok(true),
            // This file system does not report holes.
            Err(Errno::INVAL | Errno::NOTSUP) => at,
            other => other?,
        };
        if at >= end {
            return Ok(true);
        }
        let wanted = usize::try_from(end - at).unwrap_or(STRIDE).min(STRIDE);
        let (piece, _) = buffer.split_at_mut(wanted);
        let read = file.read_at(piece, at)?;
        if read == 0 {
            return Ok(true);
        }
        if buffer.iter().take(read).any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += read as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::fs::target::support::target;

    #[test]
    fn file_changed_since_it_was_examined_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (target, path) = (target(dir.path()), dir.path().join("f"));
        fs::write(&path, "one").unwrap();
        let existing = target.existing(b"f").unwrap().unwrap();
        assert!(target.read(b"f", Some(&existing)).is_ok());
        fs::write(dir.path().join("g"), "two").unwrap();
        fs::rename(dir.path().join("g"), &path).unwrap();
        assert!(target.read(b"f", Some(&existing)).is_err());
        assert!(target.update(b"f", 3, &existing, true).is_err());
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(target.read(b"f", None).is_err());
    }
}
