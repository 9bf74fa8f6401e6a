//! Key files: a second factor besides the password. docs/format.md, "Key slots", specifies how both are
//! combined.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use snap_backup::Result;
use snap_backup::codec::crypto::hash;
use snap_backup::model::id::hex;
use zeroize::Zeroizing;

use super::{Password, no_password};

/// Maximum length of a key file. A larger file is more likely to change one day.
const MAX_BYTES: u64 = 1 << 20;

/// Returns the password together with the file.
///
/// # Errors
/// The file cannot be read, is empty or is too long.
pub(super) fn join(password: &Password, path: &Path) -> Result<Password> {
    let source = format!("the key file {}", path.display());
    let mut bytes = Zeroizing::new(Vec::new());
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|err| no_password(&source, err.to_string()))?;
    if bytes.is_empty() {
        return Err(no_password(&source, "it is empty"));
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(no_password(&source, "it is larger than 1 MiB: use a smaller file that never changes"));
    }
    let digits = Zeroizing::new(hex(&hash::sha256(&bytes)));
    Ok(Zeroizing::new([password.as_str(), "\0", &digits].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_adds_its_hash_behind_a_zero_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "abc").unwrap();
        let joined = join(&Zeroizing::new("secret".to_owned()), &path).unwrap();
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(*joined, format!("secret\0{hash}"));
    }

    #[test]
    fn an_empty_missing_or_endless_key_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty");
        std::fs::write(&empty, "").unwrap();
        for path in [empty.as_path(), &dir.path().join("none"), dir.path(), Path::new("/dev/zero")] {
            assert!(join(&Zeroizing::new("secret".to_owned()), path).is_err(), "{}", path.display());
        }
    }
}
