//! Files and folders that appear complete and durable, or not at all.

use std::fs;
use std::fs::DirBuilder;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use rustix::fs::AtFlags;
use rustix::fs::CWD;
use rustix::fs::RenameFlags;
use rustix::io::Errno;

use crate::error::Error;
use crate::error::Result;
use crate::store::storage::Created;

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
    /// A new file that only its owner can read, in `folder`.
    pub(super) fn new(folder: &Path) -> Result<Self> {
        let random = getrandom::u32();
        let random = random.map_err(|error| io::Error::other(error.to_string()));
        let random = random.map_err(Error::io("draw random bytes for a file in", folder))?;
        let (pid, count) = (std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let path = folder.join(format!("{TEMP}{pid}-{count}-{random:08x}"));
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = opened.map_err(Error::io("create", &path))?;
        Ok(Self { file, path: TempPath { name: path, renamed: false } })
    }

    /// Gives the file the name `to` if that is free, and removes it otherwise.
    pub(super) fn publish(self, to: &Path) -> Result<(Created, File)> {
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
pub(super) fn link(from: TempPath, to: &Path) -> Result<Created> {
    match rustix::fs::linkat(CWD, &from.name, CWD, to, AtFlags::empty()) {
        Ok(()) => Ok(Created::New),
        Err(Errno::EXIST) => Ok(Created::Exists),
        Err(errno) => Err(Error::io("publish", to)(errno.into())),
    }
}

/// Gives a file another name if that is free.
pub(super) fn rename_free(from: &Path, to: &Path) -> Result<Created> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(Created::New),
        Err(Errno::EXIST) => Ok(Created::Exists),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            // Linked first, so that it never stands under no name.
            let linked = link(TempPath { name: from.to_path_buf(), renamed: true }, to)?;
            if linked == Created::New {
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
pub(super) fn make_folders(folder: &Path) -> Result<()> {
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
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    let file = File::open(folder).map_err(Error::io("open", folder))?;
    file.sync_all().map_err(Error::io("sync", folder))
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
        let publish = || link(Temp::new(dir.path()).unwrap().path, &to).unwrap();
        assert_eq!(publish(), Created::New);
        assert_eq!(publish(), Created::Exists);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
