//! Blocks: concatenated chunks that are compressed and sealed together.

use crate::codec::chunk::compress::delta::Effort;
use crate::codec::chunk::compress::{Codec, Compressor, Decompressor, delta};
use crate::codec::crypto::cipher::OVERHEAD;
use crate::codec::crypto::hash::{ChunkHasher, ChunkType, Hasher};
use crate::codec::crypto::session_keys::Sealing;
use crate::codec::crypto::suite::CipherSuite;
use crate::codec::pack::base::{BaseNamer, BaseRef};
use crate::model::config::FORMAT;
use crate::model::decode_error::DecodeError;
use crate::model::id::ChunkId;

/// Maximum plain bytes of a block. A stored length is checked against this before memory is allocated.
pub const MAX_PLAIN: u32 = 64 << 20;

const DIFFERS: &str = "a compressed block does not decompress to its input: check this machine's memory";

/// A sealed block that is ready to be written to a pack.
#[derive(Debug, Clone)]
pub struct SealedBlock {
    /// Type of all its chunks.
    pub kind: ChunkType,
    /// How it is compressed.
    pub codec: Codec,
    /// Plain bytes: the sum of the lengths of its chunks.
    pub plain: u32,
    /// Its chunks in order, as (id, length).
    pub chunks: Vec<(ChunkId, u32)>,
    /// For a delta: the chunks whose plain bytes, in this order, are its prefix. Otherwise empty.
    pub bases: Vec<BaseRef>,
    /// Nonce, ciphertext and tag.
    pub sealed: Vec<u8>,
}

/// A chunk of a block that was opened.
#[derive(Debug, Clone, Copy)]
pub struct OpenedChunk<'a> {
    /// The id that the pack's table gives it.
    pub id: ChunkId,
    /// Its bytes; empty if the block ends before it does.
    pub bytes: &'a [u8],
    /// Whether the bytes hash to this id.
    pub is_right: bool,
}

impl OpenedChunk<'_> {
    /// Returns the error for a chunk whose bytes do not match its id.
    pub fn wrong(&self) -> DecodeError {
        DecodeError::with(format!("the content of chunk {} does not match its id", self.id.short()))
    }
}

/// Splits the plain bytes of a block into the chunks that its pack's table lists, and verifies their ids.
pub fn cut<'a>(
    hasher: &'a ChunkHasher,
    kind: ChunkType,
    chunks: &'a [(ChunkId, u32)],
    plain: &'a [u8],
) -> impl Iterator<Item = OpenedChunk<'a>> {
    let mut rest = plain;
    chunks.iter().map(move |(id, len)| {
        let found = rest.split_at_checked(*len as usize);
        let (bytes, after) = found.unwrap_or((&[], &[]));
        rest = after;
        OpenedChunk { id: *id, bytes, is_right: found.is_some() && hasher.id_of(kind, bytes) == *id }
    })
}

/// Compresses, seals and verifies blocks. Each worker has its own.
#[derive(Debug)]
pub struct BlockSealer {
    suite: CipherSuite,
    compressor: Compressor,
    opener: BlockOpener,
    compressed: Vec<u8>,
    copy: Vec<u8>,
    check: Vec<u8>,
}

impl BlockSealer {
    /// Creates a sealer for a repository and compression level.
    ///
    /// # Errors
    /// zstd cannot be initialized.
    pub fn new(suite: CipherSuite, level: i32) -> Result<Self, DecodeError> {
        let opener = BlockOpener::new(suite.clone())?;
        let compressor = Compressor::new(level)?;
        Ok(Self { suite, compressor, opener, compressed: Vec::new(), copy: Vec::new(), check: Vec::new() })
    }

    /// Seals `plain`. The result is opened and compared before it is returned: compressors and memory have
    /// corrupted backups before, and nobody noticed until they were read.
    ///
    /// # Errors
    /// Any step fails, including the comparison.
    pub fn seal(
        &mut self,
        kind: ChunkType,
        plain: &[u8],
        chunks: Vec<(ChunkId, u32)>,
    ) -> Result<SealedBlock, DecodeError> {
        let len = plain_len(plain)?;
        let (codec, compressed) = self.compressor.compress(plain, &mut self.compressed)?;
        let mut sealed = Vec::with_capacity(compressed.len() + OVERHEAD);
        let seal = BlockSeal::new((self.suite.now(), kind), codec, len, &chunks, &[]);
        self.suite.block(kind)?.seal(&seal.aad(&self.suite), compressed, &mut sealed)?;
        self.copy.clear();
        self.copy.extend_from_slice(&sealed);
        if self.opener.read(&seal, &mut self.copy, &mut self.check)? != plain {
            return Err(DecodeError::because(DIFFERS));
        }
        Ok(SealedBlock { kind, codec, plain: len, chunks, bases: Vec::new(), sealed })
    }

