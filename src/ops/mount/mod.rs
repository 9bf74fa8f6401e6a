//! `mount`: snapshots as a read-only file system. Implements everything but the kernel protocol: an adapter
//! such as FUSE calls [`Mount`].
//!
//! `snapshot_list` keeps the list of snapshots, `names` gives them names, `virtual_dirs` are the directories
//! above them. `inodes` holds what the kernel knows of; an entry is kept as its position in its directory and
//! decoded when asked for (`repo::random::random_reader`). `handles` are open files and directories.

mod attributes;
mod evict;
mod handles;
mod inodes;
mod links;
mod names;
mod read;
mod snapshot_list;
mod virtual_dirs;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::codec::tree::dir::link_group;
use crate::error::{Error, Problem, Result};
use crate::fs::ownership::Owners;
use crate::model::entry::{Entry, Time};
use crate::model::manifest::Manifest;
use crate::progress::{Control, Event};
use crate::repo::random::dir_lookup;
use crate::repo::random::random_reader::RandomReader;
use crate::repo::read::read_session::ReadSession;
use crate::repo::repository::Repository;
use crate::repo::snapshots::filter::SnapshotFilter;

pub use attributes::{InodeAttributes, InodeType};
pub use inodes::TOP;
pub use read::{List, ListedEntry};

use handles::Handles;
use inodes::{Dir, Inodes, Known, Numbers};
use links::Links;
use parking_lot::{Mutex, MutexGuard};
use snapshot_list::{SnapshotList, SnapshotWatcher};
use virtual_dirs::{Child, Virtual};

/// Time without a call after which the index and all caches are released.
const REST: Duration = Duration::from_secs(30);
/// Maximum number of problems that are reported, each once.
const TOLD: usize = 1000;

/// What to mount, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Snapshots to show.
    pub selection: SnapshotFilter,
    /// Show owners by number, not by name.
    pub numeric_ids: bool,
    /// Allow users other than the one who mounts, as far as modes permit.
    pub others: bool,
}

/// Errors of file system calls. Each corresponds to an `errno`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FsError {
    /// No such name (`ENOENT`).
    NoEntry,
    /// Not a directory (`ENOTDIR`).
    NotDir,
    /// Is a directory (`EISDIR`).
    IsDir,
    /// Not a symbolic link, or cannot be seeked (`EINVAL`).
    Invalid,
    /// No such extended attribute (`ENODATA`).
    NoData,
    /// No data or hole beyond this offset (`ENXIO`).
    Beyond,
    /// The inode or handle is unknown (`ESTALE`).
    Stale,
    /// Reading failed (`EIO`). The observer was notified of the cause.
    Io,
}

/// Result of a file system call.
pub type FsResult<T> = std::result::Result<T, FsError>;

/// Snapshots as a file system. All methods may be called from any thread.
pub struct Mount {
    repo: Repository,
    control: Control<'static>,
    numbers: Numbers,
    owners: Owners,
    others: bool,
    opened: Time,
    begun: Instant,
    /// Time of the last call, in milliseconds after `begun`.
    used: AtomicU64,
    watch: Mutex<SnapshotWatcher>,
    inodes: Mutex<Inodes>,
    handles: Handles,
    links: Links,
    told: Mutex<HashSet<Problem>>,
    reader: RandomReader,
    reading: Arc<ReadSession>,
}

