//! Ids with 64 digits, like restic's, because callers check the length. Ids of snapshots and repositories in
//! snap have 32 digits; zeros are appended in output and removed from input.

use snap_backup::model::id::{RepoId, SnapshotId};

/// Number of digits that callers expect.
const LONG: usize = 64;
/// Number of digits of a snapshot's own id.
const OWN: usize = 2 * SnapshotId::LEN;

/// Formats a snapshot's id.
pub(super) fn long(id: &SnapshotId) -> String {
    format!("{:0<LONG$}", id.hex())
}

/// Formats a repository's id.
pub(super) fn long_repo(id: &RepoId) -> String {
    format!("{:0<LONG$}", id.hex())
}

/// Splits a selector into a name that the rest of the program accepts and the path after the colon.
pub(super) fn cut(text: &str) -> (&str, Option<&str>) {
    let (name, path) = match text.split_once(':') {
        Some((name, path)) => (name, Some(path)),
        None => (text, None),
    };
    let is_hex = name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let own = match name.split_at_checked(OWN) {
        Some((own, rest)) if is_hex && name.len() <= LONG && rest.bytes().all(|byte| byte == b'0') => own,
        _ => name,
    };
    (own, path)
}

#[cfg(test)]
mod tests {
    use snap_backup::model::id::SnapshotId;

    use super::{cut, long};

    #[test]
    fn what_goes_out_comes_back() {
        let id = SnapshotId::new([0xab; 16]);
        assert_eq!(long(&id).len(), 64);
        assert_eq!(cut(&long(&id)), (id.hex().as_str(), None));
        assert_eq!(cut(&format!("{}:/a:b", long(&id))), (id.hex().as_str(), Some("/a:b")));
        for text in ["latest", "latest~1", "ab", &"a".repeat(64), &"a".repeat(70), ""] {
            assert_eq!(cut(text), (text, None));
        }
    }
}
