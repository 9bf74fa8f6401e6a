//! Which stored chunks a new chunk is like: those of an older version of its file, or of a sibling of nearly the same name, about
//! where the new one lies. Chunks that both versions have are anchors: what follows one lies as far behind it in both.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::error::Result;
use crate::model::entry::{Content, Entry, Kind, Part};
use crate::model::id::ChunkId;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::walk::dir_reader::DirReader;
use crate::repo::walk::file_parts::PartListSource;
use crate::repo::walk::{dir_reader, file_parts};

/// Bytes on either side of where a chunk should have come from that are taken as well.
const MARGIN: u64 = 64 << 10;
/// So far ahead of where the new file is, anchors are looked for in the older one; parts further behind are forgotten.
const AHEAD: u64 = 64 << 20;
const BEHIND: u64 = 1 << 20;
/// Names of a directory that are kept to find siblings.
const MOST_NAMES: usize = 65_536;

/// An older version of a file.
#[derive(Debug, Clone)]
pub(crate) struct Older {
    pub(crate) size: u64,
    pub(crate) content: Content,
}

impl Older {
    /// What an entry holds, if it is a file that is not empty.
    pub(crate) fn of(entry: &Entry) -> Option<Self> {
        match &entry.kind {
            Kind::File { size, content } if *size > 0 => Some(Self { size: *size, content: content.clone() }),
            _ => None,
        }
    }
}

/// A part of the older version that is ahead of, or about where the new one is.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: u64,
    id: ChunkId,
    len: u32,
}

/// Follows the older version while the new one is cut.
#[derive(Debug)]
pub(crate) struct Follower {
    older: Older,
    /// Length of the new version, as far as that is known; else that of the older.
    size: u64,
    /// Where the new version is.
    at: u64,
    /// How far behind its place in the new version the last anchor lies in the older.
    shift: Option<i128>,
    places: VecDeque<Place>,
    /// Chunks of `places`; `None` where there are several of one.
    known: HashMap<ChunkId, Option<u64>>,
    /// Up to where parts were taken in.
    loaded: u64,
}

impl Follower {
    /// From the beginning of both.
    pub(crate) fn new(older: Older, size: Option<u64>) -> Self {
        let size = size.filter(|size| *size > 0).unwrap_or(older.size);
        Self { older, size, at: 0, shift: None, places: VecDeque::new(), known: HashMap::new(), loaded: 0 }
    }

    /// A hole is next in the new version.
    pub(crate) fn hole(&mut self, len: u64) {
        self.at = self.at.saturating_add(len);
    }

    /// What the next chunk of the new version is like; nothing where the older one has that chunk itself.
    ///
    /// # Errors
    /// When the older version's parts cannot be read.
    pub(crate) fn next(
        &mut self,
        lists: &mut dyn PartListSource,
        id: &ChunkId,
        len: u32,
    ) -> Result<Vec<(ChunkId, u32)>> {
        let (start, len) = (self.at, u64::from(len));
        self.at += len;
        let expected = self.expected(start);
        self.load(lists, expected.saturating_add(len + AHEAD))?;
        self.forget(expected.saturating_sub(BEHIND));
        match self.known.get(id) {
            Some(Some(place)) => {
                self.shift = Some(i128::from(*place) - i128::from(start));
                return Ok(Vec::new());
            }
            Some(None) => return Ok(Vec::new()),
            None => {}
        }
        let (from, to) = (expected.saturating_sub(MARGIN), expected.saturating_add(len + MARGIN));
        let first = self.places.partition_point(|place| place.at + u64::from(place.len) <= from);
        let near = self.places.iter().skip(first).take_while(|place| place.at < to);
        Ok(near.map(|place| (place.id, place.len)).collect())
    }

    /// Where in the older version what is here in the new one should come from: behind the last anchor; before the first, in
    /// proportion.
    fn expected(&self, start: u64) -> u64 {
        let expected = match self.shift {
            Some(shift) => i128::from(start) + shift,
            None => i128::from(start) * i128::from(self.older.size) / i128::from(self.size.max(1)),
        };
        u64::try_from(expected.max(0)).unwrap_or(u64::MAX)
    }

    fn load(&mut self, lists: &mut dyn PartListSource, to: u64) -> Result<()> {
        let to = to.min(self.older.size);
        // In steps: a list is searched from its root each time.
        if to <= self.loaded || (to - self.loaded < AHEAD / 2 && to < self.older.size && self.loaded > 0) {
            return Ok(());
        }
        let (from, places, known) = (self.loaded, &mut self.places, &mut self.known);
        let (size, content) = (self.older.size, &self.older.content);
        file_parts::each_part_in(lists, size, content, from..to, &mut |at, part| {
            if let Part::Chunk { id, len } = part
                && at >= from
            {
                known.entry(id).and_modify(|place| *place = None).or_insert(Some(at));
                places.push_back(Place { at, id, len });
            }
            Ok(())
        })?;
        // The last part may reach further; it is not to be taken twice.
        let end = self.places.back().map_or(to, |place| place.at + u64::from(place.len));
        self.loaded = to.max(end);
        Ok(())
    }

    fn forget(&mut self, before: u64) {
        while let Some(place) = self.places.front().filter(|place| place.at + u64::from(place.len) <= before)
        {
            self.known.remove(&place.id);
            self.places.pop_front();
        }
    }
}

/// Names of a directory of the parent, to find files by that are named almost alike.
#[derive(Debug, Default)]
pub(crate) struct Siblings {
    /// By what names are when each run of digits is one.
    alike: BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
}

