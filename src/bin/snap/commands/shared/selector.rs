//! Selectors `SNAPSHOT:PATH` in which PATH may contain any bytes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use snap_backup::Result;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::filter::SnapshotFilter;
use snap_backup::repo::snapshots::{self, Query};

/// Returns the selector as text and, if it is not UTF-8, the path separately. Snapshot names are always
/// text.
pub(crate) fn text_and_path(
    repo: &Repository,
    selector: &OsStr,
    among: &SnapshotFilter,
) -> Result<(String, Option<Vec<u8>>)> {
    if let Some(text) = selector.to_str() {
        return Ok((text.to_owned(), None));
    }
    let all = snapshots::list(repo)?;
    let (snapshot, path) = snapshots::resolve(repo, &all, Query::among(selector.as_bytes(), among))?;
    Ok((snapshot.id.hex(), path))
}
