//! What this machine remembers of repositories. Disposable: losing it costs speed, and the power to notice that
//! something vanished or was swapped.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::codec::crypto::hash;
use crate::model::id::{RepoId, hex};
use crate::util::user_dirs;

/// What says that a folder is a cache: see bford.info/cachedir.
const TAG_NAME: &str = "CACHEDIR.TAG";
const TAG_TEXT: &str =
    "Signature: 8a477f597d28d172789f06886806bc55\n# Made by snap: it can be removed at any time.\n";

/// This machine's folder for one repository; every operation on it is best effort.
#[derive(Debug, Clone)]
pub struct Cache {
    base: Option<PathBuf>,
    dir: Option<PathBuf>,
    /// In the state directory, for what was seen: that must not go with the cache.
    seen: Option<PathBuf>,
    repo: RepoId,
}

/// What was last seen of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastSeen {
    /// Names, as `area/name`.
    pub objects: BTreeSet<String>,
}

/// `$XDG_CACHE_HOME/snap`, else `~/.cache/snap`.
pub fn default_dir() -> Option<PathBuf> {
    user_dirs::user_dir("XDG_CACHE_HOME", ".cache")
}

impl Cache {
    /// In `base`, for this repository at `location`; what was seen of it lies in `state`.
    pub fn new(base: Option<&Path>, state: Option<&Path>, location: &str, repo: &RepoId) -> Self {
        let base = base.map(Path::to_path_buf);
        let dir = base.as_ref().map(|base| base.join(repo.hex()));
        let seen = state.map(|state| state.join("known").join(seen_name(location, repo)));
        Self { base, dir, seen, repo: *repo }
    }

    /// The folder that holds those of all repositories.
    pub fn base(&self) -> Option<&Path> {
        self.base.as_deref()
    }

    /// For the same repository at another location: other things are there.
    pub fn elsewhere(&self, location: &str) -> Self {
        let seen = self.seen.as_ref().map(|seen| seen.with_file_name(seen_name(location, &self.repo)));
        Self { seen, ..self.clone() }
    }

    /// Folder of the sled view. What it lies in is made if need be.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub fn view_dir(&self) -> Result<Option<PathBuf>, String> {
        let (Some(base), Some(dir)) = (&self.base, &self.dir) else { return Ok(None) };
        match self.make(dir) {
            Ok(()) => Ok(Some(dir.join("view"))),
            Err(err) => Err(format!("this machine's cache at {} cannot be made: {err}", base.display())),
        }
    }

    /// Makes a folder that only this user may look into. A backup of the home directory that skips caches skips it.
    fn make(&self, dir: &Path) -> std::io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        match &self.base {
            Some(base) => fs::write(base.join(TAG_NAME), TAG_TEXT),
            None => Ok(()),
        }
    }

    /// Manifests, key slots and configurations seen here before.
    pub fn remembered(&self) -> LastSeen {
        let text = self.seen.as_ref().and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
        LastSeen { objects: text.lines().map(str::to_owned).collect() }
    }

    /// Notes what this machine itself has made (`here`) or removed, so that a later look misses just what others took.
    pub fn note(&self, object: &str, here: bool) {
        let mut seen = self.remembered();
        let changed = if here { seen.objects.insert(object.to_owned()) } else { seen.objects.remove(object) };
        if changed {
            self.remember(&seen);
        }
    }

    /// Notes what this machine itself has removed: as [`Self::note`], for many objects at once.
    pub fn note_removed(&self, objects: impl Iterator<Item = String>) {
        let mut seen = self.remembered();
        let before = seen.objects.len();
        objects.for_each(|object| _ = seen.objects.remove(&object));
        if seen.objects.len() != before {
            self.remember(&seen);
        }
    }

    /// Replaces what was seen.
    pub fn remember(&self, seen: &LastSeen) {
        let Some((dir, file)) = self.seen.as_ref().and_then(|file| Some((file.parent()?, file))) else {
            return;
        };
        if self.remembered() == *seen {
            return;
        }
        let text: String = seen.objects.iter().map(|name| format!("{name}\n")).collect();
        let _ = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        let _ = replace(file, text.as_bytes());
    }

    /// A text that was kept under this name.
    pub fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.dir.as_ref()?.join(name)).ok()
    }

    /// Keeps a text instead of the one before.
    pub fn keep_text(&self, name: &str, text: &str) {
        let Some(dir) = &self.dir else { return };
        let _ = self.make(dir);
        let _ = replace(&dir.join(name), text.as_bytes());
    }

    /// The bytes of a small immutable object read before.
    pub fn object(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.dir.as_ref()?.join("objects").join(name)).ok()
    }

    /// Keeps the bytes of a small immutable object.
    pub fn keep_object(&self, name: &str, bytes: &[u8]) {
        let Some(dir) = self.dir.as_ref().map(|dir| dir.join("objects")) else { return };
        let _ = self.make(&dir);
        let _ = replace(&dir.join(name), bytes);
    }

    /// Forgets an object that turned out wrong or gone.
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

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temp = path.with_extension(format!("tmp{}", std::process::id()));
    fs::write(&temp, bytes)?;
    fs::rename(&temp, path)
}
