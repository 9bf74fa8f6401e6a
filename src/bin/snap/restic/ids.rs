//! Ids at this door have 64 digits, as restic's: callers count them. Snapshots and repositories have 32 here;
//! the rest are zeros, put on on the way out and cut off on the way in.

use snap_backup::model::id::{RepoId, SnapshotId};

/// Digits that callers expect.
const LONG: usize = 64;
/// Digits of a snapshot's own id.
const OWN: usize = 2 * SnapshotId::LEN;

/// A snapshot's id.
pub(super) fn long(id: &SnapshotId) -> String {
    format!("{:0<LONG$}", id.hex())
}

/// A repository's id.
pub(super) fn long_repo(id: &RepoId) -> String {
    format!("{:0<LONG$}", id.hex())
}

/// A selector as the rest of the program knows it, and the path behind its colon.
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