impl Siblings {
    /// Of a directory; of a very large one, of its first names.
    ///
    /// # Errors
    /// When the store fails. What of the directory is damaged has no names.
    pub(crate) fn of(reader: &mut ChunkReader, tree: ChunkId) -> Result<Self> {
        let (mut dir, mut found) = (DirReader::new(tree), Self::default());
        for _ in 0..MOST_NAMES {
            match dir.next(reader) {
                Ok(Some(entry)) if entry.size() > 0 => {
                    let names = found.alike.entry(folded(&entry.name));
                    names.or_default().push(entry.name);
                }
                Ok(Some(_)) => {}
                Err(err) if !err.is_damage() => return Err(err),
                Ok(None) | Err(_) => break,
            }
        }
        Ok(found)
    }

    /// The one of almost this name: the last before it, else the first after it.
    pub(crate) fn name(&self, name: &[u8]) -> Option<&[u8]> {
        let names = self.alike.get(&folded(name))?;
        let before = names.partition_point(|other| other.as_slice() < name);
        let nearest = names.get(before.saturating_sub(1))?;
        Some(nearest.as_slice())
    }

    /// What that one holds.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) fn older(
        &self,
        reader: &mut ChunkReader,
        tree: ChunkId,
        name: &[u8],
    ) -> Result<Option<Older>> {
        let Some(sibling) = self.name(name) else { return Ok(None) };
        match dir_reader::child(reader, tree, sibling) {
            Err(err) if err.is_damage() => Ok(None),
            found => Ok(found?.as_ref().and_then(Older::of)),
        }
    }
}

/// A name in which each run of digits is one zero.
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

/// Pieces that a directory or a list of parts has in the parent, and how many of the new one there are so far.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    pub(crate) known: Vec<ChunkId>,
    next: usize,
}

/// Up to so many, all are taken; of more, those about where the new piece is.
const FEW: usize = 6;

impl Pieces {
    pub(crate) fn new(known: Vec<ChunkId>) -> Self {
        Self { known, next: 0 }
    }

    /// Those that the next piece may be like.
    pub(crate) fn like_next(&mut self) -> Vec<ChunkId> {
        let at = self.next;
        self.next += 1;
        if self.known.len() <= FEW {
            return self.known.clone();
        }
        // Leaves come first, then what lists them; known ones begin with the root.
        let mut like: Vec<ChunkId> = self.known.iter().skip(at.saturating_sub(1)).take(4).copied().collect();
        if at + 3 >= self.known.len() {
            like.extend(self.known.first());
        }
        like
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tree::part_list::ListPiece;
    use crate::error::Error;
    use std::sync::Arc;

    /// For those whose parts are in their entries.
    struct NoLists;

    impl PartListSource for NoLists {
        fn list(&mut self, _: &ChunkId) -> Result<Arc<ListPiece>> {
            Err(Error::Stopped)
        }
    }

    fn id(number: u8) -> ChunkId {
        ChunkId::new([number; 32])
    }

    const LEN: u32 = 100 << 10;

    fn older(numbers: &[u8]) -> Older {
        let part = |number: &u8| Part::Chunk { id: id(*number), len: LEN };
        let parts: Vec<Part> = numbers.iter().map(part).collect();
        Older { size: parts.len() as u64 * u64::from(LEN), content: Content::Parts(parts) }
    }

    fn likes(older: Older, new: &[u8]) -> Vec<Vec<u8>> {
        let size = new.len() as u64 * u64::from(LEN);
        let mut follower = Follower::new(older, Some(size));
        let next = |number: &u8| {
            let like = follower.next(&mut NoLists, &id(*number), LEN).unwrap();
            like.iter().map(|(id, _)| id.as_bytes()[0]).collect()
        };
        new.iter().map(next).collect()
    }

    #[test]
    fn a_changed_chunk_is_like_the_one_between_the_same_neighbours() {
        let found = likes(older(&[1, 2, 3, 4, 5]), &[1, 2, 90, 4, 5]);
        assert_eq!(found, [vec![], vec![], vec![2, 3, 4], vec![], vec![]]);
    }

    #[test]
    fn what_was_put_in_before_moves_the_place_where_is_looked() {
        let found = likes(older(&[1, 2, 3, 4, 5, 6, 7, 8, 9]), &[1, 91, 92, 93, 94, 2, 3, 4, 5, 95, 7]);
        assert_eq!(found[9], [5, 6, 7]);
    }

    #[test]
    fn without_any_anchor_the_place_is_in_proportion() {
        let found = likes(older(&[1, 2, 3, 4, 5, 6, 7, 8]), &[91, 92, 93, 94]);
        assert!(found[3].contains(&7) && !found[3].contains(&1), "{found:?}");
    }

    #[test]
    fn what_is_behind_the_end_of_the_older_one_is_like_nothing() {
        let found = likes(older(&[1, 2, 3]), &[1, 2, 3, 91, 92, 93]);
        assert_eq!(found[5], Vec::<u8>::new());
    }

    #[test]
    fn names_that_differ_in_digits_only_are_siblings() {
        assert_eq!(folded(b"dump-2026-11-28.sql"), folded(b"dump-2026-1-3.sql"));
        let names = ["dump-26.sql", "dump-27.sql", "dump-29.sql"].map(|name| name.as_bytes().to_vec());
        let siblings = Siblings { alike: BTreeMap::from([(folded(b"dump-1.sql"), names.to_vec())]) };
        assert_eq!(siblings.name(b"dump-28.sql"), Some(&b"dump-27.sql"[..]));
        assert_eq!(siblings.name(b"dump-10.sql"), Some(&b"dump-26.sql"[..]));
        assert_eq!(siblings.name(b"dump-x.sql"), None);
    }
}
