//! Parity sidecars of packs: Reed-Solomon codes over a pack's bytes, from which scattered bad sectors can
//! be rebuilt. See docs/format.md, "Parity".
//!
//! A pack is cut into shards of one sector each. The code is that of the crate (Leopard's, GF(2^16), after
//! Lin, Al-Naffouri, Han, Chung: "Novel polynomial basis with fast Fourier transform"). It treats each 64
//! bytes across all shards independently, so that many shards are coded a few columns at a time, in little
//! memory. A code only fills in erasures, so each shard has a short hash that tells whether it is damaged.
//! Hashes and header are stored at both ends of a sidecar.

use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};

use crate::codec::crypto::hash::{Hasher, sha256};
use crate::codec::wire;
use crate::model::config::FORMAT;
use crate::model::decode_error::DecodeError;
use crate::model::id::PackId;

/// Length of the header in bytes.
pub const HEADER: usize = 64;
/// Longest pack that gets a sidecar, in bytes: the whole pack is in memory while it is rebuilt. Packs are
/// about half as long.
pub const MAX_PACK: u64 = 64 << 20;
/// Maximum length of a sidecar in bytes.
pub const MAX_SIDECAR: u64 = MAX_PACK + 2 * (HEADER as u64 + MAX_SUMS as u64);
/// The largest share in percent: as much parity as data.
pub const MAX_SHARE: u8 = 100;

const MAGIC: [u8; 6] = *b"SNAPRS";
/// Bytes of a shard: the unit that a disk loses.
const SHARD: u32 = 4096;
/// Width in bytes of the columns that the code treats independently.
const COLUMN: usize = 64;
/// Bytes of a shard's hash.
const SUM: usize = 8;
/// Bytes of the checksum after the hashes.
const CHECK: usize = 16;
const MAX_SHARDS: u32 = (MAX_PACK / SHARD as u64) as u32;
const MAX_SUMS: usize = 2 * MAX_SHARDS as usize * SUM + CHECK;
/// Bytes of all data shards together that are coded at once.
const CODED_AT_ONCE: usize = 4 << 20;

/// How a pack is cut into shards, and how much parity it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The pack that it belongs to.
    pub pack: PackId,
    /// Length of the pack in bytes.
    pub len: u64,
    /// Bytes of a shard; the last one of a pack is padded with zeros.
    pub shard: u32,
    /// Number of data shards.
    pub data: u32,
    /// Number of parity shards; as many damaged shards can be rebuilt.
    pub parity: u32,
}

/// Short hashes of all shards of a pack, followed by those of its parity shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sums(Vec<[u8; SUM]>);

impl Layout {
    /// Returns the layout for a pack of `len` bytes with a share of parity, in percent of its shards and at
    /// least one. `None` if the share is 0 or the pack too long.
    pub fn new(pack: PackId, len: u64, share: u8) -> Option<Self> {
        if len == 0 || len > MAX_PACK || share == 0 || share > MAX_SHARE {
            return None;
        }
        // A pack shorter than a sector has one data shard; its parity shard is a copy.
        let shard = (len.next_multiple_of(COLUMN as u64) as u32).min(SHARD);
        let data = len.div_ceil(u64::from(shard)) as u32;
        let parity = (data * u32::from(share)).div_ceil(100);
        Some(Self { pack, len, shard, data, parity })
    }

