//! Walks one stored tree: depth first, the entries of each directory in order of their names.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::model::entry::{Entry, MAX_NESTING, MAX_PATH};
use crate::model::id::ChunkId;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::read::sequential::with_path;
use crate::repo::walk::dir_reader::{DirReader, WalkLimits};

/// Why a directory is not entered: no backup goes so deep.
pub const TOO_DEEP: &str = "directories are nested too deeply";

/// Checks that a directory may be entered from inside of `open` others.
///
/// # Errors
/// `Refused` if it is deeper than any backup goes.
pub(crate) fn check_depth(open: usize, path: &[u8]) -> Result<()> {
    if open < MAX_NESTING && path.len() <= MAX_PATH {
        return Ok(());
    }
    Err(Error::Refused(format!("{}: {TOO_DEEP}", String::from_utf8_lossy(path))))
}

/// A walk through one stored tree. A directory is read only if it is entered. Not recursive: a maliciously
/// deep tree must not exhaust the stack. `D` is what the caller keeps of each open directory.
#[derive(Debug)]
pub struct TreeWalk<'a, D = ()> {
    open: Vec<OpenDir>,
    /// What the caller keeps of each open directory.
    kept: Vec<D>,
    /// Path of the last entry, or of the innermost open directory.
    path: Vec<u8>,
    limits: WalkLimits,
    stop: Option<&'a AtomicBool>,
}

#[derive(Debug)]
struct OpenDir {
    reader: DirReader,
    /// Length of its path in bytes.
    path: usize,
}

/// A step of a walk; [`TreeWalk::path`] returns where it is.
#[derive(Debug)]
pub enum WalkStep<D> {
    /// The next entry of the innermost open directory. If it is a directory, it can be entered until the next
    /// step.
    Entry(Entry),
    /// An entry beyond the limits, and the error. It cannot be entered.
    Excess(Entry, Error),
    /// A piece of the innermost open directory is missing or damaged. The walk goes on with its other pieces,
    /// unless the caller leaves it.
    Damaged(Error),
    /// The innermost open directory has ended, and was closed.
    Left {
        /// What the caller kept of it.
        kept: D,
        /// The pieces of it that were read.
        pieces: Vec<ChunkId>,
    },
}

impl<'a, D> TreeWalk<'a, D> {
    /// Creates a walk that begins in the directory of this root piece. Its path is empty.
    pub fn new(root: ChunkId, limits: WalkLimits, kept: D) -> Self {
        Self::below(Vec::new(), root, limits, kept)
    }

    /// Like [`Self::new`], for a directory that has a path.
    pub fn below(path: Vec<u8>, root: ChunkId, limits: WalkLimits, kept: D) -> Self {
        let dir = OpenDir { reader: DirReader::new(root), path: path.len() };
        Self { open: vec![dir], kept: vec![kept], path, limits, stop: None }
    }

    /// Makes the walk fail with `Interrupted` once `stop` is set.
    pub fn until(self, stop: &'a AtomicBool) -> Self {
        Self { stop: Some(stop), ..self }
    }

    /// Takes the next step; `None` at the end.
    ///
    /// # Errors
    /// When the storage fails, or the walk was interrupted.
    pub fn step(&mut self, reader: &mut ChunkReader) -> Result<Option<WalkStep<D>>> {
        if self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            return Err(Error::Interrupted);
        }
        let Some(dir) = self.open.last_mut() else { return Ok(None) };
        self.path.truncate(dir.path);
        let entry = match dir.reader.next(reader) {
            Ok(Some(entry)) => entry,
            Ok(None) => {
                let pieces = std::mem::take(&mut dir.reader.pieces);
                return Ok(self.leave().map(|kept| WalkStep::Left { kept, pieces }));
            }
            Err(err) if err.is_damage() => return Ok(Some(WalkStep::Damaged(err))),
            Err(err) => return Err(err),
        };
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(&entry.name);
        Ok(Some(match self.limits.count(&self.path, &entry) {
            Ok(()) => WalkStep::Entry(entry),
            Err(err) => WalkStep::Excess(entry, err),
        }))
    }

    /// Returns the next entry; `None` at the end. For callers that need all of what they enter.
    ///
    /// # Errors
    /// As [`Self::step`], and when a piece is missing or damaged, or there is more than the limits allow.
    pub fn next_entry(&mut self, reader: &mut ChunkReader) -> Result<Option<Entry>> {
        loop {
            match self.step(reader)? {
                None => return Ok(None),
                Some(WalkStep::Entry(entry)) => return Ok(Some(entry)),
                Some(WalkStep::Left { .. }) => {}
                Some(WalkStep::Damaged(err)) => return Err(with_path(&self.path, err)),
                Some(WalkStep::Excess(_, err)) => return Err(err),
            }
        }
    }

    /// Enters the directory that was returned last.
    ///
    /// # Errors
    /// As [`check_depth`].
    pub fn enter(&mut self, tree: ChunkId, kept: D) -> Result<()> {
        check_depth(self.open.len(), &self.path)?;
        self.open.push(OpenDir { reader: DirReader::new(tree), path: self.path.len() });
        self.kept.push(kept);
        Ok(())
    }

    /// Closes the innermost open directory, even if entries are left in it, and returns what was kept of it.
    pub fn leave(&mut self) -> Option<D> {
        let dir = self.open.pop()?;
        self.path.truncate(dir.path);
        self.kept.pop()
    }

    /// Reads nothing more of the innermost open directory. The next step leaves it.
    pub fn skip_rest(&mut self) {
        if let Some(dir) = self.open.last_mut() {
            dir.reader = DirReader::empty();
        }
    }

    /// Returns the path of the entry or directory of the last step.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Returns what the caller keeps of the innermost open directory.
    pub fn kept(&mut self) -> Option<&mut D> {
        self.kept.last_mut()
    }

    /// Returns what the caller keeps of all open directories, outermost first.
    pub fn all_kept(&mut self) -> &mut [D] {
        &mut self.kept
    }

    /// Returns whether the limits admit no further entry.
    pub fn is_spent(&self) -> bool {
        self.limits.is_spent()
    }
}
