//! Drift: all versions of a file are deltas against the first one, from which they differ more and more, so
//! each delta is larger than the one before. At some point storing a version whole saves more than it costs,
//! because later versions use it as a base.
//!
//! Let a whole version take w bytes, and each version add g bytes of changes: the deltas take g, 2g, 3g, ...
//! In an infinite series it is best to store a whole one every sqrt(2w/g) versions, when the delta has grown
//! to sqrt(2wg). Here it is stored at 2 sqrt(wg): at most 6 % worse, and better if the series ends or its
//! beginning is forgotten. Only w, the delta and g must be known; g is measured on a sample, as a delta
//! against the previous version.

use crate::codec::chunk::block::DeltaSizes;
use crate::codec::chunk::compress::delta::{self, Effort};
use crate::codec::crypto::hash::ChunkType;
use crate::error::{Error, Result};
use crate::model::id::ChunkId;
use crate::repo::index::Index;
use crate::repo::read::chunk_reader::BlockReader;

/// Maximum bytes of a block that are compared with the previous version.
const MAX_SAMPLE_BYTES: usize = 512 << 10;
/// Maximum bytes of the previous version for that comparison.
const MAX_PREVIOUS_BYTES: u64 = 1 << 20;

/// Maximum bytes of all dictionaries of a delta.
pub(crate) const MAX_DICTIONARY_BYTES: u64 = 1 << 20;

/// Length in bytes of the first chunk of each dictionary, its mark. Hardly any file ends with a chunk of that
/// length.
pub(crate) const MARK_LEN: u32 = 16;

/// Returns where the dictionaries of a delta block begin among its bases. They come last, begin with a chunk
/// of [`MARK_LEN`] bytes, and are shorter than any chunk that does not end its file.
pub(crate) fn dictionaries_at(kind: ChunkType, bases: &[(ChunkId, u32)], min_chunk_len: u32) -> usize {
    let short = bases.iter().rposition(|(_, len)| *len >= min_chunk_len).map_or(0, |last| last + 1);
    let mark = bases.iter().skip(short).position(|(_, len)| *len == MARK_LEN);
    let first = mark.map_or(bases.len(), |mark| short + mark);
    let bytes: u64 = bases.iter().skip(first).map(|(_, len)| u64::from(*len)).sum();
    if kind == ChunkType::Data && first > 0 && bytes <= MAX_DICTIONARY_BYTES { first } else { bases.len() }
}

/// A contiguous sample of a block, and the similar chunks of the previous version, if those are in deltas.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    /// Range of the sample in the plain bytes of the block.
    start: usize,
    end: usize,
    similar: Vec<(ChunkId, u32)>,
    /// Total length of the similar chunks.
    bytes: u64,
    /// Whether some of the similar chunks are in deltas.
    pub(crate) in_deltas: bool,
}

/// How far a block has drifted from its bases, and what follows from that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drift {
    /// Not far: the delta is kept.
    Little,
    /// Most of the delta repeats changes that the previous version also had: a dictionary may save them.
    Repeats {
        /// Estimated bytes of a delta against the previous version.
        step: u64,
    },
    /// So far that the block should be stored whole.
    Far,
}

impl Probe {
    /// Adds the next chunk of the block with its similar chunks. `in_deltas` means that some of these are in
    /// delta blocks.
    pub(crate) fn add(&mut self, offset: usize, len: usize, similar: &[(ChunkId, u32)], in_deltas: bool) {
        self.in_deltas |= in_deltas;
        let is_first = self.similar.is_empty();
        if !in_deltas || !(is_first || self.end == offset) || offset + len - self.start > MAX_SAMPLE_BYTES {
            return;
        }
        let new: Vec<(ChunkId, u32)> =
            similar.iter().copied().filter(|chunk| !self.similar.contains(chunk)).collect();
        let added: u64 = new.iter().map(|(_, len)| u64::from(*len)).sum();
        if self.bytes + added <= MAX_PREVIOUS_BYTES {
            self.start = if is_first { offset } else { self.start };
            self.end = offset + len;
            self.bytes += added;
            self.similar.extend(new);
        }
    }

