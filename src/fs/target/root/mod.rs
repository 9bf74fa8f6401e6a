//! The root of the target. Opens directories below it without ever leaving it or following a link.

pub(super) mod dir_handle;
pub(super) mod fd_pool;
pub(super) mod temp_name;

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::error::{Error, Problem, Result};
use crate::fs::ownership::Owners;
use crate::fs::protected_dirs::{Guard, Protected};
use crate::fs::target::TargetOptions;
use crate::fs::target::root::dir_handle::{DIR_FLAGS, Dir};
use crate::fs::target::root::fd_pool::{Limits, Pool};
use crate::model::entry::check_name;
use crate::sys::fs::{FlockOperation, LONG_PATH, Mode, OFlags, flock, open_beneath, openat};
use crate::sys::io::Errno;

/// State that a target shares with its unfinished files.
pub(super) struct Shared {
    root: PathBuf,
    top: Arc<Dir>,
    pub(super) sparse: bool,
    pub(super) owners: Owners,
    open: Mutex<Vec<(Vec<u8>, Arc<Dir>)>>,
    /// The root's path without symbolic links.
    pub(super) canonical: PathBuf,
    /// Directories that must not be changed.
    pub(super) guard: Guard,
    /// Links that are followed, each with the real path of its target.
    pub(super) followed: RwLock<Vec<(Vec<u8>, Vec<u8>)>>,
    /// Held while a free name is taken on a file system that cannot do that atomically.
    pub(super) naming: Mutex<()>,
    /// Attributes that the target could not store.
    pub(super) notes: Mutex<Vec<Problem>>,
    /// Maximum number of directories that are kept open.
    max_open_dirs: usize,
    pub(super) pool: Pool,
    /// Entries to be made immutable or append-only at the end, with all their flags.
    pub(super) locks: Mutex<Vec<(Vec<u8>, u32)>>,
    /// Whether directories are opened one component at a time, because `openat2` is not available.
    one_by_one: AtomicBool,
    /// Cleared when the file system turns out not to share blocks.
    pub(super) clones: AtomicBool,
    /// Whether no other process restores to this target, so that temporary files of other runs are
    /// leftovers.
    pub(super) alone: bool,
    /// Prefix of this run's temporary names.
    pub(super) prefix: String,
    counter: AtomicU64,
}

