//! Atomic and durable creation of files and folders: they appear complete, or not at all.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, io};

use crate::error::{Error, Result};
use crate::storage::CreateOutcome;
use crate::storage::local::quirks::{Modes, Quirks, is_unsupported, is_unsupported_io};
use crate::sys::fs::{AtFlags, CWD, linkat, rename_new, sync};
use crate::sys::io::Errno;

/// Makes names of temporary files unique within the process.
static COUNTER: AtomicU64 = AtomicU64::new(0);
/// Prefix of temporary files: listings skip them.
pub(super) const TEMP: &str = ".tmp-";

/// A temporary file, removed unless it was published.
pub(super) struct Temp {
    pub(super) file: File,
    pub(super) path: TempPath,
}

/// A path whose file is removed on drop, unless it was renamed.
pub(super) struct TempPath {
    pub(super) name: PathBuf,
    renamed: bool,
}

impl TempPath {
    /// Records that the file was renamed.
    pub(super) fn renamed(mut self) {
        self.renamed = true;
    }
}

impl Drop for TempPath {
    fn drop(&mut self) {
        if !self.renamed {
            // A leftover is harmless: listings skip it.
            let _ = fs::remove_file(&self.name);
        }
    }
}

impl Temp {
    /// Creates a file in `folder`, with permissions for those who share the repository.
    pub(super) fn new(folder: &Path, modes: Modes) -> Result<Self> {
        let random = getrandom::u32();
        let random = random.map_err(|error| io::Error::other(error.to_string()));
        let random = random.map_err(Error::io("generate a random name for a file in", folder))?;
        let (pid, count) = (std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let path = folder.join(format!("{TEMP}{pid}-{count}-{random:08x}"));
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = opened.map_err(Error::io("create", &path))?;
        modes.share(&file, modes.file);
        Ok(Self { file, path: TempPath { name: path, renamed: false } })
    }

    /// Writes `parts`, and syncs the file if `sync` is set; `path` is for messages. Each part is dropped once
    /// it is written: the sync of a pack may take seconds, in which the next pack fills.
    pub(super) fn write<P: AsRef<[u8]>>(
        &mut self,
        path: &Path,
        parts: impl IntoIterator<Item = P>,
        sync: bool,
    ) -> Result<()> {
        for part in parts {
            self.file.write_all(part.as_ref()).map_err(Error::io("write", path))?;
        }
        if sync {
            crate::sys::fs::sync(&self.file).map_err(|err| Error::io("sync", path)(err.into()))?;
        }
        Ok(())
    }

    /// Renames the file to `to` if that name is free; otherwise removes it.
    pub(super) fn publish(self, to: &Path, quirks: &Quirks) -> Result<(CreateOutcome, File)> {
        let Self { file, path } = self;
        match rename_new(CWD, &path.name, CWD, to) {
            Ok(()) => path.renamed(),
            Err(Errno::EXIST) => return Ok((CreateOutcome::Exists, file)),
            Err(errno) if is_unsupported(errno) => {
                return link(path, to, quirks).map(|done| (done, file));
            }
            Err(errno) => return Err(Error::io("publish", to)(errno.into())),
        }
        Ok((CreateOutcome::New, file))
    }
}

/// Publishes by hard link, on file systems without rename-no-replace. The temporary name is removed in any
/// case.
pub(super) fn link(from: TempPath, to: &Path, quirks: &Quirks) -> Result<CreateOutcome> {
    match linkat(CWD, &from.name, CWD, to, AtFlags::empty()) {
        Ok(()) => Ok(CreateOutcome::New),
        Err(Errno::EXIST) => Ok(CreateOutcome::Exists),
        Err(errno) if has_no_links(errno) => {
            let created = check_and_rename(&from.name, to, quirks)?;
            if created == CreateOutcome::New {
                from.renamed();
            }
            Ok(created)
        }
        Err(errno) => Err(Error::io("publish", to)(errno.into())),
    }
}

/// File systems without hard links return EPERM.
fn has_no_links(errno: Errno) -> bool {
    is_unsupported(errno) || errno == Errno::PERM
}

/// The last resort: checks, then renames. Two callers that take one name at the same instant may both get
/// `New`, so the storage is reported as unsafe for concurrent gc.
fn check_and_rename(from: &Path, to: &Path, quirks: &Quirks) -> Result<CreateOutcome> {
    quirks.overwrites.raise();
    match to.symlink_metadata() {
        Ok(_) => return Ok(CreateOutcome::Exists),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io("read the metadata of", to)(error)),
    }
    fs::rename(from, to).map_err(Error::io("publish", to))?;
    Ok(CreateOutcome::New)
}

/// Tests whether a folder supports exclusive creation. If the test cannot be made, nothing is recorded.
pub(super) fn probe_exclusiveness(folder: &Path, quirks: &Quirks) {
    let temp = || Temp::new(folder, Modes::PRIVATE).ok();
    let (Some(first), Some(second)) = (temp(), temp()) else { return };
    let renamed = rename_new(CWD, &first.path.name, CWD, &second.path.name);
    if renamed.is_err_and(is_unsupported) {
        // The target exists, so this returns EEXIST if links are supported.
        let linked = linkat(CWD, &first.path.name, CWD, &second.path.name, AtFlags::empty());
        if linked.is_err_and(has_no_links) {
            quirks.overwrites.raise();
        }
    }
}