    /// Decodes a header.
    ///
    /// # Errors
    /// The bytes are not a header, or its values are impossible.
    pub fn decode(bytes: &[u8; HEADER]) -> Result<Self, DecodeError> {
        let short = DecodeError::because("the parity header is truncated");
        let (magic, rest) = bytes.split_first_chunk::<6>().ok_or(short.clone())?;
        let (version, rest) = rest.split_first_chunk::<2>().ok_or(short.clone())?;
        let (numbers, rest) = rest.split_first_chunk::<16>().ok_or(short.clone())?;
        let (len, pack) = rest.split_first_chunk::<8>().ok_or(short.clone())?;
        if *magic != MAGIC {
            return Err(DecodeError::because("it is not the parity of a pack"));
        }
        wire::check_version(*version)?;
        let mut numbers =
            numbers.chunks_exact(4).filter_map(|four| Some(u32::from_le_bytes(*four.first_chunk()?)));
        let mut number = || numbers.next().ok_or(short.clone());
        let (shard, data, parity, zero) = (number()?, number()?, number()?, number()?);
        let pack = PackId::new(*pack.first_chunk().ok_or(short.clone())?);
        let layout = Self { pack, len: u64::from_le_bytes(*len), shard, data, parity };
        if zero == 0 && layout.is_sound() {
            Ok(layout)
        } else {
            Err(DecodeError::because("the values in the parity header are invalid"))
        }
    }

    fn is_sound(&self) -> bool {
        let whole = u64::from(self.data) * u64::from(self.shard);
        (1..=SHARD).contains(&self.shard)
            && (self.shard as usize).is_multiple_of(COLUMN)
            && (1..=MAX_SHARDS).contains(&self.data)
            && (1..=self.data).contains(&self.parity)
            && self.len <= whole
            && self.len > whole - u64::from(self.shard)
    }

    /// Encodes the header.
    pub fn encode(&self) -> [u8; HEADER] {
        let numbers = [self.shard, self.data, self.parity, 0].map(u32::to_le_bytes).concat();
        let parts: [&[u8]; 5] =
            [&MAGIC, &FORMAT.to_le_bytes(), &numbers, &self.len.to_le_bytes(), self.pack.as_bytes()];
        let mut header = [0; HEADER];
        header.iter_mut().zip(parts.concat()).for_each(|(to, from)| *to = from);
        header
    }

    /// Returns the length of the hashes with their checksum. They follow the header at the front of a
    /// sidecar, and precede it at the end.
    pub fn sums_len(&self) -> usize {
        (self.data + self.parity) as usize * SUM + CHECK
    }

    /// Returns the offset of the parity shards in a sidecar.
    pub fn parity_at(&self) -> u64 {
        HEADER as u64 + self.sums_len() as u64
    }

    /// Returns the total length of the parity shards.
    pub fn parity_len(&self) -> u64 {
        u64::from(self.parity) * u64::from(self.shard)
    }

    /// Returns the length of the sidecar.
    pub fn sidecar_len(&self) -> u64 {
        2 * self.parity_at() + self.parity_len()
    }

    /// Returns the length of the pack with its last shard padded.
    pub fn padded_len(&self) -> usize {
        self.data as usize * self.shard as usize
    }

    /// Returns how many bytes of each shard are coded at once.
    fn width(&self) -> usize {
        let most = CODED_AT_ONCE / self.data.max(1) as usize / COLUMN * COLUMN;
        most.clamp(COLUMN, self.shard as usize)
    }

    /// Iterates over the runs of columns: offset in a shard, and width in bytes.
    fn columns(&self) -> impl Iterator<Item = (usize, usize)> {
        let (shard, width) = (self.shard as usize, self.width());
        (0..shard).step_by(width).map(move |at| (at, width.min(shard - at)))
    }
}

impl Sums {
    /// Decodes hashes and their checksum.
    ///
    /// # Errors
    /// They are not what was written for this layout.
    pub fn decode(layout: &Layout, bytes: &[u8]) -> Result<Self, DecodeError> {
        let (sums, check) = bytes
            .split_last_chunk::<CHECK>()
            .filter(|_| bytes.len() == layout.sums_len())
            .ok_or(DecodeError::because("the hashes of its shards are truncated"))?;
        if check_of(layout, sums) != *check {
            return Err(DecodeError::because("the checksum of its shard hashes does not match"));
        }
        Ok(Self(sums.chunks_exact(SUM).filter_map(|sum| sum.first_chunk().copied()).collect()))
    }

    fn encode(&self, layout: &Layout) -> Vec<u8> {
        let mut bytes = self.0.concat();
        let check = check_of(layout, &bytes);
        bytes.extend_from_slice(&check);
        bytes
    }

