//! Packs: preamble, table, blocks, the same table again, trailer. See docs/format.md, "Packs".

pub mod base;
pub mod header_bundle;
pub mod padding;
pub mod parity;
pub(crate) mod row;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::codec::chunk::block::{BlockSeal, SealedBlock};
use crate::codec::chunk::compress::{Codec, Compressor, Decompressor};
use crate::codec::crypto::cipher::OVERHEAD;
use crate::codec::crypto::hash::ChunkType;
use crate::codec::crypto::sealed_object::{EPOCH_KEYS, NEWER_KEYS, SESSION_KEYS};
use crate::codec::crypto::session_keys::{ENVELOPE, Envelope, OWN_TAG, Sealing};
use crate::codec::crypto::signature::SIGNATURE;
use crate::codec::crypto::suite::CipherSuite;
use crate::codec::crypto::{cipher, hash};
use crate::codec::pack::base::BaseRef;
use crate::codec::pack::padding::Padding;
use crate::codec::pack::row::Row;
use crate::codec::wire;
use crate::model::config::{CipherKind, FORMAT};
use crate::model::decode_error::DecodeError;
use crate::model::id::{ChunkId, KeyId, SnapshotId};

/// Length of the preamble and of the trailer in bytes.
pub const PREAMBLE_LEN: usize = 64;
const HEAD_MAGIC: [u8; 6] = *b"SNAPPK";
const TAIL_MAGIC: [u8; 6] = *b"SNAPPE";
/// Maximum length in bytes of a pack that is read.
pub const MAX_PACK: u64 = 1 << 30;
/// Maximum length in bytes of an encoded table.
const MAX_TABLE: u32 = 32 << 20;
/// Maximum number of bytes that sealing and signing add to a table.
const MAX_OVERHEAD: u32 = (OVERHEAD + ENVELOPE + SIGNATURE) as u32;

/// One block of a pack, as the table lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockRow {
    /// Offset of its sealed bytes in the file.
    pub offset: u32,
    /// Length of its sealed bytes.
    pub stored: u32,
    /// Length of its plain bytes.
    pub plain: u32,
    /// How it is compressed.
    pub codec: Codec,
    /// Its chunks in order, as (id, length).
    pub chunks: Vec<(ChunkId, u32)>,
    /// For a delta: the chunks whose plain bytes, in this order, are its prefix. Otherwise empty.
    pub bases: Vec<BaseRef>,
}

impl BlockRow {
    /// Returns what the block of this row, in a pack of these keys and type, is bound to.
    pub fn seal(&self, sealed_as: (impl Into<Sealing>, ChunkType)) -> BlockSeal {
        BlockSeal::new(sealed_as, self.codec, self.plain, &self.chunks, &self.bases)
    }
}

/// The table of a pack: which blocks and chunks it contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Type of all chunks.
    pub kind: ChunkType,
    /// The session that wrote it.
    pub session: SnapshotId,
    /// The epoch of the keys that sealed it.
    pub epoch: u32,
    /// The keys of its blocks, if a write key made it.
    pub by: Option<Envelope>,
    /// The slot of the write key in use, if it recognized the pack as its own.
    pub own: Option<KeyId>,
    /// Blocks in order.
    pub blocks: Vec<BlockRow>,
}

/// The fixed fields of a preamble or trailer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackHeader {
    kind: ChunkType,
    cipher: u8,
    session: SnapshotId,
    epoch: u32,
    codec: Codec,
    /// The blocks are sealed with keys of a session.
    by_session: bool,
    table_plain: u32,
    /// Stored length of each of the two tables.
    pub table_len: u32,
    /// Bytes of the blocks and of the padding.
    area: u64,
    aad: [u8; PREAMBLE_LEN],
}

/// The two parts of a pack file that surround its blocks.
#[derive(Debug)]
pub struct PackFrame {
    /// Preamble and first table.
    pub head: Vec<u8>,
    /// Padding, second table and trailer.
    pub tail: Vec<u8>,
}

/// Creates what surrounds blocks of one type in a pack, without padding.
///
/// # Errors
/// No random bytes, or the table is too large.
pub fn frame(
    suite: &CipherSuite,
    kind: ChunkType,
    id: SnapshotId,
    blocks: &[SealedBlock],
) -> Result<PackFrame, DecodeError> {
    padded_frame(suite, kind, id, (blocks, Padding::None))
}

