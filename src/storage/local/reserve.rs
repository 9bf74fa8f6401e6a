//! Space that is kept for a full disk: a file whose blocks are given back then. It holds nothing.

use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

use rustix::fs::FallocateFlags;

use crate::storage::local::files::TEMP;

const RESERVE: &str = "reserve";
/// Its bytes: room for a session, a record and the fences of a collection.
const RESERVED: u64 = 8 << 20;

/// Where it is.
pub(super) fn path(root: &Path) -> PathBuf {
    root.join(RESERVE)
}

/// Makes it, unless it is there.
pub(super) fn keep(root: &Path) -> io::Result<()> {
    let path = path(root);
    // A copy that left holes out has the length and none of the room.
    if path.metadata().is_ok_and(|found| found.len() >= RESERVED && found.blocks() * 512 >= RESERVED) {
        return Ok(());
    }
    let temp = root.join(format!("{TEMP}{RESERVE}-{}", std::process::id()));
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temp)?;
    let kept = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, RESERVED);
    // Where blocks cannot be had without writing them, there is no reserve: zeros may be compressed away.
    kept.map_err(io::Error::from).and_then(|()| fs::rename(&temp, &path)).inspect_err(|_| {
        let _ = fs::remove_file(&temp);
    })
}
