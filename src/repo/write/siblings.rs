//! Siblings: files in an older version of a directory whose names differ from that of a new file only in
//! digits. A new file is stored as a delta against its sibling, as if that were its older version.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::model::entry::Entry;
use crate::model::id::ChunkId;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::walk::dir_reader::DirReader;
use crate::repo::write::similarity::Older;

/// Minimum size in bytes of a new file for which a sibling is looked up. A smaller one saves less than
/// reading the names costs.
const MIN_SIZE: u64 = 4 << 10;
/// Maximum number of entries of a directory that are read to find siblings.
const MAX_NAMES: usize = 65_536;

/// An older version of a directory, in which siblings of new files are looked up.
#[derive(Debug)]
pub(crate) struct Siblings {
    tree: ChunkId,
    /// Loaded at the first file that may have a sibling.
    names: Option<Names>,
    /// The last sibling that was looked up. Many new files may have the same one.
    last: Option<Sibling>,
    /// The reader that found it: the next one is probably in the same piece of the directory.
    dir_reader: Option<DirReader>,
}

impl Siblings {
    /// Creates it for a tree, without reading the tree.
    pub(crate) fn of(tree: ChunkId) -> Self {
        Self { tree, names: None, last: None, dir_reader: None }
    }

    /// Returns the content of the sibling of a new file, if both have the same owner. Files without digits in
    /// their names have no sibling, nor do files of fewer than [`MIN_SIZE`] bytes.
    ///
    /// # Errors
    /// When the storage fails.
    pub(crate) fn older(
        &mut self,
        reader: &mut ChunkReader,
        entry: &Entry,
        size: u64,
    ) -> Result<Option<Older>> {
        if !may_have_sibling(&entry.name, size) {
            return Ok(None);
        }
        let names = match &mut self.names {
            Some(names) => names,
            none => none.insert(Names::read(reader, self.tree)?),
        };
        let Some(sibling) = names.nearest(&entry.name).map(<[u8]>::to_vec) else { return Ok(None) };
        let owner = entry.meta.uid;
        if let Some(last) = self.last.as_ref().filter(|last| last.name == sibling) {
            return Ok(last.owned_by(owner));
        }
        let found_in = |entry: &Entry| Older::of(entry).map(|older| (entry.meta.uid, older));
        let found = match self.dir_reader.as_ref().and_then(|dir_reader| dir_reader.buffered(&sibling)) {
            Some(entry) => found_in(entry),
            None => {
                let mut dir_reader = DirReader::starting_at(self.tree, &sibling);
                let entry = match dir_reader.next(reader) {
                    Err(err) if err.is_damage() => None,
                    entry => entry?.filter(|entry| entry.name == sibling),
                };
                self.dir_reader = Some(dir_reader);
                entry.as_ref().and_then(found_in)
            }
        };
        Ok(self.last.insert(Sibling { name: sibling, found }).owned_by(owner))
    }
}

/// Returns whether a sibling is looked up for a file with this name and size.
fn may_have_sibling(name: &[u8], size: u64) -> bool {
    size >= MIN_SIZE && has_digits(name)
}

fn has_digits(name: &[u8]) -> bool {
    name.iter().any(u8::is_ascii_digit)
}

/// A sibling that was looked up.
#[derive(Debug)]
struct Sibling {
    name: Vec<u8>,
    /// Its owner and content; `None` if it is not a file, is empty, or cannot be read.
    found: Option<(u32, Older)>,
}

impl Sibling {
    /// Returns its content, if `owner` is its owner.
    fn owned_by(&self, owner: u32) -> Option<Older> {
        self.found.as_ref().filter(|(uid, _)| *uid == owner).map(|(_, older)| older.clone())
    }
}

/// Names of files, sorted, by their form with folded digits ([`fold_digits`]).
#[derive(Debug, Default)]
struct Names(BTreeMap<Vec<u8>, Vec<Vec<u8>>>);

impl Names {
    /// Reads the names of a directory; of a very large one, only its first names.
    ///
    /// # Errors
    /// When the storage fails. Damaged pieces contribute no names.
    fn read(reader: &mut ChunkReader, tree: ChunkId) -> Result<Self> {
        let (mut dir, mut found) = (DirReader::new(tree), Self::default());
        for _ in 0..MAX_NAMES {
            match dir.next(reader) {
                Ok(Some(entry)) if entry.size() > 0 && has_digits(&entry.name) => found.add(entry.name),
                Ok(Some(_)) => {}
                Err(err) if !err.is_damage() => return Err(err),
                Ok(None) | Err(_) => break,
            }
        }
        Ok(found)
    }

    /// Adds a name. Names must be added in ascending order.
    fn add(&mut self, name: Vec<u8>) {
        self.0.entry(fold_digits(&name)).or_default().push(name);
    }

    /// Returns the nearest name of the same form: the last one before `name`, otherwise the first one after
    /// it.
    fn nearest(&self, name: &[u8]) -> Option<&[u8]> {
        let names = self.0.get(&fold_digits(name))?;
        let before = names.partition_point(|other| other.as_slice() < name);
        let nearest = names.get(before.saturating_sub(1))?;
        Some(nearest.as_slice())
    }
}

/// Replaces each run of digits in a name by one zero.
fn fold_digits(name: &[u8]) -> Vec<u8> {
    let mut folded: Vec<u8> = Vec::with_capacity(name.len());
    let mut in_digits = false;
    for byte in name {
        if !byte.is_ascii_digit() {
            folded.push(*byte);
        } else if !in_digits {
            folded.push(b'0');
        }
        in_digits = byte.is_ascii_digit();
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_in_digits_only_are_siblings() {
        assert_eq!(fold_digits(b"dump-2026-11-28.sql"), fold_digits(b"dump-2026-1-3.sql"));
        let mut names = Names::default();
        for name in ["dump-26.sql", "dump-27.sql", "dump-29.sql"] {
            names.add(name.as_bytes().to_vec());
        }
        assert_eq!(names.nearest(b"dump-28.sql"), Some(&b"dump-27.sql"[..]));
        assert_eq!(names.nearest(b"dump-10.sql"), Some(&b"dump-26.sql"[..]));
        assert_eq!(names.nearest(b"dump-x.sql"), None);
    }

    #[test]
    fn siblings_are_not_searched_for_small_or_undated_files() {
        assert!(may_have_sibling(b"dump-1.sql", MIN_SIZE));
        assert!(!may_have_sibling(b"dump-1.sql", MIN_SIZE - 1));
        assert!(!may_have_sibling(b"dump.sql", u64::MAX));
    }
}
