//! Directories above the sources that a snapshot does not contain. If they kept other users out, the
//! snapshot must not be visible to these users either.

use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Others may search the directory.
const OTHERS_SEARCH: u32 = 0o001;

/// Returns whether all users may search the directories above these sources that a snapshot does not contain.
/// For an absolute source there are none; for a relative one, they are the working directory and its
/// ancestors; for one that is stored under another path (`moved`), all its ancestors.
pub fn are_open(sources: &[PathBuf], moved: bool) -> bool {
    let Ok(here) = std::env::current_dir() else { return false };
    sources.iter().all(|source| {
        let absolute = here.join(source);
        if moved {
            return absolute.parent().is_none_or(all_may_enter);
        }
        // A relative path with `..` is stored like an absolute one.
        let stored_as_absolute =
            source.is_absolute() || source.components().any(|part| part == Component::ParentDir);
        stored_as_absolute || all_may_enter(&here)
    })
}

/// Returns whether all users may search a directory and its ancestors.
fn all_may_enter(dir: &Path) -> bool {
    dir.ancestors().all(|dir| {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        dir.metadata().is_ok_and(|found| found.mode() & OTHERS_SEARCH != 0)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_closed_directory_above_is_enough() {
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        let inner = dir.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        for (mode, open) in [(0o711, true), (0o770, false)] {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(are_open(&[inner.join("source")], true), open);
            assert!(are_open(&[inner.join("source")], false), "the snapshot contains them all");
        }
    }
}