/// Creates what surrounds blocks of one type in a pack, with padding between the blocks and the second table.
///
/// # Errors
/// No random bytes, or the table is too large.
pub fn padded_frame(
    suite: &CipherSuite,
    kind: ChunkType,
    id: SnapshotId,
    (blocks, padding): (&[SealedBlock], Padding),
) -> Result<PackFrame, DecodeError> {
    let rows: Vec<Row> = blocks
        .iter()
        .map(|block| Row {
            stored: block.sealed.len() as u32,
            plain: block.plain,
            codec: block.codec.byte(),
            chunks: block.chunks.clone(),
            bases: block.bases.clone(),
        })
        .collect();
    let plain = wire::encode(&rows)?;
    let mut space = Vec::new();
    let (codec, compressed) = Compressor::new(3)?.compress(&plain, &mut space)?;
    let table_plain = u32::try_from(plain.len()).ok().filter(|len| *len <= MAX_TABLE);
    let table_plain = table_plain.ok_or(DecodeError::because("a pack table is too large"))?;
    let mut preamble = [0u8; PREAMBLE_LEN];
    let mut fields = HEAD_MAGIC.to_vec();
    fields.extend_from_slice(&FORMAT.to_le_bytes());
    let session = suite.session();
    let (key_source, proof) = match session {
        None => (EPOCH_KEYS, suite.signature_len()),
        Some(_) => (SESSION_KEYS, ENVELOPE + OWN_TAG),
    };
    let table_len = compressed.len() + proof + OVERHEAD;
    let sealed: u64 = blocks.iter().map(|block| block.sealed.len() as u64).sum();
    let mut padding = padding.bytes(suite.kind, 2 * (PREAMBLE_LEN + table_len) as u64 + sealed)?;
    let area = sealed + padding.len() as u64;
    fields.extend_from_slice(&[kind.byte(), cipher::cipher_byte(suite.kind), codec.byte(), key_source]);
    fields.extend_from_slice(&table_plain.to_le_bytes());
    fields.extend_from_slice(&(table_len as u32).to_le_bytes());
    fields.extend_from_slice(&area.to_le_bytes());
    fields.extend_from_slice(&suite.epoch.to_le_bytes());
    fields.extend_from_slice(id.as_bytes());
    let mut random = [0u8; 16];
    cipher::random(&mut random)?;
    fields.extend_from_slice(&random);
    preamble.copy_from_slice(&fields);
    let mut table = Vec::new();
    let aad = table_aad(suite, &preamble, session.map(|session| &session.envelope));
    let proven = match session {
        None => suite.signed(&aad, compressed)?,
        Some(session) => {
            table.extend_from_slice(session.envelope.bytes());
            [compressed, &session.tag(&aad, compressed)].concat()
        }
    };
    suite.shared().seal(&aad, &proven, &mut table)?;
    let head = [preamble.as_slice(), &table].concat();
    padding.extend_from_slice(&table);
    padding.extend_from_slice(&TAIL_MAGIC);
    padding.extend(preamble.iter().skip(HEAD_MAGIC.len()));
    Ok(PackFrame { head, tail: padding })
}

impl PackHeader {
    /// Parses the preamble or trailer of a file of `file_len` bytes.
    ///
    /// # Errors
    /// The bytes are no preamble or trailer, or the lengths do not add up to the file's.
    pub fn parse(bytes: &[u8; PREAMBLE_LEN], file_len: u64) -> Result<Self, DecodeError> {
        let preamble = Self::parse_claimed(bytes)?;
        if preamble.pack_len() == file_len {
            Ok(preamble)
        } else {
            Err(DecodeError::because("its length differs from that in its header"))
        }
    }

    /// Returns the length of the pack in bytes.
    pub fn pack_len(&self) -> u64 {
        (PREAMBLE_LEN as u64 + u64::from(self.table_len)) * 2 + self.area
    }

