//! What is open: files with how they are read, directories with what they showed when they were opened.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::entry::Content;
use crate::model::id::SnapshotId;
use crate::ops::mount::inodes::Dir;
use crate::ops::mount::virtual_dirs::Child;
use crate::repo::random::random_reader::ReadAhead;

/// One thing that is open.
#[derive(Debug)]
pub(super) enum Open {
    /// A file.
    File(OpenFile),
    /// A directory of a snapshot.
    Dir(Dir),
    /// A directory above the snapshots: names in it, with their numbers.
    Virtual { ino: u64, children: Vec<(String, u64, Child)> },
}

/// A file that is read.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) snapshot: SnapshotId,
    pub(super) size: u64,
    pub(super) content: Content,
    pub(super) read_ahead: ReadAhead,
    /// The directory that it was opened in, and its name: for people.
    pub(super) parent: u64,
    pub(super) name: Vec<u8>,
}

impl Open {
    /// The snapshot that it is of.
    pub(super) fn snapshot(&self) -> Option<SnapshotId> {
        match self {
            Self::File(file) => Some(file.snapshot),
            Self::Dir(dir) => Some(dir.snapshot.id),
            Self::Virtual { .. } => None,
        }
    }
}

/// All that is open, by numbers that are never used again.
#[derive(Debug, Default)]
pub(super) struct Handles(Mutex<(u64, HashMap<u64, Arc<Open>>)>);

impl Handles {
    pub(super) fn add(&self, open: Open) -> u64 {
        let mut state = self.state();
        state.0 += 1;
        let number = state.0;
        state.1.insert(number, Arc::new(open));
        number
    }

    pub(super) fn get(&self, number: u64) -> Option<Arc<Open>> {
        self.state().1.get(&number).cloned()
    }

    pub(super) fn remove(&self, number: u64) -> Option<Arc<Open>> {
        self.state().1.remove(&number)
    }

    pub(super) fn count(&self) -> u64 {
        self.state().1.len() as u64
    }

    fn state(&self) -> MutexGuard<'_, (u64, HashMap<u64, Arc<Open>>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
