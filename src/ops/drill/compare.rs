//! Verifies that restored files equal the stored ones, and compares these with the source.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::OFlags;

use crate::codec::crypto::hash::ChunkHasher;
use crate::error::{Error, Result};
use crate::fs::stat::Inode;
use crate::fs::{long_path, stat, target};
use crate::model::entry::{Content, Entry, Kind, Time};
use crate::ops::drill::{Compared, Sample};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::read::read_session::ReadSession;
use crate::repo::walk::compare_file;
use crate::util::host;

/// Files changed within this many seconds before the run began are not compared: they may have changed after
/// they were read.
const RACY: i64 = 2;

pub(super) fn compare(
    reading: &Arc<ReadSession>,
    sample: &Sample,
    target: &Path,
    stop: &AtomicBool,
) -> Result<Compared> {
    let mut reader = ChunkReader::following(reading)?;
    let hasher = reading.repo().hasher();
    let manifest = &sample.snapshot.manifest;
    let here = manifest.host == host::host_name();
    let mut compared = Compared::default();
    for (path, entry) in &sample.files {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let Kind::File { size, content } = &entry.kind else { continue };
        let place = target.join(OsStr::from_bytes(path));
        match is_restored(hasher, &mut reader, &place, *size, content, stop) {
            Ok(true) => {}
            Ok(false) => {
                compared.wrong.push((path.clone(), "what was restored is not what was stored".to_owned()));
                continue;
            }
            Err(err) => {
                compared.wrong.push((path.clone(), err.chain()));
                continue;
            }
        }
        compared.files += 1;
        compared.bytes += *size;
        let settled = entry.meta.ctime.sec < manifest.started.sec - RACY
            && entry.meta.mtime.sec < manifest.started.sec - RACY
            && entry.meta.ctime != Time::default();
        if !(here && settled) {
            continue;
        }
        let sources = manifest.sources.iter().map(|source| source.as_slice());
        match live(hasher, &mut reader, sources, path, entry, stop) {
            Some(true) => compared.live += 1,
            Some(false) => {
                let why =
                    "the source has the same size and times and other bytes: it or its backup went wrong";
                compared.wrong.push((path.clone(), why.to_owned()));
            }
            None => {}
        }
    }
    Ok(compared)
}

/// Returns whether a restored file is right. Reads from disk, not from the page cache.
fn is_restored(
    hasher: &ChunkHasher,
    reader: &mut ChunkReader,
    place: &Path,
    size: u64,
    content: &Content,
    stop: &AtomicBool,
) -> Result<bool> {
    let mut file = open(place).map_err(Error::io("read back", place))?;
    target::forget_cached(&file);
    compare_file::holds(hasher, reader, (&mut file, place), size, content, stop)
}

fn open(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    long_path::open(path, flags).map(File::from)
}

/// Returns whether the source equals the stored file; `None` if it changed since, is gone, or cannot be read.
fn live<'a>(
    hasher: &ChunkHasher,
    reader: &mut ChunkReader,
    sources: impl Iterator<Item = &'a [u8]>,
    stored: &[u8],
    entry: &Entry,
    stop: &AtomicBool,
) -> Option<bool> {
    let Kind::File { size, content } = &entry.kind else { return None };
    let unchanged = |found: &Inode| {
        found.is_file()
            && found.size == *size
            && found.mtime == entry.meta.mtime
            && found.ctime == entry.meta.ctime
    };
    for place in sources.flat_map(|source| places(source, stored)) {
        let Ok(mut file) = open(&place) else { continue };
        if !stat::look_open(&file).is_ok_and(|found| unchanged(&found)) {
            continue;
        }
        let same = compare_file::holds(hasher, reader, (&mut file, &place), *size, content, stop).ok()?;
        // The source may have changed while it was read.
        return (same || stat::look_open(&file).is_ok_and(|found| unchanged(&found))).then_some(same);
    }
    None
}

/// Returns candidate source paths of a stored path. Sources are stored as given, which is the end of an
/// absolute path. A wrong candidate is harmless: its times differ.
fn places(source: &[u8], stored: &[u8]) -> Vec<PathBuf> {
    let parts = |path: &[u8]| -> Vec<Vec<u8>> {
        path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect()
    };
    let (whole, path) = (parts(source), parts(stored));
    let fits = |end: &usize| whole.get(whole.len() - end..).is_some_and(|tail| path.starts_with(tail));
    let rest = |end: usize| -> PathBuf {
        let below = path.iter().skip(end).map(|part| OsStr::from_bytes(part));
        Path::new(OsStr::from_bytes(source)).join(below.collect::<PathBuf>())
    };
    (1..=whole.len()).rev().filter(fits).map(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_path_leads_back_to_its_source() {
        let of = |source: &str, stored: &str| {
            places(source.as_bytes(), stored.as_bytes())
                .iter()
                .map(|path| path.to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(of("/home/me/src", "src/a/b"), ["/home/me/src/a/b"]);
        assert_eq!(of("/home/me/src", "home/me/src/a"), ["/home/me/src/a"]);
        assert_eq!(of("/home/me/file", "file"), ["/home/me/file/"]);
        assert_eq!(of("/a/a", "a/a/a"), ["/a/a/a", "/a/a/a/a"]);
        assert_eq!(of("/home/me/src", "other/a"), [""; 0]);
    }
}
