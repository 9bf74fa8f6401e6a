//! Seals blocks as deltas, if that saves enough. A delta that repeats changes of the previous version gets a
//! dictionary with these changes: see [`drift`](super::drift).

use std::collections::HashSet;
use std::sync::Arc;

use crate::codec::chunk::block::{BlockSealer, DeltaSizes, SealedBlock};
use crate::codec::chunk::compress::delta::{self, Effort, MAX_PREFIX};
use crate::codec::chunk::delta_match;
use crate::codec::crypto::hash::ChunkType;
use crate::error::{self, Error, Result};
use crate::model::decode_error::DecodeError;
use crate::model::id::ChunkId;
use crate::repo::index::Index;
use crate::repo::read::chunk_reader::BlockReader;
use crate::repo::repository::Repository;
use crate::repo::write::drift::{Drift, MARK_LEN, MAX_DICTIONARY_BYTES, Probe, dictionaries_at};

/// Minimum size in bytes of a sealed dictionary. A smaller one saves less than its row in the table takes.
const MIN_DICTIONARY: u64 = 1 << 10;

/// The bases of a delta block.
#[derive(Debug)]
pub(crate) struct DeltaBases {
    /// Locates the bases.
    pub(crate) index: Arc<Index>,
    /// The bases (id and length), in the order of the prefix.
    pub(crate) bases: Vec<(ChunkId, u32)>,
    /// Decides whether the block has drifted so far from its bases that it is stored whole.
    pub(crate) probe: Probe,
    /// Whether a delta is known to be worthwhile.
    pub(crate) is_worthwhile: bool,
}

/// The plain bytes and chunks of a block that is to become a delta.
pub(crate) struct PlainBlock<'a> {
    pub(crate) kind: ChunkType,
    pub(crate) plain: &'a [u8],
    pub(crate) chunks: &'a [(ChunkId, u32)],
    pub(crate) effort: Effort,
}

/// A block that is sealed as a delta.
pub(crate) struct SealedDelta {
    /// A block of chunks that are in no file: further bases of the delta, to be stored first.
    pub(crate) dictionary: Option<SealedBlock>,
    pub(crate) delta: SealedBlock,
    /// Chunks that share no data with the bases, to be stored whole.
    pub(crate) dissimilar: Chunks,
}

/// Chunks of a block.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    pub(crate) plain: Vec<u8>,
    pub(crate) chunks: Vec<(ChunkId, u32)>,
}

impl Chunks {
    fn add(&mut self, chunk: &(ChunkId, u32), plain: &[u8]) {
        self.plain.extend_from_slice(plain);
        self.chunks.push(*chunk);
    }
}

/// A base counts as used if the block shares at least its length divided by this with it.
const USED_DIVISOR: u64 = 64;

/// A compressed delta, its bases, and their bytes.
struct CompressedDelta {
    bases: Vec<(ChunkId, u32)>,
    prefix: Vec<u8>,
    /// Data of the block that the prefix lacks. Empty if the two were not compared, or if the prefix lacks
    /// most of it.
    novel: Vec<u8>,
    compressed: Vec<u8>,
}

impl CompressedDelta {
    /// Drops bases that share almost no data with the block. The bases for a new version are chosen by
    /// position from those of the previous version, so without this their number would grow with each
    /// version.
    fn drop_unused(&mut self, plain: &[u8]) -> Result<()> {
        let mut used = vec![0; self.bases.len()];
        let ends: Vec<usize> = self
            .bases
            .iter()
            .scan(0, |end, (_, len)| {
                *end += *len as usize;
                Some(*end)
            })
            .collect();
        self.novel = delta_match::compare(&self.prefix, plain, &mut |range| {
            let mut offset = range.start;
            for (number, end) in ends.iter().enumerate().skip(ends.partition_point(|end| *end <= offset)) {
                let part_end = range.end.min(*end);
                if let Some(used) = used.get_mut(number) {
                    *used += part_end.saturating_sub(offset) as u64;
                }
                offset = part_end;
                if offset == range.end {
                    break;
                }
            }
        });
        // The two may share only sequences that are too short to be found, so no base is dropped.
        if self.novel.len() > plain.len() / 2 {
            self.novel.clear();
            return Ok(());
        }
        let (mut bases, mut prefix, mut start) = (Vec::new(), Vec::new(), 0);
        for ((base, end), used) in self.bases.iter().zip(ends).zip(used) {
            // The mark of a dictionary is kept, since later versions find the beginning of the dictionary by
            // it.
            if used * USED_DIVISOR >= u64::from(base.1) || base.1 == MARK_LEN {
                bases.push(*base);
                prefix.extend_from_slice(error::part(
                    &self.prefix,
                    start..end,
                    "a base is within the prefix",
                )?);
            }
            start = end;
        }
        while bases.pop_if(|(_, len)| *len == MARK_LEN).is_some() {
            prefix.truncate(prefix.len().saturating_sub(MARK_LEN as usize));
        }
        // A delta needs a base, but a small block may use only a small share of a long one.
        if !bases.is_empty() {
            (self.bases, self.prefix) = (bases, prefix);
        }
        Ok(())
    }
}

