//! Seals blocks as deltas, if that saves enough. A delta that repeats what the version before had gets a
//! dictionary: see [`drift`](super::drift).

use std::collections::HashSet;
use std::sync::Arc;

use crate::codec::chunk::block::{BlockSealer, SealedBlock, Weights};
use crate::codec::chunk::compress::delta::{self, Effort, MAX_PREFIX};
use crate::codec::chunk::delta_match;
use crate::codec::crypto::hash::ChunkType;
use crate::error::{self, Error, Result};
use crate::model::decode_error::DecodeError;
use crate::model::id::ChunkId;
use crate::repo::index::Index;
use crate::repo::read::chunk_reader::BlockReader;
use crate::repo::repository::Repository;
use crate::repo::write::drift::{Drift, MARK, MOST_DICTIONARIES, Probe, dictionaries_at};

/// Minimum size in bytes of a sealed dictionary; a smaller one is not worth a row in the table.
const LEAST_DICTIONARY: u64 = 1 << 10;

/// The bases of a delta block.
#[derive(Debug)]
pub(crate) struct MadeFrom {
    /// The index that locates the bases.
    pub(crate) index: Arc<Index>,
    /// The bases in the order of the prefix.
    pub(crate) bases: Vec<(ChunkId, u32)>,
    /// Decides whether the block should be stored whole.
    pub(crate) probe: Probe,
    /// Whether a delta is known to be worthwhile.
    pub(crate) is_sure: bool,
}

/// A block that is meant to be a delta.
pub(crate) struct PlainBlock<'a> {
    pub(crate) kind: ChunkType,
    pub(crate) plain: &'a [u8],
    pub(crate) chunks: &'a [(ChunkId, u32)],
    pub(crate) effort: Effort,
}

/// A block that is sealed as a delta.
pub(crate) struct SealedDelta {
    /// A block of chunks that no file has, to be stored first: further bases of the delta.
    pub(crate) dictionary: Option<SealedBlock>,
    pub(crate) delta: SealedBlock,
    /// Chunks that the bases have nothing of, to be stored whole.
    pub(crate) rest: Chunks,
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

/// A base counts as used if the block shares at least one byte in this many with it.
const USED: u64 = 64;

/// A compressed delta and what it is made from.
struct Packed {
    bases: Vec<(ChunkId, u32)>,
    prefix: Vec<u8>,
    /// Data that the prefix lacks, if the block was compared with it and shares most of it.
    novel: Vec<u8>,
    packed: Vec<u8>,
}

impl Packed {
    /// Drops bases that share no data with the block. The bases for a new version are guessed by position
    /// from those of the previous version, so without this their number would grow with each version.
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
        self.novel = delta_match::compare(&self.prefix, plain, &mut |place| {
            let mut at = place.start;
            for (number, end) in ends.iter().enumerate().skip(ends.partition_point(|end| *end <= at)) {
                let until = place.end.min(*end);
                if let Some(used) = used.get_mut(number) {
                    *used += until.saturating_sub(at) as u64;
                }
                at = until;
                if at == place.end {
                    break;
                }
            }
        });
        // Matches that are too short to be found may be all that the two share.
        if self.novel.len() > plain.len() / 2 {
            self.novel.clear();
            return Ok(());
        }
        let (mut bases, mut prefix, mut start) = (Vec::new(), Vec::new(), 0);
        for ((base, end), used) in self.bases.iter().zip(ends).zip(used) {
            // The mark of a dictionary is kept, because it shows the next version where the dictionary
            // begins.
            if used * USED >= u64::from(base.1) || base.1 == MARK {
                bases.push(*base);
                prefix.extend_from_slice(error::part(
                    &self.prefix,
                    start..end,
                    "a base is within the prefix",
                )?);
            }
            start = end;
        }
        while bases.pop_if(|(_, len)| *len == MARK).is_some() {
            prefix.truncate(prefix.len().saturating_sub(MARK as usize));
        }
        // A small block may share hardly anything with a long base. A delta has at least one base.
        if !bases.is_empty() {
            (self.bases, self.prefix) = (bases, prefix);
        }
        Ok(())
    }
}

/// Returns how thoroughly a block is made a delta.
pub(crate) fn effort_for(kind: ChunkType, is_noise: bool, harder: bool) -> Effort {
    match (kind, harder) {
        _ if is_noise => Effort::Noise,
        (_, false) => Effort::Quick,
        (ChunkType::Data, true) => Effort::Files,
        (ChunkType::Tree, true) => Effort::Trees,
    }
}

