//! A repository in a directory. An object appears under its name complete and durable, or not at all: it is
//! written to a temporary file, synced, renamed without replacing, and the rename is synced.

use std::collections::HashSet;
use std::fs;
use std::fs::DirBuilder;
use std::fs::File;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use rustix::fs::AtFlags;
use rustix::fs::CWD;
use rustix::fs::RenameFlags;
use rustix::io::Errno;

use crate::error::Error;
use crate::error::Result;
use crate::model::malformed::Malformed;
use crate::store::storage::Area;
use crate::store::storage::Created;
use crate::store::storage::Hold;
use crate::store::storage::Listed;
use crate::store::storage::Storage;

/// Makes names of temporary files differ within the process.
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A directory on a local disk (or what the system shows as one).
#[derive(Debug)]
pub struct LocalStorage {
    root: PathBuf,
    /// Folders whose own entries this process has made durable: once is enough.
    durable: Mutex<HashSet<PathBuf>>,
}

impl LocalStorage {
    /// The repository at `root`. Touches nothing; folders are made when first written to.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), durable: Mutex::default() }
    }

    /// The directory of the repository.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Path of an object.
    fn path(&self, area: Area, name: &str) -> Result<PathBuf> {
        check_name(area, name)?;
        Ok(self.root.join(area.path(name)))
    }

    /// Opens an object for reading.
    fn open(&self, area: Area, name: &str) -> Result<File> {
        let path = self.path(area, name)?;
        File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Missing { what: area.path(name) },
            _ => Error::io("open", &path)(error),
        })
    }

    /// Makes a folder of the repository exist durably. The lock is held across the sync, so that no thread
    /// relies on a folder whose entry another has made but not yet synced.
    fn ensure_folder(&self, folder: &Path) -> Result<()> {
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if durable.contains(folder) {
            return Ok(());
        }
        make_folders(folder)?;
        // Another process may have made it and died before it synced; the root's parent is not ours.
        for ancestor in folder.ancestors().take_while(|ancestor| *ancestor != self.root) {
            if durable.contains(ancestor) {
                break;
            }
            sync_folder(parent(ancestor))?;
        }
        let within = folder.ancestors().take_while(|ancestor| *ancestor != self.root);
        durable.extend(within.map(Path::to_owned));
        Ok(())
    }

    /// Writes `parts` to a synced temporary file beside `path`.
    fn write_temp(&self, path: &Path, parts: &[&[u8]], sync: bool) -> Result<Temp> {
        let folder = parent(path);
        self.ensure_folder(folder)?;
        let mut temp = Temp::new(folder)?;
        for part in parts {
            temp.file.write_all(part).map_err(Error::io("write", path))?;
        }
        if sync {
            temp.file.sync_all().map_err(Error::io("sync", path))?;
        }
        Ok(temp)
    }

    /// Folders that hold an area's objects: one, but for packs.
    fn folders(&self, area: Area) -> Result<Vec<PathBuf>> {
        let folder = self.root.join(area.folder());
        if area != Area::Packs {
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
    fn location(&self) -> String {
        fs::canonicalize(&self.root).unwrap_or_else(|_| self.root.clone()).display().to_string()
    }

    fn list(&self, area: Area) -> Result<Vec<Listed>> {
        let mut found = Vec::new();
        for folder in self.folders(area)? {
            for entry in read_folder(&folder)? {
                let Ok(name) = entry.file_name().into_string() else { continue };
                // Also skips temporary files, and packs in a folder where nobody would look for them.
                if check_name(area, &name).is_err() || self.root.join(area.path(&name)) != entry.path() {
                    continue;
                }
                let Some(metadata) = metadata_of(&entry)? else { continue };
                if metadata.is_file() {
                    found.push(Listed { name, len: metadata.len() });
                }
            }
        }
        found.sort();
        Ok(found)
    }

    fn read(&self, area: Area, name: &str, limit: u64) -> Result<Vec<u8>> {
        let file = self.open(area, name)?;
        let what = self.path(area, name)?;
        let too_long = || Error::Damaged {
            what: area.path(name),
            source: Malformed::because("longer than any such object can be"),
        };
        let len = file.metadata().map_err(Error::io("read", &what))?.len();
        if len > limit {
            return Err(too_long());
        }
        let mut bytes = Vec::new();
        let capacity = usize::try_from(len).unwrap_or(usize::MAX);
        let reserved = bytes.try_reserve_exact(capacity);
        reserved.map_err(|_| Error::io("read", &what)(io::ErrorKind::OutOfMemory.into()))?;
        let mut bounded = file.take(limit.saturating_add(1));
        bounded.read_to_end(&mut bytes).map_err(Error::io("read", &what))?;
        if bytes.len() as u64 > limit {
            return Err(too_long());
        }
        Ok(bytes)
    }

    fn read_range(&self, area: Area, name: &str, offset: u64, out: &mut [u8]) -> Result<()> {
        let file = self.open(area, name)?;
        let too_short = || Error::Damaged {
            what: area.path(name),
            source: Malformed::because("shorter than it should be"),
        };
        if out.is_empty() {
            return Ok(());
        }
        // The system refuses an offset that no file can have; to the caller that is an object too short.
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > i64::MAX as u64) {
            return Err(too_short());
        }
        file.read_exact_at(out, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => too_short(),
            _ => Error::io("read", self.root.join(area.path(name)))(error),
        })
    }

    fn create(&self, area: Area, name: &str, parts: &[&[u8]]) -> Result<Created> {
        let path = self.path(area, name)?;
        let (created, _) = self.write_temp(&path, parts, true)?.publish(&path)?;
        // Also when it exists: its creator may not have come as far as this.
        sync_folder(parent(&path))?;
        Ok(created)
    }

    fn create_held(&self, area: Area, name: &str, bytes: &[u8]) -> Result<Box<dyn Hold>> {
        let path = self.path(area, name)?;
        let temp = self.write_temp(&path, &[bytes], true)?;
        temp.file.try_lock().map_err(|error| Error::io("lock", &path)(error.into()))?;
        let (created, file) = temp.publish(&path)?;
        if created == Created::Exists {
            return Err(Error::io("create", &path)(io::ErrorKind::AlreadyExists.into()));
        }
        sync_folder(parent(&path))?;
        Ok(Box::new(HeldFile { _file: file }))
    }

    fn replace(&self, area: Area, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(area, name)?;
        let temp = self.write_temp(&path, &[bytes], false)?;
        fs::rename(&temp.path.name, &path).map_err(Error::io("replace", &path))?;
        temp.path.renamed();
        Ok(())
    }

    fn is_held(&self, area: Area, name: &str) -> Result<Option<bool>> {
        let path = self.path(area, name)?;
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

    fn remove(&self, area: Area, name: &str) -> Result<()> {
        let path = self.path(area, name)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    fn sync(&self, area: Area) -> Result<()> {
        for folder in self.folders(area)? {
            match File::open(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("open", &folder)(error)),
                Ok(file) => file.sync_all().map_err(Error::io("sync", &folder))?,
            }
        }
        Ok(())
    }
}