    /// Iterates over the positions of damaged shards; the first shard given has the number `from`.
    fn damaged<'a>(
        &'a self,
        layout: &Layout,
        from: usize,
        shards: &'a [u8],
    ) -> impl Iterator<Item = usize> + 'a {
        let sums = self.0.iter().skip(from);
        let shards = shards.chunks_exact(layout.shard as usize).zip(sums).enumerate();
        shards.filter(|(_, (shard, sum))| sum_of(shard) != **sum).map(|(at, _)| at)
    }

    /// Returns the number of damaged parity shards.
    pub fn damaged_parity(&self, layout: &Layout, parity: &[u8]) -> usize {
        self.damaged(layout, layout.data as usize, parity).count()
    }
}

fn sum_of(shard: &[u8]) -> [u8; SUM] {
    let mut sum = [0; SUM];
    sum.iter_mut().zip(sha256(shard)).for_each(|(to, from)| *to = from);
    sum
}

fn check_of(layout: &Layout, sums: &[u8]) -> [u8; CHECK] {
    let mut hasher = Hasher::default();
    hasher.update(&layout.encode());
    hasher.update(sums);
    let mut check = [0; CHECK];
    check.iter_mut().zip(hasher.finish()).for_each(|(to, from)| *to = from);
    check
}

/// Several slices seen as one run of bytes, followed by zeros.
struct Parts<'a> {
    /// Each slice with its offset.
    parts: Vec<(usize, &'a [u8])>,
}

impl<'a> Parts<'a> {
    fn new(parts: &[&'a [u8]]) -> Self {
        let mut next = 0;
        let at = |part: &&'a [u8]| {
            let start = next;
            next += part.len();
            (start, *part)
        };
        Self { parts: parts.iter().map(at).collect() }
    }

    fn copy(&self, mut from: usize, mut out: &mut [u8]) {
        let first = self.parts.partition_point(|(start, _)| *start <= from).saturating_sub(1);
        for (start, part) in self.parts.iter().skip(first) {
            // A part that ends before contributes nothing; all parts are followed by zeros.
            let rest = part.get(from - start..).unwrap_or(&[]);
            let (now, later) = out.split_at_mut(rest.len().min(out.len()));
            now.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            from += now.len();
            out = later;
            if out.is_empty() {
                return;
            }
        }
        out.fill(0);
    }
}

/// Computes the sidecar of a pack whose bytes are in `parts`: what precedes the parity shards, the parity
/// shards, and what follows them.
///
/// # Errors
/// The code rejects the numbers of shards; no layout that this program creates causes that.
pub fn sidecar(layout: &Layout, parts: &[&[u8]]) -> Result<[Vec<u8>; 3], DecodeError> {
    let (parts, shard) = (Parts::new(parts), layout.shard as usize);
    let mut buffer = vec![0; shard];
    let mut sums = Vec::with_capacity((layout.data + layout.parity) as usize);
    for number in 0..layout.data as usize {
        parts.copy(number * shard, &mut buffer);
        sums.push(sum_of(&buffer));
    }
    let mut parity = vec![0; layout.parity_len() as usize];
    let (data, count) = (layout.data as usize, layout.parity as usize);
    let mut encoder = ReedSolomonEncoder::new(data, count, layout.width()).map_err(code_error)?;
    for (at, width) in layout.columns() {
        encoder.reset(data, count, width).map_err(code_error)?;
        buffer.resize(width, 0);
        for number in 0..data {
            parts.copy(number * shard + at, &mut buffer);
            encoder.add_original_shard(&buffer).map_err(code_error)?;
        }
        let encoded = encoder.encode().map_err(code_error)?;
        for (whole, columns) in parity.chunks_exact_mut(shard).zip(encoded.recovery_iter()) {
            whole.iter_mut().skip(at).zip(columns).for_each(|(to, from)| *to = *from);
        }
    }
    sums.extend(parity.chunks_exact(shard).map(sum_of));
    let (header, sums) = (layout.encode(), Sums(sums).encode(layout));
    Ok([[&header[..], &sums].concat(), parity, [&sums[..], &header].concat()])
}

