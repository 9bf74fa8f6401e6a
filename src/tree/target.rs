//! Writes a tree under one directory: never outside it, and never through a symbolic link.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::error::Error;
use crate::error::Result;
use crate::model::entry::Kind;
use crate::model::entry::Meta;
use crate::model::entry::check_name;
use crate::model::entry::flags;
use crate::tree::owner::LeftOut;
use crate::tree::owner::Owners;

/// Open directories kept at hand.
const KEPT_OPEN: usize = 64;
/// The system takes no path of 4096 bytes; well below it, one call opens it.
const LONG_PATH: usize = 3000;
/// Deepest tree that is removed to make room.
const DEEPEST: usize = 500;
/// Holes are found in blocks of this many bytes.
const BLOCK: u64 = 4096;
/// How directories are opened.
const DIR_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// How to write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TargetOptions {
    /// Take owners by number even if their names exist here.
    pub numeric_ids: bool,
    /// Try to set owners.
    pub owner: bool,
    /// Leave holes where blocks of zeros would be written.
    pub sparse: bool,
}

/// A directory that a tree is written to.
pub struct Target {
    shared: Arc<Shared>,
}

/// An open directory of the target.
pub struct Dir {
    fd: OwnedFd,
    /// New entries get its group instead of the process's.
    setgid: bool,
}

/// What the target and its unfinished files have in common.
struct Shared {
    root: PathBuf,
    top: Arc<Dir>,
    sparse: bool,
    owners: Owners,
    open: Mutex<Vec<(Vec<u8>, Arc<Dir>)>>,
    one_by_one: AtomicBool,
    run: String,
    counter: AtomicU64,
}

impl Target {
    /// Opens the root, which is made, with its parents, if it is missing.
    ///
    /// # Errors
    /// When it cannot be made or opened.
    pub fn open(root: &Path, options: TargetOptions) -> Result<Self> {
        std::fs::create_dir_all(root).map_err(Error::io("create", root))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(root, flags, Mode::empty()).map_err(sys("open", root))?;
        let top = Arc::new(Dir::new(fd).map_err(sys("look at", root))?);
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).map_err(io::Error::other).map_err(Error::io("read", "random bytes"))?;
        let shared = Shared {
            root: root.to_owned(),
            top,
            sparse: options.sparse,
            owners: Owners::new(options.numeric_ids, options.owner),
            open: Mutex::default(),
            one_by_one: AtomicBool::new(false),
            run: format!("{:016x}", u64::from_ne_bytes(random)),
            counter: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

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

    /// Starts a file of this size under a temporary name beside its own.
    ///
    /// # Errors
    /// When the path is refused or the system says no.
    pub fn new_file(&self, path: &[u8], size: u64) -> Result<NewFile> {
        let shared = &self.shared;
        let (dir, _) = shared.place(path)?;
        let temp = shared.temp();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&dir.fd, temp.as_str(), flags, Mode::RUSR | Mode::WUSR)
            .map_err(shared.at("create", path))?;
        Ok(NewFile {
            temp: Temp { shared: Arc::clone(shared), dir, name: temp, armed: true },
            file: File::from(fd),
            path: path.to_vec(),
            size,
            written: AtomicU64::new(0),
        })
    }

    /// Makes a symbolic link in place of what is there.
    ///
    /// # Errors
    /// When the path is refused or the system says no.
    pub fn symlink(&self, path: &[u8], target: &[u8], meta: &Meta) -> Result<()> {
        let shared = &self.shared;
        let (dir, _) = shared.place(path)?;
        let temp = Temp::new(shared, dir);
        let (fd, name) = (&temp.dir.fd, temp.name.as_str());
        rustix::fs::symlinkat(target, fd, name).map_err(shared.at("create", path))?;
        let temp = temp.arm();
        shared.owner_and_times(&temp, meta, |_| Ok(())).map_err(shared.at("set owner and times of", path))?;
        temp.publish(path)
    }

    /// Makes `path` another name of what is at `existing`.
    ///
    /// # Errors
    /// When a path is refused or the system says no.
    pub fn hard_link(&self, existing: &[u8], path: &[u8]) -> Result<()> {
        let shared = &self.shared;
        let (from, from_name) = shared.place(existing)?;
        let (dir, name) = shared.place(path)?;
        let first = from.stat(from_name).map_err(shared.at("look at", existing))?;
        let same = |other: Stat| (other.st_dev, other.st_ino) == (first.st_dev, first.st_ino);
        if dir.stat(name).is_ok_and(same) {
            return Ok(());
        }
        let temp = Temp::new(shared, dir);
        rustix::fs::linkat(&from.fd, from_name, &temp.dir.fd, temp.name.as_str(), AtFlags::empty())
            .map_err(shared.at("link", path))?;
        temp.arm().publish(path)
    }

