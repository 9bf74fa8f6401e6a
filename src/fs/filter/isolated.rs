//! Directories whose files are compressed individually although they have the same owner: mail, uploads, and
//! other places to which strangers can add files.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The directories as absolute paths, as given and with links resolved.
#[derive(Debug, Default)]
pub(crate) struct Isolated {
    dirs: Vec<PathBuf>,
    /// Messages about directories that cannot be found. This is not an error: failing the backup would leave
    /// the other files unsaved.
    pub(crate) missing: Vec<String>,
}

impl Isolated {
    /// Resolves the directories, each of which must be below or above one of the sources.
    ///
    /// # Errors
    /// A directory is unrelated to the sources.
    pub(crate) fn new(dirs: &[PathBuf], sources: &[PathBuf]) -> Result<Self> {
        let sources: Vec<PathBuf> = sources.iter().flat_map(|source| forms(source)).collect();
        let mut all = Self::default();
        for dir in dirs {
            let named = || format!("`BackupOptions::isolate` {}", dir.display());
            if let Err(err) = dir.metadata() {
                all.missing.push(format!("{}: {err}: no file is isolated there", named()));
            }
            let forms = forms(dir);
            let meets = |dir: &PathBuf| {
                sources.iter().any(|source| dir.starts_with(source) || source.starts_with(dir))
            };
            if !forms.iter().any(meets) {
                return Err(Error::Usage(format!("{}: it is not in any of the sources", named())));
            }
            all.dirs.extend(forms);
        }
        Ok(all)
    }

    /// Returns whether a file is in one of the directories.
    pub(crate) fn contains(&self, path: &Path) -> bool {
        !self.dirs.is_empty()
            && std::path::absolute(path).is_ok_and(|path| self.dirs.iter().any(|dir| path.starts_with(dir)))
    }
}

/// Returns the absolute path as given, and with links resolved.
fn forms(path: &Path) -> Vec<PathBuf> {
    let given = std::path::absolute(path).ok();
    given.into_iter().chain(path.canonicalize().ok()).collect()
}
