//! Blocks: chunks one after the other, compressed together and sealed together.

use crate::codec::chunk::compress::delta::Effort;
use crate::codec::chunk::compress::{Codec, Compressor, Decompressor, delta};
use crate::codec::crypto::cipher::{CipherSuite, OVERHEAD};
use crate::codec::crypto::hash::{ChunkHasher, ChunkType};
use crate::codec::pack::base::{BaseNamer, BaseRef};
use crate::model::config::FORMAT;
use crate::model::decode_error::DecodeError;
use crate::model::id::ChunkId;

/// Most plain bytes of a block: its length is bounded by this before memory is taken.
pub const MAX_PLAIN: u32 = 64 << 20;

const DIFFERS: &str = "a block that does not read back as it was written: check this machine's memory";

/// A block ready for a pack.
#[derive(Debug, Clone)]
pub struct SealedBlock {
    /// Type of all its chunks.
    pub kind: ChunkType,
    /// How it is packed.
    pub codec: Codec,
    /// Plain bytes: the sum of its chunks' lengths.
    pub plain: u32,
    /// Its chunks in order.
    pub chunks: Vec<(ChunkId, u32)>,
    /// Of a delta: the chunks whose plain bytes, in this order, are its prefix.
    pub bases: Vec<BaseRef>,
    /// Nonce, sealed bytes, tag.
    pub sealed: Vec<u8>,
}

/// A chunk of a block that was opened.
#[derive(Debug, Clone, Copy)]
pub struct Opened<'a> {
    /// What the table calls it.
    pub id: ChunkId,
    /// Its bytes; empty where the block ends before.
    pub bytes: &'a [u8],
    /// Whether the bytes have that name.
    pub is_right: bool,
}

impl Opened<'_> {
    /// What is to be said of one that is not right.
    pub fn wrong(&self) -> DecodeError {
        DecodeError::with(format!("chunk {} does not have its id", self.id.short()))
    }
}

/// The chunks of the plain bytes of a block, as its pack's table has them.
pub fn cut<'a>(
    hasher: &'a ChunkHasher,
    kind: ChunkType,
    chunks: &'a [(ChunkId, u32)],
    plain: &'a [u8],
) -> impl Iterator<Item = Opened<'a>> {
    let mut rest = plain;
    chunks.iter().map(move |(id, len)| {
        let found = rest.split_at_checked(*len as usize);
        let (bytes, behind) = found.unwrap_or((&[], &[]));
        rest = behind;
        Opened { id: *id, bytes, is_right: found.is_some() && hasher.name(kind, bytes) == *id }
    })
}

/// Compresses, seals and verifies blocks; one per worker.
#[derive(Debug)]
pub struct BlockSealer {
    suite: CipherSuite,
    compressor: Compressor,
    opener: BlockOpener,
    packed: Vec<u8>,
    copy: Vec<u8>,
    check: Vec<u8>,
}

impl BlockSealer {
    /// For a repository, at a compression level.
    ///
    /// # Errors
    /// When zstd cannot be set up.
    pub fn new(suite: CipherSuite, level: i32) -> Result<Self, DecodeError> {
        let opener = BlockOpener::new(suite.clone())?;
        let compressor = Compressor::new(level)?;
        Ok(Self { suite, compressor, opener, packed: Vec::new(), copy: Vec::new(), check: Vec::new() })
    }

    /// Seals `plain`. The result is opened and compared before it is returned: compressors and memory have
    /// both spoiled backups that nobody read back.
    ///
    /// # Errors
    /// When anything fails, the comparison included.
    pub fn seal(
        &mut self,
        kind: ChunkType,
        plain: &[u8],
        chunks: Vec<(ChunkId, u32)>,
    ) -> Result<SealedBlock, DecodeError> {
        let len = plain_len(plain)?;
        let (codec, packed) = self.compressor.pack(plain, &mut self.packed)?;
        let mut sealed = Vec::with_capacity(packed.len() + OVERHEAD);
        self.suite.block(kind).seal(&aad(&self.suite, kind, codec, len), packed, &mut sealed)?;
        self.copy.clear();
        self.copy.extend_from_slice(&sealed);
        if self.opener.read(kind, codec, len, &mut self.copy, &mut self.check)? != plain {
            return Err(DecodeError::because(DIFFERS));
        }
        Ok(SealedBlock { kind, codec, plain: len, chunks, bases: Vec::new(), sealed })
    }

