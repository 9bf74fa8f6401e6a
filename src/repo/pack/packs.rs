//! Packs in storage: written as a whole, named by their hash, read by table and block.

use crate::codec::chunk::block::SealedBlock;
use crate::codec::crypto::hash::{ChunkType, Hasher};
use crate::codec::crypto::suite::CipherSuite;
use crate::codec::pack;
use crate::codec::pack::padding::Padding;
use crate::codec::pack::{PREAMBLE_LEN, PackFrame, PackHeader, Table};
use crate::error::{Error, Result};
use crate::model::decode_error::DecodeError;
use crate::model::id::{PackId, SnapshotId};
use crate::repo::pack::parity;
use crate::storage::{CreateOutcome, ObjectKind, Storage};

/// Bytes read at once to hash a pack.
const SPAN_BYTES: u64 = 1 << 20;

/// Maximum copies of one damaged pack in quarantine.
const MAX_QUARANTINED: usize = 1000;

/// Bytes of a pack's front that are read at once: the table of a pack with chunks of the usual size fits.
const FIRST_READ_BYTES: u64 = 64 << 10;

/// A pack that is complete and durable.
#[derive(Debug)]
pub struct StoredPack {
    /// The pack's id.
    pub id: PackId,
    /// Length in bytes.
    pub len: u64,
    /// The table of its chunks.
    pub table: Table,
    /// The pack's front, up to its first block; empty if no header bundle is written, as on local storage.
    pub front: Vec<u8>,
}

/// Writes blocks of one type as a pack, then its sidecar if `share` (of parity) is not 0.
/// Failing to write the sidecar is not an error of this function; that result is returned separately.
///
/// # Errors
/// When the pack could not be made durable. An existing name is an error: packs contain random bytes, so it
/// cannot be ours.
pub fn write(
    storage: &dyn Storage,
    suite: &CipherSuite,
    (kind, session): (ChunkType, SnapshotId),
    blocks: Vec<SealedBlock>,
    share: u8,
) -> Result<(StoredPack, Result<u64>)> {
    write_padded(storage, suite, (kind, session), (blocks, Padding::None), share)
}

/// Like [`write()`], with padding.
///
/// # Errors
/// As [`write()`].
pub fn write_padded(
    storage: &dyn Storage,
    suite: &CipherSuite,
    (kind, session): (ChunkType, SnapshotId),
    (blocks, padding): (Vec<SealedBlock>, Padding),
    share: u8,
) -> Result<(StoredPack, Result<u64>)> {
    let frame = pack::padded_frame(suite, kind, session, (&blocks, padding));
    let PackFrame { head, tail } = frame.map_err(Error::making("a pack"))?;
    let (table, sealed) = Table::of_blocks((kind, suite.now()), session, head.len() as u32, blocks);
    let front = if storage.is_remote() { head.clone() } else { Vec::new() };
    let parts: Vec<Vec<u8>> = std::iter::once(head).chain(sealed).chain([tail]).collect();
    let mut hasher = Hasher::default();
    parts.iter().for_each(|part| hasher.update(part));
    let id = PackId::new(hasher.finish());
    let len = parts.iter().map(|part| part.len() as u64).sum();
    let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let sidecar = parity::sidecar_of(id, &slices, share);
    if storage.create_owned(ObjectKind::Packs, &id.hex(), parts)? == CreateOutcome::Exists {
        return Err(Error::Refused(format!("pack {id} existed before it was written")));
    }
    let sidecar = sidecar.and_then(|sidecar| parity::write(storage, id, &sidecar));
    Ok((StoredPack { id, len, table, front }, sidecar))
}

/// Reads a pack's table from the front or, if that is damaged, from the end.
///
/// # Errors
/// When both copies are damaged, or cannot be read.
pub fn read_table(storage: &dyn Storage, suite: &CipherSuite, id: &PackId, len: u64) -> Result<Table> {
    match read_one_table(storage, suite, id, len, false) {
        Err(err) if err.is_damage() || err.is_newer() => {
            read_one_table(storage, suite, id, len, true).map_err(|other| unusable_ends(err, other))
        }
        other => other,
    }
}

/// Reads both of a pack's tables, which must be equal.
///
/// # Errors
/// When one of them is damaged or cannot be read. A pack needs a newer program only if neither end is of a
/// known format.
pub fn read_both_tables(storage: &dyn Storage, suite: &CipherSuite, id: &PackId, len: u64) -> Result<Table> {
    let damaged = |why| Error::because(ObjectKind::Packs.path(&id.hex()), why);
    let end = || read_one_table(storage, suite, id, len, true);
    match read_one_table(storage, suite, id, len, false) {
        Ok(table) => match end() {
            Ok(other) if other == table => Ok(table),
            Ok(_) => Err(damaged("its two tables differ")),
            Err(err) if err.is_newer() => {
                Err(damaged("the header at its end has a newer format than that at its front"))
            }
            Err(err) => Err(err),
        },
        Err(err) if err.is_newer() => match end() {
            Ok(_) => Err(damaged("the header at its front has a newer format than that at its end")),
            Err(_) => Err(err),
        },
        Err(err) if err.is_damage() => Err(match end() {
            Err(other) => unusable_ends(err, other),
            Ok(_) => err,
        }),
        Err(err) => Err(err),
    }
}

/// Returns the error for a pack neither end of which can be used. If one end is of a newer format, so is the
/// pack: if it was considered damaged, it would be moved to quarantine.
fn unusable_ends(front: Error, end: Error) -> Error {
    if end.is_newer() { end } else { front }
}

