//! Files and folders that appear complete and durable, or not at all.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, io};

use rustix::fs::{AtFlags, CWD, RenameFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::storage::CreateOutcome;
use crate::storage::local::quirks::{Modes, Quirks, is_unsupported, is_unsupported_io};

/// Makes names of temporary files differ within the process.
static COUNTER: AtomicU64 = AtomicU64::new(0);
/// How names of temporary files begin: listings skip them.
pub(super) const TEMP: &str = ".tmp-";

/// A temporary file, removed unless it was published.
pub(super) struct Temp {
    pub(super) file: File,
    pub(super) path: TempPath,
}

/// Removes the file of that name when dropped, unless it was renamed.
pub(super) struct TempPath {
    pub(super) name: PathBuf,
    renamed: bool,
}

impl TempPath {
    /// Nothing has this name any more.
    pub(super) fn renamed(mut self) {
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
    /// A new file in `folder`, for those for whom the repository is.
    pub(super) fn new(folder: &Path, modes: Modes) -> Result<Self> {
        let random = getrandom::u32();
        let random = random.map_err(|error| io::Error::other(error.to_string()));
        let random = random.map_err(Error::io("draw random bytes for a file in", folder))?;
        let (pid, count) = (std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let path = folder.join(format!("{TEMP}{pid}-{count}-{random:08x}"));
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = opened.map_err(Error::io("create", &path))?;
        modes.share(&file, modes.file);
        Ok(Self { file, path: TempPath { name: path, renamed: false } })
    }

    /// Gives the file the name `to` if that is free, and removes it otherwise.
    pub(super) fn publish(self, to: &Path, quirks: &Quirks) -> Result<(CreateOutcome, File)> {
        let Self { file, path } = self;
        match rustix::fs::renameat_with(CWD, &path.name, CWD, to, RenameFlags::NOREPLACE) {
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

/// Publishes on file systems that cannot rename without replacing. The temporary name goes in any case.
pub(super) fn link(from: TempPath, to: &Path, quirks: &Quirks) -> Result<CreateOutcome> {
    match rustix::fs::linkat(CWD, &from.name, CWD, to, AtFlags::empty()) {
        Ok(()) => Ok(CreateOutcome::New),
        Err(Errno::EXIST) => Ok(CreateOutcome::Exists),
        Err(errno) if has_no_links(errno) => {
            let created = look_and_rename(&from.name, to, quirks)?;
            if created == CreateOutcome::New {
                from.renamed();
            }
            Ok(created)
        }
        Err(errno) => Err(Error::io("publish", to)(errno.into())),
    }
}

/// EPERM is what a file system without hard links says.
fn has_no_links(errno: Errno) -> bool {
    is_unsupported(errno) || errno == Errno::PERM
}

/// The last resort: two who take one name at the same instant may both be told that it is theirs. So whoever collects is
/// told not to trust this store.
fn look_and_rename(from: &Path, to: &Path, quirks: &Quirks) -> Result<CreateOutcome> {
    quirks.overwrites.raise();
    match to.symlink_metadata() {
        Ok(_) => return Ok(CreateOutcome::Exists),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io("look at", to)(error)),
    }
    fs::rename(from, to).map_err(Error::io("publish", to))?;
    Ok(CreateOutcome::New)
}

/// Tries whether names are taken exclusively in a folder; what cannot be tried is not found out.
pub(super) fn probe_exclusiveness(folder: &Path, quirks: &Quirks) {
    let temp = || Temp::new(folder, Modes::PRIVATE).ok();
    let (Some(first), Some(second)) = (temp(), temp()) else { return };
    let renamed =
        rustix::fs::renameat_with(CWD, &first.path.name, CWD, &second.path.name, RenameFlags::NOREPLACE);
    if renamed.is_err_and(is_unsupported) {
        // Onto a name that is taken: EEXIST where there are links.
        let linked = rustix::fs::linkat(CWD, &first.path.name, CWD, &second.path.name, AtFlags::empty());
        if linked.is_err_and(has_no_links) {
            quirks.overwrites.raise();
        }
    }
}

/// Gives a file another name if that is free.
pub(super) fn rename_free(from: &Path, to: &Path, quirks: &Quirks) -> Result<CreateOutcome> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(CreateOutcome::New),
        Err(Errno::EXIST) => Ok(CreateOutcome::Exists),
        Err(errno) if is_unsupported(errno) => {
            // Linked first, so that it never stands under no name.
            let linked = link(TempPath { name: from.to_path_buf(), renamed: true }, to, quirks)?;
            if linked == CreateOutcome::New && !quirks.overwrites.is_raised() {
                fs::remove_file(from).map_err(Error::io("remove", from))?;
            }
            Ok(linked)
        }
        Err(errno) => Err(Error::io("move", from)(errno.into())),
    }
}

/// Folder of a path; a bare name lies in the working directory.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Creates a folder and those above it; syncs the parent of each that it made.
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

/// Makes durable which names a folder holds.
pub(super) fn sync_folder(folder: &Path, quirks: &Quirks) -> Result<()> {
    let file = File::open(folder).map_err(Error::io("open", folder))?;
    sync_open_folder(&file, folder, quirks)
}

/// The same of one that is open. A file system that has no such thing keeps names as well as it can; any other failure
/// means that they may be lost.
pub(super) fn sync_open_folder(open: &File, folder: &Path, quirks: &Quirks) -> Result<()> {
    match open.sync_all() {
        Err(error) if is_unsupported_io(&error) => {
            quirks.unsynced.raise();
            Ok(())
        }
        synced => synced.map_err(Error::io("sync", folder)),
    }
}

/// Entries of a folder; none when there is no such folder. A link that leads nowhere is an error: what it led
/// to may be on a disk that is not mounted.
pub(super) fn read_folder(folder: &Path) -> Result<Vec<fs::DirEntry>> {
    loop {
        match fs::read_dir(folder).and_then(Iterator::collect) {
            // The standard library tries other calls again, but not this one.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.is_symlink() => {
                return Ok(Vec::new());
            }
            entries => return entries.map_err(Error::io("list", folder)),
        }
    }
}

/// What an entry is; `None` when it has gone since it was listed.
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
        assert_eq!(quirks.lacks(), None);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn without_links_a_name_that_is_taken_stays_and_the_store_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to, quirks) = (dir.path().join("from"), dir.path().join("to"), Quirks::default());
        for (text, wanted, left) in
            [("one", CreateOutcome::New, "one"), ("two", CreateOutcome::Exists, "one")]
        {
            fs::write(&from, text).unwrap();
            assert_eq!(look_and_rename(&from, &to, &quirks).unwrap(), wanted);
            assert_eq!(fs::read_to_string(&to).unwrap(), left);
        }
        assert!(quirks.lacks().is_some());
    }
}
