//! Compares a block with a prefix: which bytes a delta has to store itself, and which ranges of the prefix it
//! refers to.

use std::ops::Range;

/// Distance of the indexed positions of a prefix, and number of bytes that are compared first.
const STEP: usize = 16;
/// Minimum length of a match. A shorter one would split what changed, and each piece costs a reference.
const MIN_MATCH: usize = 48;

/// Positions in a prefix, by a hash of the [`STEP`] bytes there.
struct PrefixIndex {
    /// Position divided by `STEP`, plus one; 0 means empty.
    slots: Vec<u32>,
    shift: u32,
}

impl PrefixIndex {
    fn new(prefix: &[u8]) -> Self {
        let bits = (prefix.len() / STEP * 2).next_power_of_two().trailing_zeros().clamp(4, 20);
        let mut index = Self { slots: vec![0; 1 << bits], shift: u64::BITS - bits };
        for (number, bytes) in prefix.as_chunks::<STEP>().0.iter().enumerate() {
            let slot = index.slot(bytes);
            if let Some(slot) = index.slots.get_mut(slot) {
                *slot = number as u32 + 1;
            }
        }
        index
    }

    fn slot(&self, bytes: &[u8; STEP]) -> usize {
        let value = u128::from_le_bytes(*bytes);
        let mixed = (value as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (value >> 64) as u64;
        (mixed.wrapping_mul(0xd6e8_feb8_6659_fd93) >> self.shift) as usize
    }

    /// Returns the position at which the prefix may have these bytes.
    fn find(&self, bytes: &[u8; STEP]) -> Option<usize> {
        let number = self.slots.get(self.slot(bytes)).copied()?.checked_sub(1)?;
        Some(number as usize * STEP)
    }
}

/// Returns the concatenated parts of `plain` that are in no match of at least `MIN_MATCH` bytes with
/// `prefix`, and calls `matched` with the range of each match in the prefix. Of overlapping matches one is
/// used. A match is found only if it contains an indexed position, so slightly more may be returned.
pub fn compare(prefix: &[u8], plain: &[u8], matched: &mut dyn FnMut(Range<usize>)) -> Vec<u8> {
    let index = PrefixIndex::new(prefix);
    let (mut novel, mut at, mut done) = (Vec::new(), 0, 0);
    while let Some((before, after)) = plain.split_at_checked(at)
        && let Some(bytes) = after.first_chunk::<STEP>()
    {
        let found = index.find(bytes).and_then(|position| prefix.split_at_checked(position));
        let (backward, forward) = found.map_or((0, 0), |(prefix_before, prefix_after)| {
            let before = before.get(done..).unwrap_or(&[]);
            let backward = common(prefix_before.iter().rev(), before.iter().rev());
            (backward, common(prefix_after.iter(), after.iter()))
        });
        if forward < STEP || backward + forward < MIN_MATCH {
            at += 1;
            continue;
        }
        novel.extend_from_slice(plain.get(done..at - backward).unwrap_or(&[]));
        let position = found.map_or(0, |(before, _)| before.len());
        matched(position - backward..position + forward);
        at += forward;
        done = at;
    }
    novel.extend_from_slice(plain.get(done..).unwrap_or(&[]));
    novel
}

/// Number and length of the samples of a chunk that are searched in a prefix. Each match of `2 * STEP` bytes
/// and more that covers a sample is found.
const SAMPLES: usize = 32;
const SAMPLE: usize = 4 * STEP;
/// A delta is worthwhile only if the prefix matches at least one sample in this many.
const ONE_OF: usize = 8;

/// Returns for each of the consecutive chunks of these lengths in `plain` whether a prefix shares data with
/// at least an eighth of its samples. Otherwise a delta saves far less than half of the chunk, and making it
/// takes far longer than this.
pub fn similar_chunks(prefix: &[u8], plain: &[u8], lens: impl Iterator<Item = usize>) -> Vec<bool> {
    let index = PrefixIndex::new(prefix);
    let mut rest = plain;
    let mut next = |len: usize| {
        let (chunk, after) = rest.split_at_checked(len).unwrap_or((rest, &[]));
        rest = after;
        index.is_similar(chunk, prefix)
    };
    lens.map(&mut next).collect()
}

impl PrefixIndex {
    fn is_similar(&self, plain: &[u8], prefix: &[u8]) -> bool {
        let samples = plain.len().div_ceil(SAMPLE).clamp(1, SAMPLES);
        let starts = (0..samples).map(|number| number * plain.len() / samples);
        let found = starts.filter_map(|start| plain.get(start..)).filter(|sample| {
            let windows = sample.get(..SAMPLE + STEP).unwrap_or(sample).windows(STEP);
            windows.filter_map(|window| window.first_chunk::<STEP>()).any(|bytes| {
                let old = self.find(bytes).and_then(|position| prefix.get(position..position + STEP));
                old.is_some_and(|old| old == bytes)
            })
        });
        found.take(samples.div_ceil(ONE_OF)).count() * ONE_OF >= samples
    }
}

/// Returns the length of the common beginning.
fn common<'a>(one: impl Iterator<Item = &'a u8>, other: impl Iterator<Item = &'a u8>) -> usize {
    one.zip(other).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns lines that differ from each other.
    fn lines(numbers: std::ops::Range<u32>, salt: u32) -> Vec<String> {
        let value = |number: u32| (number + salt).wrapping_mul(2_654_435_761);
        numbers
            .map(|number| format!("row {number}: {:x} and {:x}\n", value(number), value(number + 7)))
            .collect()
    }