/// A session's file, locked as long as it is open.
#[derive(Debug)]
struct HeldFile {
    _file: File,
}

impl Hold for HeldFile {}

/// A temporary file, removed unless it was published.
struct Temp {
    file: File,
    path: TempPath,
}

/// Removes the file of that name when dropped, unless it was renamed.
struct TempPath {
    name: PathBuf,
    renamed: bool,
}

impl TempPath {
    /// Nothing has this name any more.
    fn renamed(mut self) {
        self.renamed = true;
    }
}

impl Drop for TempPath {
    fn drop(&mut self) {
        if !self.renamed {
            // Nobody takes what stays behind for an object: listings skip it.
            let _ = fs::remove_file(&self.name);
        }
    }
}

impl Temp {
    /// A new file that only its owner can read, in `folder`.
    fn new(folder: &Path) -> Result<Self> {
        let random = getrandom::u32();
        let random = random.map_err(|error| io::Error::other(error.to_string()));
        let random = random.map_err(Error::io("draw random bytes for a file in", folder))?;
        let (pid, count) = (std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let path = folder.join(format!(".tmp-{pid}-{count}-{random:08x}"));
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = opened.map_err(Error::io("create", &path))?;
        Ok(Self { file, path: TempPath { name: path, renamed: false } })
    }

    /// Gives the file the name `to` if that is free, and removes it otherwise.
    fn publish(self, to: &Path) -> Result<(Created, File)> {
        let Self { file, path } = self;
        match rustix::fs::renameat_with(CWD, &path.name, CWD, to, RenameFlags::NOREPLACE) {
            Ok(()) => path.renamed(),
            Err(Errno::EXIST) => return Ok((Created::Exists, file)),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return link(path, to).map(|done| (done, file));
            }
            Err(errno) => return Err(Error::io("publish", to)(errno.into())),
        }
        Ok((Created::New, file))
    }
}