    /// Seals `plain` as a delta against `prefix`, the plain bytes of `bases`; verified as [`Self::seal`] does. `None` where that is
    /// not worth while: a delta must save more than half of what the block takes without. That one is then a base for those
    /// to come.
    ///
    /// # Errors
    /// When anything fails, the comparison included.
    pub fn seal_delta(
        &mut self,
        kind: ChunkType,
        plain: &[u8],
        chunks: &[(ChunkId, u32)],
        made_from: (&[(ChunkId, u32)], &[u8]),
    ) -> Result<Option<SealedBlock>, DecodeError> {
        self.seal_delta_if(kind, plain, chunks, made_from, Effort::Quick, &mut |_| Ok(true))
    }

    /// As [`Self::seal_delta`]; `None` also where `pays` says so of what the block would take.
    ///
    /// # Errors
    /// As [`Self::seal_delta`], and what `pays` returns.
    pub fn seal_delta_if(
        &mut self,
        kind: ChunkType,
        plain: &[u8],
        chunks: &[(ChunkId, u32)],
        (bases, prefix): (&[(ChunkId, u32)], &[u8]),
        effort: Effort,
        pays: &mut dyn FnMut(Weights) -> Result<bool, DecodeError>,
    ) -> Result<Option<SealedBlock>, DecodeError> {
        let len = plain_len(plain)?;
        delta::pack(prefix, plain, effort, &mut self.packed)?;
        let packed = std::mem::take(&mut self.packed);
        // Hardly any block shrinks to a hundredth without.
        if packed.len() > plain.len() / 128 {
            let (delta, whole) = (packed.len() as u64, self.whole(plain)?);
            if delta * 2 >= whole || !pays(Weights { delta, whole })? {
                return Ok(None);
            }
        }
        let mut sealed = Vec::with_capacity(packed.len() + OVERHEAD);
        self.suite.block(kind).seal(&aad(&self.suite, kind, Codec::Delta, len), &packed, &mut sealed)?;
        self.packed = packed;
        self.copy.clear();
        self.copy.extend_from_slice(&sealed);
        self.opener.open_delta(kind, len, &mut self.copy, prefix, &mut self.check)?;
        if self.check != plain {
            return Err(DecodeError::because(DIFFERS));
        }
        let hasher = BaseNamer::of(chunks);
        let bases = bases.iter().map(|base| hasher.name(base)).collect();
        let chunks = chunks.to_vec();
        Ok(Some(SealedBlock { kind, codec: Codec::Delta, plain: len, chunks, bases, sealed }))
    }

    /// About what the block takes without: an eighth of it is packed to see how far it shrinks.
    fn whole(&mut self, plain: &[u8]) -> Result<u64, DecodeError> {
        let sample = plain.get(..(plain.len() / 8).max(SAMPLE)).unwrap_or(plain);
        let (_, packed) = self.compressor.pack(sample, &mut self.packed)?;
        Ok(packed.len() as u64 * plain.len() as u64 / sample.len().max(1) as u64)
    }
}

/// What a block takes.
#[derive(Debug, Clone, Copy)]
pub struct Weights {
    /// As a delta.
    pub delta: u64,
    /// About, if it is none.
    pub whole: u64,
}

/// Of a smaller block all is packed.
const SAMPLE: usize = 64 << 10;

fn plain_len(plain: &[u8]) -> Result<u32, DecodeError> {
    let len = u32::try_from(plain.len()).ok().filter(|len| *len <= MAX_PLAIN);
    len.ok_or(DecodeError::because("a block too large"))
}

/// Opens blocks; one per worker.
#[derive(Debug)]
pub struct BlockOpener {
    suite: CipherSuite,
    unpacker: Decompressor,
}