    fn bytes_not_in(prefix: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut bytes = 0;
        let novel = compare(prefix, plain, &mut |place| bytes += prefix[place].len());
        assert_eq!(bytes + novel.len(), plain.len());
        novel
    }

    #[test]
    fn places_of_the_prefix_that_are_in_it_are_named() {
        let old = lines(0..3000, 0).concat().into_bytes();
        let mut places = Vec::new();
        compare(&old, &old[20_000..60_000], &mut |place| places.push((place.start, place.end)));
        assert_eq!(places, [(20_000, 60_000)]);
    }

    #[test]
    fn changed_rows_are_found_and_hardly_more() {
        let old = lines(0..5000, 0);
        let mut new = old.clone();
        let changed = lines(0..5000, 1 << 20);
        let mut most = 0;
        for number in (40..5000).step_by(100) {
            new[number].clone_from(&changed[number]);
            most += changed[number].len() + 2 * STEP;
        }
        let novel = bytes_not_in(old.concat().as_bytes(), new.concat().as_bytes());
        assert!(novel.len() > most / 8 && novel.len() <= most, "{} bytes, {most} at most", novel.len());
        let both = [old.concat().into_bytes(), novel].concat();
        let again = bytes_not_in(&both, new.concat().as_bytes()).len();
        assert!(again < most / 3, "{again} bytes of {most} are new beside what was new before");
    }

    #[test]
    fn data_of_the_prefix_is_not_new_at_any_position() {
        let old = lines(0..3000, 0).concat().into_bytes();
        assert!(bytes_not_in(&old, &old).is_empty());
        let moved = [&old[50_001..], &old[..50_001]].concat();
        assert!(bytes_not_in(&old, &moved).len() < 4 * MIN_MATCH);
    }

    /// Returns which of these chunks are similar to the prefix.
    fn similar(prefix: &[u8], chunks: &[&[u8]]) -> Vec<bool> {
        similar_chunks(prefix, &chunks.concat(), chunks.iter().map(|chunk| chunk.len()))
    }

    #[test]
    fn chunk_is_similar_with_a_fifth_in_common_not_with_less() {
        let old = lines(0..10_000, 0).concat().into_bytes();
        let other = lines(0..10_000, 1 << 20).concat().into_bytes();
        let part = |len: usize| [&old[30_001..30_001 + len], &other[len..200_000]].concat();
        let [all, fifth, nothing, little] = [200_000, 40_000, 0, 5_000].map(part);
        assert_eq!(similar(&old, &[&all, &nothing, &fifth, &little]), [true, false, true, false]);
        assert_eq!(similar(&old, &[&old[5..60], b"short"]), [true, false]);
        assert_eq!(similar(b"", &[&old]), [false]);
    }

    #[test]
    fn everything_is_new_against_an_empty_or_short_prefix() {
        let plain = lines(0..10, 0).concat().into_bytes();
        for prefix in [&b""[..], b"row", &plain[..STEP]] {
            assert_eq!(bytes_not_in(prefix, &plain), plain);
        }
        assert!(bytes_not_in(&plain, b"").is_empty());
        assert_eq!(bytes_not_in(&plain, b"short"), b"short");
    }
}
