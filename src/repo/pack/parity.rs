//! Parity files (sidecars) of packs: written with a pack, and used when the pack turns out to be damaged.
//!
//! The pack is made durable first, then its sidecar. A pack without a sidecar is valid; the next gc run
//! writes it. A sidecar without its pack is garbage, and may be removed by any process that listed sidecars
//! before packs. Data from a sidecar is not trusted: a rebuilt pack must hash to its name, and then
//! every block and chunk is verified as always.

use std::collections::BTreeMap;

use crate::codec::crypto::hash::sha256;
use crate::codec::pack::parity::{self, HEADER, Layout, MAX_PACK, Sums};
use crate::error::{self, Error, Result};
use crate::model::decode_error::DecodeError;
use crate::model::id::PackId;
use crate::repo::pack;
use crate::storage::{CreateOutcome, ObjectKind, Storage};

/// Bytes read at once.
const SPAN_BYTES: usize = 1 << 20;

fn damaged(pack: &PackId) -> impl FnOnce(DecodeError) -> Error {
    Error::damaged(ObjectKind::Parity.path(&pack.hex()))
}

/// Computes the sidecar of a pack whose bytes lie in `parts`; empty if `share` is 0.
///
/// # Errors
/// When it cannot be computed.
pub fn sidecar_of(pack: PackId, parts: &[&[u8]], share: u8) -> Result<Vec<Vec<u8>>> {
    let len = parts.iter().map(|part| part.len() as u64).sum();
    let Some(layout) = Layout::new(pack, len, share) else { return Ok(Vec::new()) };
    parity::sidecar(&layout, parts).map(Vec::from).map_err(damaged(&pack))
}

/// Writes the sidecar of a durable pack, unless it is empty, and returns its length in bytes.
/// An existing sidecar is kept: it can only be the same.
///
/// # Errors
/// When it could not be made durable.
pub fn write(storage: &dyn Storage, pack: PackId, sidecar: &[Vec<u8>]) -> Result<u64> {
    let parts: Vec<&[u8]> = sidecar.iter().map(Vec::as_slice).collect();
    if !parts.is_empty() {
        storage.create(ObjectKind::Parity, &pack.hex(), &parts)?;
    }
    Ok(parts.iter().map(|part| part.len() as u64).sum())
}

/// Replaces the sidecar of an existing pack. The old one stays until the new one is computed.
///
/// # Errors
/// When the pack is gone or has changed (then nothing is written), or the sidecar could not be made durable.
pub fn write_again(storage: &dyn Storage, pack: PackId, len: u64, share: u8) -> Result<u64> {
    let Some(layout) = Layout::new(pack, len, share) else { return Ok(0) };
    let name = pack.hex();
    let bytes = storage.read(ObjectKind::Packs, &name, MAX_PACK)?;
    if sha256(&bytes) != *pack.as_bytes() {
        return Err(pack::not_its_name(&pack));
    }
    let [head, parity, tail] = parity::sidecar(&layout, &[&bytes]).map_err(damaged(&pack))?;
    let parts: [&[u8]; 3] = [&head, &parity, &tail];
    if storage.create(ObjectKind::Parity, &name, &parts)? == CreateOutcome::Exists && remove(storage, &pack)?
    {
        storage.create(ObjectKind::Parity, &name, &parts)?;
    }
    Ok(layout.sidecar_len())
}

/// Removes the sidecar of a deleted pack, unless a newer program wrote it. Returns whether it is gone.
///
/// # Errors
/// When it could not be removed.
pub fn remove(storage: &dyn Storage, pack: &PackId) -> Result<bool> {
    if is_newer(storage, pack)? {
        Ok(false)
    } else {
        storage.remove(ObjectKind::Parity, &pack.hex()).map(|()| true)
    }
}

/// Returns whether a newer program wrote the sidecar of a pack, so that it stays where it is.
///
/// # Errors
/// When it cannot be read.
pub fn is_newer(storage: &dyn Storage, pack: &PackId) -> Result<bool> {
    match read_header(storage, pack, 0) {
        Err(err) if err.is_newer() => Ok(true),
        Err(err) if !err.is_damage() => Err(err),
        _ => Ok(false),
    }
}