/// Returns the effort with which a block is compressed as a delta.
pub(crate) fn effort_for(kind: ChunkType, is_noise: bool, harder: bool) -> Effort {
    match (kind, harder) {
        _ if is_noise => Effort::Noise,
        (_, false) => Effort::Quick,
        (ChunkType::Data, true) => Effort::Files,
        (ChunkType::Tree, true) => Effort::Trees,
    }
}

/// Seals a block as a delta against these bases. Returns `None` if that does not save enough, or if a base
/// cannot be read: the block is then stored whole.
pub(crate) fn seal_delta(
    repo: &Repository,
    block: &PlainBlock<'_>,
    DeltaBases { index, bases, probe, is_worthwhile }: &DeltaBases,
    sealer: &mut BlockSealer,
    reader: &mut Option<BlockReader>,
) -> Result<Option<SealedDelta>> {
    let PlainBlock { kind, plain, chunks, effort } = *block;
    let reader = match reader {
        Some(reader) => reader,
        none => none.insert(BlockReader::new(repo)?),
    };
    let prefix = match reader.prefix(index, kind, bases) {
        Err(err) if err.is_damage() => return Ok(None),
        prefix => prefix?,
    };
    let is_worthwhile = *is_worthwhile || probe.in_deltas || kind == ChunkType::Tree;
    let split = if is_worthwhile { None } else { split_similar(&prefix, plain, chunks) };
    let (similar, dissimilar) = split.unwrap_or_default();
    let is_split = !dissimilar.chunks.is_empty();
    if is_split && similar.chunks.is_empty() {
        return Ok(None);
    }
    let (plain, chunks) =
        if is_split { (similar.plain.as_slice(), similar.chunks.as_slice()) } else { (plain, chunks) };
    let error = || Error::making("a block");
    let mut candidate =
        CompressedDelta { bases: bases.clone(), prefix, novel: Vec::new(), compressed: Vec::new() };
    if probe.in_deltas || is_split {
        candidate.drop_unused(plain)?;
    }
    delta::compress(&candidate.prefix, plain, effort, &mut candidate.compressed).map_err(error())?;
    let mut dictionary = None;
    if let Some(sizes) = sealer.estimate_sizes(&candidate.compressed, plain).map_err(error())? {
        if sizes.is_delta_too_large() {
            return Ok(None);
        }
        let earlier =
            dictionaries_at(kind, &candidate.bases, repo.config().chunker.min) < candidate.bases.len();
        match probe.drift(reader, index, plain, (sizes, earlier))? {
            Drift::Far => return Ok(None),
            Drift::Repeats { step } => {
                dictionary = add_dictionary(repo, plain, (sizes, step), effort, sealer, &mut candidate)
                    .map_err(error())?;
            }
            Drift::Little => {}
        }
    }
    let CompressedDelta { bases, prefix, compressed, .. } = candidate;
    let delta = sealer.seal_compressed_delta(kind, plain, chunks, (&bases, &prefix, &compressed));
    Ok(Some(SealedDelta { dictionary, delta: delta.map_err(error())?, dissimilar }))
}

/// Returns the chunks of a block that share data with the prefix, and the others; `None` if all share data.
fn split_similar(prefix: &[u8], plain: &[u8], chunks: &[(ChunkId, u32)]) -> Option<(Chunks, Chunks)> {
    let lens = chunks.iter().map(|(_, len)| *len as usize);
    let are_similar = delta_match::similar_chunks(prefix, plain, lens);
    if are_similar.iter().all(|is_similar| *is_similar) {
        return None;
    }
    let (mut similar, mut dissimilar, mut remaining) = (Chunks::default(), Chunks::default(), plain);
    for (chunk, is_similar) in chunks.iter().zip(are_similar) {
        let (bytes, tail) = remaining.split_at_checked(chunk.1 as usize)?;
        remaining = tail;
        if is_similar { similar.add(chunk, bytes) } else { dissimilar.add(chunk, bytes) }
    }
    Some((similar, dissimilar))
}

