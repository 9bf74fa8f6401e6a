//! Directories that a verb must not write to or remove, whatever the user names: the open repository, its mirrors, and
//! what this machine keeps of it. They are known by device and inode, so that a symbolic link or a bind mount to one of
//! them is one of them.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::path::Arg;

use crate::error::{Error, Result};
use crate::fs::stat;

/// Directories of directories that are known one by one: a bind mount may show a part of a repository alone. The
/// packs of a repository lie two levels below its root.
const LEVELS: usize = 2;
/// No path leads through more directories; only a file system that lies about `..` does.
const MOST_ABOVE: usize = 8192;

/// A directory to be left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protected {
    /// What it is, as in "the repository".
    pub what: &'static str,
    /// Where it is; it need not exist.
    pub path: PathBuf,
}

/// What is to be left alone.
#[derive(Debug, Default)]
pub struct Guard {
    protected: Vec<Protected>,
    /// Device and inode of each, and of what lies in it.
    ids: HashMap<(u64, u64), usize>,
}

impl Guard {
    /// Of these directories as they are now.
    pub fn new(protected: Vec<Protected>) -> Self {
        let mut ids = HashMap::new();
        for (number, one) in protected.iter().enumerate() {
            // Where it is a link, what it leads to.
            let Ok(root) = std::fs::canonicalize(&one.path) else { continue };
            note(&root, LEVELS, &mut |id| {
                ids.entry(id).or_insert(number);
            });
        }
        Self { protected, ids }
    }

    /// Whether this directory is to be left alone, and what it is.
    pub fn find(&self, id: (u64, u64)) -> Option<&Protected> {
        self.protected.get(*self.ids.get(&id)?)
    }

    /// Refuses a directory, which need not exist yet, at or below one that is to be left alone.
    ///
    /// # Errors
    /// When it is, or when nobody can say.
    pub fn check(&self, dir: &Path) -> Result<()> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let whole = std::path::absolute(dir).map_err(Error::io("find", dir))?;
        let there = whole.ancestors().find(|path| !is_absent(path)).unwrap_or(Path::new("/"));
        let mut at = open(CWD, there).map_err(Error::io("look at", there))?;
        for _ in 0..MOST_ABOVE {
            let id = stat::look_open(&at).map_err(Error::io("look at", there))?.id;
            if let Some(found) = self.find(id) {
                return Err(refused(dir, found));
            }
            let above = open(&at, "..").map_err(Error::io("look above", there))?;
            if stat::look_open(&above).map_err(Error::io("look above", there))?.id == id {
                return Ok(());
            }
            at = above;
        }
        Err(Error::Refused(format!("nobody can say where {} lies", dir.display())))
    }

    /// The same of a file that is to be written, and of what it leads to if it is a link.
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

/// Tells of a directory and of those in it, so many levels down. What cannot be looked at cannot be written to either.
fn note(dir: &Path, levels: usize, tell: &mut dyn FnMut((u64, u64))) {
    let Ok(found) = stat::look(CWD, dir) else { return };
    tell(found.id);
    let below = std::fs::read_dir(dir).ok().filter(|_| levels > 0).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        note(&entry.path(), levels - 1, tell);
    }
}

/// Why nothing is written there.
fn refused(dir: &Path, found: &Protected) -> Error {
    let (dir, what, path) = (dir.display(), found.what, found.path.display());
    Error::Refused(format!(
        "{dir} lies in {what} ({path}), which nothing else may write to: name another place"
    ))
}

fn is_absent(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_err_and(|err| matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
}

/// Opens a directory to look at it; no right to read it is needed.
fn open(dir: impl AsFd, name: impl Arg) -> std::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_lies_in_a_protected_directory_is_refused_by_whatever_name() {
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
