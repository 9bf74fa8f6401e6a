//! Finds stored chunks to which a new chunk is similar: chunks of an older version of its file, or of a
//! [sibling](super::siblings), around the corresponding offset. Chunks that both versions have are anchors:
//! data after an anchor is assumed to be at the same distance from it in both.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, VecDeque};

use crate::error::Result;
use crate::model::entry::{Content, ContentPart, Entry, Kind};
use crate::model::id::ChunkId;
use crate::repo::walk::file_parts::{self, PartListSource};

/// Distance in bytes from a chunk's expected range in the older version within which chunks count as similar.
const MARGIN: u64 = 64 << 10;
/// Maximum difference in bytes between the lengths of a changed chunk and of its older version. Only about
/// one in a hundred unrelated chunks differs by less.
const MAX_LEN_CHANGE: u64 = 256;
/// Bytes ahead of the current position in which anchors are searched in the older version.
const LOOKAHEAD: u64 = 64 << 20;
/// Parts that are further behind the current position are dropped. As long as [`LOOKAHEAD`], the distance
/// that a wrong anchor can lead ahead: the right parts must still be found afterwards.
const LOOKBEHIND: u64 = LOOKAHEAD;
/// An anchor that is further than this from its expected offset counts only when a second one confirms it:
/// new data may contain a chunk that occurs elsewhere in the older version.
const MAX_JUMP: u64 = 1 << 20;

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
struct OldPart {
    offset: u64,
    id: ChunkId,
    len: u32,
}

impl OldPart {
    fn end(&self) -> u64 {
        self.offset + u64::from(self.len)
    }

    /// Returns whether it is probably the older version of a chunk with this expected offset and length,
    /// changed only in its middle: it begins there, and is about as long.
    fn is_older_version_of(&self, expected: u64, len: u64) -> bool {
        self.offset == expected && u64::from(self.len).abs_diff(len) <= MAX_LEN_CHANGE
    }
}

/// Tracks the position in the older version while the new one is cut into chunks.
#[derive(Debug)]
pub(crate) struct Follower {
    older: Older,
    /// Length of the new version; that of the older one if it is unknown.
    size: u64,
    /// Current offset in the new version.
    offset: u64,
    /// Offset of the last anchor in the older version minus its offset in the new one.
    shift: Option<i128>,
    /// The same for the last anchor that was too far away to count.
    unconfirmed: Option<i128>,
    /// Whether both versions have a chunk boundary at the current position.
    is_cut: bool,
    /// Parts of the older version around the current position.
    parts: VecDeque<OldPart>,
    /// For each chunk the number of its occurrences in `parts`, and the offset of the last one.
    positions: HashMap<ChunkId, (u32, u64)>,
    /// Offset in the older version up to which parts were loaded.
    loaded: u64,
}

impl Follower {
    /// Starts at the beginning of both versions.
    pub(crate) fn new(older: Older, size: Option<u64>) -> Self {
        let size = size.filter(|size| *size > 0).unwrap_or(older.size);
        let (parts, positions) = (VecDeque::new(), HashMap::new());
        Self {
            older,
            size,
            offset: 0,
            shift: None,
            unconfirmed: None,
            is_cut: true,
            parts,
            positions,
            loaded: 0,
        }
    }

    /// Skips a hole in the new version.
    pub(crate) fn hole(&mut self, len: u64) {
        self.offset = self.offset.saturating_add(len);
        self.is_cut = false;
    }

    /// Returns the chunks to which the next chunk of the new version is similar. None if the older version
    /// has that chunk itself.
    ///
    /// # Errors
    /// When the older version's parts cannot be read.
    pub(crate) fn next(
        &mut self,
        lists: &mut dyn PartListSource,
        id: &ChunkId,
        len: u32,
    ) -> Result<Vec<(ChunkId, u32)>> {
        let (start, len) = (self.offset, u64::from(len));
        self.offset += len;
        let expected = self.expected(start);
        self.load(lists, expected.saturating_add(len + LOOKAHEAD))?;
        self.drop_before(expected.saturating_sub(LOOKBEHIND));
        let is_cut = std::mem::take(&mut self.is_cut);
        let old = self.parts_from(expected).next().copied();
        if old.is_some_and(|old| old.offset == expected && old.id == *id) {
            self.anchor(start, expected);
            return Ok(Vec::new());
        }
        match self.positions.get(id).copied() {
            Some((1, old_offset)) => {
                if self.shift.is_none()
                    || old_offset.abs_diff(expected) <= MAX_JUMP
                    || self.confirms_jump(start, old_offset)
                {
                    self.anchor(start, old_offset);
                }
                return Ok(Vec::new());
            }
            Some(_) => return Ok(Vec::new()),
            None => {}
        }
        if let Some(old) = old.filter(|part| is_cut && part.is_older_version_of(expected, len)) {
            self.shift = Some(i128::from(old.end()) - i128::from(self.offset));
            self.is_cut = true;
            return Ok(vec![(old.id, old.len)]);
        }
        let from = if is_cut { expected } else { expected.saturating_sub(MARGIN) };
        let to = expected.saturating_add(len + MARGIN);
        let nearby = self.parts_from(from).take_while(|part| part.offset < to);
        Ok(nearby.map(|part| (part.id, part.len)).collect())
    }

