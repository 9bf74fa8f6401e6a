//! File systems that treat different names as equal: README and readme on exFAT, FAT, NTFS, and on ext4 or
//! network shares with case folding. Which names are equal is determined by experiment.

use std::path::Path;

use crate::fs::target::root::dir_handle::Dir;
use crate::fs::target::temp::Temp;
use crate::fs::target::{Target, TargetOptions};
use crate::sys::fs::{Mode, OFlags, openat};
use crate::sys::volume;

/// Number of a directory's names that are tried.
const MAX_TRIED: usize = 16;
/// Number of names that must be distinct before it is certain. A file system in user space may briefly fail
/// to find a name whose file is replaced.
const MIN_DISTINCT: usize = 3;

/// Returns a key that is equal for names that such a file system treats as equal, approximately: it ignores
/// case, trailing characters that some do not store, and on macOS how accents are composed.
pub fn key(name: &[u8]) -> Vec<u8> {
    let shown = String::from_utf8_lossy(name);
    volume::composed(&shown.trim_end_matches(['.', ' ']).to_lowercase()).into_bytes()
}

/// Returns whether names are folded in a directory, or in its nearest existing ancestor. It tries existing
/// names; if there are none, it decides by the type of the file system. Changes nothing.
pub fn folds_near(dir: &Path) -> bool {
    let whole = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
    let mut tries = whole.ancestors().filter_map(|dir| Target::open(dir, TargetOptions::default()).ok());
    let Some(target) = tries.next() else { return false };
    let names = target.names(b"").ok().flatten().unwrap_or_default();
    target.folds(b"", &names).unwrap_or_else(|| target.is_of_a_folding_kind())
}

impl Target {
    /// Returns whether names are folded in a directory that contains these names; `None` if they do not tell.
    pub fn folds(&self, path: &[u8], names: &[Vec<u8>]) -> Option<bool> {
        let dir = self.shared.dir(path).ok()?;
        combine(names.iter().take(MAX_TRIED).filter_map(|name| {
            let other = with_swapped_case(name)?;
            if names.binary_search(&other).is_ok() {
                return Some(false);
            }
            exists_too(&dir, name, &other)
        }))
    }

    /// Like [`Self::folds`] for the root; creates a temporary file if necessary.
    pub fn probe_folding(&self) -> bool {
        let names = self.names(b"").ok().flatten().unwrap_or_default();
        self.folds(b"", &names).or_else(|| self.try_temp_file()).unwrap_or(false)
    }

    fn is_of_a_folding_kind(&self) -> bool {
        self.shared.dir(b"").is_ok_and(|dir| volume::is_of_a_folding_kind(&dir.fd))
    }

    /// Determines with a temporary file whether names are folded in the root.
    fn try_temp_file(&self) -> Option<bool> {
        let before = self.stat_dir(b"").ok()?;
        let dir = self.shared.dir(b"").ok()?;
        let temp = Temp::new(&self.shared, dir);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(&temp.dir.fd, temp.name.as_str(), flags, Mode::RUSR | Mode::WUSR).ok()?;
        let temp = temp.arm();
        let name = temp.name.as_bytes();
        let folds = with_swapped_case(name).and_then(|other| exists_too(&temp.dir, name, &other));
        drop(temp);
        // The modification time of the root would reveal the temporary file.
        let _ = self.restore_attributes(b"", &before);
        folds
    }
}

/// Swaps the case of a name's letters. Only ASCII names are used, because their case mapping is certain.
fn with_swapped_case(name: &[u8]) -> Option<Vec<u8>> {
    let swap = |byte: &u8| {
        if byte.is_ascii_lowercase() { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() }
    };
    (name.is_ascii() && name.iter().any(u8::is_ascii_alphabetic)).then(|| name.iter().map(swap).collect())
}

/// Returns whether `other`, which is not in the listing, exists because `name` does; `None` if `name` does
/// not exist. Inode numbers cannot tell: some FUSE file systems give each name a different one.
fn exists_too(dir: &Dir, name: &[u8], other: &[u8]) -> Option<bool> {
    dir.stat(name).ok()?;
    Some(dir.stat(other).is_ok())
}

/// Combines the results for several names: a single one that is found under another name is sufficient.
fn combine(results: impl Iterator<Item = bool>) -> Option<bool> {
    results.take(MIN_DISTINCT).fold(None, |known, folds| Some(folds || known == Some(true)))
}

#[cfg(test)]
mod tests {
    use super::combine;

    #[test]
    fn one_missing_name_does_not_decide_case_sensitivity() {
        for (results, wanted) in [
            (&[][..], None),
            (&[true], Some(true)),
            (&[false], Some(false)),
            (&[false, true], Some(true)),
            (&[false, false, true, false], Some(true)),
            (&[true, false, false], Some(true)),
            (&[false, false, false, true], Some(false)),
        ] {
            assert_eq!(combine(results.iter().copied()), wanted, "{results:?}");
        }
    }
}