    /// Makes a pipe, a socket or a device in place of what is there. A device that this user may not make
    /// is counted and left out.
    ///
    /// # Errors
    /// When the path is refused or the system says no.
    pub fn special(&self, path: &[u8], kind: &Kind, meta: &Meta) -> Result<()> {
        let shared = &self.shared;
        let (file_type, device) = match kind {
            Kind::Fifo => (FileType::Fifo, None),
            Kind::Socket => (FileType::Socket, None),
            Kind::CharDevice { major, minor } => (FileType::CharacterDevice, Some((*major, *minor))),
            Kind::BlockDevice { major, minor } => (FileType::BlockDevice, Some((*major, *minor))),
            Kind::File { .. } | Kind::Dir { .. } | Kind::Symlink { .. } => {
                return Err(Error::Refused(format!("{} is no special file", shared.show(path).display())));
            }
        };
        let (dir, _) = shared.place(path)?;
        if device.is_some() && !shared.owners.is_root() {
            shared.owners.count_device();
            return Ok(());
        }
        let temp = Temp::new(shared, dir);
        let number = device.map_or(0, |(major, minor)| rustix::fs::makedev(major, minor));
        let mode = Mode::RUSR | Mode::WUSR;
        match rustix::fs::mknodat(&temp.dir.fd, temp.name.as_str(), file_type, mode, number) {
            Err(Errno::PERM) if device.is_some() => {
                shared.owners.count_device();
                return Ok(());
            }
            other => other.map_err(shared.at("create", path))?,
        }
        let temp = temp.arm();
        let chmod = |mode| chmod_by_name(&temp.dir.fd, temp.name.as_bytes(), mode);
        shared.owner_and_times(&temp, meta, chmod).map_err(shared.at("set the attributes of", path))?;
        temp.publish(path)
    }

    /// Gives a directory its owner, mode and times, once nothing more is written to it.
    ///
    /// # Errors
    /// When the path is refused or the system says no.
    pub fn finish_dir(&self, path: &[u8], meta: &Meta) -> Result<()> {
        let shared = &self.shared;
        let dir = shared.dir(path)?;
        let found = rustix::fs::fstat(&dir.fd).map_err(shared.at("look at", path))?;
        let current = Some((found.st_uid, found.st_gid));
        let times = meta.flags & flags::PASSAGE == 0;
        let set = shared.owners.set_all(dir.fd.as_fd(), meta, current, times);
        set.map_err(shared.at("set the attributes of", path))
    }

    /// What this user may not set, so far.
    pub fn left_out(&self) -> LeftOut {
        self.shared.owners.left_out()
    }
}

impl Dir {
    fn new(fd: OwnedFd) -> Result<Self, Errno> {
        let setgid = rustix::fs::fstat(&fd)?.st_mode & 0o2000 != 0;
        Ok(Self { fd, setgid })
    }

    /// Of the entry itself, be it a link.
    fn stat(&self, name: &[u8]) -> Result<Stat, Errno> {
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Shared {
    /// For people.
    fn show(&self, path: &[u8]) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(OsStr::from_bytes(path)) }
    }

    /// For `map_err`.
    fn at(&self, doing: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> Error {
        move |errno| Error::io(doing, self.show(path))(errno.into())
    }

    /// A name that nothing has.
    fn temp(&self) -> String {
        format!(".snap-tmp-{}-{}", self.run, self.counter.fetch_add(1, Ordering::Relaxed))
    }

    /// The open directory that holds the path, and the path's name in it.
    fn place<'a>(&self, path: &'a [u8]) -> Result<(Arc<Dir>, &'a [u8])> {
        let mut parts = path.rsplitn(2, |byte| *byte == b'/');
        let name = parts.next().unwrap_or_default();
        self.check(path, name)?;
        let parent = match parts.next() {
            Some([]) => return Err(refused(path, "an absolute path")),
            other => other.unwrap_or_default(),
        };
        Ok((self.dir(parent)?, name))
    }

