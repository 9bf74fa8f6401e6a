//! Finds stored chunks that a new chunk is similar to: chunks of an older version of its file, or of a
//! [sibling](super::siblings), around the corresponding offset. Chunks that both versions have are
//! anchors: data after an anchor is at the same distance from it in both.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, VecDeque};

use crate::error::Result;
use crate::model::entry::{Content, ContentPart, Entry, Kind};
use crate::model::id::ChunkId;
use crate::repo::walk::file_parts::{self, PartListSource};

/// Bytes around a chunk's expected origin within which older chunks are taken.
const MARGIN: u64 = 64 << 10;
/// Bytes by which a chunk may differ in length from its older version. Chunks that have nothing in common
/// differ by more, except for about one in a hundred.
const GROWN: u64 = 256;
/// How far ahead of the current position anchors are searched in the older file.
const AHEAD: u64 = 64 << 20;
/// Parts further behind are dropped. It is as far as a wrong anchor can lead ahead: what is really there must
/// still be found.
const BEHIND: u64 = AHEAD;
/// An anchor that is further from where it is expected is believed when another one agrees with it: new data
/// may by chance have a chunk that is elsewhere in the older file.
const NEAR: u64 = 1 << 20;

/// An older version of a file.
#[derive(Debug, Clone)]
pub(crate) struct Older {
    pub(crate) size: u64,
    pub(crate) content: Content,
}

impl Older {
    /// Returns the content of an entry, if it is a non-empty file.
    pub(crate) fn of(entry: &Entry) -> Option<Self> {
        match &entry.kind {
            Kind::File { size, content } if *size > 0 => Some(Self { size: *size, content: content.clone() }),
            _ => None,
        }
    }
}

/// A part of the older version near or ahead of the current position.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: u64,
    id: ChunkId,
    len: u32,
}

impl Place {
    fn end(&self) -> u64 {
        self.at + u64::from(self.len)
    }

    /// Returns whether it is the older version of a chunk of this length that is expected here, changed in
    /// its middle: both its ends are where the chunk's are.
    fn is_for(&self, expected: u64, len: u64) -> bool {
        self.at == expected && u64::from(self.len).abs_diff(len) <= GROWN
    }
}

/// Tracks the position in the older version while the new one is chunked.
#[derive(Debug)]
pub(crate) struct Follower {
    older: Older,
    /// Length of the new version if known, else of the older one.
    size: u64,
    /// Current offset in the new version.
    at: u64,
    /// Offset of the last anchor in the older version minus its offset in the new one.
    shift: Option<i128>,
    /// The same for an anchor that was too far away to be believed.
    doubtful: Option<i128>,
    /// Both versions were cut at the current position.
    is_cut: bool,
    places: VecDeque<Place>,
    /// How often each chunk is in `places`, and where last.
    known: HashMap<ChunkId, (u32, u64)>,
    /// Offset up to which parts were loaded.
    loaded: u64,
}

impl Follower {
    /// Starts at the beginning of both versions.
    pub(crate) fn new(older: Older, size: Option<u64>) -> Self {
        let size = size.filter(|size| *size > 0).unwrap_or(older.size);
        let (places, known) = (VecDeque::new(), HashMap::new());
        Self { older, size, at: 0, shift: None, doubtful: None, is_cut: true, places, known, loaded: 0 }
    }

    /// Skips a hole in the new version.
    pub(crate) fn hole(&mut self, len: u64) {
        self.at = self.at.saturating_add(len);
        self.is_cut = false;
    }