    /// Seals `plain` as a delta against `prefix`, the plain bytes of `bases`, and verifies it as
    /// [`Self::seal`] does. Returns `None` if the delta does not save more than half of the size without a
    /// prefix. The block is then stored whole, and can serve as a base for later ones.
    ///
    /// # Errors
    /// Any step fails, including the comparison.
    pub fn seal_delta(
        &mut self,
        kind: ChunkType,
        plain: &[u8],
        chunks: &[(ChunkId, u32)],
        (bases, prefix): (&[(ChunkId, u32)], &[u8]),
    ) -> Result<Option<SealedBlock>, DecodeError> {
        let mut compressed = Vec::new();
        delta::compress(prefix, plain, Effort::Quick, &mut compressed)?;
        if self.estimate_sizes(&compressed, plain)?.is_some_and(|sizes| sizes.is_delta_too_large()) {
            return Ok(None);
        }
        self.seal_compressed_delta(kind, plain, chunks, (bases, prefix, &compressed)).map(Some)
    }

    /// Returns the sizes of a block as a delta and without a prefix. `None` if the delta is so small that the
    /// other size need not be estimated: hardly any block compresses to a hundredth by itself.
    ///
    /// # Errors
    /// zstd fails.
    pub fn estimate_sizes(&mut self, delta: &[u8], plain: &[u8]) -> Result<Option<DeltaSizes>, DecodeError> {
        if delta.len() <= plain.len() / 128 {
            return Ok(None);
        }
        Ok(Some(DeltaSizes { delta: delta.len() as u64, whole: self.estimate_whole(plain)? }))
    }

    /// Seals a delta that is compressed already, and verifies it as [`Self::seal`] does.
    ///
    /// # Errors
    /// Any step fails, including the comparison.
    pub fn seal_compressed_delta(
        &mut self,
        kind: ChunkType,
        plain: &[u8],
        chunks: &[(ChunkId, u32)],
        (bases, prefix, compressed): (&[(ChunkId, u32)], &[u8], &[u8]),
    ) -> Result<SealedBlock, DecodeError> {
        let len = plain_len(plain)?;
        let namer = BaseNamer::of(chunks);
        let bases: Vec<BaseRef> = bases.iter().map(|base| namer.name(base)).collect();
        let seal = BlockSeal::new((self.suite.now(), kind), Codec::Delta, len, chunks, &bases);
        let mut sealed = Vec::with_capacity(compressed.len() + OVERHEAD);
        self.suite.block(kind)?.seal(&seal.aad(&self.suite), compressed, &mut sealed)?;
        self.copy.clear();
        self.copy.extend_from_slice(&sealed);
        self.opener.open_delta(&seal, &mut self.copy, prefix, &mut self.check)?;
        if self.check != plain {
            return Err(DecodeError::because(DIFFERS));
        }
        let chunks = chunks.to_vec();
        Ok(SealedBlock { kind, codec: Codec::Delta, plain: len, chunks, bases, sealed })
    }

    /// Estimates the compressed size of the block without a prefix, from its first eighth.
    fn estimate_whole(&mut self, plain: &[u8]) -> Result<u64, DecodeError> {
        let sample = plain.get(..(plain.len() / 8).max(MIN_SAMPLE)).unwrap_or(plain);
        let (_, compressed) = self.compressor.compress(sample, &mut self.compressed)?;
        Ok(compressed.len() as u64 * plain.len() as u64 / sample.len().max(1) as u64)
    }
}

/// Stored sizes of a block in bytes, to decide whether a delta is worthwhile.
#[derive(Debug, Clone, Copy)]
pub struct DeltaSizes {
    /// Size as a delta.
    pub delta: u64,
    /// Estimated size as a block that is not a delta.
    pub whole: u64,
}

impl DeltaSizes {
    /// Returns whether the delta saves at most half.
    pub fn is_delta_too_large(self) -> bool {
        self.delta * 2 >= self.whole
    }
}

/// Minimum bytes that are compressed for the estimate.
const MIN_SAMPLE: usize = 64 << 10;

fn plain_len(plain: &[u8]) -> Result<u32, DecodeError> {
    let len = u32::try_from(plain.len()).ok().filter(|len| *len <= MAX_PLAIN);
    len.ok_or(DecodeError::because("a block is too large"))
}

/// The keys that sealed a block: those of its pack, for the type of its chunks.
pub type SealedAs = (Sealing, ChunkType);

/// Opens blocks. Each worker has its own.
#[derive(Debug)]
pub struct BlockOpener {
    suite: CipherSuite,
    decompressor: Decompressor,
}

impl BlockOpener {
    /// Creates an opener for a repository.
    ///
    /// # Errors
    /// zstd cannot be initialized.
    pub fn new(suite: CipherSuite) -> Result<Self, DecodeError> {
        Ok(Self { suite, decompressor: Decompressor::new()? })
    }

    /// Replaces `plain` by the plain bytes of the block. `sealed` is overwritten.
    ///
    /// # Errors
    /// The bytes are not what was sealed.
    pub fn open(
        &mut self,
        seal: &BlockSeal,
        sealed: &mut [u8],
        plain: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let compressed = self.unseal(seal, sealed)?;
        self.decompressor.decompress(seal.codec, compressed, seal.plain as usize, plain)
    }