    /// Returns how far the block has drifted from its bases.
    ///
    /// # Errors
    /// When the storage fails.
    pub(crate) fn drift(
        &self,
        reader: &mut BlockReader,
        index: &Index,
        plain: &[u8],
        (sizes, has_dictionary): (DeltaSizes, bool),
    ) -> Result<Drift> {
        let Some(sample) = plain.get(self.start..self.end).filter(|sample| !sample.is_empty()) else {
            return Ok(Drift::Little);
        };
        let previous = match reader.read_existing(index, ChunkType::Data, &self.similar) {
            Err(err) if err.is_damage() => return Ok(Drift::Little),
            previous => previous?,
        };
        let mut compressed = Vec::new();
        delta::compress(&previous, sample, Effort::Quick, &mut compressed)
            .map_err(Error::making("a block"))?;
        let step = compressed.len() as u64 * plain.len() as u64 / sample.len() as u64;
        Ok(drift(sizes, step, if has_dictionary { step / REFERENCE_DIVISOR } else { step }))
    }
}

/// A delta that refers to a dictionary for some changes takes this many times fewer bytes for them than a
/// delta that contains them.
const REFERENCE_DIVISOR: u64 = 4;

/// Returns how far a block has drifted. A delta against the previous version would take `step` bytes, and the
/// delta grows by `growth` bytes with each version.
fn drift(DeltaSizes { delta, whole }: DeltaSizes, step: u64, growth: u64) -> Drift {
    let is_far = u128::from(delta) * u128::from(delta) >= 4 * u128::from(whole) * u128::from(growth);
    if step < delta && is_far {
        Drift::Far
    } else if 2 * step <= delta {
        Drift::Repeats { step }
    } else {
        Drift::Little
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the total bytes and the number of whole versions of a series in which each version changes `g`
    /// of `w` bytes, storing the block whole when `drift` requires it.
    fn series(versions: u64, w: u64, g: u64) -> (u64, u64) {
        let (mut bytes, mut since, mut whole) = (w, 0, 1);
        for _ in 1..versions {
            since += 1;
            let drifted = drift(DeltaSizes { delta: since * g, whole: w }, g, g) == Drift::Far;
            bytes += if drifted { w } else { since * g };
            whole += u64::from(drifted);
            since = if drifted { 0 } else { since };
        }
        (bytes, whole)
    }

    #[test]
    fn series_takes_about_the_least_space_of_any_period() {
        for g in [1, 10, 50, 200] {
            let (bytes, _) = series(1000, 10_000, g);
            let every = |period: u64| {
                let cycle = 10_000 + g * period * (period - 1) / 2;
                1000 * cycle / period
            };
            let best = (1..1000).map(every).min().unwrap();
            assert!(bytes <= best + best / 10, "{bytes} bytes, {best} at best, for {g} a version");
        }
    }

    #[test]
    fn repeated_changes_in_one_place_are_not_stored_whole() {
        for step in [3900, 4000] {
            assert_eq!(drift(DeltaSizes { delta: 4000, whole: 10_000 }, step, step), Drift::Little);
        }
    }

    #[test]
    fn dictionaries_are_the_short_bases_behind_a_mark_at_the_end() {
        let at = |lens: &[u32]| {
            let bases: Vec<(ChunkId, u32)> = lens.iter().map(|len| (ChunkId::new([1; 32]), *len)).collect();
            dictionaries_at(ChunkType::Data, &bases, 1000)
        };
        assert_eq!(at(&[4000, 300, 5000, MARK_LEN, 999, 10]), 3);
        assert_eq!(at(&[4000, 300, 5000, 600, MARK_LEN, 999, MARK_LEN, 10]), 4, "behind the end of a file");
        assert_eq!(at(&[4000, 300, 5000]), 3);
        assert_eq!(at(&[4000, 300]), 2, "the end of a file");
        assert_eq!(at(&[MARK_LEN, 4000]), 2, "a small file");
        assert_eq!(at(&[300, 400]), 2, "small files");
        assert_eq!(at(&[]), 0);
        let many = [&[4000, MARK_LEN][..], &[999; 1100]].concat();
        assert_eq!(at(&many), many.len(), "more than there may be");
        assert_eq!(dictionaries_at(ChunkType::Tree, &[(ChunkId::new([1; 32]), 9)], 1000), 1);
    }
}