    /// Returns the chunks that the next chunk of the new version is similar to.
    /// None if the older version has that chunk itself.
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
        let is_cut = std::mem::take(&mut self.is_cut);
        let same = self.places_from(expected).next().copied();
        if same.is_some_and(|same| same.at == expected && same.id == *id) {
            self.anchor(start, expected);
            return Ok(Vec::new());
        }
        match self.known.get(id).copied() {
            Some((1, place)) => {
                if self.shift.is_none() || place.abs_diff(expected) <= NEAR || self.is_confirmed(start, place)
                {
                    self.anchor(start, place);
                }
                return Ok(Vec::new());
            }
            Some(_) => return Ok(Vec::new()),
            None => {}
        }
        if let Some(same) = same.filter(|place| is_cut && place.is_for(expected, len)) {
            self.shift = Some(i128::from(same.end()) - i128::from(self.at));
            self.is_cut = true;
            return Ok(vec![(same.id, same.len)]);
        }
        let from = if is_cut { expected } else { expected.saturating_sub(MARGIN) };
        let to = expected.saturating_add(len + MARGIN);
        let near = self.places_from(from).take_while(|place| place.at < to);
        Ok(near.map(|place| (place.id, place.len)).collect())
    }

    /// Takes the chunk at `start` for the older version's at `place`.
    fn anchor(&mut self, start: u64, place: u64) {
        self.shift = Some(i128::from(place) - i128::from(start));
        self.doubtful = None;
        self.is_cut = true;
    }

    /// Returns whether an anchor far away is about as far away as the last such one.
    fn is_confirmed(&mut self, start: u64, place: u64) -> bool {
        let shift = i128::from(place) - i128::from(start);
        let before = self.doubtful.replace(shift);
        before.is_some_and(|before| before.abs_diff(shift) <= u128::from(NEAR))
    }

    /// Returns the parts that end behind an offset in the older version.
    fn places_from(&self, from: u64) -> impl Iterator<Item = &Place> {
        let first = self.places.partition_point(|place| place.end() <= from);
        self.places.iter().skip(first)
    }

    /// Returns the offset in the older version that corresponds to the current one: relative to the last
    /// anchor, or before the first anchor in proportion to the lengths.
    fn expected(&self, start: u64) -> u64 {
        let expected = match self.shift {
            Some(shift) => i128::from(start) + shift,
            None => i128::from(start) * i128::from(self.older.size) / i128::from(self.size.max(1)),
        };
        u64::try_from(expected.max(0)).unwrap_or(u64::MAX)
    }

    fn load(&mut self, lists: &mut dyn PartListSource, to: u64) -> Result<()> {
        let to = to.min(self.older.size);
        // Load in large steps: each search in a list starts at its root.
        if to <= self.loaded || (to - self.loaded < AHEAD / 2 && to < self.older.size && self.loaded > 0) {
            return Ok(());
        }
        let (from, places, known) = (self.loaded, &mut self.places, &mut self.known);
        let (size, content) = (self.older.size, &self.older.content);
        file_parts::each_part_in(lists, size, content, from..to, &mut |at, part| {
            if let ContentPart::Chunk { id, len } = part
                && at >= from
            {
                let (count, last) = known.entry(id).or_default();
                (*count, *last) = (*count + 1, at);
                places.push_back(Place { at, id, len });
            }
            Ok(())
        })?;
        // The last loaded part may reach further, and must not be loaded twice.
        let end = self.places.back().map_or(to, Place::end);
        self.loaded = to.max(end);
        Ok(())
    }

    fn forget(&mut self, before: u64) {
        while let Some(place) = self.places.front().filter(|place| place.end() <= before) {
            if let Slot::Occupied(mut known) = self.known.entry(place.id) {
                match known.get_mut() {
                    (0 | 1, _) => _ = known.remove(),
                    (count, _) => *count -= 1,
                }
            }
            self.places.pop_front();
        }
    }
}

/// The pieces that a directory or part list has in the parent, and the number of new pieces so far.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    pub(crate) known: Vec<ChunkId>,
    next: usize,
}

/// Up to this many old pieces, all are taken; of more, those near the new piece's position.
const FEW: usize = 6;

impl Pieces {
    pub(crate) fn new(known: Vec<ChunkId>) -> Self {
        Self { known, next: 0 }
    }

    /// Returns the old pieces that the next piece may be similar to.
    pub(crate) fn like_next(&mut self) -> Vec<ChunkId> {
        let at = self.next;
        self.next += 1;
        if self.known.len() <= FEW {
            return self.known.clone();
        }
        // New leaves come before the index pieces that list them; the old pieces begin with the root.
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

    /// A list source for files whose parts are all in their entries.
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
        let part = |number: &u8| ContentPart::Chunk { id: id(*number), len: LEN };
        let parts: Vec<ContentPart> = numbers.iter().map(part).collect();
        Older { size: parts.len() as u64 * u64::from(LEN), content: Content::Parts(parts) }
    }

