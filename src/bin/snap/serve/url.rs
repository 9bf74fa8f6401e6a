//! URLs of the pages and downloads.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use snap_backup::model::id::SnapshotId;

/// All characters except letters, digits and those that RFC 3986 calls unreserved.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Percent-encodes bytes.
pub(super) fn encoded(bytes: &[u8]) -> String {
    percent_encode(bytes, PLAIN).to_string()
}

/// Percent-encodes a stored path.
pub(super) fn encoded_path(path: &[u8]) -> String {
    path.split(|byte| *byte == b'/').map(encoded).collect::<Vec<_>>().join("/")
}

/// Returns the URL of a page for a path in a snapshot.
pub(super) fn shown_at(id: &SnapshotId, path: &[u8]) -> String {
    format!("/s/{id}/{}", encoded_path(path)).trim_end_matches('/').to_owned()
}

/// Returns the URL for downloading a file.
pub(super) fn file_at(id: &SnapshotId, path: &[u8]) -> String {
    format!("/dav/{id}/{}", encoded_path(path))
}

/// Returns the URL for downloading a ZIP archive.
pub(super) fn zip_at(id: &SnapshotId, path: &[u8]) -> String {
    format!("/zip/{id}/{}", encoded_path(path)).trim_end_matches('/').to_owned()
}

/// Returns the URL for downloading an archive.
pub(super) fn archive_at(id: &SnapshotId, path: &[u8]) -> String {
    format!("/tar/{id}/{}", encoded_path(path)).trim_end_matches('/').to_owned()
}

/// Returns the URL for the preview of an image or document.
pub(super) fn preview_at(id: &SnapshotId, path: &[u8]) -> String {
    format!("/preview/{id}/{}", encoded_path(path))
}

/// Returns the URL of the page with the space usage of a directory.
pub(super) fn usage_at(id: &SnapshotId, path: &[u8]) -> String {
    format!("/usage/{id}/{}", encoded_path(path)).trim_end_matches('/').to_owned()
}

/// Returns the URL of the page with the versions of a path.
pub(super) fn versions_at(path: &[u8]) -> String {
    format!("/versions/{}", encoded_path(path))
}
