//! What this machine remembers of repositories. Disposable: losing it costs speed, and the power to notice that
//! something vanished or was swapped.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use crate::codec::hash;
use crate::model::id::RepoId;
use crate::model::id::hex;

/// This machine's folder for one repository; every operation on it is best effort.
#[derive(Debug, Clone)]
pub struct Cache {
    base: Option<PathBuf>,
    dir: Option<PathBuf>,
    place: String,
}

/// What was last seen of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Names, as `area/name`.
    pub objects: BTreeSet<String>,
}

/// What was last seen at a location.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Which repository.
    pub repo: RepoId,
    /// Whether it was encrypted.
    pub encrypted: bool,
}

/// `$XDG_CACHE_HOME/snap` or `~/.cache/snap`.
pub fn default_dir() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|dir| dir.join("snap"))
}

impl Cache {
    /// In `base`, for the repository at `location`.
    pub fn new(base: Option<&Path>, location: &str, repo: Option<&RepoId>) -> Self {
        let base = base.map(Path::to_path_buf);
        let dir = base.as_ref().zip(repo).map(|(base, repo)| base.join(repo.hex()));
        Self { base, dir, place: place_of(location) }
    }

    /// The folder that holds those of all repositories.
    pub fn base(&self) -> Option<&Path> {
        self.base.as_deref()
    }

    /// For the same repository at another location.
    pub fn elsewhere(&self, location: &str) -> Self {
        Self { place: place_of(location), ..self.clone() }
    }

    /// Folder of the sled view, made if need be.
    pub fn view_dir(&self) -> Option<PathBuf> {
        let dir = self.dir.as_ref()?;
        fs::create_dir_all(dir).ok()?;
        Some(dir.join("view"))
    }

    /// What was last seen at this location.
    pub fn known(&self) -> Option<Known> {
        let text = fs::read_to_string(self.known_file()?).ok()?;
        let (repo, mode) = text.trim().split_once(' ')?;
        Some(Known { repo: RepoId::parse(repo).ok()?, encrypted: mode == "encrypted" })
    }

    /// The file that says what was last seen at this location, for a person who has to remove it.
    pub fn known_file(&self) -> Option<PathBuf> {
        Some(self.base.as_ref()?.join("known").join(&self.place))
    }

    /// Forgets what was last seen at this location.
    pub fn forget_place(&self) {
        if let Some(file) = self.known_file() {
            // What stays is noticed, and named, when the repository is opened.
            let _ = fs::remove_file(file);
        }
    }

    /// Remembers what is at this location.
    pub fn remember_place(&self, known: Known) {
        if self.known() == Some(known) {
            return;
        }
        let Some(dir) = self.base.as_ref().map(|base| base.join("known")) else { return };
        let mode = if known.encrypted { "encrypted" } else { "open" };
        let _ = fs::create_dir_all(&dir);
        let _ = replace(&dir.join(&self.place), format!("{} {mode}\n", known.repo).as_bytes());
    }

    /// Manifests, key slots and configurations seen here before.
    pub fn remembered(&self) -> Remembered {
        let text = self.seen_file().and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
        Remembered { objects: text.lines().map(str::to_owned).collect() }
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

    /// Of this place: of a copy elsewhere, other things are there.
    fn seen_file(&self) -> Option<PathBuf> {
        Some(self.dir.as_ref()?.join(format!("seen-{}", self.place)))
    }

    /// Replaces what was seen.
    pub fn remember(&self, seen: &Remembered) {
        let (Some(dir), Some(file)) = (&self.dir, self.seen_file()) else { return };
        if self.remembered() == *seen {
            return;
        }
        let text: String = seen.objects.iter().map(|name| format!("{name}\n")).collect();
        let _ = fs::create_dir_all(dir);
        let _ = replace(&file, text.as_bytes());
    }

    /// A text that was kept under this name.
    pub fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.dir.as_ref()?.join(name)).ok()
    }

    /// Keeps a text instead of the one before.
    pub fn keep_text(&self, name: &str, text: &str) {
        let Some(dir) = &self.dir else { return };
        let _ = fs::create_dir_all(dir);
        let _ = replace(&dir.join(name), text.as_bytes());
    }

    /// The bytes of a small immutable object read before.
    pub fn object(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.dir.as_ref()?.join("objects").join(name)).ok()
    }

    /// Keeps the bytes of a small immutable object.
    pub fn keep_object(&self, name: &str, bytes: &[u8]) {
        let Some(dir) = self.dir.as_ref().map(|dir| dir.join("objects")) else { return };
        let _ = fs::create_dir_all(&dir);
        let _ = replace(&dir.join(name), bytes);
    }

    /// Forgets an object that turned out wrong or gone.
    pub fn drop_object(&self, name: &str) {
        if let Some(dir) = &self.dir {
            let _ = fs::remove_file(dir.join("objects").join(name));
        }
    }
}

fn place_of(location: &str) -> String {
    hex(&hash::sha256(location.as_bytes())).chars().take(32).collect()
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temp = path.with_extension(format!("tmp{}", std::process::id()));
    fs::write(&temp, bytes)?;
    fs::rename(&temp, path)
}
