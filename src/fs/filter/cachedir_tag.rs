//! Marker files, such as `CACHEDIR.TAG`: their presence excludes all contents of a directory.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::{fs, io};

use crate::error::{Error, Result};

/// Required first bytes of a valid `CACHEDIR.TAG`.
pub(super) const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// A marker file: its presence excludes the contents of its directory.
pub(super) struct Marker {
    pub(super) name: OsString,
    pub(super) header: Vec<u8>,
}

impl Marker {
    pub(super) fn parse(text: &OsStr) -> Result<Self> {
        let bytes = text.as_bytes();
        let end = bytes.iter().position(|byte| *byte == b':').unwrap_or(bytes.len());
        let (name, header) = bytes.split_at(end);
        if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') {
            let text = text.display();
            return Err(Error::Usage(format!("'{text}' is not a file name, or a file name with ':header'")));
        }
        let header = header.strip_prefix(b":").unwrap_or(header).to_vec();
        Ok(Self { name: OsStr::from_bytes(name).to_owned(), header })
    }

    pub(super) fn is_in(&self, dir: &Path) -> bool {
        let path = dir.join(&self.name);
        if self.header.is_empty() {
            return fs::symlink_metadata(&path).is_ok();
        }
        // Never opens a pipe, because that might block.
        if !fs::metadata(&path).is_ok_and(|found| found.is_file()) {
            return false;
        }
        starts_with(&path, &self.header).unwrap_or(false)
    }
}

/// Returns whether the file starts with these bytes.
fn starts_with(path: &Path, header: &[u8]) -> io::Result<bool> {
    let mut found = Vec::with_capacity(header.len());
    let limit = u64::try_from(header.len()).unwrap_or(u64::MAX);
    File::open(path)?.take(limit).read_to_end(&mut found)?;
    Ok(found == header)
}