/// Renames a file if the new name is free.
pub(super) fn rename_free(from: &Path, to: &Path, quirks: &Quirks) -> Result<CreateOutcome> {
    match rename_new(CWD, from, CWD, to) {
        Ok(()) => Ok(CreateOutcome::New),
        Err(Errno::EXIST) => Ok(CreateOutcome::Exists),
        Err(errno) if is_unsupported(errno) => {
            // Link before removing, so that the file always has a name.
            let linked = link(TempPath { name: from.to_path_buf(), renamed: true }, to, quirks)?;
            if linked == CreateOutcome::New && !quirks.overwrites.is_raised() {
                fs::remove_file(from).map_err(Error::io("remove", from))?;
            }
            Ok(linked)
        }
        Err(errno) => Err(Error::io("move", from)(errno.into())),
    }
}

/// Returns the folder of a path; for a bare name the working directory.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Creates a folder and its ancestors; syncs the parent of each that it created.
pub(super) fn make_folders(folder: &Path, modes: Modes, quirks: &Quirks) -> Result<()> {
    let make = || DirBuilder::new().mode(0o700).create(folder);
    let made = match make() {
        Err(error) if error.kind() == io::ErrorKind::NotFound && parent(folder) != folder => {
            make_folders(parent(folder), modes, quirks)?;
            make()
        }
        made => made,
    };
    match made {
        Ok(()) => {
            if modes != Modes::PRIVATE {
                modes.share(&File::open(folder).map_err(Error::io("open", folder))?, modes.dir);
            }
            sync_folder(parent(folder), quirks)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::io("create", folder)(error)),
    }
}

/// Makes the entries of a folder durable.
pub(super) fn sync_folder(folder: &Path, quirks: &Quirks) -> Result<()> {
    let file = File::open(folder).map_err(Error::io("open", folder))?;
    sync_open_folder(&file, folder, quirks)
}

/// Like [`sync_folder`], for an open folder. A file system without folder sync is accepted; any other error
/// means that entries may be lost.
pub(super) fn sync_open_folder(open: &File, folder: &Path, quirks: &Quirks) -> Result<()> {
    match sync(open).map_err(io::Error::from) {
        Err(error) if is_unsupported_io(&error) => {
            quirks.unsynced.raise();
            Ok(())
        }
        synced => synced.map_err(Error::io("sync", folder)),
    }
}

/// Returns the entries of a folder; none if it does not exist. A dangling symbolic link is an error: its
/// target may be on a disk that is not mounted.
pub(super) fn read_folder(folder: &Path) -> Result<Vec<fs::DirEntry>> {
    loop {
        match fs::read_dir(folder).and_then(Iterator::collect) {
            // The standard library retries other calls on EINTR, but not this one.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.is_symlink() => {
                return Ok(Vec::new());
            }
            entries => return entries.map_err(Error::io("list", folder)),
        }
    }
}

/// Returns an entry's metadata; `None` if it was removed since it was listed.
pub(super) fn metadata_of(entry: &fs::DirEntry) -> Result<Option<fs::Metadata>> {
    match entry.metadata() {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", entry.path())(error)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Bytes that count how many of their kind are in memory.
    struct Part(std::rc::Rc<()>);

    impl AsRef<[u8]> for Part {
        fn as_ref(&self) -> &[u8] {
            assert_eq!(std::rc::Rc::strong_count(&self.0), 2, "an earlier part is still in memory");
            b"part"
        }
    }

    #[test]
    fn written_parts_are_dropped_before_the_next_part_and_the_sync() {
        let dir = tempfile::tempdir().unwrap();
        let alive = std::rc::Rc::new(());
        let parts = (0..3).map(|_| Part(std::rc::Rc::clone(&alive)));
        let mut temp = Temp::new(dir.path(), Modes::PRIVATE).unwrap();
        temp.write(Path::new("a pack"), parts, true).unwrap();
        assert_eq!(fs::read(&temp.path.name).unwrap(), b"partpartpart");
    }

    #[test]
    fn link_publishes_once() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("name");
        let quirks = Quirks::default();
        let publish = || link(Temp::new(dir.path(), Modes::PRIVATE).unwrap().path, &to, &quirks).unwrap();
        assert_eq!(publish(), CreateOutcome::New);
        assert_eq!(publish(), CreateOutcome::Exists);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        probe_exclusiveness(dir.path(), &quirks);
        assert_eq!(quirks.weakness(), None);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn storage_without_links_keeps_names_and_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to, quirks) = (dir.path().join("from"), dir.path().join("to"), Quirks::default());
        for (text, wanted, left) in
            [("one", CreateOutcome::New, "one"), ("two", CreateOutcome::Exists, "one")]
        {
            fs::write(&from, text).unwrap();
            assert_eq!(check_and_rename(&from, &to, &quirks).unwrap(), wanted);
            assert_eq!(fs::read_to_string(&to).unwrap(), left);
        }
        assert!(quirks.weakness().is_some());
    }
}
