//! This machine's cache of repository data. Disposable: losing it costs speed, and the ability to notice that
//! an object vanished or was replaced.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::codec::crypto::hash;
use crate::model::id::{RepoId, hex};
use crate::util::new_file;
use crate::util::user_dirs::{self, UserDir};

/// Marks a directory as a cache: see bford.info/cachedir.
const TAG_NAME: &str = "CACHEDIR.TAG";
const TAG_TEXT: &str =
    "Signature: 8a477f597d28d172789f06886806bc55\n# Made by snap: it can be removed at any time.\n";

/// This machine's cache directory for one repository; every operation on it is best effort.
#[derive(Debug, Clone)]
pub struct Cache {
    base: Option<PathBuf>,
    dir: Option<PathBuf>,
    /// In the state directory, because the record of seen objects must survive deletion of the cache.
    seen: Option<PathBuf>,
    repo: RepoId,
}

/// The objects that were seen at the last listing of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastSeen {
    /// Names, as `area/name`.
    pub objects: BTreeSet<String>,
}

/// Returns the user's cache directory for snap.
pub fn default_dir() -> Option<PathBuf> {
    user_dirs::user_dir(UserDir::Cache)
}

impl Cache {
    /// Creates the cache in `base` for this repository at `location`. The record of seen objects is in
    /// `state`.
    pub fn new(base: Option<&Path>, state: Option<&Path>, location: &str, repo: &RepoId) -> Self {
        let base = base.map(Path::to_path_buf);
        let dir = base.as_ref().map(|base| base.join(repo.hex()));
        let seen = state.map(|state| state.join("known").join(seen_name(location, repo)));
        Self { base, dir, seen, repo: *repo }
    }

    /// Returns the directory that holds the caches of all repositories.
    pub fn base(&self) -> Option<&Path> {
        self.base.as_deref()
    }

    /// Returns the cache of the same repository at another location, where other objects exist.
    pub fn elsewhere(&self, location: &str) -> Self {
        let seen = self.seen.as_ref().map(|seen| seen.with_file_name(seen_name(location, &self.repo)));
        Self { seen, ..self.clone() }
    }

    /// Returns the directory of the local index cache, creating its parents if necessary.
    ///
    /// # Errors
    /// The reason why there is none, for the user.
    pub fn view_dir(&self) -> Result<Option<PathBuf>, String> {
        let (Some(base), Some(dir)) = (&self.base, &self.dir) else { return Ok(None) };
        match self.create_dir(dir) {
            Ok(()) => Ok(Some(dir.join("view"))),
            Err(err) => Err(format!("the local cache at {} cannot be created: {err}", base.display())),
        }
    }

    /// Creates a directory that only this user can read, tagged as a cache so that backups can skip it.
    fn create_dir(&self, dir: &Path) -> std::io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        match &self.base {
            Some(base) => new_file::replace(&base.join(TAG_NAME), TAG_TEXT.as_ref()),
            None => Ok(()),
        }
    }

    /// Returns the manifests, key slots and configurations seen here before.
    pub fn remembered(&self) -> LastSeen {
        let text = self.seen.as_ref().and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
        LastSeen { objects: text.lines().map(str::to_owned).collect() }
    }

    /// Records an object that this machine created (`here`) or removed.
    /// A later comparison then reports only what others removed.
    pub fn note(&self, object: &str, here: bool) {
        let mut seen = self.remembered();
        let changed = if here { seen.objects.insert(object.to_owned()) } else { seen.objects.remove(object) };
        if changed {
            self.remember(&seen);
        }
    }

    /// Like [`Self::note`], for many objects that this machine has removed.
    pub fn note_removed(&self, objects: impl Iterator<Item = String>) {
        let mut seen = self.remembered();
        let before = seen.objects.len();
        objects.for_each(|object| _ = seen.objects.remove(&object));
        if seen.objects.len() != before {
            self.remember(&seen);
        }
    }

    /// Replaces the record of seen objects.
    pub fn remember(&self, seen: &LastSeen) {
        let Some((dir, file)) = self.seen.as_ref().and_then(|file| Some((file.parent()?, file))) else {
            return;
        };
        if self.remembered() == *seen {
            return;
        }
        let text: String = seen.objects.iter().map(|name| format!("{name}\n")).collect();
        let _ = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        let _ = new_file::replace(file, text.as_bytes());
    }

    /// Returns a text stored under this name.
    pub fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.dir.as_ref()?.join(name)).ok()
    }

    /// Stores a text, replacing the previous one.
    pub fn keep_text(&self, name: &str, text: &str) {
        let Some(dir) = &self.dir else { return };
        let _ = self.create_dir(dir);
        let _ = new_file::replace(&dir.join(name), text.as_bytes());
    }

    /// Returns a cached small immutable object.
    pub fn object(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.dir.as_ref()?.join("objects").join(name)).ok()
    }

    /// Stores the bytes of a small immutable object.
    pub fn keep_object(&self, name: &str, bytes: &[u8]) {
        let Some(dir) = self.dir.as_ref().map(|dir| dir.join("objects")) else { return };
        let _ = self.create_dir(&dir);
        let _ = new_file::replace(&dir.join(name), bytes);
    }

    /// Removes an object that turned out to be wrong or gone.
    pub fn drop_object(&self, name: &str) {
        if let Some(dir) = &self.dir {
            let _ = fs::remove_file(dir.join("objects").join(name));
        }
    }
}

fn seen_name(location: &str, repo: &RepoId) -> String {
    let place: String = hex(&hash::sha256(location.as_bytes())).chars().take(32).collect();
    format!("{place}-{}.seen", repo.short())
}
