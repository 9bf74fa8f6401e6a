//! Bit rot of the sources: files whose bytes differ from the parent's although size and times show that
//! nobody wrote to them.
//!
//! A file is *steady* if its size, mtime, ctime and birth time are those of the parent's entry, and its times
//! are safely before the parent's start (`reuse`). Every ordinary write sets the ctime, and no system call
//! can set it back. Different bytes in a steady file therefore come from below the file system. The birth
//! time stands in for the inode number, which entries do not hold.
//!
//! A full backup reads every file and so finds all bit rot. Other backups can read a share of the unchanged
//! files again. The share rotates: a keyed hash gives every stored path a position on a ring, and a run reads
//! the files on the arc that begins where the previous run ended.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::codec::crypto::cipher;
use crate::codec::crypto::hash::ChunkHasher;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::fs::target;
use crate::model::entry::{Content, Entry, Kind, Time};
use crate::model::signs::WHOLE;
use crate::model::tripwire::AlarmReason;
use crate::ops::backup::Run;
use crate::progress::Event;
use crate::repo::commit::reachability;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::walk::compare_file;
use crate::sys::long_path;

/// Maximum number of files with bit rot that a run names.
const MAX_NAMED_FILES: usize = 1000;

/// Selects unchanged files that are read again to find bit rot. A full backup reads all files anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reread {
    /// Share of the files, in millionths.
    pub share: u64,
    /// Position where the previous run ended ([`Rereading::next`]); `None` begins at a random position.
    pub from: Option<u64>,
}

/// Statistics about files that were read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rereading {
    /// Unchanged files that were read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Position where the next run begins. After an interruption, where this one began.
    pub next: u64,
}

/// The part of the ring of paths whose files a run reads again.
#[derive(Debug, Clone, Copy)]
pub(super) struct RingArc {
    from: u64,
    /// Length of the arc, up to 2^64, which is the whole ring.
    len: u128,
}

impl RingArc {
    /// Returns the arc that begins where the previous run ended.
    pub(super) fn new(reread: &Reread) -> Result<Self> {
        let from = match reread.from {
            Some(from) => from,
            None => random_position()?,
        };
        let share = u128::from(reread.share.min(WHOLE));
        // Rounded up, so that the number of arcs that the share implies covers the whole ring.
        Ok(Self { from, len: (share << 64).div_ceil(u128::from(WHOLE)) })
    }

    /// Returns whether a file with this stored path is read again.
    pub(super) fn holds(self, hasher: &ChunkHasher, path: &[u8]) -> bool {
        u128::from(hasher.tag(b"reread", path).wrapping_sub(self.from)) < self.len
    }

    fn end(self) -> u64 {
        // The whole ring ends where it begins.
        self.from.wrapping_add(self.len as u64)
    }
}

fn random_position() -> Result<u64> {
    let mut bytes = [0; 8];
    cipher::random(&mut bytes).map_err(Error::damaged("a starting position"))?;
    Ok(u64::from_le_bytes(bytes))
}

/// Files that a run has read again, and the bit rot that it found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    files: AtomicU64,
    bytes: AtomicU64,
    rot: Mutex<(u64, Vec<Vec<u8>>)>,
}