/// Adds a dictionary to a delta, if that makes this delta and those of later versions enough smaller.
fn add_dictionary(
    repo: &Repository,
    plain: &[u8],
    (sizes, step): (DeltaSizes, u64),
    effort: Effort,
    sealer: &mut BlockSealer,
    candidate: &mut CompressedDelta,
) -> Result<Option<SealedBlock>, DecodeError> {
    let novel = std::mem::take(&mut candidate.novel);
    if novel.is_empty() {
        return Ok(None);
    }
    let min_chunk_len = repo.config().chunker.min;
    let earlier =
        candidate.bases.iter().skip(dictionaries_at(ChunkType::Data, &candidate.bases, min_chunk_len));
    let earlier: u64 = earlier.map(|(_, len)| u64::from(*len)).sum();
    let space = u64::from(MAX_PREFIX).saturating_sub(candidate.prefix.len() as u64);
    let space = space.min(MAX_DICTIONARY_BYTES.saturating_sub(earlier));
    // Shorter than any chunk that does not end its file, so that dictionaries can be distinguished from other
    // bases.
    let max_piece = (min_chunk_len as usize).saturating_sub(1).max(1);
    let (mark, rest) = novel.split_at(novel.len().min(MARK_LEN as usize));
    let pieces = [mark].into_iter().chain(rest.chunks(max_piece));
    let pieces = pieces.map(|piece| (repo.hasher().id_of(ChunkType::Data, piece), piece.len() as u32));
    let pieces: Vec<(ChunkId, u32)> = pieces.collect();
    let bases = [candidate.bases.as_slice(), &pieces].concat();
    let distinct: HashSet<&ChunkId> = bases.iter().map(|(id, _)| id).collect();
    if novel.len() as u64 > space || distinct.len() < bases.len() {
        return Ok(None);
    }
    let block = sealer.seal(ChunkType::Data, &novel, pieces)?;
    let dictionary_len = block.sealed.len() as u64;
    // It must contain the changes of more than one version, and at least a quarter of the delta.
    if dictionary_len < MIN_DICTIONARY || dictionary_len < 2 * step || dictionary_len < sizes.delta / 4 {
        return Ok(None);
    }
    let prefix = [candidate.prefix.as_slice(), &novel].concat();
    let mut compressed = Vec::new();
    delta::compress(&prefix, plain, effort, &mut compressed)?;
    // If the references take more than half of the data that they replace, later versions save too little.
    if compressed.len() as u64 + dictionary_len / 2 > sizes.delta {
        return Ok(None);
    }
    (candidate.bases, candidate.prefix, candidate.compressed) = (bases, prefix, compressed);
    Ok(Some(block))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns bytes that repeat nothing.
    fn noise(len: usize, mut seed: u64) -> Vec<u8> {
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 56) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    /// Returns what is left of bases of these lengths for a block.
    fn left(bases: &[Vec<u8>], plain: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let named = (0..).zip(bases).map(|(id, base)| (ChunkId::new([id; 32]), base.len() as u32));
        let (novel, compressed) = (Vec::new(), Vec::new());
        let mut candidate =
            CompressedDelta { bases: named.collect(), prefix: bases.concat(), novel, compressed };
        candidate.drop_unused(plain).unwrap();
        (candidate.bases.iter().map(|(id, _)| id.as_bytes()[0]).collect(), candidate.prefix)
    }

    #[test]
    fn unused_bases_are_dropped() {
        let bases = [noise(30_000, 1), noise(20_000, 2), noise(10_000, 3)];
        let plain = [&bases[0][5_000..], &bases[2][..9_000]].concat();
        assert_eq!(left(&bases, &plain), (vec![0, 2], [&bases[0][..], &bases[2]].concat()));
    }

    #[test]
    fn chunks_unlike_the_prefix_are_moved_out_of_the_block() {
        let id = |number| ChunkId::new([number; 32]);
        let (old, new) = (noise(100_000, 1), noise(70_000, 2));
        let plain = [&old[..40_000], &new, &old[40_000..]].concat();
        let chunks = [(id(1), 40_000), (id(2), 70_000), (id(3), 60_000)];
        let (similar, dissimilar) = split_similar(&old, &plain, &chunks).unwrap();
        assert_eq!((similar.plain, similar.chunks), (old.clone(), vec![chunks[0], chunks[2]]));
        assert_eq!((dissimilar.plain, dissimilar.chunks), (new, vec![chunks[1]]));
        assert!(split_similar(&old, &old, &[(id(1), 100_000)]).is_none());
    }

    #[test]
    fn marks_of_dictionaries_stay_before_what_they_mark() {
        let bases = [30_000, 16, 4_000, 16, 5_000].map(|len| noise(len, len as u64));
        let plain = [&bases[0][5_000..], &bases[2][..]].concat();
        assert_eq!(left(&bases, &plain), (vec![0, 1, 2], bases[..3].concat()));
    }

    #[test]
    fn a_small_block_in_a_long_base_keeps_it() {
        let bases = [noise(200_000, 1), noise(20_000, 2)];
        let (names, prefix) = left(&bases, &bases[0][100_000..102_000]);
        assert_eq!((names, prefix.len()), (vec![0, 1], 220_000));
    }
}
