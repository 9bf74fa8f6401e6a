//! Entries without content: symbolic links, hard links, pipes, sockets and devices.

use std::os::fd::AsFd;

use crate::error::{Error, Result};
use crate::fs::metadata::XattrTarget;
use crate::fs::target::Target;
use crate::fs::target::root::Shared;
use crate::fs::target::temp::Temp;
use crate::model::entry::{Kind, Meta};
use crate::sys::fs::{
    AtFlags, FileType, Mode, Stat, chmod_at, chownat, linkat, make_node, makedev, symlinkat, utimensat,
};
use crate::sys::io::Errno;
use crate::sys::xattr::Unopened;

impl Target {
    /// Creates a symbolic link. If `is_new`, the name must be free; otherwise it is replaced.
    ///
    /// # Errors
    /// The path is refused or a system call fails.
    pub fn symlink(&self, path: &[u8], target: &[u8], meta: &Meta, is_new: bool) -> Result<()> {
        let shared = &self.shared;
        let (dir, _) = shared.place(path)?;
        let temp = Temp::new(shared, dir);
        let (fd, name) = (&temp.dir.fd, temp.name.as_str());
        symlinkat(target, fd, name).map_err(shared.at("create", path))?;
        let temp = temp.arm();
        let set = shared.set_attributes(&temp, meta, |_| Ok(()));
        shared.note(path, set.map_err(shared.at("set owner and times of", path))?);
        temp.publish_as(path, is_new)
    }

    /// Creates `path` as a hard link of `existing`. If `is_new`, the name must be free; otherwise it is
    /// replaced. Returns false if the file system does not support hard links, or no more of this file.
    ///
    /// # Errors
    /// A path is refused or a system call fails.
    pub fn hard_link(&self, existing: &[u8], path: &[u8], is_new: bool) -> Result<bool> {
        let shared = &self.shared;
        let (from, from_name) = shared.place(existing)?;
        let (dir, name) = shared.place(path)?;
        let first = from.stat(from_name).map_err(shared.at("read the metadata of", existing))?;
        let same = |other: Stat| (other.st_dev, other.st_ino) == (first.st_dev, first.st_ino);
        if dir.stat(name).is_ok_and(same) {
            return Ok(true);
        }
        let temp = Temp::new(shared, dir);
        let (to, to_name) = (&temp.dir.fd, temp.name.as_str());
        match linkat(&from.fd, from_name, to, to_name, AtFlags::empty()) {
            Err(Errno::PERM | Errno::NOTSUP | Errno::NOSYS | Errno::MLINK | Errno::XDEV) => {
                return Ok(false);
            }
            other => other.map_err(shared.at("link", path))?,
        }
        temp.arm().publish_as(path, is_new).map(|()| true)
    }

    /// Creates `path` as a copy of the file `existing`. If `is_new`, the name must be free; otherwise it is
    /// replaced.
    ///
    /// # Errors
    /// A path is refused or a system call fails.
    pub fn copy(&self, existing: &[u8], path: &[u8], meta: &Meta, is_new: bool) -> Result<()> {
        let from = self.read(existing, None)?;
        let size =
            from.metadata().map_err(Error::io("read the metadata of", self.shared.show(existing)))?.len();
        let new = self.new_file(path, size)?;
        new.fill_from(&from)?;
        if is_new { new.finish_new(meta) } else { new.finish(meta) }
    }

    /// Creates a pipe, a socket or a device node. If `is_new`, the name must be free; otherwise it is
    /// replaced. A device that this user may not create is counted and skipped; then the result is false.
    ///
    /// # Errors
    /// The path is refused or a system call fails.
    pub fn special(&self, path: &[u8], kind: &Kind, meta: &Meta, is_new: bool) -> Result<bool> {
        let shared = &self.shared;
        let (file_type, device) = match kind {
            Kind::Fifo => (FileType::Fifo, None),
            Kind::Socket => (FileType::Socket, None),
            Kind::CharDevice { major, minor } => (FileType::CharacterDevice, Some((*major, *minor))),
            Kind::BlockDevice { major, minor } => (FileType::BlockDevice, Some((*major, *minor))),
            Kind::File { .. } | Kind::Dir { .. } | Kind::Symlink { .. } => {
                return Err(Error::Refused(format!("{} is not a special file", shared.show(path).display())));
            }
        };
        let (dir, _) = shared.place(path)?;
        if device.is_some() && !shared.owners.is_root() {
            shared.owners.count_device();
            return Ok(false);
        }
        let temp = Temp::new(shared, dir);
        let number = device.map_or(0, |(major, minor)| makedev(major, minor));
        let mode = Mode::RUSR | Mode::WUSR;
        match make_node(temp.dir.fd.as_fd(), temp.name.as_str(), file_type, mode, number) {
            Err(Errno::PERM) if device.is_some() => {
                shared.owners.count_device();
                return Ok(false);
            }
            other => other.map_err(shared.at("create", path))?,
        }
        let temp = temp.arm();
        let chmod = |mode| chmod_at(&temp.dir.fd, temp.name.as_str(), mode);
        let set = shared.set_attributes(&temp, meta, chmod);
        shared.note(path, set.map_err(shared.at("set the attributes of", path))?);
        temp.publish_as(path, is_new)?;
        Ok(true)
    }
}

impl Shared {
    /// Sets the attributes of an entry that cannot be opened. `chmod` sets its mode, if it has one.
    fn set_attributes(
        &self,
        temp: &Temp,
        meta: &Meta,
        chmod: impl Fn(Mode) -> Result<(), Errno>,
    ) -> Result<Vec<String>, Errno> {
        let (fd, name) = (&temp.dir.fd, temp.name.as_str());
        let matches = self.owners.set(meta, self.owners_of_new(&temp.dir), |user, group| {
            chownat(fd, name, user, group, AtFlags::SYMLINK_NOFOLLOW)
        })?;
        let entry = Unopened::new(fd.as_fd(), name.as_bytes());
        let notes = self.owners.set_xattrs_and_mode(XattrTarget::Unopened(&entry), meta, matches, chmod)?;
        let utimens = |times: &_| utimensat(fd, name, times, AtFlags::SYMLINK_NOFOLLOW);
        self.owners.set_times(meta, utimens).map(|()| notes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    use super::*;
    use crate::fs::target::support::{meta, target, write};

    #[test]
    fn hard_links_share_an_inode_and_pipes_are_pipes() {
        let dir = tempfile::tempdir().unwrap();
        let target = target(dir.path());
        write(&target, b"a", b"1").unwrap();
        write(&target, b"b", b"2").unwrap();
        assert!(target.hard_link(b"a", b"b", false).unwrap());
        assert!(target.hard_link(b"a", b"b", false).unwrap());
        let inode = |name| fs::metadata(dir.path().join(name)).unwrap().ino();
        assert_eq!(inode("a"), inode("b"));
        assert!(target.special(b"a", &Kind::Fifo, &meta(0o622), true).is_err(), "something has that name");
        target.special(b"a", &Kind::Fifo, &meta(0o622), false).unwrap();
        let found = fs::symlink_metadata(dir.path().join("a")).unwrap();
        assert!(found.file_type().is_fifo());
        assert_eq!(found.mode() & 0o7777, 0o622);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