impl BlockOpener {
    /// For a repository.
    ///
    /// # Errors
    /// When zstd cannot be set up.
    pub fn new(suite: CipherSuite) -> Result<Self, DecodeError> {
        Ok(Self { suite, unpacker: Decompressor::new()? })
    }

    /// Replaces `plain` by what `sealed` holds. `sealed` is scratch afterwards.
    ///
    /// # Errors
    /// When it is not what was sealed.
    pub fn open(
        &mut self,
        kind: ChunkType,
        codec: Codec,
        len: u32,
        sealed: &mut [u8],
        plain: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let packed = self.unseal(kind, codec, len, sealed)?;
        self.unpacker.unpack(codec, packed, len as usize, plain)
    }

    /// Replaces `plain` by what a delta holds, made against `prefix`. `sealed` is scratch afterwards.
    ///
    /// # Errors
    /// When it is not what was sealed, or was made against other bytes.
    pub fn open_delta(
        &mut self,
        kind: ChunkType,
        len: u32,
        sealed: &mut [u8],
        prefix: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let packed = self.unseal(kind, Codec::Delta, len, sealed)?;
        delta::unpack(prefix, packed, len as usize, plain)
    }

    /// Whether `sealed` is what was sealed; nothing is unpacked. `sealed` is scratch afterwards.
    ///
    /// # Errors
    /// When it is not.
    pub fn check_seal(
        &self,
        kind: ChunkType,
        codec: Codec,
        len: u32,
        sealed: &mut [u8],
    ) -> Result<(), DecodeError> {
        self.unseal(kind, codec, len, sealed).map(|_| ())
    }

    /// The plain bytes, where they come to lie: those of a raw block in `sealed`, others in `space`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn read<'a>(
        &mut self,
        kind: ChunkType,
        codec: Codec,
        len: u32,
        sealed: &'a mut [u8],
        space: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], DecodeError> {
        let packed = self.unseal(kind, codec, len, sealed)?;
        if codec == Codec::Raw && packed.len() == len as usize {
            return Ok(packed);
        }
        self.unpacker.unpack(codec, packed, len as usize, space)?;
        Ok(space)
    }

    /// The block as another repository would have sealed it; what is packed stays packed as it is, and so must be what is
    /// named. It is opened again and compared, as a new one is. `sealed` is scratch afterwards.
    ///
    /// # Errors
    /// When it is not what was sealed, or anything fails, the comparison included.
    pub fn reseal(
        &self,
        to: &CipherSuite,
        kind: ChunkType,
        codec: Codec,
        len: u32,
        sealed: &mut [u8],
    ) -> Result<Vec<u8>, DecodeError> {
        let packed = self.unseal(kind, codec, len, sealed)?;
        let mut resealed = Vec::with_capacity(packed.len() + OVERHEAD);
        let aad = aad(to, kind, codec, len);
        to.block(kind).seal(&aad, packed, &mut resealed)?;
        if to.block(kind).open(&aad, &mut resealed.clone())? != packed {
            return Err(DecodeError::because(DIFFERS));
        }
        Ok(resealed)
    }

    fn unseal<'a>(
        &self,
        kind: ChunkType,
        codec: Codec,
        len: u32,
        sealed: &'a mut [u8],
    ) -> Result<&'a [u8], DecodeError> {
        if len > MAX_PLAIN {
            return Err(DecodeError::because("a block that claims to be too large"));
        }
        self.suite.block(kind).open(&aad(&self.suite, kind, codec, len), sealed).map(|packed| &*packed)
    }
}

/// What a block is bound to. Not its place: collecting moves whole blocks between packs.
fn aad(suite: &CipherSuite, kind: ChunkType, codec: Codec, len: u32) -> Vec<u8> {
    let mut aad = Vec::with_capacity(32);
    aad.extend_from_slice(b"SNAPBL");
    aad.extend_from_slice(&FORMAT.to_le_bytes());
    aad.extend_from_slice(suite.repo.as_bytes());
    aad.extend_from_slice(&[kind.byte(), codec.byte()]);
    aad.extend_from_slice(&len.to_le_bytes());
    aad
}