    /// Parses a preamble or trailer without checking the length, for instance of a truncated file.
    ///
    /// # Errors
    /// The bytes are no preamble or trailer.
    pub fn parse_claimed(bytes: &[u8; PREAMBLE_LEN]) -> Result<Self, DecodeError> {
        let (magic, _) = bytes.split_at(6);
        if magic != HEAD_MAGIC && magic != TAIL_MAGIC {
            return Err(DecodeError::because("it is not a pack"));
        }
        let number = |at: usize| {
            bytes
                .get(at..at + 4)
                .and_then(|four| <[u8; 4]>::try_from(four).ok())
                .map_or(0, u32::from_le_bytes)
        };
        let [kind, cipher, codec, key_source] = [bytes[8], bytes[9], bytes[10], bytes[11]];
        wire::check_version([bytes[6], bytes[7]])?;
        if key_source != EPOCH_KEYS && key_source != SESSION_KEYS {
            return Err(DecodeError::newer(NEWER_KEYS));
        }
        let kind = ChunkType::from_byte(kind).ok_or(DecodeError::because("the kind of pack is unknown"))?;
        let codec =
            Codec::from_byte(codec).ok_or(DecodeError::because("the codec of its table is unknown"))?;
        let (table_plain, table_len, epoch) = (number(12), number(16), number(28));
        let area = u64::from(number(20)) | u64::from(number(24)) << 32;
        let mut session = [0u8; 16];
        session.copy_from_slice(&bytes[32..48]);
        if table_plain > MAX_TABLE || table_len > MAX_TABLE + MAX_OVERHEAD || area > MAX_PACK {
            return Err(DecodeError::because("the length in its header is too large"));
        }
        let mut aad = *bytes;
        aad[..6].copy_from_slice(&HEAD_MAGIC);
        let session = SnapshotId::new(session);
        let by_session = key_source == SESSION_KEYS;
        Ok(Self { kind, cipher, session, epoch, codec, by_session, table_plain, table_len, area, aad })
    }

    /// Opens a table that belongs to this header.
    ///
    /// # Errors
    /// The table is not what was written, or its blocks do not fit into the pack.
    pub fn open_table(&self, suite: &CipherSuite, mut sealed: Vec<u8>) -> Result<Table, DecodeError> {
        if self.cipher != cipher::cipher_byte(suite.kind) {
            return Err(DecodeError::because("its cipher is not the repository's"));
        }
        let by = if self.by_session {
            let first = sealed.first_chunk::<ENVELOPE>().copied();
            let envelope =
                Envelope::new(first.ok_or(DecodeError::because("it is too short for session keys"))?);
            sealed.drain(..ENVELOPE);
            Some(envelope)
        } else {
            None
        };
        let aad = table_aad(suite, &self.aad, by.as_ref());
        let plain = suite.shared_of(self.epoch)?.open(&aad, &mut sealed)?;
        let (compressed, own) = match &by {
            // Anybody with the shared key could otherwise claim that a pack contains any chunk.
            None => (suite.verified(self.epoch, &aad, plain)?, None),
            Some(envelope) => split_own_tag(suite, envelope, &aad, plain)?,
        };
        let mut plain = Vec::new();
        Decompressor::new()?.decompress(self.codec, compressed, self.table_plain as usize, &mut plain)?;
        let rows: Vec<Row> = wire::decode(&plain)?;
        let mut offset = PREAMBLE_LEN as u64 + u64::from(self.table_len);
        let end = offset + self.area;
        let mut blocks = Vec::with_capacity(rows.len());
        for row in rows {
            let codec = row.check()?;
            if by.is_some() && codec == Codec::Delta {
                return Err(DecodeError::because("it has a delta, but write keys never store deltas"));
            }
            let chunks: u64 = row.chunks.iter().map(|(_, len)| u64::from(*len)).sum();
            if chunks != u64::from(row.plain) || u64::from(row.stored) > end.saturating_sub(offset) {
                return Err(DecodeError::because("the lengths in its table do not add up"));
            }
            blocks.push(BlockRow {
                offset: offset as u32,
                stored: row.stored,
                plain: row.plain,
                codec,
                chunks: row.chunks,
                bases: row.bases,
            });
            offset += u64::from(row.stored);
        }
        // The rest is padding. Packs of an unencrypted repository have none.
        if offset != end && suite.kind == CipherKind::None {
            return Err(DecodeError::because("its table does not cover all of the pack"));
        }
        Ok(Table { kind: self.kind, session: self.session, epoch: self.epoch, by, own, blocks })
    }
}

/// A table in the local index cache. It may change with the version of the cache, which is then rebuilt.
#[derive(Serialize, Deserialize)]
struct CachedV1 {
    kind: u8,
    session: SnapshotId,
    epoch: u32,
    by: Option<ByteBuf>,
    own: Option<KeyId>,
    start: u32,
    rows: Vec<Row>,
}

impl Table {
    /// Returns the keys with which its blocks are sealed.
    pub fn sealing(&self) -> Sealing {
        Sealing { epoch: self.epoch, by: self.by }
    }

