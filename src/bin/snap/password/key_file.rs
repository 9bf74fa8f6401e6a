//! Key files: a second factor besides the password. docs/format.md, "Key slots", specifies how both are
//! combined.

use std::path::Path;

use snap_backup::Result;
use snap_backup::codec::crypto::hash;
use snap_backup::model::id::hex;
use zeroize::Zeroizing;

use super::{MAX_BYTES, Password, no_password, read_bytes};

/// Combines the password with the hash of the file.
///
/// # Errors
/// The file cannot be read, is empty or is too long.
pub(super) fn join(password: &Password, path: &Path) -> Result<Password> {
    let source = format!("the key file {}", path.display());
    let bytes = read_bytes(path, &source)?;
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
