//! A repository in a local directory. An object appears under its name complete and durable, or not at all:
//! it is written to a temporary file, synced, renamed without replacing, and the rename is synced.

mod files;
mod network_fs;
mod quirks;
mod reading;
mod reserve;
mod strays;

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};
use std::{fs, io};

use crate::error::{Error, Result};
use crate::model::entry::Time;
use crate::storage::{Capacity, CreateOutcome, Listed, LockGuard, ObjectKind, Storage, check_name};
use crate::sys::volume;

use files::{
    TEMP, Temp, make_folders, metadata_of, parent, probe_exclusiveness, read_folder, rename_free,
    sync_folder, sync_open_folder,
};
use parking_lot::Mutex;
use quirks::{Modes, Quirks};

/// Age after which a temporary file is considered abandoned: writing a pack takes seconds. A process that was
/// suspended that long while writing finds its file gone and fails; nothing is lost.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// A directory on a local disk, or on what the system presents as one.
#[derive(Debug)]
pub struct LocalStorage {
    root: PathBuf,
    /// Folders whose own entries this process has made durable: once is enough.
    durable: Mutex<HashSet<PathBuf>>,
    /// The network file system that the directory is on, once determined.
    network: OnceLock<Option<String>>,
    quirks: Quirks,
    /// Set once exclusive creation was tested.
    probed: OnceLock<()>,
    /// Whether files can be locked, once tested.
    locks: OnceLock<bool>,
}

impl LocalStorage {
    /// Creates a storage at `root` without any I/O; folders are created when first written to.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            durable: Mutex::default(),
            network: OnceLock::new(),
            quirks: Quirks::default(),
            probed: OnceLock::new(),
            locks: OnceLock::new(),
        }
    }

    /// Returns the directory of the repository.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns whether files can be locked here: tested on the repository's directory, once it exists.
    fn has_locks(&self) -> Result<bool> {
        if let Some(known) = self.locks.get() {
            return Ok(*known);
        }
        let opened = match File::open(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            opened => opened.map_err(Error::io("open", &self.root))?,
        };
        let lacks = matches!(
            opened.try_lock_shared(),
            Err(TryLockError::Error(error)) if quirks::has_no_locks(&error)
        );
        if lacks {
            self.quirks.unlocked.raise();
        }
        Ok(*self.locks.get_or_init(|| !lacks))
    }

    fn modes(&self) -> Modes {
        self.quirks.modes(&self.root)
    }

    fn path(&self, area: ObjectKind, name: &str) -> Result<PathBuf> {
        check_name(area, name)?;
        Ok(self.root.join(area.path(name)))
    }

    fn open(&self, area: ObjectKind, name: &str) -> Result<File> {
        let path = self.path(area, name)?;
        File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Missing { what: area.path(name) },
            _ => Error::io("open", &path)(error),
        })
    }

    /// Creates a folder of the repository durably. The mutex is held across the sync, so that no thread
    /// relies on a folder whose entry another thread has created but not synced yet.
    fn ensure_folder(&self, folder: &Path) -> Result<()> {
        let mut durable = self.durable.lock();
        if durable.contains(folder) {
            return Ok(());
        }
        make_folders(folder, self.modes(), &self.quirks)?;
        // Another process may have created it and died before syncing. The root's parent is not ours.
        for ancestor in folder.ancestors().take_while(|ancestor| *ancestor != self.root) {
            if durable.contains(ancestor) {
                break;
            }
            sync_folder(parent(ancestor), &self.quirks)?;
        }
        let within = folder.ancestors().take_while(|ancestor| *ancestor != self.root);
        durable.extend(within.map(Path::to_owned));
        Ok(())
    }

    /// Writes `parts` to a temporary file next to `path`, synced if `sync` is set.
    fn write_temp<P: AsRef<[u8]>>(
        &self,
        path: &Path,
        parts: impl IntoIterator<Item = P>,
        sync: bool,
    ) -> Result<Temp> {
        let folder = parent(path);
        self.ensure_folder(folder)?;
        let mut temp = Temp::new(folder, self.modes())?;
        temp.write(path, parts, sync)?;
        Ok(temp)
    }

    /// Creates an object, complete and durable.
    fn create_from<P: AsRef<[u8]>>(
        &self,
        path: &Path,
        parts: impl IntoIterator<Item = P>,
    ) -> Result<CreateOutcome> {
        let (created, _) = self.write_temp(path, parts, true)?.publish(path, &self.quirks)?;
        // Sync also if it exists: its creator may not have synced yet.
        sync_folder(parent(path), &self.quirks)?;
        Ok(created)
    }

    /// Returns the time by the clock of the file system. This machine's may differ by days.
    fn now(&self) -> Result<SystemTime> {
        let temp = Temp::new(&self.root, self.modes())?;
        let dated = temp.file.metadata().and_then(|found| found.modified());
        dated.map_err(Error::io("read", &self.root))
    }

    /// Removes a file. It is not an error if there is none.
    fn unlink(&self, path: &Path) -> Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
            _ => Ok(()),
        }
    }

    /// Returns the folders that hold a kind's objects: one, unless they are spread.
    fn folders(&self, area: ObjectKind) -> Result<Vec<PathBuf>> {
        let folder = self.root.join(area.folder());
        if !area.is_spread() {
            return Ok(vec![folder]);
        }
        let mut shards = Vec::new();
        for entry in read_folder(&folder)? {
            let Some(metadata) = metadata_of(&entry)? else { continue };
            if metadata.is_dir() {
                shards.push(entry.path());
            }
        }
        Ok(shards)
    }
}