/// Publishes on filesystems that cannot rename without replacing. The temporary name goes in any case.
fn link(from: TempPath, to: &Path) -> Result<Created> {
    match rustix::fs::linkat(CWD, &from.name, CWD, to, AtFlags::empty()) {
        Ok(()) => Ok(Created::New),
        Err(Errno::EXIST) => Ok(Created::Exists),
        Err(errno) => Err(Error::io("publish", to)(errno.into())),
    }
}

/// Refuses what cannot be an object's name, before it becomes a path: names may come from damaged objects.
pub(crate) fn check_name(area: Area, name: &str) -> Result<()> {
    let unsharded = area == Area::Packs && name.get(..2).is_none();
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) || unsharded {
        return Err(Error::Missing { what: area.path(name) });
    }
    Ok(())
}

/// Folder of a path; a bare name lies in the working directory.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Creates a folder and those above it; syncs the parent of each that it made.
fn make_folders(folder: &Path) -> Result<()> {
    let make = || DirBuilder::new().mode(0o700).create(folder);
    let made = match make() {
        Err(error) if error.kind() == io::ErrorKind::NotFound && parent(folder) != folder => {
            make_folders(parent(folder))?;
            make()
        }
        made => made,
    };
    match made {
        Ok(()) => sync_folder(parent(folder)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::io("create", folder)(error)),
    }
}

/// Makes durable which names a folder holds.
fn sync_folder(folder: &Path) -> Result<()> {
    let file = File::open(folder).map_err(Error::io("open", folder))?;
    file.sync_all().map_err(Error::io("sync", folder))
}

/// Entries of a folder; none when there is no such folder. A link that leads nowhere is an error: what it led
/// to may be on a disk that is not mounted.
fn read_folder(folder: &Path) -> Result<Vec<fs::DirEntry>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.is_symlink() => {
            return Ok(Vec::new());
        }
        entries => entries.map_err(Error::io("list", folder))?,
    };
    entries.collect::<io::Result<_>>().map_err(Error::io("list", folder))
}

