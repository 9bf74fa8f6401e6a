//! Siblings: files in an older version of a directory whose names differ from that of a new file in digits only.
//! A new file is stored as a delta against its sibling, as if that were its older version.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::model::entry::Entry;
use crate::model::id::ChunkId;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::walk::dir_reader::DirReader;
use crate::repo::write::similarity::Older;

/// Minimum size in bytes of a new file for which a sibling is looked up: less is not worth reading the names.
const SMALL: u64 = 4 << 10;
/// Maximum names of a directory that are kept to find siblings.
const MOST_NAMES: usize = 65_536;

/// An older version of a directory, in which new files look for siblings.
#[derive(Debug)]
pub(crate) struct Siblings {
    tree: ChunkId,
    /// Loaded at the first file that has a sibling by its name.
    names: Option<Names>,
    /// The last sibling that was looked up. Many new files may have the same one.
    last: Option<Sibling>,
    /// Where it was read. The next is likely to be in the same piece of the directory.
    place: Option<DirReader>,
}

impl Siblings {
    /// Looks in this tree, of which nothing is read yet.
    pub(crate) fn of(tree: ChunkId) -> Self {
        Self { tree, names: None, last: None, place: None }
    }

    /// Returns the content of the sibling of a new file of `size` bytes, if both have the same owner. Names
    /// without digits have no sibling, nor do files of less than 4 KiB.
    ///
    /// # Errors
    /// When the storage fails.
    pub(crate) fn older(
        &mut self,
        reader: &mut ChunkReader,
        entry: &Entry,
        size: u64,
    ) -> Result<Option<Older>> {
        if !is_sought(&entry.name, size) {
            return Ok(None);
        }
        let names = match &mut self.names {
            Some(names) => names,
            none => none.insert(Names::of(reader, self.tree)?),
        };
        let Some(sibling) = names.nearest(&entry.name).map(<[u8]>::to_vec) else { return Ok(None) };
        let owner = entry.meta.uid;
        if let Some(last) = self.last.as_ref().filter(|last| last.name == sibling) {
            return Ok(last.of(owner));
        }
        let found_in = |entry: &Entry| Older::of(entry).map(|older| (entry.meta.uid, older));
        let found = match self.place.as_ref().and_then(|place| place.at_hand(&sibling)) {
            Some(entry) => found_in(entry),
            None => {
                let mut place = DirReader::starting(self.tree, &sibling);
                let entry = match place.next(reader) {
                    Err(err) if err.is_damage() => None,
                    entry => entry?.filter(|entry| entry.name == sibling),
                };
                self.place = Some(place);
                entry.as_ref().and_then(found_in)
            }
        };
        Ok(self.last.insert(Sibling { name: sibling, found }).of(owner))
    }
}

/// Returns whether a sibling of a new file is looked up.
fn is_sought(name: &[u8], size: u64) -> bool {
    size >= SMALL && has_digits(name)
}

fn has_digits(name: &[u8]) -> bool {
    name.iter().any(u8::is_ascii_digit)
}

/// A sibling that was looked up.
#[derive(Debug)]
struct Sibling {
    name: Vec<u8>,
    /// Its owner and content, if it is a file that is not empty.
    found: Option<(u32, Older)>,
}

impl Sibling {
    /// Returns its content, if this is its owner.
    fn of(&self, owner: u32) -> Option<Older> {
        self.found.as_ref().filter(|(uid, _)| *uid == owner).map(|(_, older)| older.clone())
    }
}

/// Names of files by their form in which each run of digits is replaced.
#[derive(Debug, Default)]
struct Names(BTreeMap<Vec<u8>, Vec<Vec<u8>>>);

impl Names {
    /// Reads the names of a directory; of a very large one, only its first names.
    ///
    /// # Errors
    /// When the storage fails. Damaged pieces contribute no names.
    fn of(reader: &mut ChunkReader, tree: ChunkId) -> Result<Self> {
        let (mut dir, mut found) = (DirReader::new(tree), Self::default());
        for _ in 0..MOST_NAMES {
            match dir.next(reader) {
                Ok(Some(entry)) if entry.size() > 0 && has_digits(&entry.name) => found.add(entry.name),
                Ok(Some(_)) => {}
                Err(err) if !err.is_damage() => return Err(err),
                Ok(None) | Err(_) => break,
            }
        }
        Ok(found)
    }

    /// Adds a name. Names come in order.
    fn add(&mut self, name: Vec<u8>) {
        self.0.entry(folded(&name)).or_default().push(name);
    }

    /// Returns the most similar name: the last before it of the same form, else the first after it.
    fn nearest(&self, name: &[u8]) -> Option<&[u8]> {
        let names = self.0.get(&folded(name))?;
        let before = names.partition_point(|other| other.as_slice() < name);
        let nearest = names.get(before.saturating_sub(1))?;
        Some(nearest.as_slice())
    }
}

/// Replaces each run of digits in a name by one zero.
fn folded(name: &[u8]) -> Vec<u8> {
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
        assert_eq!(folded(b"dump-2026-11-28.sql"), folded(b"dump-2026-1-3.sql"));
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
        assert!(is_sought(b"dump-1.sql", SMALL));
        assert!(!is_sought(b"dump-1.sql", SMALL - 1));
        assert!(!is_sought(b"dump.sql", u64::MAX));
    }
}
