//! Finds repositories that contain a local path, configured or not, by their structure.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::model::id::RepoId;
use crate::repo::repository::Repository;
use crate::storage::ObjectKind;
use crate::storage::local::LocalStorage;

/// Returns the repository that contains this directory, or is this directory. The directory need not exist.
pub fn around(dir: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(dir).ok()?;
    let existing = absolute.ancestors().find_map(|path| path.canonicalize().ok())?;
    existing.ancestors().find(|path| is_repository(path)).map(Path::to_path_buf)
}

/// Returns the directory of the repository with this id that contains `dir` or is `dir`. It may be a copy, or
/// the repository itself, whatever URL it was opened with.
pub fn same_around(dir: &Path, id: RepoId) -> Option<PathBuf> {
    around(dir).filter(|found| Repository::id_at(&LocalStorage::new(found)).is_ok_and(|other| other == id))
}

/// Returns the repository that contains this directory, other than the directory itself.
pub fn above(dir: &Path) -> Option<PathBuf> {
    let absolute = dir.canonicalize().or_else(|_| std::path::absolute(dir)).ok()?;
    around(absolute.parent()?)
}

/// Returns whether a directory with these names should be checked with [`is_repository`].
pub fn may_be_one(names: &[Vec<u8>]) -> bool {
    names.iter().any(|name| name == ObjectKind::Config.folder().as_bytes())
}

/// Returns whether the directory is a repository; a damaged one counts.
pub fn is_repository(dir: &Path) -> bool {
    match Repository::id_at(&LocalStorage::new(dir)) {
        Ok(_) | Err(Error::NewerFormat { .. }) => true,
        // A file named `1` in a directory `config` is not sufficient evidence.
        Err(Error::Damaged { .. }) => dir.join(ObjectKind::Snapshots.folder()).is_dir(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::Arc;

    use crate::repo::options::InitOptions;

    use super::*;

    #[test]
    fn a_place_in_a_repository_is_known_by_whatever_name() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let at = |name: &str| root.join(name);
        let storage = Arc::new(LocalStorage::new(at("repo")));
        Repository::init(storage, &InitOptions::default()).unwrap();
        fs::create_dir_all(at("repo/packs")).unwrap();
        fs::create_dir_all(at("beside/config")).unwrap();
        fs::write(at("beside/config/1"), "").unwrap();
        symlink("repo/packs", at("link")).unwrap();
        for name in ["repo", "repo/new/deep", "repo/packs/00", "link", "link/new"] {
            assert_eq!(around(&at(name)), Some(at("repo")), "{name}");
            assert_eq!(above(&at(name)), (name != "repo").then(|| at("repo")), "{name}");
        }
        for name in ["", "elsewhere", "repository/new"] {
            assert_eq!((around(&at(name)), above(&at(name))), (None, None), "{name}");
        }
    }
}
