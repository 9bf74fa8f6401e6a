//! Copies between open files: with `copy_file_range`, or by reading and writing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::sys::fs::{SeekFrom, copy_range, seek};
use crate::sys::io::Errno;

/// Buffer size in bytes if the kernel cannot copy.
const STRIDE: usize = 256 << 10;

/// Copies the first `len` bytes and keeps holes.
pub(super) fn bytes(from: &File, to: &File, len: u64) -> io::Result<()> {
    let mut at = 0;
    while at < len {
        let (start, end) = match seek(from, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => return Ok(()),
            Err(Errno::INVAL | Errno::NOTSUP) => (at, len),
            start => {
                let start = start?;
                (start, seek(from, SeekFrom::Hole(start))?.min(len))
            }
        };
        range(from, to, start, end)?;
        at = end.max(at + 1);
    }
    Ok(())
}

fn range(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    let mut at = start;
    while at < end {
        let left = usize::try_from(end - at).unwrap_or(usize::MAX).min(1 << 30);
        match copy_range(from, to, at, left) {
            Ok(0) => return Ok(()),
            Ok(copied) => at += copied as u64,
            Err(Errno::XDEV | Errno::NOSYS | Errno::INVAL | Errno::NOTSUP | Errno::PERM) => {
                return read_and_write(from, to, at, end);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn read_and_write(from: &File, to: &File, mut at: u64, end: u64) -> io::Result<()> {
    let mut buffer = vec![0u8; STRIDE];
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(STRIDE).min(STRIDE);
        let (piece, _) = buffer.split_at_mut(wanted);
        let read = from.read_at(piece, at)?;
        if read == 0 {
            return Ok(());
        }
        let (piece, _) = piece.split_at(read);
        to.write_all_at(piece, at)?;
        at += read as u64;
    }
    Ok(())
}