/// What an entry is; `None` when it has gone since it was listed.
fn metadata_of(entry: &fs::DirEntry) -> Result<Option<fs::Metadata>> {
    match entry.metadata() {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", entry.path())(error)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::store::memory::MemoryStorage;

    const LIMIT: u64 = 1 << 30;

    type Check = fn(&dyn Storage);

    /// What every store must do; each check gets an empty one.
    const CONFORMANCE: [(&str, Check); 12] = [
        ("one winner", one_winner),
        ("existing untouched", existing_untouched),
        ("missing", missing),
        ("limit", limit),
        ("ranges", ranges),
        ("list", list),
        ("list only complete", list_only_complete),
        ("remove", remove),
        ("sizes", sizes),
        ("held", held),
        ("replace", replace),
        ("bad names", bad_names),
    ];

    #[test]
    fn local_conforms() {
        for (name, check) in CONFORMANCE {
            println!("{name}");
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().join("deep/repo");
            check(&LocalStorage::new(&root));
            assert_eq!(temps(dir.path()), 0, "{name} left a temporary file");
        }
    }

    #[test]
    fn memory_conforms() {
        for (name, check) in CONFORMANCE {
            println!("{name}");
            check(&MemoryStorage::default());
        }
    }

    fn temps(folder: &Path) -> usize {
        let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
        let count = |entry: fs::DirEntry| match entry.file_type().unwrap().is_dir() {
            true => temps(&entry.path()),
            false => usize::from(entry.file_name().to_str().unwrap().starts_with('.')),
        };
        entries.map(count).sum()
    }

    fn names(store: &dyn Storage, area: Area) -> Vec<String> {
        store.list(area).unwrap().into_iter().map(|listed| listed.name).collect()
    }

    fn one_winner(store: &dyn Storage) {
        let barrier = Barrier::new(16);
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let barrier = &barrier;
            let start = |byte: u8| {
                scope.spawn(move || {
                    barrier.wait();
                    (byte, store.create(Area::Packs, "abcd", &[&[byte; 1000]]).unwrap())
                })
            };
            let threads: Vec<_> = (0..16).map(start).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let winners: Vec<_> = outcomes.iter().filter(|(_, created)| *created == Created::New).collect();
        assert_eq!(winners.len(), 1);
        assert_eq!(store.read(Area::Packs, "abcd", LIMIT).unwrap(), [winners[0].0; 1000]);
    }

    fn existing_untouched(store: &dyn Storage) {
        assert_eq!(store.create(Area::Keys, "k", &[b"o", b"", b"ld"]).unwrap(), Created::New);
        assert_eq!(store.create(Area::Keys, "k", &[b"new"]).unwrap(), Created::Exists);
        assert!(store.create_held(Area::Keys, "k", b"new").is_err());
        assert_eq!(store.read(Area::Keys, "k", LIMIT).unwrap(), b"old");
    }

    fn missing(store: &dyn Storage) {
        for name in ["none", "other"] {
            for area in Area::ALL {
                assert!(store.read(area, name, LIMIT).unwrap_err().is_missing());
                assert!(store.read_range(area, name, 0, &mut [0]).unwrap_err().is_missing());
                assert_eq!(store.is_held(area, name).unwrap(), Some(false));
                assert!(store.list(area).unwrap().iter().all(|listed| listed.name == "there"));
                store.sync(area).unwrap();
                store.create(area, "there", &[]).unwrap();
                store.sync(area).unwrap();
            }
        }
    }

    fn limit(store: &dyn Storage) {
        store.create(Area::Index, "i", &[b"12345"]).unwrap();
        assert_eq!(store.read(Area::Index, "i", 5).unwrap(), b"12345");
        assert_eq!(store.read(Area::Index, "i", u64::MAX).unwrap(), b"12345");
        for limit in [0, 4] {
            let error = store.read(Area::Index, "i", limit).unwrap_err();
            assert!(matches!(error, Error::Damaged { what, .. } if what == "index/i"));
        }
    }

    fn ranges(store: &dyn Storage) {
        store.create(Area::Packs, "aa11", &[b"0123", b"456789"]).unwrap();
        let read = |offset, len| {
            let mut out = vec![0; len];
            store.read_range(Area::Packs, "aa11", offset, &mut out).map(|()| out)
        };
        assert_eq!(read(0, 10).unwrap(), b"0123456789");
        assert_eq!(read(3, 4).unwrap(), b"3456");
        assert_eq!(read(10, 0).unwrap(), b"");
        assert_eq!(read(99, 0).unwrap(), b"");
        for (offset, len) in [(9, 2), (10, 1), (99, 1), (0, 11), (i64::MAX as u64, 1), (u64::MAX, 1)] {
            let error = read(offset, len).unwrap_err();
            assert!(matches!(error, Error::Damaged { what, .. } if what == "packs/aa/aa11"));
        }
    }

    fn list(store: &dyn Storage) {
        for name in ["cc1", "aa2", "bb3", "aa1"] {
            store.create(Area::Packs, name, &[name.as_bytes()]).unwrap();
            store.create(Area::Trash, name, &[b"four"]).unwrap();
        }
        assert_eq!(names(store, Area::Packs), ["aa1", "aa2", "bb3", "cc1"]);
        assert_eq!(names(store, Area::Trash), ["aa1", "aa2", "bb3", "cc1"]);
        assert!(store.list(Area::Packs).unwrap().iter().all(|listed| listed.len == 3));
        assert!(store.list(Area::Trash).unwrap().iter().all(|listed| listed.len == 4));
        assert!(store.list(Area::Snapshots).unwrap().is_empty());
    }

    fn list_only_complete(store: &dyn Storage) {
        let body = vec![7; 1 << 16];
        std::thread::scope(|scope| {
            let write = |number: usize| store.create(Area::Packs, &format!("{number:04x}"), &[&body, &body]);
            let writer = scope.spawn(move || {
                (0..64).for_each(|number| assert_eq!(write(number * 997).unwrap(), Created::New))
            });
            while !writer.is_finished() {
                assert!(store.list(Area::Packs).unwrap().iter().all(|listed| listed.len == 1 << 17));
            }
        });
        assert_eq!(store.list(Area::Packs).unwrap().len(), 64);
    }

    fn remove(store: &dyn Storage) {
        store.remove(Area::Gc, "1").unwrap();
        store.create(Area::Gc, "1", &[b"x"]).unwrap();
        store.remove(Area::Gc, "1").unwrap();
        store.remove(Area::Gc, "1").unwrap();
        store.sync(Area::Gc).unwrap();
        assert!(store.list(Area::Gc).unwrap().is_empty());
        assert_eq!(store.create(Area::Gc, "1", &[b"y"]).unwrap(), Created::New);
    }

    fn sizes(store: &dyn Storage) {
        let large: Vec<u8> =
            (0..8_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        store.create(Area::Packs, "empty", &[]).unwrap();
        store.create(Area::Packs, "large", &[&large]).unwrap();
        assert_eq!(store.read(Area::Packs, "empty", 0).unwrap(), b"");
        assert!(store.read(Area::Packs, "large", 8 << 20).unwrap() == large);
        assert!(store.read(Area::Packs, "large", (8 << 20) - 1).unwrap_err().is_damage());
    }

    fn held(store: &dyn Storage) {
        let hold = store.create_held(Area::Sessions, "s", b"me").unwrap();
        assert_eq!(store.is_held(Area::Sessions, "s").unwrap(), Some(true));
        assert_eq!(store.is_held(Area::Sessions, "s").unwrap(), Some(true));
        assert_eq!(store.read(Area::Sessions, "s", LIMIT).unwrap(), b"me");
        assert!(store.create_held(Area::Sessions, "s", b"you").is_err());
        assert_eq!(store.is_held(Area::Sessions, "s").unwrap(), Some(true));
        drop(hold);
        assert_eq!(store.is_held(Area::Sessions, "s").unwrap(), Some(false));
        assert_eq!(names(store, Area::Sessions), ["s"]);
        let _hold = store.create_held(Area::Sessions, "t", b"me").unwrap();
        store.remove(Area::Sessions, "t").unwrap();
        assert_eq!(store.is_held(Area::Sessions, "t").unwrap(), Some(false));
    }

    fn replace(store: &dyn Storage) {
        for bytes in [&b"first"[..], b"", b"third, longer"] {
            store.replace(Area::Sessions, "s.beat", bytes).unwrap();
            assert_eq!(store.read(Area::Sessions, "s.beat", LIMIT).unwrap(), bytes);
        }
        assert_eq!(names(store, Area::Sessions), ["s.beat"]);
    }

    fn bad_names(store: &dyn Storage) {
        for name in ["", ".", "..", ".tmp-1", "a/b", "/etc/passwd", "ab/../../x", "a\0b"] {
            for area in Area::ALL {
                assert!(store.create(area, name, &[b"x"]).unwrap_err().is_missing());
                assert!(store.create_held(area, name, b"x").unwrap_err().is_missing());
                assert!(store.replace(area, name, b"x").unwrap_err().is_missing());
                assert!(store.read(area, name, LIMIT).unwrap_err().is_missing());
                assert!(store.read_range(area, name, 0, &mut [0]).unwrap_err().is_missing());
                assert!(store.is_held(area, name).unwrap_err().is_missing());
                assert!(store.remove(area, name).unwrap_err().is_missing());
            }
        }
        assert!(store.create(Area::Packs, "a", &[]).unwrap_err().is_missing());
    }

    #[test]
    fn local_list_ignores_what_is_no_object() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStorage::new(dir.path());
        store.create(Area::Packs, "aa1", &[b"x"]).unwrap();
        store.create(Area::Keys, "k", &[b"x"]).unwrap();
        fs::write(dir.path().join("packs/stray"), "x").unwrap();
        fs::write(dir.path().join("packs/aa/.tmp-1-1-00000000"), "x").unwrap();
        fs::write(dir.path().join("packs/aa/bb1"), "x").unwrap();
        fs::create_dir_all(dir.path().join("packs/aa/aadir")).unwrap();
        std::os::unix::fs::symlink("k", dir.path().join("keys/link")).unwrap();
        assert_eq!(names(&store, Area::Packs), ["aa1"]);
        assert_eq!(names(&store, Area::Keys), ["k"]);
    }

    #[test]
    fn local_list_error_is_not_empty() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStorage::new(dir.path());
        fs::write(dir.path().join("snapshots"), "a file").unwrap();
        std::os::unix::fs::symlink("/nowhere/at/all", dir.path().join("packs")).unwrap();
        assert!(store.list(Area::Snapshots).is_err());
        assert!(store.list(Area::Packs).is_err());
    }

    #[test]
    fn link_publishes_once() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("name");
        let publish = || link(Temp::new(dir.path()).unwrap().path, &to).unwrap();
        assert_eq!(publish(), Created::New);
        assert_eq!(publish(), Created::Exists);
        assert_eq!(temps(dir.path()), 0);
    }
}
