//! Content-defined chunking: FastCDC (Xia et al., USENIX ATC 2016; 2020 version with two-byte steps) over a
//! Gear table derived from the repository's key. The only user of fastcdc.

use fastcdc::v2020::cut_gear;

use crate::model::config::ChunkerParams;
use crate::model::decode_error::DecodeError;

/// The default profile of `init`, with chunks of 64 KiB on average. The repository stores the numbers, not
/// a name.
pub const K64: ChunkerParams =
    ChunkerParams { min: 16 << 10, avg: 64 << 10, max: 256 << 10, mask_s: MASK_18, mask_l: MASK_14 };
/// Profile for few large files: 256 KiB on average.
pub const K256: ChunkerParams =
    ChunkerParams { min: 64 << 10, avg: 256 << 10, max: 1 << 20, mask_s: MASK_20, mask_l: MASK_16 };
/// Profile for very large repositories: 1 MiB on average.
pub const M1: ChunkerParams =
    ChunkerParams { min: 256 << 10, avg: 1 << 20, max: 4 << 20, mask_s: MASK_22, mask_l: MASK_18 };

// The masks of the FastCDC paper's reference code with 14 to 22 one-bits (normalization level 2: two bits
// more than log2(avg) before the average, two less after).
const MASK_14: u64 = 0x0000_d903_1353_0000;
const MASK_16: u64 = 0x0000_d903_0353_7000;
const MASK_18: u64 = 0x0000_d907_0753_7000;
const MASK_20: u64 = 0x0000_d917_4753_7000;
const MASK_22: u64 = 0x0000_d937_6753_7000;

/// Largest chunk size that any configuration may use, so that lengths can be checked before it is known.
pub const MAX_CHUNK: u32 = 16 << 20;

/// Checks a repository's parameters. fastcdc itself accepts any, and shifts the masks by one bit.
///
/// # Errors
/// They are out of range.
pub fn check(params: &ChunkerParams) -> Result<(), DecodeError> {
    let sizes = [params.min, params.avg, params.max];
    let ordered = params.min >= 64 && params.min < params.avg && params.avg < params.max;
    if !sizes.iter().all(|size| size.is_power_of_two()) || !ordered || params.max > MAX_CHUNK {
        return Err(DecodeError::because("chunk sizes must be powers of two in ascending order"));
    }
    if [params.mask_s, params.mask_l].iter().any(|mask| *mask == 0 || mask >> 63 != 0) {
        return Err(DecodeError::because("a chunker mask is zero or has its highest bit set"));
    }
    Ok(())
}

/// Cuts streams into chunks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Chunker {
    params: ChunkerParams,
    gear: Box<[u64; 256]>,
    gear_ls: Box<[u64; 256]>,
}

impl Chunker {
    /// Creates a chunker with a repository's parameters and Gear table.
    ///
    /// # Errors
    /// As [`check`].
    pub fn new(params: ChunkerParams, gear: &[u64; 256]) -> Result<Self, DecodeError> {
        check(&params)?;
        let mut gear_ls = Box::new([0u64; 256]);
        for (shifted, value) in gear_ls.iter_mut().zip(gear) {
            *shifted = value << 1;
        }
        Ok(Self { params, gear: Box::new(*gear), gear_ls })
    }

    /// Returns the maximum chunk size. With that many bytes buffered, or the rest of the stream,
    /// [`Self::cut`] is final.
    pub fn max(&self) -> usize {
        self.params.max as usize
    }

    /// Returns the length of the first chunk of `bytes`, which must contain the stream's end or at least
    /// [`Self::max`] bytes.
    pub fn cut(&self, bytes: &[u8]) -> usize {
        let params = &self.params;
        if bytes.len() <= params.min as usize {
            return bytes.len();
        }
        let (_, len) = cut_gear(
            bytes,
            params.min as usize,
            params.avg as usize,
            params.max as usize,
            params.mask_s,
            params.mask_l,
            params.mask_s << 1,
            params.mask_l << 1,
            self.gear.as_slice(),
            self.gear_ls.as_slice(),
        );
        len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::crypto::hash::{Key, SubKeys};
    use crate::model::id::RepoId;

    fn chunker() -> Chunker {
        let keys = SubKeys::derive(&Key::new([1; 32]), &RepoId::new([2; 16]));
        Chunker::new(K64, &keys.gear).unwrap()
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x9E37_79B9_7F4A_7C15u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        (0..len).map(|_| (next() >> 32) as u8).collect()
    }

    fn cuts(chunker: &Chunker, mut bytes: &[u8]) -> Vec<usize> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let len = chunker.cut(&bytes[..bytes.len().min(chunker.max())]);
            all.push(len);
            bytes = &bytes[len..];
        }
        all
    }

    /// Golden values. A change here moves the boundaries of every existing repository; never edit the
    /// numbers.
    #[test]
    fn boundaries_never_move_between_releases() {
        let found = cuts(&chunker(), &noise(1 << 20));
        assert_eq!(found, GOLDEN);
    }

    const GOLDEN: &[usize] = &[
        90053, 79064, 54882, 71111, 23701, 53686, 95532, 78729, 121815, 72381, 72458, 104450, 58236, 32665,
        39813,
    ];

    #[test]
    fn chunks_keep_to_the_bounds_and_average() {
        let found = cuts(&chunker(), &noise(32 << 20));
        let (last, body) = found.split_last().unwrap();
        assert!(*last <= 256 << 10);
        assert!(body.iter().all(|len| (16 << 10..=256 << 10).contains(len)));
        let mean = (32 << 20) / found.len();
        assert!((56 << 10..90 << 10).contains(&mean), "mean {mean}");
    }

    #[test]
    fn an_insertion_moves_only_nearby_boundaries() {
        let before = noise(4 << 20);
        let mut after = before.clone();
        after.insert(1 << 20, 7);
        let ends = |lens: Vec<usize>| {
            lens.iter()
                .scan(0, |sum, len| {
                    *sum += len;
                    Some(*sum)
                })
                .collect::<Vec<_>>()
        };
        let (a, b) = (ends(cuts(&chunker(), &before)), ends(cuts(&chunker(), &after)));
        let kept = b.iter().filter(|end| a.contains(end) || a.contains(&(*end - 1))).count();
        assert!(b.len() - kept <= 4, "{} of {} boundaries moved", b.len() - kept, b.len());
    }

    #[test]
    fn parameters_that_the_library_would_ignore_are_refused() {
        let gear = [1u64; 256];
        for bad in [
            ChunkerParams { avg: 65 << 10, ..K64 },
            ChunkerParams { min: 65, ..K64 },
            ChunkerParams { max: 32 << 10, ..K64 },
            ChunkerParams { mask_s: 0, ..K64 },
        ] {
            assert!(Chunker::new(bad, &gear).is_err(), "{bad:?}");
        }
    }
}