    /// Sets an anchor: the chunk at `start` of the new version is that at `old_offset` of the older one.
    fn anchor(&mut self, start: u64, old_offset: u64) {
        self.shift = Some(i128::from(old_offset) - i128::from(start));
        self.unconfirmed = None;
        self.is_cut = true;
    }

    /// Returns whether an anchor that is far away has about the same shift as the last such one.
    fn confirms_jump(&mut self, start: u64, old_offset: u64) -> bool {
        let shift = i128::from(old_offset) - i128::from(start);
        let before = self.unconfirmed.replace(shift);
        before.is_some_and(|before| before.abs_diff(shift) <= u128::from(MAX_JUMP))
    }

    /// Returns the parts that end after an offset in the older version.
    fn parts_from(&self, from: u64) -> impl Iterator<Item = &OldPart> {
        let first = self.parts.partition_point(|part| part.end() <= from);
        self.parts.iter().skip(first)
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

    /// Loads parts up to an offset in the older version.
    fn load(&mut self, lists: &mut dyn PartListSource, to: u64) -> Result<()> {
        let to = to.min(self.older.size);
        // Loads large ranges, since each search in a part list starts at its root.
        if to <= self.loaded || (to - self.loaded < LOOKAHEAD / 2 && to < self.older.size && self.loaded > 0)
        {
            return Ok(());
        }
        let (from, parts, positions) = (self.loaded, &mut self.parts, &mut self.positions);
        let (size, content) = (self.older.size, &self.older.content);
        file_parts::each_part_in(lists, size, content, from..to, &mut |offset, part| {
            if let ContentPart::Chunk { id, len } = part
                && offset >= from
            {
                let (count, last) = positions.entry(id).or_default();
                (*count, *last) = (*count + 1, offset);
                parts.push_back(OldPart { offset, id, len });
            }
            Ok(())
        })?;
        // The last part may end after `to`, and must not be loaded again.
        let end = self.parts.back().map_or(to, OldPart::end);
        self.loaded = to.max(end);
        Ok(())
    }

    /// Drops parts that end before an offset in the older version.
    fn drop_before(&mut self, before: u64) {
        while let Some(part) = self.parts.front().filter(|part| part.end() <= before) {
            if let Slot::Occupied(mut known) = self.positions.entry(part.id) {
                match known.get_mut() {
                    (0 | 1, _) => _ = known.remove(),
                    (count, _) => *count -= 1,
                }
            }
            self.parts.pop_front();
        }
    }
}

/// The pieces of the older version of a directory or part list, and the number of new pieces so far.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    pub(crate) known: Vec<ChunkId>,
    next: usize,
}

/// Maximum number of old pieces that all count as similar. Of more, only those near the new piece's position
/// do.
const MAX_ALL: usize = 6;

impl Pieces {
    pub(crate) fn new(known: Vec<ChunkId>) -> Self {
        Self { known, next: 0 }
    }

    /// Returns the old pieces to which the next new piece may be similar.
    pub(crate) fn similar_to_next(&mut self) -> Vec<ChunkId> {
        let at = self.next;
        self.next += 1;
        if self.known.len() <= MAX_ALL {
            return self.known.clone();
        }
        // The root is the first of the old pieces, but the last of the new ones: these come after the pieces
        // that they list.
        let nearby = self.known.iter().skip(at.saturating_sub(1)).take(4);
        let mut similar: Vec<ChunkId> = nearby.copied().collect();
        if at + 3 >= self.known.len() {
            similar.extend(self.known.first());
        }
        similar
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
        let len = |number: &u8| if *number < 90 { LEN } else { LEN + MAX_LEN_CHANGE as u32 + 1 };
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