/// Lists all sidecars with their lengths. To be called before packs are listed: a sidecar whose pack is not
/// in that later listing is an orphan.
///
/// # Errors
/// When they cannot be listed.
pub fn list(storage: &dyn Storage) -> Result<Vec<(PackId, u64)>> {
    let listed = storage.list(ObjectKind::Parity)?;
    Ok(listed.iter().filter_map(|found| Some((PackId::parse(&found.name).ok()?, found.len))).collect())
}

/// Returns the layout of the sidecar of a pack of `len` bytes, after verifying all of it. `sidecar` is its
/// listed length.
///
/// # Errors
/// When it is missing, damaged, or of a pack of another length.
pub fn verify(storage: &dyn Storage, (pack, len): (&PackId, u64), sidecar: u64) -> Result<Layout> {
    let bad = |why| Err(damaged(pack)(DecodeError::because(why)));
    let name = pack.hex();
    let front = match read_front(storage, pack) {
        Err(err) if err.is_newer() && read_end(storage, pack, sidecar).is_ok() => {
            return bad("the header at its front has a newer format than that at its end");
        }
        front => front?,
    };
    let (layout, sums) = &front;
    if layout.len != len {
        return bad("it belongs to a pack of another length");
    }
    if sidecar != layout.sidecar_len() {
        return bad("its length differs from that in its header");
    }
    match read_end(storage, pack, layout.sidecar_len()) {
        Ok(end) if end == front => {}
        Err(err) if !err.is_newer() => return Err(err),
        _ => return bad("its two headers differ"),
    }
    let mut shards = vec![0; layout.parity_len() as usize];
    storage.read_range(ObjectKind::Parity, &name, layout.parity_at(), &mut shards)?;
    match sums.damaged_parity(layout, &shards) {
        0 => Ok(*layout),
        wrong => Err(damaged(pack)(DecodeError::with(format!(
            "{wrong} of its {} shards are damaged",
            layout.parity
        )))),
    }
}

/// Reads header and hashes from the front or, if that is damaged, from the end.
fn read_either_end(storage: &dyn Storage, pack: &PackId) -> Result<(Layout, Sums)> {
    match read_front(storage, pack) {
        Err(err) if err.is_newer() || err.is_damage() && !err.is_missing() => {
            let found = list(storage)?.into_iter().find(|(id, _)| id == pack);
            let Some((_, len)) = found else { return Err(err) };
            read_end(storage, pack, len).map_err(|_| err)
        }
        other => other,
    }
}

fn read_front(storage: &dyn Storage, pack: &PackId) -> Result<(Layout, Sums)> {
    let layout = read_header(storage, pack, 0)?;
    read_sums(storage, pack, layout, HEADER as u64)
}

fn read_end(storage: &dyn Storage, pack: &PackId, len: u64) -> Result<(Layout, Sums)> {
    let cut = || damaged(pack)(DecodeError::because("it is truncated"));
    let at = len.checked_sub(HEADER as u64).ok_or_else(cut)?;
    let layout = read_header(storage, pack, at)?;
    read_sums(storage, pack, layout, at.checked_sub(layout.sums_len() as u64).ok_or_else(cut)?)
}

fn read_header(storage: &dyn Storage, pack: &PackId, at: u64) -> Result<Layout> {
    let mut bytes = [0; HEADER];
    storage.read_range(ObjectKind::Parity, &pack.hex(), at, &mut bytes)?;
    let layout = Layout::decode(&bytes).map_err(damaged(pack))?;
    if layout.pack == *pack {
        Ok(layout)
    } else {
        Err(damaged(pack)(DecodeError::because("it belongs to another pack")))
    }
}

fn read_sums(storage: &dyn Storage, pack: &PackId, layout: Layout, at: u64) -> Result<(Layout, Sums)> {
    let mut bytes = vec![0; layout.sums_len()];
    storage.read_range(ObjectKind::Parity, &pack.hex(), at, &mut bytes)?;
    let sums = Sums::decode(&layout, &bytes).map_err(damaged(pack))?;
    Ok((layout, sums))
}

