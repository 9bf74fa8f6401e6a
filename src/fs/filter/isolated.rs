//! Directories whose files are compressed each by itself, though they have one owner: mail, uploads, and
//! whatever else strangers may add to.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The directories, absolute, as given and with links resolved.
#[derive(Debug, Default)]
pub(crate) struct Isolated {
    dirs: Vec<PathBuf>,
    /// Those that cannot be found, and why. That is no error: a backup that fails since a directory is gone
    /// would save nothing at all.
    pub(crate) missing: Vec<String>,
}

impl Isolated {
    /// Takes directories, each below or above one of the sources.
    ///
    /// # Errors
    /// One of them has nothing to do with the sources.
    pub(crate) fn new(dirs: &[PathBuf], sources: &[PathBuf]) -> Result<Self> {
        let sources: Vec<PathBuf> = sources.iter().flat_map(|source| forms(source)).collect();
        let mut all = Self::default();
        for dir in dirs {
            let named = || format!("`BackupOptions::isolate` {}", dir.display());
            if let Err(err) = dir.metadata() {
                all.missing.push(format!("{}: {err}: no file is kept apart there", named()));
            }
            let forms = forms(dir);
            let meets = |dir: &PathBuf| {
                sources.iter().any(|source| dir.starts_with(source) || source.starts_with(dir))
            };
            if !forms.iter().any(meets) {
                return Err(Error::Usage(format!("{}: none of the sources holds it", named())));
            }
            all.dirs.extend(forms);
        }
        Ok(all)
    }

    /// Returns whether a file lies in one of them.
    pub(crate) fn contains(&self, path: &Path) -> bool {
        !self.dirs.is_empty()
            && std::path::absolute(path).is_ok_and(|path| self.dirs.iter().any(|dir| path.starts_with(dir)))
    }
}

/// Returns the absolute path as it was given, and the one without links.
fn forms(path: &Path) -> Vec<PathBuf> {
    let given = std::path::absolute(path).ok();
    given.into_iter().chain(path.canonicalize().ok()).collect()
}
