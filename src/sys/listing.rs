//! Lists a directory up to the first error.

use rustix::io::Errno;

/// Collects the names before the end or the first error, so that one bad block of a directory does not hide
/// the other names.
pub(super) fn until_error(
    mut next: impl FnMut() -> Option<Result<Vec<u8>, Errno>>,
) -> (Vec<Vec<u8>>, Option<Errno>) {
    let (mut names, mut failed) = (Vec::new(), None);
    loop {
        match next() {
            None => break,
            Some(Ok(name)) if name == b"." || name == b".." => {}
            Some(Ok(name)) => names.push(name),
            // A file system that fails once may fail forever.
            Some(Err(err)) => {
                failed = Some(err);
                break;
            }
        }
    }
    names.sort_unstable();
    (names, failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_listed_before_an_error_are_kept() {
        let mut listing = vec![Ok("b"), Ok("."), Ok("a"), Err(Errno::IO), Ok("c")].into_iter();
        let next = || Some(listing.next()?.map(|name| name.as_bytes().to_vec()));
        let (names, failed) = until_error(next);
        assert_eq!(names, [b"a", b"b"]);
        assert_eq!(failed, Some(Errno::IO));
    }
}