/// Reads a range, with zeros for what cannot be read. A span that fails is read again shard by shard.
fn read_or_zero(
    storage: &dyn Storage,
    place: (ObjectKind, &PackId),
    from: u64,
    out: &mut [u8],
    shard: usize,
) -> Result<()> {
    let name = place.1.hex();
    let read = |at: u64, out: &mut [u8]| match storage.read_range(place.0, &name, at, out) {
        Ok(()) => Ok(true),
        Err(err) if err.is_damage() && !err.is_missing() => Ok(false),
        Err(err) => Err(err),
    };
    let mut at = from;
    for span in out.chunks_mut((SPAN_BYTES / shard).max(1) * shard) {
        if !read(at, span)? {
            let mut place = at;
            for piece in span.chunks_mut(shard) {
                if !read(place, piece)? {
                    piece.fill(0);
                }
                place += piece.len() as u64;
            }
        }
        at += span.len() as u64;
    }
    Ok(())
}

/// The rebuilt parts of a damaged pack.
#[derive(Debug)]
pub struct HealedPack {
    layout: Layout,
    /// The shards that were damaged, rebuilt.
    shards: BTreeMap<usize, Vec<u8>>,
}

impl HealedPack {
    /// Rebuilds the damaged shards of a pack.
    ///
    /// # Errors
    /// `Missing` when the pack has no sidecar or is gone; `Damaged` when the sidecar does not suffice.
    pub fn rebuild(storage: &dyn Storage, pack: &PackId) -> Result<Self> {
        let (layout, sums) = read_either_end(storage, pack)?;
        let shard = layout.shard as usize;
        let mut bytes = vec![0; layout.padded_len()];
        let whole =
            error::part_mut(&mut bytes, 0..layout.len as usize, "a pack is no longer than its shards")?;
        read_or_zero(storage, (ObjectKind::Packs, pack), 0, whole, shard)?;
        let mut shards = vec![0; layout.parity_len() as usize];
        read_or_zero(storage, (ObjectKind::Parity, pack), layout.parity_at(), &mut shards, shard)?;
        let bad = parity::rebuild(&layout, &sums, &mut bytes, &shards).map_err(damaged(pack))?;
        let whole = error::part(&bytes, 0..layout.len as usize, "a pack is no longer than its shards")?;
        // Anyone who can write a sidecar can put any hashes into it.
        if sha256(whole) != *pack.as_bytes() {
            return Err(damaged(pack)(DecodeError::because(
                "the hash of the rebuilt pack differs from the pack's name",
            )));
        }
        let shard_bytes = |at: usize| Some((at, bytes.get(at * shard..(at + 1) * shard)?.to_vec()));
        Ok(Self { layout, shards: bad.into_iter().filter_map(shard_bytes).collect() })
    }

    /// Returns the number of rebuilt shards.
    pub fn rebuilt_shards(&self) -> usize {
        self.shards.len()
    }

    /// Reads bytes of the original pack.
    ///
    /// # Errors
    /// When the range is outside the pack, or shards that were intact have become damaged as well.
    pub fn read(&self, storage: &dyn Storage, offset: u64, out: &mut [u8]) -> Result<()> {
        let (shard, pack) = (u64::from(self.layout.shard), &self.layout.pack);
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > self.layout.len) {
            return Err(Error::because(ObjectKind::Packs.path(&pack.hex()), "it is shorter than expected"));
        }
        let (mut at, mut rest) = (offset, out);
        while !rest.is_empty() {
            let (number, within) = ((at / shard) as usize, (at % shard) as usize);
            let (now, later) = rest.split_at_mut((shard as usize - within).min(rest.len()));
            match self.shards.get(&number) {
                Some(bytes) => {
                    now.iter_mut().zip(bytes.iter().skip(within)).for_each(|(to, from)| *to = *from)
                }
                None => storage.read_range(ObjectKind::Packs, &pack.hex(), at, now)?,
            }
            at += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    /// Returns the length of the whole pack in bytes.
    pub fn pack_len(&self) -> u64 {
        self.layout.len
    }

    /// Returns the number of rebuilt bytes.
    pub fn bytes(&self) -> usize {
        self.shards.len() * self.layout.shard as usize
    }
}