    /// Encodes the table for the local index cache.
    ///
    /// # Errors
    /// The table cannot be encoded.
    pub fn to_cached(&self) -> Result<Vec<u8>, DecodeError> {
        let rows = self.blocks.iter().map(|block| Row {
            stored: block.stored,
            plain: block.plain,
            codec: block.codec.byte(),
            chunks: block.chunks.clone(),
            bases: block.bases.clone(),
        });
        let start = self.blocks.first().map_or(0, |block| block.offset);
        let (kind, session, epoch) = (self.kind.byte(), self.session, self.epoch);
        let (by, own) = (self.by.map(|envelope| ByteBuf::from(envelope.bytes().to_vec())), self.own);
        wire::encode(&CachedV1 { kind, session, epoch, by, own, start, rows: rows.collect() })
    }

    /// Decodes a table from the local index cache.
    ///
    /// # Errors
    /// The bytes are not what [`Self::to_cached`] wrote.
    pub fn from_cached(bytes: &[u8]) -> Result<Self, DecodeError> {
        let cached: CachedV1 = wire::decode(bytes)?;
        let kind =
            ChunkType::from_byte(cached.kind).ok_or(DecodeError::because("the kind of chunks is unknown"))?;
        let mut offset = cached.start;
        let mut blocks = Vec::with_capacity(cached.rows.len());
        for row in cached.rows {
            let codec = row.check()?;
            let next =
                offset.checked_add(row.stored).ok_or(DecodeError::because("an offset is too large"))?;
            let Row { stored, plain, chunks, bases, .. } = row;
            blocks.push(BlockRow { offset, stored, plain, codec, chunks, bases });
            offset = next;
        }
        let by = match cached.by {
            None => None,
            Some(bytes) => {
                let wrong = |_| DecodeError::because("session keys have the wrong length");
                Some(Envelope::new(bytes.into_vec().try_into().map_err(wrong)?))
            }
        };
        let (session, epoch, own) = (cached.session, cached.epoch, cached.own);
        Ok(Self { kind, session, epoch, by, own, blocks })
    }

    /// Returns the table of blocks that this process has just sealed, the first at offset `start`, and their
    /// sealed bytes.
    pub fn of_blocks(
        (kind, sealing): (ChunkType, Sealing),
        session: SnapshotId,
        start: u32,
        blocks: Vec<SealedBlock>,
    ) -> (Self, Vec<Vec<u8>>) {
        let mut offset = start;
        let rows = blocks.into_iter().map(|block| {
            let SealedBlock { plain, codec, chunks, bases, sealed, .. } = block;
            let row = BlockRow { offset, stored: sealed.len() as u32, plain, codec, chunks, bases };
            offset += row.stored;
            (row, sealed)
        });
        let (blocks, sealed) = rows.unzip();
        let Sealing { epoch, by } = sealing;
        let own = by.map(|envelope| envelope.slot());
        (Self { kind, session, epoch, by, own, blocks }, sealed)
    }
}

/// Opens the table in the header of a pack of `pack_len` bytes: everything before its first block.
///
/// # Errors
/// The header is not what was written, or belongs to a pack of another length.
pub fn open_front(suite: &CipherSuite, front: &[u8], pack_len: u64) -> Result<Table, DecodeError> {
    let (preamble, sealed) =
        front.split_first_chunk::<PREAMBLE_LEN>().ok_or(DecodeError::because("too short"))?;
    let preamble = PackHeader::parse(preamble, pack_len)?;
    if sealed.len() as u64 != u64::from(preamble.table_len) {
        return Err(DecodeError::because("the length of its table differs from that in its header"));
    }
    preamble.open_table(suite, sealed.to_vec())
}

/// Returns the rows of a table that a write key made, and its slot if it is the one in use and its tag is
/// right. Only the slot can make or verify the tag; other keys trust the blocks only after opening them.
fn split_own_tag<'a>(
    suite: &CipherSuite,
    envelope: &Envelope,
    aad: &[u8],
    plain: &'a [u8],
) -> Result<(&'a [u8], Option<KeyId>), DecodeError> {
    let (compressed, tag) =
        plain.split_last_chunk::<OWN_TAG>().ok_or(DecodeError::because("it is too short for a table"))?;
    let session = suite.session().filter(|session| session.envelope.slot() == envelope.slot());
    let is_own = session.is_some_and(|session| hash::equal(&session.tag(aad, compressed), tag));
    Ok((compressed, is_own.then(|| envelope.slot())))
}

fn table_aad(suite: &CipherSuite, preamble: &[u8; PREAMBLE_LEN], by: Option<&Envelope>) -> Vec<u8> {
    let mut aad = b"table".to_vec();
    aad.extend_from_slice(suite.repo.as_bytes());
    aad.extend_from_slice(preamble);
    aad.extend_from_slice(by.map_or(&[], |envelope| envelope.bytes().as_slice()));
    aad
}