    fn check(&self, path: &[u8], name: &[u8]) -> Result<()> {
        check_name(name).map_err(|why| refused(path, &why.to_string()))
    }

    fn dir(&self, path: &[u8]) -> Result<Arc<Dir>> {
        if path.is_empty() {
            return Ok(Arc::clone(&self.top));
        }
        {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(index) = open.iter().rposition(|(known, _)| known == path) {
                let hit = open.remove(index);
                let dir = Arc::clone(&hit.1);
                open.push(hit);
                return Ok(dir);
            }
        }
        path.split(|byte| *byte == b'/').try_for_each(|name| self.check(path, name))?;
        let fd = self.open_dir(path).map_err(self.at("open", path))?;
        let dir = Arc::new(Dir::new(fd).map_err(self.at("look at", path))?);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= KEPT_OPEN {
            open.remove(0);
        }
        open.push((path.to_vec(), Arc::clone(&dir)));
        Ok(dir)
    }

    /// Opens without ever leaving the root or following a link.
    fn open_dir(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        if path.len() <= LONG_PATH && !self.one_by_one.load(Ordering::Relaxed) {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            match rustix::fs::openat2(&self.top.fd, path, DIR_FLAGS, Mode::empty(), resolve) {
                // Some sandboxes say EPERM for calls they do not know.
                Err(Errno::NOSYS | Errno::PERM) => self.one_by_one.store(true, Ordering::Relaxed),
                Err(Errno::AGAIN) => {}
                other => return other,
            }
        }
        let mut current: Option<OwnedFd> = None;
        for name in path.split(|byte| *byte == b'/') {
            let above = current.as_ref().unwrap_or(&self.top.fd);
            let next = rustix::fs::openat(above, name, DIR_FLAGS, Mode::empty())?;
            current = Some(next);
        }
        current.ok_or(Errno::NOENT)
    }

    /// Forgets open directories at and below the path.
    fn forget(&self, path: &[u8]) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(known, _)| {
            known.strip_prefix(path).is_none_or(|rest| !rest.is_empty() && !rest.starts_with(b"/"))
        });
    }

    /// Owners of what is made in this directory, if they are known.
    fn fresh(&self, dir: &Dir) -> Option<(u32, u32)> {
        (!dir.setgid).then(|| self.owners.fresh())
    }

    /// Attributes of something that cannot be opened; `chmod` where it has a mode.
    fn owner_and_times(
        &self,
        temp: &Temp,
        meta: &Meta,
        chmod: impl Fn(Mode) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let (fd, name) = (&temp.dir.fd, temp.name.as_str());
        let matches = self.owners.set(meta, self.fresh(&temp.dir), |user, group| {
            rustix::fs::chownat(fd, name, user, group, AtFlags::SYMLINK_NOFOLLOW)
        })?;
        self.owners.set_mode(meta, matches, chmod)?;
        self.owners.set_times(meta, |times| rustix::fs::utimensat(fd, name, times, AtFlags::SYMLINK_NOFOLLOW))
    }
}

/// A path that must not be believed.
fn refused(path: &[u8], why: &str) -> Error {
    Error::Refused(format!("path {:?}: {why}", OsStr::from_bytes(path)))
}

/// For `map_err` on a path outside the target.
fn sys(doing: &'static str, path: &Path) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::io(doing, path)(errno.into())
}

/// Lets the owner read, write and search a directory, if this user may say so.
fn make_usable(dir: &OwnedFd, name: &[u8], found: &Stat) -> Result<(), Errno> {
    match chmod_by_name(dir, name, Mode::from_raw_mode(found.st_mode & 0o7777) | Mode::RWXU) {
        Err(Errno::PERM | Errno::ACCESS) => Ok(()),
        other => other,
    }
}

/// Changes the mode of an entry that may not be opened for reading; of a link, fails.
fn chmod_by_name(dir: &OwnedFd, name: &[u8], mode: Mode) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode).is_symlink() {
        return Err(Errno::LOOP);
    }
    rustix::fs::chmod(format!("/proc/self/fd/{}", fd.as_raw_fd()), mode)
}

