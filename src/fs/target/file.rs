//! Files of the target: written under a temporary name until they are complete, or repaired in place.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::fs::target::existing::Existing;
use crate::fs::target::inode_flags::attrs_of;
use crate::fs::target::root::fd_pool::{Held, WRITE_FLAGS};
use crate::fs::target::temp::Temp;
use crate::fs::target::{Target, copy_range};
use crate::model::entry::Meta;
use crate::sys::fs::{Mode, OFlags, fstat, openat, punch_hole, share_blocks};
use crate::sys::io::Errno;
use crate::util::zeros;

/// Granularity in bytes with which zeros become holes.
const BLOCK: u64 = 4096;

/// A file that is being written under a temporary name, and removed if dropped before it is finished; or one
/// that is updated in place, and kept if dropped. It need not stay open: see `fd_pool`.
pub struct NewFile {
    pub(super) held: Arc<Held>,
    path: Vec<u8>,
    size: u64,
    /// Whether it has a temporary name, which must be removed or renamed.
    is_temp: bool,
    /// Whether the file was created empty, so that what is not written is a hole.
    created_empty: bool,
    /// End of the last byte written.
    written: AtomicU64,
}

impl Target {
    /// Creates a file of this size under a temporary name in the same directory.
    ///
    /// # Errors
    /// The path is refused or a system call fails.
    pub fn new_file(&self, path: &[u8], size: u64) -> Result<NewFile> {
        let shared = &self.shared;
        let (dir, name) = shared.place(path)?;
        let temp = Temp::new(shared, dir);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        let fd = openat(&temp.dir.fd, temp.name.as_str(), flags, Mode::RUSR | Mode::WUSR)
            .map_err(shared.at("create", path))?;
        let parent = path.strip_suffix(name).ok_or(Error::Bug { what: "a path ends with its name" })?;
        let temp = temp.arm();
        let held = Held::new(shared, [parent, temp.name.as_bytes()].concat(), File::from(fd))?;
        temp.leave();
        let written = AtomicU64::new(0);
        Ok(NewFile { held, path: path.to_vec(), size, is_temp: true, created_empty: true, written })
    }

    /// Creates a file that starts with the bytes of the existing one: as a clone under a temporary name if
    /// the file system can share blocks; otherwise in place, if `in_place` is set and nobody else can be
    /// affected; otherwise as a copy under a temporary name.
    ///
    /// # Errors
    /// The file changed since `existing`, the path is refused or a system call fails.
    pub fn update(&self, path: &[u8], size: u64, existing: &Existing, in_place: bool) -> Result<NewFile> {
        let shared = &self.shared;
        let old = self.read(path, Some(existing))?;
        if shared.clones.load(Ordering::Relaxed) {
            let mut new = self.new_file(path, size)?;
            new.created_empty = false;
            match share_blocks(&old, &*new.held.file()?) {
                Ok(()) => return Ok(new),
                Err(_) => shared.clones.store(false, Ordering::Relaxed),
            }
        }
        if in_place
            && !existing.has_other_names()
            && let Some(file) = self.open_in_place(path, existing)?
        {
            let held = Held::new(shared, path.to_vec(), file)?;
            let written = AtomicU64::new(0);
            return Ok(NewFile {
                held,
                path: path.to_vec(),
                size,
                is_temp: false,
                created_empty: false,
                written,
            });
        }
        let mut new = self.new_file(path, size)?;
        new.created_empty = false;
        copy_range::bytes(&old, &*new.held.file()?, existing.size().min(size))
            .map_err(Error::io("copy", shared.show(path)))?;
        Ok(new)
    }

    /// Opens the existing file for writing; `None` if that is not allowed.
    fn open_in_place(&self, path: &[u8], existing: &Existing) -> Result<Option<File>> {
        let shared = &self.shared;
        let (dir, name) = shared.place(path)?;
        let fd = match openat(&dir.fd, name, WRITE_FLAGS, Mode::empty()) {
            Err(Errno::TXTBSY | Errno::ACCESS | Errno::PERM | Errno::ROFS) => return Ok(None),
            other => other.map_err(shared.at("open", path))?,
        };
        let found = fstat(&fd).map_err(shared.at("read the metadata of", path))?;
        let same = existing.is_still(&found) && found.st_nlink == 1;
        Ok(same.then(|| File::from(fd)))
    }
}

