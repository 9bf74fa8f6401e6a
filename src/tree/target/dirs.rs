//! Directories of the target: made, listed, finished.

use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::Stat;
use rustix::io::Errno;

use crate::error::Result;
use crate::model::entry::Meta;
use crate::model::entry::attrs;
use crate::model::entry::flags;
use crate::tree::extra;
use crate::tree::extra::Thing;
use crate::tree::source;
use crate::tree::target::Target;
use crate::tree::target::locks::attrs_of;
use crate::tree::target::locks::unlock;
use crate::tree::target::remove::make_usable;

/// How directories are opened.
pub(super) const DIR_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An open directory of the target.
pub struct Dir {
    pub(super) fd: OwnedFd,
    /// New entries get its group instead of the process's.
    pub(super) setgid: bool,
    /// Its inode flags: new entries get some of them.
    pub(super) attrs: u32,
}

impl Target {
    /// Makes a directory whose parent exists; a real directory that is there is kept, anything else replaced.
    ///
    /// # Errors
    /// When the path is refused or the system says no.
    pub fn make_dir(&self, path: &[u8]) -> Result<()> {
        if path.is_empty() {
            return Ok(());
        }
        let shared = &self.shared;
        let (dir, name) = shared.place(path)?;
        let make = || rustix::fs::mkdirat(&dir.fd, name, Mode::RWXU);
        match make() {
            Err(Errno::EXIST) => {}
            other => return other.map_err(shared.at("create", path)),
        }
        let found = dir.stat(name).map_err(shared.at("look at", path))?;
        unlock(&dir.fd, name);
        if FileType::from_raw_mode(found.st_mode).is_dir() {
            if found.st_mode & 0o700 != 0o700 {
                make_usable(&dir.fd, name, &found).map_err(shared.at("change the mode of", path))?;
            }
            return Ok(());
        }
        rustix::fs::unlinkat(&dir.fd, name, AtFlags::empty()).map_err(shared.at("remove", path))?;
        make().map_err(shared.at("create", path))
    }

    /// The directory, opened; the empty path is the root.
    ///
    /// # Errors
    /// When the path is refused, leads through a link, or the system says no.
    pub fn dir(&self, path: &[u8]) -> Result<Arc<Dir>> {
        self.shared.dir(path)
    }

    /// Gives a directory its owner, mode and times, once nothing more is written to it.
    ///
    /// # Errors
    /// When the path is refused or the system says no.
    pub fn finish_dir(&self, path: &[u8], meta: &Meta) -> Result<()> {
        let shared = &self.shared;
        let dir = shared.dir(path)?;
        let found = rustix::fs::fstat(&dir.fd).map_err(shared.at("look at", path))?;
        let extras = extra::has(Thing::Open(dir.fd.as_fd()), &meta.xattrs)
            && (attrs_of(&dir.fd) ^ meta.attrs) & attrs::KNOWN == 0;
        if extras && shared.owners.is_set(&found, meta) {
            return Ok(());
        }
        let current = Some((found.st_uid, found.st_gid));
        let times = meta.flags & flags::PASSAGE == 0;
        let set = shared.owners.set_all(dir.fd.as_fd(), meta, current, times);
        set.and_then(|()| shared.set_attrs(&dir.fd, path, meta, attrs_of(&dir.fd)))
            .map_err(shared.at("set the attributes of", path))
    }
}

impl Dir {
    pub(super) fn new(fd: OwnedFd) -> Result<Self, Errno> {
        let found = source::look_open(&fd).map_err(|err| Errno::from_io_error(&err).unwrap_or(Errno::IO))?;
        Ok(Self { fd, setgid: found.mode & 0o2000 != 0, attrs: found.attrs })
    }

    /// Names in it, sorted.
    pub(super) fn names(&self) -> Result<Vec<Vec<u8>>, Errno> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Of the entry itself, be it a link.
    pub(super) fn stat(&self, name: &[u8]) -> Result<Stat, Errno> {
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use crate::tree::owner::LeftOut;
    use crate::tree::target::support::meta;
    use crate::tree::target::support::target;
    use crate::tree::target::support::write;

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
        assert_eq!(target.left_out(), LeftOut::default());
    }
}