impl Shared {
    /// Opens the root.
    pub(super) fn open(root: &Path, options: TargetOptions, guard: Guard) -> Result<Self> {
        let limits = Limits::raise();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = crate::sys::fs::open(root, flags, Mode::empty()).map_err(sys("open", root))?;
        let top = Arc::new(Dir::new(fd).map_err(sys("read the metadata of", root))?);
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).map_err(io::Error::other).map_err(Error::io("read", "random bytes"))?;
        Ok(Self {
            root: root.to_owned(),
            alone: options.writes && is_alone(&top),
            top,
            sparse: options.sparse,
            owners: Owners::new(options.numeric_ids, options.owner).with_xattrs(options.xattrs),
            open: Mutex::default(),
            canonical: std::fs::canonicalize(root).map_err(Error::io("find", root))?,
            guard,
            followed: RwLock::default(),
            naming: Mutex::default(),
            notes: Mutex::default(),
            max_open_dirs: limits.dirs,
            pool: Pool::new(limits.files),
            locks: Mutex::default(),
            one_by_one: AtomicBool::new(false),
            clones: AtomicBool::new(true),
            prefix: temp_name::prefix(u64::from_ne_bytes(random)),
            counter: AtomicU64::new(0),
        })
    }

    /// Returns the path for display.
    pub(super) fn show(&self, path: &[u8]) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(OsStr::from_bytes(path)) }
    }

    /// For `map_err`: adds operation and path to an error.
    pub(super) fn at(&self, doing: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> Error {
        move |errno| Error::io(doing, self.show(path))(errno.into())
    }

    /// Returns an unused temporary name.
    pub(super) fn temp(&self) -> String {
        format!("{}{}", self.prefix, self.counter.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns the open directory that contains the path, and the name in it.
    pub(super) fn place<'a>(&self, path: &'a [u8]) -> Result<(Arc<Dir>, &'a [u8])> {
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

    pub(super) fn dir(&self, path: &[u8]) -> Result<Arc<Dir>> {
        if path.is_empty() {
            return Ok(Arc::clone(&self.top));
        }
        {
            let mut open = self.open.lock();
            if let Some(index) = open.iter().rposition(|(known, _)| known == path) {
                let hit = open.remove(index);
                let dir = Arc::clone(&hit.1);
                open.push(hit);
                return Ok(dir);
            }
        }
        path.split(|byte| *byte == b'/').try_for_each(|name| self.check(path, name))?;
        let real = self.real(path);
        if real.is_empty() {
            return Ok(Arc::clone(&self.top));
        }
        let fd = self.open_dir(&real).map_err(self.at("open", path))?;
        let dir = Arc::new(Dir::new(fd).map_err(self.at("read the metadata of", path))?);
        if let Some(found) = self.guard.find(dir.id) {
            return Err(protected(&self.show(path), found));
        }
        let mut open = self.open.lock();
        if open.len() >= self.max_open_dirs {
            open.remove(0);
        }
        open.push((path.to_vec(), Arc::clone(&dir)));
        Ok(dir)
    }

    /// Opens a directory without leaving the root or following a link.
    fn open_dir(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let mut current: Option<OwnedFd> = None;
        for stretch in stretches(path) {
            let above = current.as_ref().unwrap_or(&self.top.fd);
            current = Some(self.open_stretch(above, stretch)?);
        }
        current.ok_or(Errno::NOENT)
    }

    fn open_stretch(&self, above: &OwnedFd, stretch: &[u8]) -> Result<OwnedFd, Errno> {
        if !self.one_by_one.load(Ordering::Relaxed) {
            match open_beneath(above, stretch, DIR_FLAGS, false) {
                // Some sandboxes return EPERM for unknown system calls.
                Err(Errno::NOSYS | Errno::PERM) => self.one_by_one.store(true, Ordering::Relaxed),
                // Directories are being moved concurrently; opening one component at a time is not affected.
                Err(Errno::AGAIN) => {}
                other => return other,
            }
        }
        let mut current: Option<OwnedFd> = None;
        for name in stretch.split(|byte| *byte == b'/') {
            let above = current.as_ref().unwrap_or(above);
            let next = openat(above, name, DIR_FLAGS, Mode::empty())?;
            current = Some(next);
        }
        current.ok_or(Errno::NOENT)
    }

    /// Drops open directories at and below the path.
    pub(super) fn forget(&self, path: &[u8]) {
        let mut open = self.open.lock();
        open.retain(|(known, _)| {
            known.strip_prefix(path).is_none_or(|rest| !rest.is_empty() && !rest.starts_with(b"/"))
        });
    }

    /// Returns the owners of what is created in this directory, if they are known.
    pub(super) fn owners_of_new(&self, dir: &Dir) -> Option<(u32, u32)> {
        (!dir.setgid).then(|| self.owners.of_new_files())
    }
}

/// Returns whether no other process restores to this target. A shared lock shows others that this one does.
fn is_alone(top: &Dir) -> bool {
    let alone = flock(&top.fd, FlockOperation::NonBlockingLockExclusive).is_ok();
    // If the file system does not support locks, other processes are assumed.
    flock(&top.fd, FlockOperation::NonBlockingLockShared).is_ok() && alone
}

/// Splits a path into pieces that are short enough for a system call.
fn stretches(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(path);
    std::iter::from_fn(move || {
        let all = rest?;
        let cut = match all.get(..LONG_PATH) {
            Some(start) => start.iter().rposition(|byte| *byte == b'/'),
            None => None,
        };
        let (stretch, after) = match cut {
            Some(at) => (all.get(..at)?, all.get(at + 1..)),
            None => (all, None),
        };
        rest = after;
        Some(stretch)
    })
}

fn protected(path: &Path, found: &Protected) -> Error {
    Error::Refused(format!("{} is {}: it was not changed", path.display(), found.what))
}

/// The error for an invalid path.
fn refused(path: &[u8], why: &str) -> Error {
    Error::Refused(format!("path {:?}: {why}", OsStr::from_bytes(path)))
}

/// For `map_err` on a path outside the target.
fn sys(doing: &'static str, path: &Path) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::io(doing, path)(errno.into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::fs::target::support::{Everything, target, write};

    #[test]
    fn planted_symlink_redirects_no_write() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for one_by_one in [false, true] {
            let target = target(dir.path());
            target.shared.one_by_one.store(one_by_one, Ordering::Relaxed);
            let link = dir.path().join("d");
            symlink(outside.path(), &link).unwrap();
            assert!(write(&target, b"d/f", b"x").is_err());
            assert!(target.make_dir(b"d/sub").is_err());
            // Somebody may have put the link there on purpose, so it is not replaced.
            assert!(matches!(target.make_dir(b"d"), Err(Error::Refused(_))));
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
            fs::remove_file(&link).unwrap();
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
    fn a_path_longer_than_the_system_takes_is_reached() {
        let dir = tempfile::tempdir().unwrap();
        let target = target(dir.path());
        let mut path = Vec::new();
        for _ in 0..40 {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend([b'n'; 200]);
            target.make_dir(&path).unwrap();
        }
        path.extend(b"/f");
        write(&target, &path, b"deep").unwrap();
        target.clear(&[b'n'; 200], false, &mut Everything).unwrap();
        write(&target, &[b'n'; 200], b"flat").unwrap();
    }
}