impl Storage for LocalStorage {
    fn local_dir(&self) -> Option<&Path> {
        Some(&self.root)
    }

    fn capacity(&self) -> Option<Capacity> {
        let found = volume::space(&self.root).ok()?;
        Some(Capacity { free: found.free, total: found.total })
    }

    fn location(&self) -> String {
        resolve(&self.root).display().to_string()
    }

    fn list(&self, area: ObjectKind) -> Result<Vec<Listed>> {
        let mut found = Vec::new();
        self.refresh(&self.root.join(area.folder()))?;
        for folder in self.folders(area)? {
            if area.is_spread() {
                self.refresh(&folder)?;
            }
            for entry in read_folder(&folder)? {
                let Ok(name) = entry.file_name().into_string() else { continue };
                // Also skips temporary files, and packs in the wrong folder.
                if check_name(area, &name).is_err() || self.root.join(area.path(&name)) != entry.path() {
                    continue;
                }
                let Some(metadata) = metadata_of(&entry)? else { continue };
                if metadata.is_file() {
                    let modified = Some(Time { sec: metadata.mtime(), nanos: metadata.mtime_nsec() as u32 });
                    found.push(Listed { name, len: metadata.len(), modified });
                }
            }
        }
        found.sort();
        Ok(found)
    }

    fn strays(&self, area: ObjectKind) -> Result<Vec<String>> {
        let mut found = strays::within(&self.root, area)?;
        found.sort();
        Ok(found)
    }

    fn read(&self, area: ObjectKind, name: &str, limit: u64) -> Result<Vec<u8>> {
        reading::whole(self.open(area, name)?, &self.path(area, name)?, &area.path(name), limit)
    }

    fn read_range(&self, area: ObjectKind, name: &str, offset: u64, out: &mut [u8]) -> Result<()> {
        reading::range(&self.open(area, name)?, &self.path(area, name)?, &area.path(name), offset, out)
    }

    fn create(&self, area: ObjectKind, name: &str, parts: &[&[u8]]) -> Result<CreateOutcome> {
        self.create_from(&self.path(area, name)?, parts)
    }

    fn create_owned(&self, area: ObjectKind, name: &str, parts: Vec<Vec<u8>>) -> Result<CreateOutcome> {
        self.create_from(&self.path(area, name)?, parts)
    }