/// Removes an entry and all below it, following no link and leaving other file systems alone.
fn remove(dir: &OwnedFd, name: &[u8], depth: usize) -> Result<(), Errno> {
    let found = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    if !FileType::from_raw_mode(found.st_mode).is_dir() {
        return rustix::fs::unlinkat(dir, name, AtFlags::empty());
    }
    if depth == 0 {
        return Err(Errno::NAMETOOLONG);
    }
    if found.st_mode & 0o700 != 0o700 {
        make_usable(dir, name, &found)?;
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let fd = match rustix::fs::openat2(dir, name, DIR_FLAGS, Mode::empty(), resolve) {
        Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => {
            rustix::fs::openat(dir, name, DIR_FLAGS, Mode::empty())?
        }
        other => other?,
    };
    if rustix::fs::fstat(&fd)?.st_dev != rustix::fs::fstat(dir)?.st_dev {
        return Err(Errno::XDEV);
    }
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(&fd)? {
        let entry = entry?.file_name().to_bytes().to_vec();
        if entry != b"." && entry != b".." {
            names.push(entry);
        }
    }
    names.iter().try_for_each(|entry| remove(&fd, entry, depth - 1))?;
    rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)
}

/// A temporary name, unlinked on drop once something has it.
struct Temp {
    shared: Arc<Shared>,
    dir: Arc<Dir>,
    name: String,
    armed: bool,
}

impl Temp {
    fn new(shared: &Arc<Shared>, dir: Arc<Dir>) -> Self {
        Self { shared: Arc::clone(shared), dir, name: shared.temp(), armed: false }
    }

    /// The name is taken now.
    fn arm(mut self) -> Self {
        self.armed = true;
        self
    }

    /// Moves it over its final name, in place of whatever is there.
    fn publish(mut self, path: &[u8]) -> Result<()> {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let fd = &self.dir.fd;
        let rename = || rustix::fs::renameat(fd, self.name.as_str(), fd, name);
        let result = match rename() {
            Err(Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY) => {
                self.shared.forget(path);
                remove(fd, name, DEEPEST).map_err(self.shared.at("remove", path))?;
                rename()
            }
            other => other,
        };
        result.map_err(self.shared.at("write", path))?;
        self.armed = false;
        Ok(())
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if self.armed {
            // Nothing can be done about a failure here; the name says what it is.
            let _left = rustix::fs::unlinkat(&self.dir.fd, self.name.as_str(), AtFlags::empty());
        }
    }
}

/// A file being written, under a temporary name until it is whole; dropped, it vanishes.
pub struct NewFile {
    temp: Temp,
    file: File,
    path: Vec<u8>,
    size: u64,
    /// End of the last byte written.
    written: AtomicU64,
}

impl NewFile {
    /// Writes bytes at their place; several threads may.
    ///
    /// # Errors
    /// When the system says no.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        if !self.temp.shared.sparse {
            return self.put(offset, bytes);
        }
        // Runs of blocks, aligned in the file, that are all zeros or not.
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
            if !hole {
                self.put(at, run)?;
            }
            at += run.len() as u64;
            rest = more;
        }
        Ok(())
    }

    fn put(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let shared = &self.temp.shared;
        self.file
            .write_all_at(bytes, offset)
            .map_err(|cause| Error::io("write", shared.show(&self.path))(cause))?;
        self.written.fetch_max(offset + bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Gives the file its size, owner, mode and times, and its name.
    ///
    /// # Errors
    /// When the system says no; then nothing is left of the file.
    pub fn finish(self, meta: &Meta) -> Result<()> {
        let shared = &self.temp.shared;
        if self.written.load(Ordering::Relaxed) != self.size {
            self.file.set_len(self.size).map_err(Error::io("write", shared.show(&self.path)))?;
        }
        let current = shared.fresh(&self.temp.dir);
        let set = shared.owners.set_all(self.file.as_fd(), meta, current, true);
        set.map_err(shared.at("set the attributes of", &self.path))?;
        self.temp.publish(&self.path)
    }

    /// Leaves nothing of it.
    pub fn abandon(self) {
        drop(self);
    }
}

/// Bytes up to the next block boundary of the file, at most what there is.
fn block_len(offset: u64, bytes: &[u8]) -> usize {
    let left = BLOCK - offset % BLOCK;
    usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len())
}