    /// Of these the 80s are as long as the old ones, and others that the old version lacks are longer.
    fn likes(older: Older, new: &[u8]) -> Vec<Vec<u8>> {
        let len = |number: &u8| if *number < 90 { LEN } else { LEN + GROWN as u32 + 1 };
        let size = new.iter().map(|number| u64::from(len(number))).sum();
        let mut follower = Follower::new(older, Some(size));
        let next = |number: &u8| {
            let like = follower.next(&mut NoLists, &id(*number), len(number)).unwrap();
            like.iter().map(|(id, _)| id.as_bytes()[0]).collect()
        };
        new.iter().map(next).collect()
    }

    #[test]
    fn changed_chunk_is_similar_to_the_one_between_its_neighbours() {
        let found = likes(older(&[1, 2, 3, 4, 5]), &[1, 2, 80, 4, 5]);
        assert_eq!(found, [vec![], vec![], vec![3], vec![], vec![]]);
        let all = likes(older(&[1, 2, 3, 4, 5]), &[81, 82, 83, 84, 85]);
        assert_eq!(all, [[1], [2], [3], [4], [5]]);
    }

    #[test]
    fn chunk_of_another_length_is_similar_to_the_next() {
        let mut follower = Follower::new(older(&[1, 2, 3, 4]), None);
        let mut next = |number, len| {
            let like = follower.next(&mut NoLists, &id(number), len).unwrap();
            like.iter().map(|(id, _)| id.as_bytes()[0]).collect::<Vec<u8>>()
        };
        assert_eq!(next(1, LEN), Vec::<u8>::new());
        assert_eq!(next(92, LEN + 5000), [2, 3], "not what is before");
        assert_eq!(next(93, LEN), [2, 3, 4]);
        let mut follower = Follower::new(older(&[1, 2, 3, 4]), None);
        let mut next = |number, len| follower.next(&mut NoLists, &id(number), len).unwrap().len();
        assert_eq!((next(91, LEN - 100), next(92, LEN + 200), next(93, LEN)), (1, 1, 1));
    }

    #[test]
    fn earlier_insertions_move_the_search_position() {
        let found = likes(older(&[1, 2, 3, 4, 5, 6, 7, 8, 9]), &[1, 91, 92, 93, 94, 2, 3, 4, 5, 95, 7]);
        assert_eq!(found[9], [6, 7]);
    }

    /// Returns what each of these chunks is like, all of one length, in a file of the chunks 1 to 200.
    fn likes_in_long_file(new: &[u8]) -> Vec<Vec<u8>> {
        let mut follower = Follower::new(older(&(1..=200).collect::<Vec<u8>>()), None);
        let mut next = |number: &u8| {
            let like = follower.next(&mut NoLists, &id(*number), LEN).unwrap();
            like.iter().map(|(id, _)| id.as_bytes()[0]).collect()
        };
        new.iter().map(&mut next).collect()
    }

    #[test]
    fn one_chunk_far_ahead_does_not_move_the_position() {
        let found = likes_in_long_file(&[1, 2, 150, 251, 5, 6, 252, 8]);
        assert_eq!((&found[3], &found[6]), (&vec![3, 4, 5], &vec![7]));
    }

    #[test]
    fn two_chunks_far_ahead_move_the_position_there_and_back() {
        let found = likes_in_long_file(&[1, 2, 150, 151, 251, 153, 7, 8, 252, 10]);
        assert_eq!((&found[4], &found[8]), (&vec![152], &vec![9]));
    }

    #[test]
    fn a_chunk_that_is_everywhere_is_an_anchor_where_it_is_expected() {
        let mut follower = Follower::new(older(&[1, 7, 7, 4, 7, 6]), None);
        let mut next = |number| {
            let like = follower.next(&mut NoLists, &id(number), LEN).unwrap();
            like.iter().map(|(id, _)| id.as_bytes()[0]).collect::<Vec<u8>>()
        };
        assert_eq!([next(1), next(7), next(7), next(90), next(7), next(91)].concat(), [4, 6]);
    }

    #[test]
    fn position_without_an_anchor_is_proportional() {
        let found = likes(older(&[1, 2, 3, 4, 5, 6, 7, 8]), &[91, 92, 93, 94]);
        assert!(found[3].contains(&7) && !found[3].contains(&1), "{found:?}");
    }

    #[test]
    fn data_beyond_the_older_file_is_similar_to_nothing() {
        let found = likes(older(&[1, 2, 3]), &[1, 2, 3, 91, 92, 93]);
        assert_eq!(found[5], Vec::<u8>::new());
    }
}