/// Seals the block as a delta against these bases, if that saves enough. If a base cannot be read, the block
/// is stored whole.
pub(crate) fn seal_delta(
    repo: &Repository,
    block: &PlainBlock<'_>,
    MadeFrom { index, bases, probe, is_sure }: &MadeFrom,
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
    let is_sure = *is_sure || probe.drifts || kind == ChunkType::Tree;
    let parted = if is_sure { None } else { part(&prefix, plain, chunks) };
    let (alike, rest) = parted.unwrap_or_default();
    let is_parted = !rest.chunks.is_empty();
    if is_parted && alike.chunks.is_empty() {
        return Ok(None);
    }
    let (plain, chunks) =
        if is_parted { (alike.plain.as_slice(), alike.chunks.as_slice()) } else { (plain, chunks) };
    let failed = || Error::making("a block");
    let mut made = Packed { bases: bases.clone(), prefix, novel: Vec::new(), packed: Vec::new() };
    if probe.drifts || is_parted {
        made.drop_unused(plain)?;
    }
    delta::pack(&made.prefix, plain, effort, &mut made.packed).map_err(failed())?;
    let mut dictionary = None;
    if let Some(weights) = sealer.weigh(&made.packed, plain).map_err(failed())? {
        if weights.is_too_heavy() {
            return Ok(None);
        }
        let earlier = dictionaries_at(kind, &made.bases, repo.config().chunker.min) < made.bases.len();
        match probe.drift(reader, index, plain, (weights, earlier))? {
            Drift::Far => return Ok(None),
            Drift::Repeats { fresh } => {
                dictionary = add_dictionary(repo, plain, (weights, fresh), effort, sealer, &mut made)
                    .map_err(failed())?;
            }
            Drift::Little => {}
        }
    }
    let Packed { bases, prefix, packed, .. } = made;
    let delta = sealer.seal_packed(kind, plain, chunks, (&bases, &prefix, &packed));
    Ok(Some(SealedDelta { dictionary, delta: delta.map_err(failed())?, rest }))
}

/// Returns the chunks of a block that a prefix has something of, and the others. `None` if it has of all.
fn part(prefix: &[u8], plain: &[u8], chunks: &[(ChunkId, u32)]) -> Option<(Chunks, Chunks)> {
    let lens = chunks.iter().map(|(_, len)| *len as usize);
    let similar = delta_match::similar_chunks(prefix, plain, lens);
    if similar.iter().all(|is_similar| *is_similar) {
        return None;
    }
    let (mut alike, mut others, mut rest) = (Chunks::default(), Chunks::default(), plain);
    for (chunk, is_similar) in chunks.iter().zip(similar) {
        let (bytes, behind) = rest.split_at_checked(chunk.1 as usize)?;
        rest = behind;
        if is_similar { alike.add(chunk, bytes) } else { others.add(chunk, bytes) }
    }
    Some((alike, others))
}

/// Adds a dictionary to a delta, if that saves enough of it and of later ones.
fn add_dictionary(
    repo: &Repository,
    plain: &[u8],
    (weights, fresh): (Weights, u64),
    effort: Effort,
    sealer: &mut BlockSealer,
    made: &mut Packed,
) -> Result<Option<SealedBlock>, DecodeError> {
    let novel = std::mem::take(&mut made.novel);
    if novel.is_empty() {
        return Ok(None);
    }
    let shortest = repo.config().chunker.min;
    let earlier = made.bases.iter().skip(dictionaries_at(ChunkType::Data, &made.bases, shortest));
    let earlier: u64 = earlier.map(|(_, len)| u64::from(*len)).sum();
    let room = u64::from(MAX_PREFIX).saturating_sub(made.prefix.len() as u64);
    let room = room.min(MOST_DICTIONARIES.saturating_sub(earlier));
    // Shorter than any chunk that does not end its file, so that dictionaries can be distinguished from other
    // bases.
    let most = (shortest as usize).saturating_sub(1).max(1);
    let (mark, rest) = novel.split_at(novel.len().min(MARK as usize));
    let pieces = [mark].into_iter().chain(rest.chunks(most));
    let pieces = pieces.map(|piece| (repo.hasher().name(ChunkType::Data, piece), piece.len() as u32));
    let pieces: Vec<(ChunkId, u32)> = pieces.collect();
    let bases = [made.bases.as_slice(), &pieces].concat();
    let distinct: HashSet<&ChunkId> = bases.iter().map(|(id, _)| id).collect();
    if novel.len() as u64 > room || distinct.len() < bases.len() {
        return Ok(None);
    }
    let block = sealer.seal(ChunkType::Data, &novel, pieces)?;
    let taken = block.sealed.len() as u64;
    // It must contain more than one version's changes, and a considerable part of the delta.
    if taken < LEAST_DICTIONARY || taken < 2 * fresh || taken < weights.delta / 4 {
        return Ok(None);
    }
    let prefix = [made.prefix.as_slice(), &novel].concat();
    let mut packed = Vec::new();
    delta::pack(&prefix, plain, effort, &mut packed)?;
    // If references take more than half of what they replace, they save too little in later versions.
    if packed.len() as u64 + taken / 2 > weights.delta {
        return Ok(None);
    }
    (made.bases, made.prefix, made.packed) = (bases, prefix, packed);
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
        let (novel, packed) = (Vec::new(), Vec::new());
        let mut made = Packed { bases: named.collect(), prefix: bases.concat(), novel, packed };
        made.drop_unused(plain).unwrap();
        (made.bases.iter().map(|(id, _)| id.as_bytes()[0]).collect(), made.prefix)
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
        let (alike, others) = part(&old, &plain, &chunks).unwrap();
        assert_eq!((alike.plain, alike.chunks), (old.clone(), vec![chunks[0], chunks[2]]));
        assert_eq!((others.plain, others.chunks), (new, vec![chunks[1]]));
        assert!(part(&old, &old, &[(id(1), 100_000)]).is_none());
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
