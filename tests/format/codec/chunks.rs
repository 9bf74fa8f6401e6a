//! Laws of chunking. Small parameters give many chunks from few bytes.

use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};
use snap_backup::codec::chunk::chunker::Chunker;
use snap_backup::model::config::ChunkerParams;

use super::keys;

const TINY: ChunkerParams = ChunkerParams {
    min: 64,
    avg: 256,
    max: 1024,
    mask_s: 0x0000_d903_0003_0000,
    mask_l: 0x0000_1903_0000_0000,
};

fn chunker() -> Chunker {
    Chunker::new(TINY, &keys().gear).unwrap()
}

/// fastcdc shifts its masks by one bit: the highest one would be lost.
#[test]
fn masks_that_are_empty_or_have_their_highest_bit_are_refused() {
    let refused =
        |mask_s, mask_l| Chunker::new(ChunkerParams { mask_s, mask_l, ..TINY }, &keys().gear).is_err();
    let highest = 1 << 63;
    assert!(!refused(TINY.mask_s, TINY.mask_l) && !refused(TINY.mask_s | highest >> 1, TINY.mask_l));
    for (mask_s, mask_l) in [(0, 1), (1, 0), (TINY.mask_s | highest, 1), (1, TINY.mask_l | highest)] {
        assert!(refused(mask_s, mask_l), "{mask_s:x} {mask_l:x}");
    }
}

/// Random bytes, and runs of one byte, in which no mask ever matches or one matches everywhere.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let run = (any::<u8>(), 0..3000usize).prop_map(|(byte, len)| vec![byte; len]);
    vec(prop_oneof![vec(any::<u8>(), 0..3000), run], 0..5).prop_map(|pieces| pieces.concat())
}

/// Cuts a stream into chunks, with `ahead` bytes beyond the largest chunk in the buffer.
fn chunks(mut bytes: &[u8], ahead: impl IntoIterator<Item = usize>) -> Vec<&[u8]> {
    let chunker = chunker();
    let mut all = Vec::new();
    for ahead in ahead {
        if bytes.is_empty() {
            return all;
        }
        let held = bytes.len().min(chunker.max() + ahead);
        let (chunk, rest) = bytes.split_at(chunker.cut(&bytes[..held]));
        assert!(!chunk.is_empty(), "an empty chunk never ends");
        all.push(chunk);
        bytes = rest;
    }
    unreachable!("the stream did not end")
}

/// The cut as described in docs/format.md, one byte at a time.
fn plain_cut(bytes: &[u8]) -> usize {
    let gear = keys().gear;
    let most = bytes.len().min(TINY.max as usize);
    let mut hash = 0u64;
    for at in TINY.min as usize..most & !1 {
        hash = (hash << 1).wrapping_add(gear[usize::from(bytes[at])]);
        let mask = if at < TINY.avg as usize { TINY.mask_s } else { TINY.mask_l };
        if hash & mask == 0 {
            return at;
        }
    }
    most
}

proptest! {
    #[test]
    fn cuts_are_where_the_plain_rule_puts_them(bytes in streams()) {
        let mut rest = &bytes[..];
        for chunk in chunks(&bytes, std::iter::repeat(0)) {
            prop_assert_eq!(chunk.len(), plain_cut(rest));
            rest = &rest[chunk.len()..];
        }
    }

    #[test]
    fn chunks_put_together_are_the_stream(bytes in streams()) {
        let concatenated = chunks(&bytes, std::iter::repeat(0)).concat();
        prop_assert!(concatenated == bytes);
    }

    #[test]
    fn every_chunk_keeps_to_the_bounds_but_the_last_may_be_short(bytes in streams()) {
        let all = chunks(&bytes, std::iter::repeat(0));
        let (body, last) = all.split_at(all.len().saturating_sub(1));
        prop_assert!(body.iter().all(|chunk| (64..=1024).contains(&chunk.len())));
        prop_assert!(last.iter().all(|chunk| (1..=1024).contains(&chunk.len())));
    }

    #[test]
    fn cuts_do_not_depend_on_how_much_was_buffered(
        bytes in streams(),
        ahead in vec(0..5000usize, 1..9),
    ) {
        let exact = chunks(&bytes, std::iter::repeat(0));
        let whole = chunks(&bytes, std::iter::repeat(bytes.len()));
        prop_assert_eq!(&whole, &exact);
        prop_assert_eq!(&chunks(&bytes, ahead.into_iter().cycle()), &exact);
    }

    #[test]
    fn a_cut_depends_on_nothing_before_the_chunk(bytes in streams(), more in vec(any::<u8>(), 0..2000)) {
        // What follows the last cut of one stream may be cut differently when the stream continues; nothing
        // before it.
        let longer = [&bytes[..], &more].concat();
        let (before, after) = (chunks(&bytes, std::iter::repeat(0)), chunks(&longer, std::iter::repeat(0)));
        let settled = before.len().saturating_sub(1);
        prop_assert_eq!(&before[..settled], &after[..settled]);
    }
}