/// Rebuilds the damaged shards of a pack and returns their numbers. `pack` has the padded length, with
/// zeros for what could not be read; so has `parity`. The caller must still compare the pack with its id:
/// short hashes guard against accidents only.
///
/// # Errors
/// More shards are damaged than parity can rebuild.
pub fn rebuild(
    layout: &Layout,
    sums: &Sums,
    pack: &mut [u8],
    parity: &[u8],
) -> Result<Vec<usize>, DecodeError> {
    let (shard, data) = (layout.shard as usize, layout.data as usize);
    let bad: Vec<usize> = sums.damaged(layout, 0, pack).collect();
    if bad.is_empty() {
        return Ok(bad);
    }
    let lost: Vec<usize> = sums.damaged(layout, data, parity).collect();
    let whole = layout.parity as usize - lost.len();
    if bad.len() > whole {
        return Err(DecodeError::with(format!(
            "{} of its {data} sectors are damaged, but its parity can rebuild only {whole}",
            bad.len()
        )));
    }
    let parities = parity.chunks_exact(shard).enumerate().filter(|(at, _)| lost.binary_search(at).is_err());
    let parities: Vec<(usize, &[u8])> = parities.take(bad.len()).collect();
    let mut decoder =
        ReedSolomonDecoder::new(data, layout.parity as usize, layout.width()).map_err(code_error)?;
    for (at, width) in layout.columns() {
        decoder.reset(data, layout.parity as usize, width).map_err(code_error)?;
        let short = DecodeError::because("a shard is shorter than its layout requires");
        let columns = |shard: &'_ [u8]| shard.get(at..at + width).map(<[u8]>::to_vec).ok_or(short.clone());
        for (number, shard) in pack.chunks_exact(shard).enumerate() {
            if bad.binary_search(&number).is_err() {
                decoder.add_original_shard(number, columns(shard)?).map_err(code_error)?;
            }
        }
        for (number, shard) in &parities {
            decoder.add_recovery_shard(*number, columns(shard)?).map_err(code_error)?;
        }
        let decoded = decoder.decode().map_err(code_error)?;
        for (number, columns) in decoded.restored_original_iter() {
            let to = pack.iter_mut().skip(number * shard + at);
            to.zip(columns).for_each(|(to, from)| *to = *from);
        }
    }
    match sums.damaged(layout, 0, pack).next() {
        None => Ok(bad),
        Some(_) => Err(DecodeError::because("the bytes rebuilt from its parity do not match their hashes")),
    }
}

fn code_error(err: reed_solomon_simd::Error) -> DecodeError {
    DecodeError::with(format!("Reed-Solomon: {err}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    /// The parity is that of whole shards, however many columns are coded at once. So a later program may
    /// choose another width.
    #[test]
    fn columns_are_independent() {
        let shards: Vec<Vec<u8>> =
            (0..9u8).map(|shard| (0..192).map(|at| at ^ shard.wrapping_mul(37)).collect()).collect();
        let all = reed_solomon_simd::encode(9, 4, &shards).unwrap();
        for at in (0..192).step_by(64) {
            let some: Vec<&[u8]> = shards.iter().map(|shard| &shard[at..at + 64]).collect();
            let some = reed_solomon_simd::encode(9, 4, some).unwrap();
            for (whole, part) in all.iter().zip(&some) {
                assert_eq!(whole[at..at + 64], part[..]);
            }
        }
    }

    #[test]
    fn parts_are_one_run_of_bytes_followed_by_zeros() {
        let parts = Parts::new(&[b"ab", b"", b"cde", b"f"]);
        for from in 0..8 {
            let mut out = [9; 4];
            parts.copy(from, &mut out);
            assert_eq!(out, b"abcdef\0\0\0\0\0\0"[from..from + 4], "from {from}");
        }
    }
}
