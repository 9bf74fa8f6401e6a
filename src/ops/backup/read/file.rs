//! Reads one file, and reads it again if it changed meanwhile. Holes are located without reading them.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use crate::codec::tree::stored_xattrs;
use crate::fs::stat::Inode;
use crate::fs::{stat, xattr};
use crate::model::entry::Time;
use crate::ops::backup::messages::{FileStat, Outcome};
use crate::ops::backup::read::Reader;
use crate::ops::backup::rot::{self, Comparison, Expected};
use crate::repo::write::similarity::Older;
use crate::sys::fs::{SeekFrom, seek};
use crate::sys::io::Errno;
use crate::sys::long_path;

/// Size in bytes above which files are checked for holes regardless of their block count: blocks of metadata
/// may hide a hole, and a system call is cheap compared with reading.
const HOLE_CHECK_BYTES: u64 = 64 << 10;

/// Longer than the clock tick of any file system's timestamps.
const MAX_CLOCK_TICK: Duration = Duration::from_millis(11);

impl Reader<'_> {
    /// Compares an unchanged file with the parent's content. Returns `None` if it is to be read like one that
    /// changed.
    pub(super) fn check_expected(&mut self, path: &Path, expected: Option<&Expected>) -> Option<Outcome> {
        let Expected { size, content, times } = expected?;
        let mut file = long_path::open_to_read(path).ok()?;
        let is_unchanged = |file: &File| {
            let found = stat::stat_open(file);
            found.is_ok_and(|found| {
                found.is_file() && found.size == *size && (found.mtime, found.ctime) == *times
            })
        };
        if !is_unchanged(&file) {
            return None;
        }
        match rot::compare_content(self.run, &mut self.lists, (&mut file, path), (*size, content)) {
            Comparison::Same if is_unchanged(&file) => {
                Some(Outcome::Unchanged { read: Some(*size), problem: None })
            }
            Comparison::Unreadable(err) => {
                Some(Outcome::Unchanged { read: None, problem: Some(err.to_string()) })
            }
            // If an interruption prevents rereading, the file still counts as unchanged.
            _ if self.run.is_stopping() => Some(Outcome::Unchanged { read: None, problem: None }),
            Comparison::Same | Comparison::Differs | Comparison::Unknown => None,
        }
    }

    /// Reads a file, and reads it again if it changed meanwhile.
    pub(super) fn read_with_retry(
        &mut self,
        seq: u64,
        path: &Path,
        size: u64,
        walked: Option<(u64, u64)>,
        older: Option<&Older>,
    ) -> io::Result<Outcome> {
        for is_last in [false, true] {
            let mut file = long_path::open_to_read(path)?;
            let before = stat_after_tick(&file)?;
            if !before.is_file() {
                return Err(io::Error::other("it is no longer a regular file"));
            }
            let found = xattr::of_open(file.as_fd());
            self.begin_file(older.cloned(), Some(before.size));
            self.opaque = None;
            let maybe_sparse = before.blocks * 512 < before.size
                || before.size > HOLE_CHECK_BYTES
                || !found.values.is_empty();
            let read = if maybe_sparse && before.size > 0 {
                self.read_data_segments(seq, &mut file, before.size)?
            } else {
                self.read_chunks(seq, &mut file, before.size.max(size))?
            };
            let after = stat::stat_open(&file)?;
            let version = |found: &Inode| (found.size, found.mtime, found.ctime);
            let changed = version(&before) != version(&after) || read != before.size;
            if !changed || is_last {
                let mut meta = self.metadata_reader.meta(&before);
                let (xattrs, values) = stored_xattrs::split_values(self.run.repo.hasher(), found.values);
                meta.xattrs = xattrs;
                self.send_values(values);
                let same = walked.is_none_or(|walked| walked == before.id);
                let inode = before.linked_inode();
                let seen = Box::new(FileStat { meta, same, inode, problems: found.problems });
                let opaque = self.opaque.unwrap_or(false);
                return Ok(Outcome::Done { size: read, seen: Some(seen), changed, opaque });
            }
            self.end_file(seq, Outcome::Again);
        }
        Err(io::Error::other("not read"))
    }

    /// Reads the data segments of a file, cutting each separately, and sends the holes between them. Returns
    /// the bytes that both cover: fewer than `size` if the file became shorter.
    fn read_data_segments(&mut self, seq: u64, file: &mut File, size: u64) -> io::Result<u64> {
        let mut at = 0;
        while at < size {
            let start = match seek(&*file, SeekFrom::Data(at)) {
                Ok(start) => start.min(size),
                // Only a hole follows.
                Err(Errno::NXIO) => size,
                // The file system does not support locating holes.
                Err(Errno::INVAL | Errno::NOTSUP) => at,
                Err(err) => return Err(err.into()),
            };
            if start > at {
                self.add_hole(seq, start - at);
            }
            if start == size {
                return Ok(size);
            }
            let end = match seek(&*file, SeekFrom::Hole(start)) {
                Ok(end) if end > start => end,
                _ => size,
            };
            file.seek(io::SeekFrom::Start(start))?;
            let is_last = end >= size;
            let read = if is_last {
                self.read_chunks(seq, file, size - start)?
            } else {
                self.read_chunks(seq, &mut (&mut *file).take(end - start), end - start)?
            };
            at = start + read;
            if is_last || at < end {
                return Ok(at);
            }
        }
        Ok(at)
    }
}

/// Returns a file's metadata, after waiting until its ctime lies in the past. A change during reading must
/// show in the ctime, and many file systems update times only once per clock tick.
fn stat_after_tick(file: &File) -> io::Result<Inode> {
    let found = stat::stat_open(file)?;
    let now = Time::now();
    let seconds = now.sec.saturating_sub(found.ctime.sec).saturating_mul(1_000_000_000);
    let past = seconds.saturating_add(i64::from(now.nanos) - i64::from(found.ctime.nanos));
    if (0..MAX_CLOCK_TICK.as_nanos() as i64).contains(&past) {
        std::thread::sleep(MAX_CLOCK_TICK);
        return stat::stat_open(file);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A write in the same clock tick as the file's ctime leaves no trace, so reading starts only after that
    /// tick.
    #[test]
    fn file_that_just_changed_is_examined_after_its_clock_tick() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..20 {
            let path = dir.path().join(number.to_string());
            std::fs::write(&path, "young").unwrap();
            let found = stat_after_tick(&File::open(&path).unwrap()).unwrap();
            let now = Time::now();
            let nanos = |time: Time| i128::from(time.sec) * 1_000_000_000 + i128::from(time.nanos);
            let past = nanos(now) - nanos(found.ctime);
            assert!(past >= MAX_CLOCK_TICK.as_nanos() as i128, "looked at {past} ns after it changed");
        }
    }
}
