//! Open files with their read-ahead state, and open directories with the entries they had when opened.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::model::entry::Content;
use crate::model::id::SnapshotId;
use crate::ops::mount::inodes::Dir;
use crate::ops::mount::virtual_dirs::Child;
use crate::repo::random::random_reader::ReadAhead;

/// An open file or directory.
#[derive(Debug)]
pub(super) enum Open {
    /// A file.
    File(OpenFile),
    /// A directory of a snapshot.
    Dir(Dir),
    /// A virtual directory: its entries with their inode numbers.
    Virtual { ino: u64, children: Vec<(String, u64, Child)> },
}

/// An open file.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) snapshot: SnapshotId,
    pub(super) size: u64,
    pub(super) content: Content,
    pub(super) read_ahead: ReadAhead,
    /// Inode of the directory in which it was opened, and its name. Only for messages.
    pub(super) parent: u64,
    pub(super) name: Vec<u8>,
}

impl Open {
    /// Returns the snapshot it belongs to.
    pub(super) fn snapshot(&self) -> Option<SnapshotId> {
        match self {
            Self::File(file) => Some(file.snapshot),
            Self::Dir(dir) => Some(dir.snapshot.id),
            Self::Virtual { .. } => None,
        }
    }
}

/// All open files and directories, by handle. Handles are never reused.
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
        self.0.lock()
    }
}
