//! Directories that an operation must not write to or remove, whatever path the user gives: the open
//! repository, its mirrors, and this machine's cache and state. They are identified by device and inode, so
//! that a symbolic link or a bind mount to one of them is recognized.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::fs::stat;
use crate::sys::fs::{CWD, Mode, SEARCH, openat};
use crate::sys::path::Arg;

/// Levels of subdirectories that are identified individually, because a bind mount may show only a part of
/// a repository. The packs of a repository are two levels below its root.
const LEVELS: usize = 2;
/// Maximum number of `..` steps to the root. Only a file system with an inconsistent `..` needs more.
const MAX_ANCESTORS: usize = 8192;

/// A protected directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protected {
    /// Its role, for instance "the repository".
    pub what: &'static str,
    /// Its path; it need not exist.
    pub path: PathBuf,
}

/// The set of protected directories.
#[derive(Debug, Default)]
pub struct Guard {
    protected: Vec<Protected>,
    /// Device and inode of each, and of its subdirectories.
    ids: HashMap<(u64, u64), usize>,
}

impl Guard {
    /// Identifies these directories in their present state.
    pub fn new(protected: Vec<Protected>) -> Self {
        let mut ids = HashMap::new();
        for (number, dir) in protected.iter().enumerate() {
            // A symbolic link is resolved.
            let Ok(root) = std::fs::canonicalize(&dir.path) else { continue };
            visit_dirs(&root, LEVELS, &mut |id| {
                ids.entry(id).or_insert(number);
            });
        }
        Self { protected, ids }
    }

    /// Returns the protected directory with this device and inode.
    pub fn find(&self, id: (u64, u64)) -> Option<&Protected> {
        self.protected.get(*self.ids.get(&id)?)
    }

    /// Refuses a directory, which need not exist yet, that is protected or inside a protected one.
    ///
    /// # Errors
    /// It is, or this cannot be determined.
    pub fn check(&self, dir: &Path) -> Result<()> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let whole = std::path::absolute(dir).map_err(Error::io("find", dir))?;
        let nearest = whole.ancestors().find(|path| !is_absent(path)).unwrap_or(Path::new("/"));
        let mut at = open(CWD, nearest).map_err(Error::io("read the metadata of", nearest))?;
        for _ in 0..MAX_ANCESTORS {
            let id = stat::stat_open(&at).map_err(Error::io("read the metadata of", nearest))?.id;
            if let Some(found) = self.find(id) {
                return Err(refused(dir, found));
            }
            let above = open(&at, "..").map_err(Error::io("open the parent of", nearest))?;
            if stat::stat_open(&above).map_err(Error::io("open the parent of", nearest))?.id == id {
                return Ok(());
            }
            at = above;
        }
        Err(Error::Refused(format!("cannot determine the parent directories of {}", dir.display())))
    }

    /// Like [`Guard::check`] for a file to be written, and for its target if it is a symbolic link.
    ///
    /// # Errors
    /// As [`Guard::check`].
    pub fn check_file(&self, file: &Path) -> Result<()> {
        let parent = |path: &Path| match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        self.check(&parent(file))?;
        match std::fs::canonicalize(file) {
            Ok(whole) => self.check(&parent(&whole)),
            Err(_) => Ok(()),
        }
    }
}

/// Calls `visit` with device and inode of a directory and its subdirectories, `levels` levels down. What
/// cannot be read is skipped: it cannot be written to either.
fn visit_dirs(dir: &Path, levels: usize, visit: &mut dyn FnMut((u64, u64))) {
    let Ok(found) = stat::stat(CWD, dir) else { return };
    visit(found.id);
    let below = std::fs::read_dir(dir).ok().filter(|_| levels > 0).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        visit_dirs(&entry.path(), levels - 1, visit);
    }
}

fn refused(dir: &Path, found: &Protected) -> Error {
    let (dir, what, path) = (dir.display(), found.what, found.path.display());
    Error::Refused(format!(
        "{dir} is inside {what} ({path}), where nothing else may be written: give another directory"
    ))
}

fn is_absent(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_err_and(|err| matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
}

/// Opens a directory to stat it; no read permission is needed.
fn open(dir: impl AsFd, name: impl Arg) -> std::io::Result<OwnedFd> {
    Ok(openat(dir, name, SEARCH, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn paths_in_a_protected_directory_are_refused_by_any_name() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("repo/packs/00")).unwrap();
        fs::create_dir_all(at("beside/sub")).unwrap();
        symlink(at("repo/packs"), at("link")).unwrap();
        symlink("repo", at("other")).unwrap();
        let guard = Guard::new(vec![Protected { what: "the repository", path: at("other") }]);
        for name in
            ["repo", "repo/new/deep", "repo/packs/00", "link", "link/new", "other/x", "beside/../repo/x"]
        {
            let err = guard.check(&at(name)).unwrap_err().to_string();
            assert!(err.contains("the repository"), "{name}: {err}");
        }
        for name in ["", "beside", "beside/sub/new/deep", "repository", "new"] {
            guard.check(&at(name)).unwrap();
        }
        fs::write(at("repo/config"), "").unwrap();
        symlink(at("repo/config"), at("file")).unwrap();
        assert!(guard.check_file(&at("file")).is_err() && guard.check_file(&at("repo/new")).is_err());
        guard.check_file(&at("new")).unwrap();
    }
}