    fn create_held(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<Box<dyn LockGuard>> {
        let path = self.path(area, name)?;
        let temp = self.write_temp(&path, [bytes], true)?;
        match temp.file.try_lock() {
            // Without any locks only heartbeats show that a session is alive, as on remote storage. But if
            // other processes can lock here, a session without a lock would be considered dead: that is an
            // error.
            Err(TryLockError::Error(error)) if quirks::has_no_locks(&error) && !self.has_locks()? => {}
            locked => locked.map_err(|error| Error::io("lock", &path)(error.into()))?,
        }
        let (created, file) = temp.publish(&path, &self.quirks)?;
        if created == CreateOutcome::Exists {
            return Err(Error::io("create", &path)(io::ErrorKind::AlreadyExists.into()));
        }
        sync_folder(parent(&path), &self.quirks)?;
        Ok(Box::new(HeldFile { _file: file }))
    }

    fn replace(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(area, name)?;
        let temp = self.write_temp(&path, [bytes], false)?;
        fs::rename(&temp.path.name, &path).map_err(Error::io("replace", &path))?;
        temp.path.renamed();
        Ok(())
    }

    fn is_held(&self, area: ObjectKind, name: &str) -> Result<Option<bool>> {
        let path = self.path(area, name)?;
        // Locks on network file systems may not be visible to all clients.
        if self.network()?.is_some() || !self.has_locks()? {
            return Ok(None);
        }
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(false)),
            Err(error) => return Err(Error::io("open", &path)(error)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(Some(false)),
            Err(TryLockError::WouldBlock) => Ok(Some(true)),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", &path)(error)),
        }
    }

    fn weakness(&self) -> Result<Option<String>> {
        if let Some(network) = self.network()? {
            return Ok(Some(network.to_owned()));
        }
        let sessions = self.root.join(ObjectKind::Sessions.folder());
        self.has_locks()?;
        if sessions.is_dir() {
            self.probed.get_or_init(|| probe_exclusiveness(&sessions, &self.quirks));
        }
        Ok(self.quirks.weakness().map(str::to_owned))
    }

    fn cautions(&self) -> Vec<String> {
        self.quirks.take_warnings(&self.root)
    }

    fn move_to(&self, from: (ObjectKind, &str), to: (ObjectKind, &str)) -> Result<CreateOutcome> {
        let (old, new) = (self.path(from.0, from.1)?, self.path(to.0, to.1)?);
        if !old.exists() {
            return Err(Error::Missing { what: from.0.path(from.1) });
        }
        self.ensure_folder(parent(&new))?;
        let created = rename_free(&old, &new, &self.quirks)
            .map_err(|err| if old.exists() { err } else { Error::Missing { what: from.0.path(from.1) } })?;
        // Sync the new name first: the object must not be lost in both places.
        sync_folder(parent(&new), &self.quirks)?;
        sync_folder(parent(&old), &self.quirks)?;
        Ok(created)
    }

    fn remove(&self, area: ObjectKind, name: &str) -> Result<()> {
        self.unlink(&self.path(area, name)?)
    }

    fn release_reserve(&self) -> Result<()> {
        self.unlink(&reserve::path(&self.root))
    }

    fn keep_reserve(&self) {
        // A missing reserve matters only on a full disk.
        let _ = reserve::keep(&self.root);
    }

    fn remove_stale_temp_files(&self) -> Result<()> {
        // Without space for a new file the file system's time is unknown; then nothing counts as old.
        let Ok(now) = self.now() else { return Ok(()) };
        for folder in
            ObjectKind::ALL.into_iter().map(|area| self.folders(area)).collect::<Result<Vec<_>>>()?.concat()
        {
            for entry in read_folder(&folder)? {
                let ours = entry.file_name().as_bytes().starts_with(TEMP.as_bytes());
                let Some(metadata) = metadata_of(&entry)?.filter(|found| ours && found.is_file()) else {
                    continue;
                };
                let age = metadata.modified().ok().and_then(|at| now.duration_since(at).ok());
                if age.is_some_and(|age| age >= ABANDONED) {
                    self.unlink(&entry.path())?;
                }
            }
        }
        Ok(())
    }

