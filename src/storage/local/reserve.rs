//! Reserved space for a full disk: a file without content, whose blocks are released when needed.

use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

use rustix::fs::FallocateFlags;

use crate::storage::local::files::TEMP;

const RESERVE: &str = "reserve";
/// Its size in bytes: room for a session, a record and the fences of a gc run.
const RESERVED: u64 = 8 << 20;

pub(super) fn path(root: &Path) -> PathBuf {
    root.join(RESERVE)
}

/// Creates the file, unless it exists.
pub(super) fn keep(root: &Path) -> io::Result<()> {
    let path = path(root);
    // A sparse copy has the length but reserves no space.
    if path.metadata().is_ok_and(|found| found.len() >= RESERVED && found.blocks() * 512 >= RESERVED) {
        return Ok(());
    }
    let temp = root.join(format!("{TEMP}{RESERVE}-{}", std::process::id()));
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temp)?;
    let kept = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, RESERVED);
    // If blocks cannot be allocated without writing, there is no reserve: written zeros may be compressed
    // away.
    kept.map_err(io::Error::from).and_then(|()| fs::rename(&temp, &path)).inspect_err(|_| {
        let _ = fs::remove_file(&temp);
    })
}