impl Mount {
    /// Opens a session and lists the snapshots. Its observer receives problems as long as the mount exists.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn open(repo: &Repository, options: Options, control: &Control<'static>) -> Result<Self> {
        let reading = Arc::new(ReadSession::open_long_lived(repo, control.observer())?);
        let kept_open = Duration::from_secs(repo.config().stale_after);
        let mount = Self {
            repo: repo.clone(),
            control: control.clone(),
            numbers: Numbers::new(repo.hasher()),
            owners: Owners::new(options.numeric_ids, true),
            others: options.others,
            opened: Time::now(),
            begun: Instant::now(),
            used: AtomicU64::new(0),
            watch: Mutex::new(SnapshotWatcher::new(options.selection, kept_open)),
            inodes: Mutex::new(Inodes::new()),
            handles: Handles::default(),
            links: Links::default(),
            told: Mutex::default(),
            reader: RandomReader::new(&reading),
            reading,
        };
        mount.refresh(true)?;
        Ok(mount)
    }

    /// Looks for new and forgotten snapshots, and releases caches if there were no calls. To be called every
    /// few seconds.
    pub fn tick(&self) {
        if let Err(err) = self.refresh(true) {
            self.report(b"snapshots", &err);
        }
        let now = self.begun.elapsed();
        if now.saturating_sub(Duration::from_millis(self.used.load(Ordering::Relaxed))) >= REST {
            self.reader.release_caches();
        }
    }

    /// Returns the number of open files and directories.
    pub fn open_count(&self) -> u64 {
        self.handles.count()
    }

    /// Returns the number of inodes that the kernel knows of.
    pub fn inodes(&self) -> usize {
        self.known().count()
    }

    /// Ends the session. Calls may still come, but what they need may have been deleted.
    ///
    /// # Errors
    /// When the session cannot be removed.
    pub fn leave(&self) -> Result<()> {
        self.reading.end()
    }

    /// Looks up a name in a directory. Counts as one lookup by the kernel, until [`Self::forget`].
    ///
    /// # Errors
    /// `NoEntry`, `NotDir`, `Stale`, `Io`.
    pub fn lookup(&self, parent: u64, name: &[u8]) -> FsResult<InodeAttributes> {
        self.call();
        let (dir, above) = self.directory(parent)?;
        let Some(dir) = dir else {
            let shown = self.shown()?;
            let name = std::str::from_utf8(name).map_err(|_| FsError::NoEntry)?;
            let child = above.child(name, &shown).ok_or(FsError::NoEntry)?;
            return self.introduce(parent, name, &child, &shown, true);
        };
        let found = self.reported(|| self.path(dir.ino), dir_lookup::find(&self.reader, &dir.tree, name))?;
        let (place, entry) = found.ok_or(FsError::NoEntry)?;
        self.introduce_entry(&dir, place, &entry)
    }

    /// Subtracts lookups of an inode that the kernel has forgotten.
    pub fn forget(&self, ino: u64, times: u64) {
        self.known().forget(ino, times);
    }

    /// Returns the attributes of an inode.
    ///
    /// # Errors
    /// `Stale`, `Io`.
    pub fn attributes(&self, ino: u64) -> FsResult<InodeAttributes> {
        self.call();
        let known = self.known().known(ino).ok_or(FsError::Stale)?;
        match known {
            Known::Virtual(what) => Ok(self.of_virtual(ino, &what)),
            Known::Root(snapshot) => Ok(self.of_root(ino, &snapshot.manifest)),
            Known::Entry(dir, place) => {
                let entry = self.entry(&dir, place)?;
                Ok(self.of_entry(ino, &dir, &entry))
            }
        }
    }

    /// Returns the target of a symbolic link.
    ///
    /// # Errors
    /// `Invalid` if it is no symbolic link, `Stale`, `Io`.
    pub fn readlink(&self, ino: u64) -> FsResult<Vec<u8>> {
        self.call();
        let known = self.known().known(ino).ok_or(FsError::Stale)?;
        match known {
            Known::Virtual(what) => match &*what {
                Virtual::Link(target) => Ok(target.clone().into_bytes()),
                _ => Err(FsError::Invalid),
            },
            Known::Root(_) => Err(FsError::Invalid),
            Known::Entry(dir, place) => match &self.entry(&dir, place)?.kind {
                crate::model::entry::Kind::Symlink { target } => Ok(target.clone()),
                _ => Err(FsError::Invalid),
            },
        }
    }

    /// Returns the bytes of all packs of the repository.
    ///
    /// # Errors
    /// `Io`.
    pub fn stored(&self) -> FsResult<u64> {
        self.call();
        let index = self.reported(Vec::new, self.reading.index())?;
        Ok(index.packs().iter().map(|pack| pack.len).fold(0, u64::saturating_add))
    }

    fn call(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.used.store(now, Ordering::Relaxed);
    }

    fn refresh(&self, now: bool) -> Result<Arc<SnapshotList>> {
        self.watch().current(&self.repo, &self.reading, self.control.observer(), now)
    }

    fn shown(&self) -> FsResult<Arc<SnapshotList>> {
        self.reported(|| b"snapshots".to_vec(), self.refresh(false))
    }

    fn watch(&self) -> MutexGuard<'_, SnapshotWatcher> {
        self.watch.lock()
    }

    fn known(&self) -> MutexGuard<'_, Inodes> {
        self.inodes.lock()
    }

    /// Returns a directory: of a snapshot, or else a virtual one.
    fn directory(&self, ino: u64) -> FsResult<(Option<Dir>, Arc<Virtual>)> {
        let known = self.known();
        if let Some(dir) = known.dir(ino) {
            return Ok((Some(dir), Arc::new(Virtual::Top)));
        }
        match known.known(ino) {
            Some(Known::Virtual(what)) if !what.is_link() => Ok((None, what)),
            Some(_) => Err(FsError::NotDir),
            None => Err(FsError::Stale),
        }
    }

    fn entry(&self, dir: &Dir, place: u64) -> FsResult<Arc<Entry>> {
        let found =
            self.reported(|| self.path(dir.ino), dir_lookup::entry_at(&self.reader, &dir.tree, place))?;
        found.ok_or(FsError::Stale)
    }

    /// Registers a virtual entry or a snapshot's root as known to the kernel, and returns its attributes.
    fn introduce(
        &self,
        parent: u64,
        name: &str,
        child: &Child,
        shown: &SnapshotList,
        add: bool,
    ) -> FsResult<InodeAttributes> {
        match child {
            Child::Virtual(what) => {
                let ino = self.numbers.of_virtual(parent, name, what);
                self.known().add_virtual(ino, what);
                Ok(self.of_virtual(ino, what))
            }
            Child::Snapshot(name) => {
                let snapshot = shown.snapshots.get(name).ok_or(FsError::NoEntry)?;
                let ino = self.numbers.of_root(&snapshot.id);
                if add {
                    self.known().add_root(ino, snapshot, name);
                }
                Ok(self.of_root(ino, &snapshot.manifest))
            }
        }
    }

    fn introduce_entry(&self, dir: &Dir, place: u64, entry: &Entry) -> FsResult<InodeAttributes> {
        let ino = self.numbers.of_entry(&dir.snapshot.id, dir.ino, entry);
        let attributes = self.of_entry(ino, dir, entry);
        if !self.known().add_entry(ino, dir, place, entry) {
            let why =
                Error::Refused("the inode number computed from its name belongs to another entry".into());
            self.report(&[&self.path(dir.ino), b"/".as_slice(), &entry.name].concat(), &why);
            return Err(FsError::Io);
        }
        Ok(attributes)
    }

    fn of_virtual(&self, ino: u64, what: &Virtual) -> InodeAttributes {
        let (kind, size) = match what {
            Virtual::Link(target) => (InodeType::Symlink, target.len() as u64),
            _ => (InodeType::Dir, 0),
        };
        attributes::of_virtual(ino, kind, size, &self.owners, self.opened)
    }

    fn of_root(&self, ino: u64, manifest: &Manifest) -> InodeAttributes {
        let mut root = attributes::of_virtual(ino, InodeType::Dir, 0, &self.owners, manifest.started);
        // The sources may have been below a directory that others could not enter and that is not in the
        // snapshot.
        if self.others && !manifest.is_open_above() {
            root.mode = 0o700;
        }
        root
    }

    fn of_entry(&self, ino: u64, dir: &Dir, entry: &Entry) -> InodeAttributes {
        let links = match link_group(entry) {
            Some(group) if !entry.is_dir() => {
                self.links.link_count(&self.reader, &dir.snapshot.id, &dir.snapshot.manifest, group)
            }
            _ => 1,
        };
        attributes::of_entry(ino, entry, &self.owners, links, dir.snapshot.manifest.started)
    }

    /// Returns a directory's path for messages.
    fn path(&self, ino: u64) -> Vec<u8> {
        self.known().path(ino)
    }

    /// Converts an error to `Io`, after reporting it.
    fn reported<T>(&self, path: impl FnOnce() -> Vec<u8>, result: Result<T>) -> FsResult<T> {
        result.map_err(|err| {
            self.report(&path(), &err);
            FsError::Io
        })
    }

    fn report(&self, path: &[u8], err: &Error) {
        let problem = Problem::of(path, err);
        let mut told = self.told.lock();
        if told.len() > TOLD || !told.insert(problem.clone()) {
            return;
        }
        if told.len() > TOLD {
            self.control.observer().notice(Event::Warning("further problems are not shown"));
            return;
        }
        drop(told);
        self.control.observer().notice(Event::Problem(&problem));
    }
}

impl std::fmt::Debug for Mount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mount").field("reading", &self.reading).finish_non_exhaustive()
    }
}
