//! Deltas: zstd frames that refer to a prefix, the plain bytes of similar chunks.
//!
//! It is decisive that the match finder indexes the whole prefix: with the default tables of level 3 a
//! changed database dump of 490 MB takes 68.6 MB, with tables of 2^21 entries 1.8 MB. A context is created
//! for each frame, because it borrows the prefix.

use zstd::zstd_safe::{self, CCtx, CParameter, DCtx};

use crate::codec::chunk::compress::{NO_MEMORY, failed, frame};
use crate::model::decode_error::DecodeError;

/// Maximum plain bytes of a prefix.
pub const MAX_PREFIX: u32 = 4 << 20;

/// How much time to spend on a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// For bytes that look random, which share only long matches with others: half the time of `Quick`.
    Noise,
    /// Two or three seconds per gigabyte.
    Quick,
    /// For files: half as much time again as `Quick`, and up to a quarter smaller.
    Files,
    /// For trees: five times as long, and a sixth smaller.
    Trees,
}

/// Parameters of a compressor. Logarithms are to the base 2.
struct Parameters {
    level: i32,
    /// Entries of the match finder's table for long matches; in levels with one table, for all.
    long: u32,
    /// Entries of its table for short matches, in levels with two tables.
    short: u32,
    /// Minimum match length.
    shortest: u32,
    /// Number of candidates that are compared for each match, in levels that compare several; 0 means the
    /// level's default.
    search: u32,
}

impl Effort {
    /// Indexing the prefix takes most of the time, because a table of this size exceeds the CPU caches.
    /// Tables of half the size take half the time; deltas of trees would then grow by half, those of files by
    /// a tenth or less. Short matches in files are mostly far away and cost more than they save; in trees
    /// they are timestamps and worth encoding. The matches of noise are so long that one entry in ten is
    /// enough.
    fn parameters(self) -> Parameters {
        match self {
            Self::Noise => Parameters { level: 1, long: 19, short: 19, shortest: 7, search: 0 },
            Self::Quick => Parameters { level: 3, long: 20, short: 19, shortest: 7, search: 0 },
            Self::Files => Parameters { level: 12, long: 20, short: 20, shortest: 6, search: 4 },
            Self::Trees => Parameters { level: 12, long: 21, short: 21, shortest: 5, search: 0 },
        }
    }
}

/// Maximum length of a prefix for which noise needs only a table of half the size.
const HALF_TABLE_PREFIX: usize = 5 << 19;
/// Maximum length of a prefix for the thorough efforts. They index every byte, so their tables would hold
/// only the end of a longer prefix.
const THOROUGH_PREFIX: usize = 3 << 20;
/// zstd's own bound for window and tables.
const MAX_WINDOW_LOG: u32 = 27;

/// Replaces `out` by one frame that contains `plain`, compressed against `prefix`. The two must not overlap
/// in memory: zstd treats an overlapping prefix as overwritten and finds no matches in it.
///
/// # Errors
/// zstd fails, or both together are too long.
pub fn compress(prefix: &[u8], plain: &[u8], effort: Effort, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let window = frame::window_log(prefix.len().saturating_add(plain.len()));
    if prefix.len() > MAX_PREFIX as usize || window > MAX_WINDOW_LOG {
        return Err(DecodeError::because("a delta is too large"));
    }
    let mut context = CCtx::try_create().ok_or(NO_MEMORY)?;
    let is_thorough = matches!(effort, Effort::Files | Effort::Trees);
    let effort = if is_thorough && prefix.len() > THOROUGH_PREFIX { Effort::Quick } else { effort };
    let Parameters { level, long, short, shortest, search } = effort.parameters();
    let halves_table = effort == Effort::Noise && prefix.len() <= HALF_TABLE_PREFIX;
    let long = if halves_table { long - 1 } else { long };
    for parameter in [
        CParameter::CompressionLevel(level),
        CParameter::WindowLog(window),
        CParameter::HashLog(window.min(long)),
        CParameter::ChainLog(window.min(short)),
        CParameter::MinMatch(shortest),
        CParameter::SearchLog(search),
    ] {
        context.set_parameter(parameter).map_err(failed)?;
    }
    context.ref_prefix(prefix).map_err(failed)?;
    out.clear();
    out.reserve(zstd_safe::compress_bound(plain.len()));
    context.compress2(out, plain).map_err(failed)?;
    Ok(())
}

