//! Verifies that restored files equal the stored ones, and compares these with the source.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::codec::crypto::hash::ChunkHasher;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::fs::stat::Inode;
use crate::fs::{sources, stat, target};
use crate::model::entry::{Content, Entry, Kind, Time};
use crate::ops::drill::{Compared, Sample};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::read::read_session::ReadSession;
use crate::repo::walk::compare_file;
use crate::sys::long_path;
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
                let why = "the restored content differs from the stored content";
                compared.wrong.push(Problem::new(&**path, ErrorKind::Damaged, why));
                continue;
            }
            Err(err) => {
                compared.wrong.push(Problem::of(&**path, &err));
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
                let why = "the source has the same size and times but different bytes: the source or its backup \
                     is corrupt";
                compared.wrong.push(Problem::new(&**path, ErrorKind::Damaged, why));
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
    let mut file = long_path::open_to_read(place).map_err(Error::io("read back", place))?;
    target::forget_cached(&file);
    compare_file::matches(hasher, reader, (&mut file, place), size, content, &|| stop.load(Ordering::Relaxed))
}

/// Returns whether the source equals the stored file; `None` if it changed since, is gone, or cannot be read.
fn live<'a>(
    hasher: &ChunkHasher,
    reader: &mut ChunkReader,
    roots: impl Iterator<Item = &'a [u8]>,
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
    for place in roots.flat_map(|source| sources::live_paths(source, stored)) {
        let place = place.path();
        let Ok(mut file) = long_path::open_to_read(&place) else { continue };
        if !stat::stat_open(&file).is_ok_and(|found| unchanged(&found)) {
            continue;
        }
        let same = compare_file::matches(hasher, reader, (&mut file, &place), *size, content, &|| {
            stop.load(Ordering::Relaxed)
        })
        .ok()?;
        // The source may have changed while it was read.
        return (same || stat::stat_open(&file).is_ok_and(|found| unchanged(&found))).then_some(same);
    }
    None
}