impl Findings {
    /// Counts an unchanged file that was read again.
    pub(super) fn count_reread(&self, bytes: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns the statistics of rereading, if any files were to be read again.
    pub(super) fn rereading(&self, arc: Option<RingArc>, partial: bool) -> Option<Rereading> {
        let next = arc.map(|arc| if partial { arc.from } else { arc.end() })?;
        let (files, bytes) = (self.files.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        Some(Rereading { files, bytes, next })
    }

    /// Returns bit rot as the reason for an alarm, if any was found.
    pub(super) fn alarm_reason(&self) -> Option<AlarmReason> {
        let (files, first) = self.rot.lock().clone();
        (files > 0).then_some(AlarmReason::Rot { files, first })
    }

    fn add_rot(&self, path: &[u8]) {
        let mut rot = self.rot.lock();
        rot.0 += 1;
        if rot.1.len() < MAX_NAMED_FILES {
            rot.1.push(path.to_vec());
        }
    }
}

/// The parent's content of an unchanged file that is to be read again.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) size: u64,
    pub(super) content: Content,
    /// mtime and ctime that the walk found.
    pub(super) times: (Time, Time),
}

/// Result of comparing a file's content with the parent's.
#[derive(Debug)]
pub(super) enum Comparison {
    /// They are the same.
    Same,
    /// They are different.
    Differs,
    /// They cannot be compared, for instance because the parent's part list is damaged.
    Unknown,
    /// The file could not be read.
    Unreadable(io::Error),
}

/// Compares a file with stored content, byte by byte and from the disk.
pub(super) fn compare_content(
    run: &Run<'_>,
    lists: &mut Option<ChunkReader>,
    (file, path): (&mut File, &Path),
    (size, content): (u64, &Content),
) -> Comparison {
    if lists.is_none() {
        *lists = ChunkReader::new(run.repo, Arc::clone(&run.index)).ok();
    }
    let Some(lists) = lists else { return Comparison::Unknown };
    target::forget_cached(file);
    let is_stopping = || run.is_stopping();
    match compare_file::matches(run.repo.hasher(), lists, (file, path), size, content, &is_stopping) {
        Ok(true) => Comparison::Same,
        Ok(false) => Comparison::Differs,
        // The storage may fail, too.
        Err(Error::Io { what, source, .. }) if what == path.display().to_string() => {
            Comparison::Unreadable(source)
        }
        Err(_) => Comparison::Unknown,
    }
}

/// Judges a steady file that was read and whose list of chunks and holes differs from the parent's. If its
/// bytes differ, too, marks it and returns true. If they are the same, the entry keeps the parent's content:
/// the file system may report a hole in another place, or a read may have returned wrong bytes once.
///
/// # Errors
/// When the storage fails.
pub(super) fn classify(
    run: &Run<'_>,
    lists: &mut Option<ChunkReader>,
    (path, place): (&[u8], &Path),
    before: &Entry,
    entry: &mut Entry,
) -> Result<bool> {
    let Kind::File { size, content } = &before.kind else { return Ok(false) };
    let Ok(mut file) = long_path::open_to_read(place) else { return Ok(false) };
    match compare_content(run, lists, (&mut file, place), (*size, content)) {
        Comparison::Differs => {
            entry.meta.corrupt_since = Some(run.started);
            run.rot_findings.add_rot(path);
            let path = String::from_utf8_lossy(path);
            run.observer.notice(Event::Warning(&format!(
                "silent corruption: {path} has different bytes than in the previous snapshot, but the same size and times"
            )));
            Ok(true)
        }
        Comparison::Same => {
            let Some(lists) = lists else { return Ok(false) };
            match reachability::entry_is_usable(lists, before) {
                Ok(true) => {
                    entry.kind = before.kind.clone();
                    entry.meta.corrupt_since = before.meta.corrupt_since;
                }
                Err(err) if !err.is_damage() => return Err(err),
                Ok(false) | Err(_) => {}
            }
            Ok(false)
        }
        Comparison::Unknown => Ok(false),
        Comparison::Unreadable(err) => {
            run.report_problem(Problem::new(path, ErrorKind::Io, err.to_string()));
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::crypto::hash::Key;

    /// Every file is read at least once within the number of runs that the share implies, from any starting
    /// position, and no run reads much more than its share.
    #[test]
    fn every_file_is_reread_within_the_runs_of_its_share() {
        let hasher = ChunkHasher::new(&Key::new([7; 32]));
        let paths: Vec<String> = (0..500).map(|at| format!("dir {}/file {at}", at % 7)).collect();
        for (share, runs) in [(10_000, 100), (30_000, 34), (333_333, 4), (500_000, 2), (WHOLE, 1)] {
            for begin in [0, 1, u64::MAX - 5, 1 << 63] {
                let (mut times, mut from) = (vec![0; paths.len()], begin);
                for _ in 0..runs {
                    let arc = RingArc::new(&Reread { share, from: Some(from) }).unwrap();
                    let read: Vec<usize> =
                        (0..paths.len()).filter(|at| arc.holds(&hasher, paths[*at].as_bytes())).collect();
                    assert!(read.len() as u64 <= 500 * share / WHOLE + 60, "{} at {share}", read.len());
                    read.into_iter().for_each(|at| times[at] += 1);
                    from = arc.end();
                }
                let most = if WHOLE.is_multiple_of(share) { 1 } else { 2 };
                assert!(times.iter().all(|times| (1..=most).contains(times)), "{share} from {begin}");
            }
        }
        let none = RingArc::new(&Reread { share: 0, from: None }).unwrap();
        assert!(!paths.iter().any(|path| none.holds(&hasher, path.as_bytes())));
    }
}
