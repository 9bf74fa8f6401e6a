//! Drift: versions of a file move away from the first one, and all are deltas against it, so each delta is
//! larger than the one before. At some point storing a version whole saves more than it costs, because later
//! versions use it as a base.
//!
//! Let a whole version take w bytes, and each version add g bytes of changes: the deltas take g, 2g, 3g, ...
//! In an infinite series it is best to store a whole one every sqrt(2w/g) versions, when the delta has grown
//! to sqrt(2wg). Here it is stored at 2 sqrt(wg): at most 6 % worse, and better if the series ends or its
//! beginning is forgotten. Only w, the delta and g must be known; g is measured on a sample, as a delta
//! against the previous version.

use crate::codec::chunk::block::Weights;
use crate::codec::chunk::compress::delta;
use crate::codec::chunk::compress::delta::Effort;
use crate::codec::crypto::hash::ChunkType;
use crate::error::{Error, Result};
use crate::model::id::ChunkId;
use crate::repo::index::Index;
use crate::repo::read::chunk_reader::BlockReader;

/// Maximum bytes of a block that are compared with the previous version.
const SAMPLE: usize = 512 << 10;
/// Maximum bytes of the previous version for that comparison.
const SAMPLE_PREFIX: u64 = 1 << 20;

/// A sample of a block, and the similar chunks of the previous version, if those are in a delta.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    start: usize,
    end: usize,
    like: Vec<(ChunkId, u32)>,
    bytes: u64,
}

impl Probe {
    /// Adds the next chunk of the block, at offset `at`, with its similar chunks; `drifts`: some of them are
    /// in a delta.
    pub(crate) fn add(&mut self, at: usize, len: usize, like: &[(ChunkId, u32)], drifts: bool) {
        let begins = self.like.is_empty();
        if !drifts || !(begins || self.end == at) || at + len - self.start > SAMPLE {
            return;
        }
        let new: Vec<(ChunkId, u32)> = like.iter().copied().filter(|one| !self.like.contains(one)).collect();
        let more: u64 = new.iter().map(|(_, len)| u64::from(*len)).sum();
        if self.bytes + more <= SAMPLE_PREFIX {
            self.start = if begins { at } else { self.start };
            self.end = at + len;
            self.bytes += more;
            self.like.extend(new);
        }
    }

    /// Returns whether the block should be stored whole.
    ///
    /// # Errors
    /// When the storage fails.
    pub(crate) fn has_drifted(
        &self,
        reader: &mut BlockReader,
        index: &Index,
        plain: &[u8],
        weights: Weights,
    ) -> Result<bool> {
        let Some(sample) = plain.get(self.start..self.end).filter(|sample| !sample.is_empty()) else {
            return Ok(false);
        };
        let before = match reader.plain_of(index, ChunkType::Data, &self.like) {
            Err(err) if err.is_damage() => return Ok(false),
            before => before?,
        };
        let mut packed = Vec::new();
        delta::pack(&before, sample, Effort::Quick, &mut packed).map_err(Error::making("a block"))?;
        let fresh = packed.len() as u64 * plain.len() as u64 / sample.len() as u64;
        Ok(is_time(weights, fresh))
    }
}

/// Returns whether a delta has grown too large. Against the previous version it would take `fresh` bytes.
fn is_time(Weights { delta, whole }: Weights, fresh: u64) -> bool {
    fresh < delta && u128::from(delta) * u128::from(delta) >= 4 * u128::from(whole) * u128::from(fresh)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the bytes of a series in which each version changes `g` of `w` bytes.
    /// The block is stored whole when it is time.
    fn series(versions: u64, w: u64, g: u64) -> (u64, u64) {
        let (mut bytes, mut since, mut whole) = (w, 0, 1);
        for _ in 1..versions {
            since += 1;
            let drifted = is_time(Weights { delta: since * g, whole: w }, g);
            bytes += if drifted { w } else { since * g };
            whole += u64::from(drifted);
            since = if drifted { 0 } else { since };
        }
        (bytes, whole)
    }

    #[test]
    fn a_series_takes_about_the_least_that_any_period_of_whole_ones_gives() {
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
    fn what_changes_in_the_same_place_each_time_is_not_stored_whole() {
        assert!(!is_time(Weights { delta: 4000, whole: 10_000 }, 4000));
        assert!(!is_time(Weights { delta: 4000, whole: 10_000 }, 3900));
    }
}