/// Whether the first `len` bytes are zeros.
fn is_zero(bytes: &[u8], len: usize) -> bool {
    bytes.iter().take(len).all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

    use super::*;
    use crate::model::entry::Time;

    fn target(root: &Path) -> Target {
        Target::open(root, TargetOptions { owner: true, ..TargetOptions::default() }).unwrap()
    }

    fn meta(mode: u32) -> Meta {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Meta { mode, uid, gid, mtime: Time { sec: 1_000_000_000, nanos: 5 }, ..Meta::default() }
    }

    fn write(target: &Target, path: &[u8], bytes: &[u8]) -> Result<()> {
        let file = target.new_file(path, bytes.len() as u64)?;
        file.write_at(0, bytes)?;
        file.finish(&meta(0o640))
    }

    #[test]
    fn a_planted_symlink_lets_nothing_out() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for one_by_one in [false, true] {
            let target = target(dir.path());
            target.shared.one_by_one.store(one_by_one, Ordering::Relaxed);
            let link = dir.path().join("d");
            symlink(outside.path(), &link).unwrap();
            assert!(write(&target, b"d/f", b"x").is_err());
            assert!(target.make_dir(b"d/sub").is_err());
            target.make_dir(b"d").unwrap();
            write(&target, b"d/f", b"x").unwrap();
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
            assert_eq!(fs::read(link.join("f")).unwrap(), b"x");
            fs::remove_dir_all(&link).unwrap();
        }
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let target = target(&dir.path().join("deep/root"));
        for path in [&b"../x"[..], b"/x", b"a/../x", b".", b"..", b"", b"a//b", b"a/"] {
            assert!(matches!(target.new_file(path, 0), Err(Error::Refused(_))), "{path:?}");
        }
    }

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

    #[test]
    fn files_and_directories_replace_each_other() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("kept"), "").unwrap();
        let target = target(dir.path());
        target.make_dir(b"x").unwrap();
        target.make_dir(b"x/y").unwrap();
        write(&target, b"x/y/z", b"1").unwrap();
        symlink(outside.path(), dir.path().join("x/out")).unwrap();
        write(&target, b"x", b"2").unwrap();
        assert_eq!(fs::read(dir.path().join("x")).unwrap(), b"2");
        assert!(outside.path().join("kept").exists());
        target.make_dir(b"x").unwrap();
        assert!(write(&target, b"x/y/z", b"1").is_err());
        write(&target, b"x/z", b"3").unwrap();
        target.symlink(b"x", b"nowhere", &meta(0o777)).unwrap();
        assert_eq!(fs::read_link(dir.path().join("x")).unwrap(), Path::new("nowhere"));
        assert_eq!(fs::symlink_metadata(dir.path().join("x")).unwrap().mtime(), 1_000_000_000);
    }

    #[test]
    fn hard_links_share_an_inode_and_pipes_are_pipes() {
        let dir = tempfile::tempdir().unwrap();
        let target = target(dir.path());
        write(&target, b"a", b"1").unwrap();
        write(&target, b"b", b"2").unwrap();
        target.hard_link(b"a", b"b").unwrap();
        target.hard_link(b"a", b"b").unwrap();
        let inode = |name| fs::metadata(dir.path().join(name)).unwrap().ino();
        assert_eq!(inode("a"), inode("b"));
        target.special(b"a", &Kind::Fifo, &meta(0o622)).unwrap();
        let found = fs::symlink_metadata(dir.path().join("a")).unwrap();
        assert!(found.file_type().is_fifo());
        assert_eq!(found.mode() & 0o7777, 0o622);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn holes_cost_nothing_and_abandoned_files_vanish() {
        let dir = tempfile::tempdir().unwrap();
        let target = Target::open(dir.path(), TargetOptions { sparse: true, ..Default::default() }).unwrap();
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
        let target = Target::open(dir.path(), TargetOptions::default()).unwrap();
        let mut wanted = meta(0o4755);
        wanted.uid += 1;
        target.new_file(b"f", 0).unwrap().finish(&wanted).unwrap();
        let found = fs::metadata(dir.path().join("f")).unwrap();
        assert_eq!(found.permissions().mode() & 0o7777, 0o755);
        assert_eq!(target.left_out().modes, 1);
    }

    #[test]
    fn a_path_longer_than_the_system_takes_is_reached() {
        let dir = tempfile::tempdir().unwrap();
        let target = target(dir.path());
        let mut path = Vec::new();
        for _ in 0..30 {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend([b'n'; 200]);
            target.make_dir(&path).unwrap();
        }
        path.extend(b"/f");
        write(&target, &path, b"deep").unwrap();
        write(&target, &[b'n'; 200], b"flat").unwrap();
    }
}
