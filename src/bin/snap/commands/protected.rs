//! Directories that no verb writes to, whatever the user names: the repository, its mirrors, and what this machine keeps
//! of its work.

use std::path::PathBuf;

use snap_backup::store::cache;
use snap_backup::tree::guard::{Guard, Protected};

use super::Context;

impl Context {
    /// All of them, as far as they are directories of this machine.
    pub(super) fn protected(&self) -> Vec<Protected> {
        let mut all = Vec::new();
        let mut add = |what, path: Option<PathBuf>| all.extend(path.map(|path| Protected { what, path }));
        add("the repository", self.local_dir());
        let mirrors = self.config.sets().iter().flat_map(crate::config::Set::mirrors);
        for mirror in mirrors {
            add("a mirror of the repository", self.for_repository(mirror).local_dir());
        }
        add("snap's cache", self.global.cache().or_else(cache::default_dir));
        add("snap's state directory", self.global.state());
        all
    }

    /// What checks that a place lies in none of them.
    pub(super) fn guard(&self) -> Guard {
        Guard::new(self.protected())
    }

    /// The repository's directory, if it is one. Nobody is called for that.
    fn local_dir(&self) -> Option<PathBuf> {
        let named = self.global.repo.as_ref().map(|repo| repo.to_string_lossy().into_owned());
        let is_far = named.is_some_and(|name| name.starts_with("rest:") || is_url(&name));
        let storage = (!is_far).then(|| self.storage().ok()).flatten()?;
        storage.local_dir().map(std::path::Path::to_path_buf)
    }
}

fn is_url(name: &str) -> bool {
    name.contains("://") && !name.starts_with("file://")
}