    /// Replaces `plain` by the plain bytes of a delta made against `prefix`. `sealed` is overwritten.
    ///
    /// # Errors
    /// The bytes are not what was sealed, or the delta was made against another prefix.
    pub fn open_delta(
        &mut self,
        seal: &BlockSeal,
        sealed: &mut [u8],
        prefix: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let compressed = self.unseal(seal, sealed)?;
        delta::decompress(prefix, compressed, seal.plain as usize, plain)
    }

    /// Verifies the seal of a block without decompressing it. `sealed` is overwritten.
    ///
    /// # Errors
    /// The bytes are not what was sealed.
    pub fn check_seal(&self, seal: &BlockSeal, sealed: &mut [u8]) -> Result<(), DecodeError> {
        self.unseal(seal, sealed).map(|_| ())
    }

    /// Returns the plain bytes without a needless copy: those of a raw block stay in `sealed`, others are
    /// written to `space`.
    ///
    /// # Errors
    /// Like [`Self::open`].
    pub fn read<'a>(
        &mut self,
        seal: &BlockSeal,
        sealed: &'a mut [u8],
        space: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], DecodeError> {
        let compressed = self.unseal(seal, sealed)?;
        if seal.codec == Codec::Raw && compressed.len() == seal.plain as usize {
            return Ok(compressed);
        }
        self.decompressor.decompress(seal.codec, compressed, seal.plain as usize, space)?;
        Ok(space)
    }

    /// Seals the block again, for another repository or in the newest epoch, without recompressing it. Both
    /// repositories must name chunks alike. The result is opened and compared, as for a new block. `sealed`
    /// is overwritten.
    ///
    /// # Errors
    /// The bytes are not what was sealed, or any step fails, including the comparison.
    pub fn reseal(
        &self,
        to: &CipherSuite,
        seal: &BlockSeal,
        sealed: &mut [u8],
    ) -> Result<Vec<u8>, DecodeError> {
        let compressed = self.unseal(seal, sealed)?;
        let mut resealed = Vec::with_capacity(compressed.len() + OVERHEAD);
        let aad = seal.aad(to);
        let cipher = to.block(seal.kind)?;
        cipher.seal(&aad, compressed, &mut resealed)?;
        if cipher.open(&aad, &mut resealed.clone())? != compressed {
            return Err(DecodeError::because(DIFFERS));
        }
        Ok(resealed)
    }

    fn unseal<'a>(&self, seal: &BlockSeal, sealed: &'a mut [u8]) -> Result<&'a [u8], DecodeError> {
        if seal.plain > MAX_PLAIN {
            return Err(DecodeError::because("the length in a block's header is too large"));
        }
        let cipher = self.suite.block_of(seal.by, seal.kind)?;
        cipher.open(&seal.aad(&self.suite), sealed).map(|compressed| &*compressed)
    }
}

/// The data that a block is bound to: its row in the table of the pack that it was sealed for. The row may be
/// at another position now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSeal {
    /// The keys that sealed it: those of its pack. They are not part of what is authenticated.
    pub by: Sealing,
    /// Type of its chunks.
    pub kind: ChunkType,
    /// How it is compressed.
    pub codec: Codec,
    /// Its plain bytes.
    pub plain: u32,
    /// SHA-256 of the row's chunks and bases.
    row: [u8; 32],
}

impl BlockSeal {
    /// Returns the seal of a block of these chunks, made from these bases.
    pub fn new(
        (by, kind): (impl Into<Sealing>, ChunkType),
        codec: Codec,
        plain: u32,
        chunks: &[(ChunkId, u32)],
        bases: &[BaseRef],
    ) -> Self {
        let mut hasher = Hasher::default();
        for (id, len) in chunks {
            hasher.update(id.as_bytes());
            hasher.update(&len.to_le_bytes());
        }
        for base in bases {
            hasher.update(&base.start);
            hasher.update(&base.tag);
            hasher.update(&base.len.to_le_bytes());
        }
        Self { by: by.into(), kind, codec, plain, row: hasher.finish() }
    }

    /// Returns the associated data. It does not contain the pack's id: gc moves whole blocks with their rows,
    /// and the authenticated table determines which rows are in a pack.
    fn aad(&self, suite: &CipherSuite) -> Vec<u8> {
        let mut aad = Vec::with_capacity(64);
        aad.extend_from_slice(b"SNAPBL");
        aad.extend_from_slice(&FORMAT.to_le_bytes());
        aad.extend_from_slice(suite.repo.as_bytes());
        aad.extend_from_slice(&[self.kind.byte(), self.codec.byte()]);
        aad.extend_from_slice(&self.plain.to_le_bytes());
        aad.extend_from_slice(&self.row);
        aad
    }
}

impl SealedBlock {
    /// Returns what the block is bound to.
    pub fn seal(&self, by: impl Into<Sealing>) -> BlockSeal {
        BlockSeal::new((by, self.kind), self.codec, self.plain, &self.chunks, &self.bases)
    }
}
