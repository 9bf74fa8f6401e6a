//! Directories that no command writes to, whatever path the user gives: the repository, its mirrors, and this
//! machine's cache and state directories.

use std::path::{Path, PathBuf};

use snap_backup::fs::protected_dirs::{Guard, Protected};
use snap_backup::repo::{cache, enclosing_repository};
use snap_backup::storage::Storage;
use snap_backup::{Error, Result};

use crate::args::global::Global;
use crate::config::{Config, Set};
use crate::context::Context;

impl Context {
    /// Returns all protected directories on this machine.
    pub(crate) fn protected(&self) -> Vec<Protected> {
        let mut all = Vec::new();
        let mut add = |what, path: Option<PathBuf>| all.extend(path.map(|path| Protected { what, path }));
        add("the repository", self.local_dir());
        for mirror in self.config.sets().iter().flat_map(Set::mirrors) {
            add("a mirror of the repository", self.for_repository(mirror).local_dir());
        }
        all.extend(self.kept());
        all
    }

    /// Returns the cache and the state directory.
    fn kept(&self) -> Vec<Protected> {
        let cache = self.global.cache().or_else(cache::default_dir);
        let all = [("snap's cache", cache), ("snap's state directory", self.global.state())];
        all.into_iter().filter_map(|(what, path)| Some(Protected { what, path: path? })).collect()
    }

    /// Returns a guard that rejects paths in these directories.
    pub(crate) fn guard(&self) -> Guard {
        Guard::new(self.protected())
    }

    /// Rejects a file to be written in one of these directories, or in any repository: a repository that is
    /// accessed over a network may be on this machine.
    pub(crate) fn may_write(&self, file: &Path) -> Result<()> {
        self.guard().check_file(file)?;
        let Some(dir) = file.parent() else { return Ok(()) };
        match enclosing_repository::around(dir) {
            Some(repository) => Err(Error::Refused(inside(dir, &repository))),
            None => Ok(()),
        }
    }

    /// Rejects a location for a new repository in another one, or in the cache or state directory.
    pub(crate) fn may_make(&self, storage: &dyn Storage) -> Result<()> {
        let Some(dir) = storage.local_dir() else { return Ok(()) };
        let cannot = |why| Error::CannotInit { location: storage.location(), why };
        if let Some(other) = enclosing_repository::above(dir) {
            return Err(cannot(inside(dir, &other)));
        }
        Guard::new(self.kept()).check(dir).map_err(|err| cannot(err.to_string()))
    }

    /// Returns the repository's directory if it is local. Makes no connection to find out.
    fn local_dir(&self) -> Option<PathBuf> {
        let named = self.global.repo.as_ref().map(|repo| repo.to_string_lossy().into_owned());
        let is_remote = named.is_some_and(|name| name.starts_with("rest:") || is_url(&name));
        let storage = (!is_remote).then(|| self.storage().ok()).flatten()?;
        storage.local_dir().map(std::path::Path::to_path_buf)
    }
}

/// For verbs that must work with an invalid configuration: rejects a directory in any repository, or in the
/// cache or state directory.
pub(crate) fn check_unconfigured(global: &Global, dir: &Path) -> Result<()> {
    if let Some(repository) = enclosing_repository::around(dir) {
        return Err(Error::Refused(inside(dir, &repository)));
    }
    let config = Config::load(global).unwrap_or_default();
    Context::new(global.clone(), config).guard().check(dir)
}

fn inside(dir: &Path, repository: &Path) -> String {
    let (dir, repository) = (dir.display(), repository.display());
    format!(
        "{dir} is inside the repository {repository}, where nothing else may be written: give another \
         directory"
    )
}

fn is_url(name: &str) -> bool {
    name.contains("://") && !name.starts_with("file://")
}