impl NewFile {
    /// Writes bytes at an offset. Several threads may write at once.
    ///
    /// # Errors
    /// A system call fails.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        if !self.held.shared.sparse {
            return self.put(offset, bytes);
        }
        // Split into runs of file-aligned blocks that are either all zeros or not.
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let mut len = block_len(at, rest);
            let hole = is_zero(rest, len);
            while let Some(more) = rest.get(len..).filter(|more| !more.is_empty()) {
                let next = block_len(at + len as u64, more);
                if is_zero(more, next) != hole {
                    break;
                }
                len += next;
            }
            let (run, more) = rest.split_at_checked(len).unwrap_or((rest, &[]));
            if hole {
                self.punch(at, run.len() as u64)?;
            } else {
                self.put(at, run)?;
            }
            at += run.len() as u64;
            rest = more;
        }
        Ok(())
    }

    fn put(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let shared = &self.held.shared;
        self.held
            .file()?
            .write_all_at(bytes, offset)
            .map_err(|cause| Error::io("write", shared.show(&self.path))(cause))?;
        self.written.fetch_max(offset + bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Makes a range a hole, or writes zeros if the file system has no holes.
    ///
    /// # Errors
    /// A system call fails.
    pub fn punch(&self, offset: u64, len: u64) -> Result<()> {
        if self.created_empty || len == 0 {
            return Ok(());
        }
        let (shared, file) = (&self.held.shared, self.held.file()?);
        match punch_hole(&file, offset, len) {
            Err(Errno::NOTSUP | Errno::NOSYS | Errno::NODEV) => {}
            other => return other.map_err(shared.at("punch a hole in", &self.path)),
        }
        let found = fstat(&*file).map_err(shared.at("read the metadata of", &self.path))?;
        let end = offset.saturating_add(len).min(u64::try_from(found.st_size).unwrap_or(0));
        let mut at = offset;
        zeros::pass_on(end.saturating_sub(offset), &mut |piece| {
            file.write_all_at(piece, at).map_err(Error::io("write", shared.show(&self.path)))?;
            at += piece.len() as u64;
            Ok(())
        })
    }

    /// Copies the content of another file.
    pub(super) fn fill_from(&self, from: &File) -> Result<()> {
        copy_range::bytes(from, &*self.held.file()?, self.size)
            .map_err(Error::io("copy", self.held.shared.show(&self.path)))?;
        self.written.store(self.size, Ordering::Relaxed);
        Ok(())
    }

    /// Opens what is written so far for reading.
    ///
    /// # Errors
    /// A system call fails.
    pub fn read_back(&self, target: &Target) -> Result<File> {
        target.read(&self.held.path, None)
    }

    /// Sets size, owner, mode and times of the file, and renames it to its final name, replacing what is
    /// there.
    ///
    /// # Errors
    /// A system call fails. Then nothing is left of the file, unless it was repaired in place.
    pub fn finish(self, meta: &Meta) -> Result<()> {
        self.finish_with(meta, Temp::publish)
    }

    /// Like [`NewFile::finish`], but does not replace anything.
    ///
    /// # Errors
    /// As [`NewFile::finish`], and if the name has been taken in the meantime.
    pub fn finish_new(self, meta: &Meta) -> Result<()> {
        self.finish_with(meta, Temp::publish_new)
    }

    pub(super) fn finish_with(
        mut self,
        meta: &Meta,
        publish: impl FnOnce(Temp, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let shared = Arc::clone(&self.held.shared);
        let file = self.held.file()?;
        let (dir, _) = shared.place(&self.path)?;
        let found = if self.created_empty {
            None
        } else {
            Some(fstat(&*file).map_err(shared.at("read the metadata of", &self.path))?)
        };
        let len = found
            .map_or(self.written.load(Ordering::Relaxed), |found| u64::try_from(found.st_size).unwrap_or(0));
        if len != self.size {
            file.set_len(self.size).map_err(Error::io("write", shared.show(&self.path)))?;
        }
        let current = found.map_or(shared.owners_of_new(&dir), |found| Some((found.st_uid, found.st_gid)));
        let set = shared.owners.set_all(file.as_fd(), meta, current, true);
        let notes = set.map_err(shared.at("set the attributes of", &self.path))?;
        shared.note(&self.path, notes);
        let current = if self.created_empty { dir.attrs } else { attrs_of(&*file) };
        let set = shared.set_attrs(&*file, &self.path, meta, current);
        set.map_err(shared.at("set the flags of", &self.path))?;
        if self.is_temp {
            self.is_temp = false;
            publish(Temp::of_existing(&shared, dir, temp_name(&self.held.path)), &self.path)?;
        }
        Ok(())
    }

    /// Discards the file.
    pub fn abandon(self) {
        drop(self);
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.is_temp
            && let Ok((dir, _)) = self.held.shared.place(&self.held.path)
        {
            drop(Temp::of_existing(&self.held.shared, dir, temp_name(&self.held.path)));
        }
    }
}

/// Returns the last component as text. Temporary names are made by this program and are ASCII.
fn temp_name(path: &[u8]) -> String {
    String::from_utf8_lossy(path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()).into_owned()
}

/// Returns the number of bytes up to the next block boundary of the file, at most `bytes.len()`.
fn block_len(offset: u64, bytes: &[u8]) -> usize {
    let left = BLOCK - offset % BLOCK;
    usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len())
}

/// Returns whether the first `len` bytes are zeros.
fn is_zero(bytes: &[u8], len: usize) -> bool {
    bytes.iter().take(len).all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::fs::target::TargetOptions;
    use crate::fs::target::root::fd_pool::close;
    use crate::fs::target::support::{meta, target};

    #[test]
    fn holes_cost_nothing_and_abandoned_files_vanish() {
        let dir = tempfile::tempdir().unwrap();
        let target = Target::open(
            dir.path(),
            TargetOptions { sparse: true, writes: true, ..TargetOptions::default() },
        )
        .unwrap();
        let mut bytes = vec![0_u8; 1 << 20];
        bytes[500_000] = 7;
        let file = target.new_file(b"f", 1 << 20).unwrap();
        file.write_at(0, &bytes[..300_001]).unwrap();
        file.write_at(300_001, &bytes[300_001..]).unwrap();
        file.finish(&meta(0o600)).unwrap();
        assert_eq!(fs::read(dir.path().join("f")).unwrap(), bytes);
        target.new_file(b"g", 1).unwrap().abandon();
        drop(target.new_file(b"g", 1).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn setuid_needs_the_right_owner() {
        let dir = tempfile::tempdir().unwrap();
        let target =
            Target::open(dir.path(), TargetOptions { writes: true, ..TargetOptions::default() }).unwrap();
        let mut wanted = meta(0o4755);
        wanted.uid += 1;
        target.new_file(b"f", 0).unwrap().finish(&wanted).unwrap();
        let found = fs::metadata(dir.path().join("f")).unwrap();
        assert_eq!(found.permissions().mode() & 0o7777, 0o755);
        assert_eq!(target.skipped_metadata().modes, 1);
    }

    #[test]
    fn reopened_file_is_not_written_if_its_name_changed() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let theirs = outside.path().join("theirs");
        fs::write(&theirs, "theirs").unwrap();
        for is_hard in [false, true] {
            let target = target(dir.path());
            let file = target.new_file(b"f", 9).unwrap();
            file.write_at(0, b"ours").unwrap();
            while !close(&file.held) {}
            file.write_at(4, b"ours").unwrap();
            while !close(&file.held) {}
            let temp = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
            fs::remove_file(&temp).unwrap();
            if is_hard {
                fs::hard_link(&theirs, &temp).unwrap()
            } else {
                std::os::unix::fs::symlink(&theirs, &temp).unwrap()
            }
            assert!(file.write_at(8, b"o").is_err());
            assert!(file.finish(&meta(0o600)).is_err());
            assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs");
        }
    }
}
