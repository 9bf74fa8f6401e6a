//! Metadata that the backup of a past state records instead of the current one, and the files that several
//! states share.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::entry::{Content, Entry, Kind, Meta, Time, Xattr};
use crate::ops::backup::states::supplement::{Check, Supplement};

/// Maximum number of files to remember beyond those of the newest state, at about 300 bytes of memory each.
const MAX_LINKED_FILES: usize = 1 << 20;

/// How to interpret the ctimes of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Comparison {
    /// The state is a copy, so ctimes and birth times are meaningless: neither is compared or stored. A file
    /// is unchanged if path, size and mtime are equal, as in rsync.
    #[default]
    Copies,
    /// The ctimes are those of the source, as in a file system snapshot: both times are stored, and a file is
    /// read if its ctime differs.
    Originals,
}

/// What the snapshot of a past state records. Only [`run`](super::run) creates one.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Absolute stored paths of the sources, in their order.
    pub(in crate::ops::backup) stored: Vec<Vec<u8>>,
    pub(in crate::ops::backup) time: Time,
    pub(in crate::ops::backup) user: Option<String>,
    pub(in crate::ops::backup) origin: Option<String>,
    pub(in crate::ops::backup) comparison: Comparison,
    /// Whether to read all files instead of reusing those of the previous snapshot.
    pub(in crate::ops::backup) reread: bool,
    pub(in crate::ops::backup) linked: Arc<LinkedFiles>,
    /// Metadata that cannot be read from the sources.
    pub(in crate::ops::backup) supplement: Option<Arc<Supplement>>,
    pub(in crate::ops::backup) check: Option<Check>,
}

impl Recorded {
    /// Returns each source with its stored path.
    pub(in crate::ops::backup) fn places(&self, sources: &[PathBuf]) -> Vec<(PathBuf, Vec<u8>)> {
        sources.iter().cloned().zip(self.stored.iter().cloned()).collect()
    }

    /// Removes times that belong to the copy and not to the original.
    pub(in crate::ops::backup) fn strip(&self, meta: &mut Meta) {
        if self.comparison == Comparison::Copies {
            (meta.ctime, meta.born) = (Time::default(), None);
        }
    }

    /// Returns whether a file is taken to equal that of the previous snapshot, without reading it. `now` is
    /// stripped.
    pub(in crate::ops::backup) fn is_unchanged(&self, before: &Entry, now: &Entry, size: u64) -> bool {
        let (old, new) = (&before.meta, &now.meta);
        let same_ctime = self.comparison == Comparison::Copies || old.ctime == new.ctime;
        !self.reread && before.is_file() && before.size() == size && old.mtime == new.mtime && same_ctime
    }
}

/// A version of a file with several hard links. Any change of its content or metadata sets its ctime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::ops::backup) struct Version {
    /// Device and inode number.
    pub(in crate::ops::backup) inode: (u64, u64),
    pub(in crate::ops::backup) size: u64,
    pub(in crate::ops::backup) mtime: Time,
    pub(in crate::ops::backup) ctime: Time,
}

impl Version {
    /// Creates a version from metadata that has not been stripped.
    pub(in crate::ops::backup) fn new(inode: (u64, u64), size: u64, meta: &Meta) -> Self {
        Self { inode, size, mtime: meta.mtime, ctime: meta.ctime }
    }
}

/// The stored content of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ops::backup) struct StoredFile {
    pub(in crate::ops::backup) content: Content,
    pub(in crate::ops::backup) xattrs: Vec<Xattr>,
}

impl StoredFile {
    /// Returns the stored content of an entry, if it is a file.
    pub(in crate::ops::backup) fn of(entry: &Entry) -> Option<Self> {
        let Kind::File { content, .. } = &entry.kind else { return None };
        Some(Self { content: content.clone(), xattrs: entry.meta.xattrs.clone() })
    }

    /// Returns the kind of an entry with this content.
    pub(in crate::ops::backup) fn kind(&self, size: u64) -> Kind {
        Kind::File { size, content: self.content.clone() }
    }
}

/// Stored files with several hard links, by inode, so that a file that is linked in many states is read once.
#[derive(Debug, Default)]
pub(in crate::ops::backup) struct LinkedFiles(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// Each with the number of the last state that it was in.
    files: HashMap<Version, (StoredFile, u64)>,
    /// Number of the current state.
    state: u64,
}

impl LinkedFiles {
    pub(in crate::ops::backup) fn get(&self, version: &Version) -> Option<StoredFile> {
        let mut table = self.0.lock();
        let state = table.state;
        let (file, used) = table.files.get_mut(version)?;
        *used = state;
        Some(file.clone())
    }

    pub(in crate::ops::backup) fn insert(&self, version: Version, file: StoredFile) {
        let mut table = self.0.lock();
        let state = table.state;
        table.files.insert(version, (file, state));
    }

    /// Ends a state. If there are too many files, those that are not in this state are dropped.
    pub(in crate::ops::backup) fn end_state(&self) {
        let mut table = self.0.lock();
        let state = table.state;
        if table.files.len() > MAX_LINKED_FILES {
            table.files.retain(|_, (_, used)| *used == state);
        }
        table.state += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(byte: u8) -> StoredFile {
        StoredFile {
            content: Content::Parts(Vec::new()),
            xattrs: vec![Xattr {
                name: vec![byte],
                value: crate::model::entry::XattrValue::Inline(Vec::new()),
            }],
        }
    }

    #[test]
    fn every_field_of_a_version_distinguishes_it() {
        let meta =
            Meta { mtime: Time { sec: 1, nanos: 2 }, ctime: Time { sec: 3, nanos: 4 }, ..Meta::default() };
        let version = Version::new((5, 6), 7, &meta);
        let files = LinkedFiles::default();
        files.insert(version, file(1));
        assert_eq!(files.get(&version), Some(file(1)));
        for other in [
            Version { inode: (5, 7), ..version },
            Version { inode: (6, 6), ..version },
            Version { size: 8, ..version },
            Version { mtime: Time { sec: 1, nanos: 3 }, ..version },
            Version { ctime: Time { sec: 3, nanos: 5 }, ..version },
        ] {
            assert_eq!(files.get(&other), None, "{other:?}");
        }
    }
}
