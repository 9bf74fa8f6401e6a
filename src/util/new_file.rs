//! Files of this user in directories that other users may be able to write. `fs::atomic_file` is for files
//! that the user names: it follows a symbolic link there, and is durable.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::{fs, io, process};

/// Creates a file that only this user can read. An existing file is removed first: a planted symbolic link
/// would otherwise be followed, and its target overwritten.
///
/// # Errors
/// The old entry cannot be removed, a new one appeared meanwhile, or the file cannot be created.
pub fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        _ => {}
    }
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

/// Replaces the content of a file atomically: readers see the old or the new bytes. Not synced.
///
/// # Errors
/// The new file cannot be written or renamed.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temp = path.with_extension(format!("tmp{}", process::id()));
    let written = create(&temp)?.write_all(bytes).and_then(|()| fs::rename(&temp, path));
    if written.is_err() {
        // Best effort: the first error is what counts.
        let _ = fs::remove_file(&temp);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn failed_replacement_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("taken/by")).unwrap();
        assert!(replace(&dir.path().join("taken"), b"new").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_that_was_planted_is_replaced_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let [victim, file] = ["victim", "file"].map(|name| dir.path().join(name));
        fs::write(&victim, "precious").unwrap();
        for planted in [file.clone(), file.with_extension(format!("tmp{}", process::id()))] {
            symlink(&victim, planted).unwrap();
        }
        replace(&file, b"new").unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert!(file.symlink_metadata().unwrap().is_file());
    }
}
