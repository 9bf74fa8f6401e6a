//! Reserved space for a full disk: a file without content, whose blocks are released when needed.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::codec::crypto::cipher;
use crate::storage::local::files::TEMP;
use crate::sys::fs::{allocate, sync};
use crate::sys::io::Errno;

const RESERVE: &str = "reserve";
/// Its size in bytes: room for a session, a record and the fences of a gc run.
const RESERVED_BYTES: u64 = 8 << 20;

pub(super) fn path(root: &Path) -> PathBuf {
    root.join(RESERVE)
}

/// Creates the file, unless it exists.
pub(super) fn keep(root: &Path) -> io::Result<()> {
    let path = path(root);
    // A sparse copy has the length but reserves no space.
    if path
        .metadata()
        .is_ok_and(|found| found.len() >= RESERVED_BYTES && found.blocks() * 512 >= RESERVED_BYTES)
    {
        return Ok(());
    }
    let temp = root.join(format!("{TEMP}{RESERVE}-{}", std::process::id()));
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temp)?;
    fill(file).and_then(|()| fs::rename(&temp, &path)).inspect_err(|_| {
        let _ = fs::remove_file(&temp);
    })
}

/// Allocates the blocks: without writing, or by writing where the file system cannot do that (ntfs-3g and
/// other FUSE file systems).
fn fill(file: File) -> io::Result<()> {
    match allocate(&file, RESERVED_BYTES) {
        Err(Errno::NOTSUP | Errno::NOSYS | Errno::INVAL) => write(file),
        other => other.map_err(io::Error::from),
    }
}

/// Writes bytes that no file system compresses away or leaves out as a hole.
fn write(mut file: File) -> io::Result<()> {
    let mut noise = vec![0; 1 << 20];
    for _ in 0..RESERVED_BYTES >> 20 {
        cipher::random(&mut noise).map_err(io::Error::other)?;
        file.write_all(&noise)?;
    }
    Ok(sync(&file)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn where_blocks_cannot_be_allocated_they_are_written() {
        let dir = tempfile::tempdir().unwrap();
        write(File::create(path(dir.path())).unwrap()).unwrap();
        let found = path(dir.path()).metadata().unwrap();
        assert_eq!(found.len(), RESERVED_BYTES);
        assert!(found.blocks() * 512 >= RESERVED_BYTES, "{} blocks", found.blocks());
    }
}