    fn sync(&self, area: ObjectKind) -> Result<()> {
        for folder in self.folders(area)? {
            match File::open(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("open", &folder)(error)),
                Ok(file) => sync_open_folder(&file, &folder, &self.quirks)?,
            }
        }
        Ok(())
    }
}

/// Resolves symbolic links, also for a directory that does not exist yet: its location must not change when
/// it is created.
fn resolve(path: &Path) -> PathBuf {
    if let Ok(whole) = fs::canonicalize(path) {
        return whole;
    }
    match (path.parent(), path.file_name()) {
        (Some(above), Some(name)) if !above.as_os_str().is_empty() => resolve(above).join(name),
        (Some(_), Some(name)) => resolve(Path::new(".")).join(name),
        _ => path.to_path_buf(),
    }
}

/// A session's file, locked while it is open.
#[derive(Debug)]
struct HeldFile {
    _file: File,
}

impl LockGuard for HeldFile {}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn names(store: &dyn Storage, area: ObjectKind) -> Vec<String> {
        store.list(area).unwrap().into_iter().map(|listed| listed.name).collect()
    }

    #[test]
    fn local_list_ignores_files_that_are_no_objects() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStorage::new(dir.path());
        store.create(ObjectKind::Packs, "aa1", &[b"x"]).unwrap();
        store.create(ObjectKind::Keys, "k", &[b"x"]).unwrap();
        fs::write(dir.path().join("packs/stray"), "x").unwrap();
        fs::write(dir.path().join("packs/aa/.tmp-1-1-00000000"), "x").unwrap();
        fs::write(dir.path().join("packs/aa/bb1"), "x").unwrap();
        fs::create_dir_all(dir.path().join("packs/aa/aadir")).unwrap();
        std::os::unix::fs::symlink("k", dir.path().join("keys/link")).unwrap();
        assert_eq!(names(&store, ObjectKind::Packs), ["aa1"]);
        assert_eq!(names(&store, ObjectKind::Keys), ["k"]);
    }

    #[test]
    fn leftovers_of_killed_writers_are_removed_after_a_day() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStorage::new(dir.path());
        store.create(ObjectKind::Packs, "aa1", &[b"x"]).unwrap();
        // By the clock of the file system, which may be another than ours.
        let now = fs::metadata(dir.path().join("packs/aa/aa1")).unwrap().modified().unwrap();
        let day = Duration::from_secs(24 * 3600 + 60);
        for (name, age) in [(".tmp-1-1-0", day), (".tmp-1-2-0", Duration::ZERO)] {
            let file = File::create(dir.path().join("packs/aa").join(name)).unwrap();
            file.set_modified(now - age).unwrap();
        }
        store.remove_stale_temp_files().unwrap();
        let left = fs::read_dir(dir.path().join("packs/aa")).unwrap().map(|entry| entry.unwrap().file_name());
        let mut left: Vec<_> = left.collect();
        left.sort();
        assert_eq!(left, [".tmp-1-2-0", "aa1"]);
    }

    #[test]
    fn a_bad_sector_is_damage_of_its_object() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStorage::new(dir.path());
        store.create(ObjectKind::Packs, "aa1", &[b"x"]).unwrap();
        // Nothing is mapped there: the system returns EIO, as for an unreadable sector.
        std::os::unix::fs::symlink("/proc/self/mem", dir.path().join("packs/aa/aa2")).unwrap();
        let mut out = [0; 8];
        let err = store.read_range(ObjectKind::Packs, "aa2", 0, &mut out).unwrap_err();
        assert!(err.is_damage() && err.chain().contains("packs/aa/aa2"), "{}", err.chain());
        assert!(store.read(ObjectKind::Packs, "aa2", 100).unwrap_err().is_damage());
    }

    #[test]
    fn local_list_error_is_not_empty() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStorage::new(dir.path());
        fs::write(dir.path().join("snapshots"), "a file").unwrap();
        std::os::unix::fs::symlink("/nowhere/at/all", dir.path().join("packs")).unwrap();
        assert!(store.list(ObjectKind::Snapshots).is_err());
        assert!(store.list(ObjectKind::Packs).is_err());
    }
}