/// Reads one of a pack's two tables.
///
/// # Errors
/// When it is damaged or cannot be read.
pub fn read_one_table(
    storage: &dyn Storage,
    suite: &CipherSuite,
    id: &PackId,
    len: u64,
    at_end: bool,
) -> Result<Table> {
    read_table_with(&range_reader(storage, id), suite, id, len, at_end)
}

/// Returns a function that reads a range of a pack.
pub(crate) fn range_reader(storage: &dyn Storage, id: &PackId) -> impl Fn(u64, &mut [u8]) -> Result<()> {
    let name = id.hex();
    move |at, out| storage.read_range(ObjectKind::Packs, &name, at, out)
}

/// Like [`read_one_table`], for a pack whose bytes are returned by `read`.
///
/// # Errors
/// When it is damaged or cannot be read.
pub fn read_table_with(
    read: &dyn Fn(u64, &mut [u8]) -> Result<()>,
    suite: &CipherSuite,
    id: &PackId,
    len: u64,
    at_end: bool,
) -> Result<Table> {
    let name = id.hex();
    let damaged = || Error::damaged(ObjectKind::Packs.path(&name));
    if !at_end {
        return pack::open_front(suite, &read_front(read, &name, len)?, len).map_err(damaged());
    }
    let short = DecodeError::because("it is too short for a pack");
    let tail = len.checked_sub(PREAMBLE_LEN as u64).ok_or(short.clone()).map_err(damaged())?;
    let ends = PackHeader::parse(&read_header(read, tail)?, len).map_err(damaged())?;
    let start = tail.checked_sub(u64::from(ends.table_len)).ok_or(short).map_err(damaged())?;
    let mut sealed = vec![0u8; ends.table_len as usize];
    read(start, &mut sealed)?;
    ends.open_table(suite, sealed).map_err(damaged())
}

/// Returns a pack's front, up to its first block, after checking that its table opens.
///
/// # Errors
/// When it is damaged or cannot be read.
pub(crate) fn front(storage: &dyn Storage, suite: &CipherSuite, id: &PackId, len: u64) -> Result<Vec<u8>> {
    let name = id.hex();
    let front = read_front(&range_reader(storage, id), &name, len)?;
    pack::open_front(suite, &front, len).map_err(Error::damaged(ObjectKind::Packs.path(&name)))?;
    Ok(front)
}

/// Reads preamble and table from a pack's front. Most tables are in the first read: on remote storage the
/// cost of a request hardly depends on its size.
fn read_front(read: &dyn Fn(u64, &mut [u8]) -> Result<()>, name: &str, len: u64) -> Result<Vec<u8>> {
    let damaged = || Error::damaged(ObjectKind::Packs.path(name));
    let tail = len.checked_sub(PREAMBLE_LEN as u64).ok_or(DecodeError::because("it is too short for a pack"));
    let mut front = vec![0u8; FIRST_READ_BYTES.min(tail.map_err(damaged())?) as usize];
    match read(0, &mut front) {
        // The table at the end may be intact.
        Err(err) if err.is_damage() && !err.is_missing() => front.clear(),
        read => read?,
    }
    let ends = match front.first_chunk::<PREAMBLE_LEN>() {
        Some(ends) => *ends,
        None => read_header(read, 0)?,
    };
    let table_len = PackHeader::parse(&ends, len).map_err(damaged())?.table_len as usize;
    if front.len() < PREAMBLE_LEN + table_len {
        front = ends.to_vec();
        front.resize(PREAMBLE_LEN + table_len, 0);
        let (_, table) = front.split_at_mut(PREAMBLE_LEN);
        read(PREAMBLE_LEN as u64, table)?;
    }
    front.truncate(PREAMBLE_LEN + table_len);
    Ok(front)
}

fn read_header(read: &dyn Fn(u64, &mut [u8]) -> Result<()>, at: u64) -> Result<[u8; PREAMBLE_LEN]> {
    let mut ends = [0u8; PREAMBLE_LEN];
    read(at, &mut ends).map(|()| ends)
}

/// Returns the SHA-256 of a pack's bytes.
///
/// # Errors
/// When they cannot be read.
pub fn hash(storage: &dyn Storage, id: &PackId, len: u64) -> Result<[u8; 32]> {
    let (name, mut hasher, mut span) = (id.hex(), Hasher::default(), Vec::new());
    let mut at = 0u64;
    while at < len {
        let some = SPAN_BYTES.min(len - at);
        span.resize(some as usize, 0);
        storage.read_range(ObjectKind::Packs, &name, at, &mut span)?;
        hasher.update(&span);
        at += some;
    }
    Ok(hasher.finish())
}

/// Moves a damaged pack to quarantine, durably, and returns its name there.
///
/// # Errors
/// When it could not be made durable there.
pub fn quarantine(storage: &dyn Storage, id: &PackId) -> Result<String> {
    let name = id.hex();
    for number in 0..MAX_QUARANTINED {
        let quarantined = if number == 0 { name.clone() } else { format!("{name}.{number}") };
        match storage.move_to((ObjectKind::Packs, &name), (ObjectKind::Quarantine, &quarantined)) {
            Ok(CreateOutcome::New) => return Ok(quarantined),
            // Another damaged copy of the pack has this name.
            Ok(CreateOutcome::Exists) => {}
            // A concurrent repair has moved it already.
            Err(err) if err.is_missing() => return Ok(quarantined),
            Err(err) => return Err(err),
        }
    }
    Err(Error::Refused(format!("quarantine already has {MAX_QUARANTINED} copies of pack {}", id.short())))
}