/// Replaces `out` by the content of a frame made against `prefix`, which must be `len` bytes (bounded by
/// the caller). A frame that asks for a larger window than prefix and content need is refused before memory
/// is allocated.
///
/// # Errors
/// The frame does not have this length or prefix.
pub fn decompress(
    prefix: &[u8],
    compressed: &[u8],
    len: usize,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    frame::check(compressed, prefix.len().saturating_add(len))?;
    out.clear();
    out.reserve_exact(len);
    let mut context = DCtx::try_create().ok_or(NO_MEMORY)?;
    context.ref_prefix(prefix).map_err(failed)?;
    context.decompress(out, compressed).map_err(failed)?;
    if out.len() == len { Ok(()) } else { Err(DecodeError::because("its decompressed length is wrong")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns incompressible bytes, the same for the same seed.
    fn noise(len: usize, mut seed: u64) -> Vec<u8> {
        let step = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed as u8
        };
        std::iter::repeat_with(step).take(len).collect()
    }

    fn roundtrip(prefix: &[u8], plain: &[u8]) -> Vec<u8> {
        let efforts = [Effort::Quick, Effort::Files, Effort::Trees, Effort::Noise];
        let [quick, files, trees, noise] = efforts.map(|effort| {
            let (mut compressed, mut back) = (Vec::new(), Vec::new());
            compress(prefix, plain, effort, &mut compressed).unwrap();
            decompress(prefix, &compressed, plain.len(), &mut back).unwrap();
            assert_eq!(back, plain);
            compressed
        });
        assert!(files.len().max(trees.len()).max(noise.len()) < quick.len() + 100);
        quick
    }

    #[test]
    fn match_at_the_far_end_of_the_longest_prefix_is_found() {
        let prefix = noise(MAX_PREFIX as usize, 1);
        let mut plain = prefix[..2 << 20].to_vec();
        plain[70_000] ^= 1;
        plain.splice(1_000_000..1_000_000, *b"a few bytes more");
        let compressed = roundtrip(&prefix, &plain);
        assert!(compressed.len() < 4000, "{} bytes for one that is changed", compressed.len());
    }

    #[test]
    fn prefix_like_a_trained_dictionary_is_plain_bytes() {
        let mut prefix = vec![0x37, 0xa4, 0x30, 0xec];
        prefix.extend(noise(50_000, 2));
        let plain = prefix.clone();
        assert!(roundtrip(&prefix, &plain[10..]).len() < 100);
    }

    #[test]
    fn one_byte_and_no_bytes_roundtrip() {
        roundtrip(b"a", b"b");
        roundtrip(b"a", b"");
    }

    #[test]
    fn wrong_prefix_length_or_trailing_bytes_are_detected() {
        let (prefix, plain) = (noise(9000, 3), noise(9000, 3));
        let compressed = roundtrip(&prefix, &plain);
        let mut out = Vec::new();
        assert!(decompress(&prefix[1..], &compressed, plain.len(), &mut out).is_err() || out != plain);
        assert!(decompress(&prefix, &compressed, plain.len() - 1, &mut out).is_err());
        assert!(decompress(&prefix, &[compressed.as_slice(), b"x"].concat(), plain.len(), &mut out).is_err());
        let twice = [compressed.as_slice(), &compressed].concat();
        assert!(decompress(&prefix, &twice, 2 * plain.len(), &mut out).is_err());
    }

    #[test]
    fn frame_with_an_oversized_window_allocates_nothing() {
        // One raw block of one byte: first with a window of 2^41 bytes, then as a single segment that claims
        // 2^40 bytes.
        let window = [0x28, 0xb5, 0x2f, 0xfd, 0, 0xf8, 9, 0, 0, b'x'];
        let segment = [0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 1, 0, 0, 9, 0, 0, b'x'];
        let small = [0x28, 0xb5, 0x2f, 0xfd, 0, 0, 9, 0, 0, b'x'];
        let mut out = Vec::new();
        assert!(decompress(b"p", &small, 1, &mut out).is_ok() && out == b"x");
        for frame in [&window[..], &segment] {
            let mut out = Vec::new();
            let refused = decompress(b"p", frame, 1, &mut out).unwrap_err();
            assert!(refused.to_string().contains("more memory"), "{refused}");
            assert_eq!(out.capacity(), 0);
        }
    }
}
