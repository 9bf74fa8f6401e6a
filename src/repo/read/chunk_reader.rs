//! Reads chunks: fetches, decrypts and decompresses blocks, and verifies each chunk against its id.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::codec::chunk::block::{BlockOpener, SealedAs, SealedBlock};
use crate::codec::chunk::compress::Codec;
use crate::codec::crypto::hash::{ChunkHasher, ChunkType};
use crate::codec::crypto::suite::CipherSuite;
use crate::codec::pack::BlockRow;
use crate::error::{Error, Result};
use crate::model::decode_error::DecodeError;
use crate::model::id::ChunkId;
use crate::progress::Control;
use crate::repo::index::{BlockAt, BlockPlace, Index, Location};
use crate::repo::pack::heal::PackHealer;
use crate::repo::pack::packs;
use crate::repo::read::base_blocks::BaseBlocks;
use crate::repo::read::read_session::ReadSession;
use crate::repo::repository::Repository;
use crate::repo::write_key_memory::TreeMemory;
use crate::storage::{ObjectKind, Storage};

/// Number of decoded blocks that are cached whatever their size: neighbours in a tree lie in few blocks.
const MIN_BLOCKS: usize = 6;
/// Bytes up to which more blocks are cached. A snapshot in which little changed has a small block of its own,
/// and a walk through many snapshots at once returns to each of these blocks in every directory.
const CACHE_BYTES: usize = 12 << 20;
/// Maximum number of cached blocks.
const MAX_BLOCKS: usize = 1024;

/// Reads blocks; one per thread.
#[derive(Debug)]
pub struct BlockReader {
    storage: Arc<dyn Storage>,
    healer: Arc<PackHealer>,
    control: Control<'static>,
    opener: BlockOpener,
    bases: Arc<BaseBlocks>,
    pub(crate) hasher: ChunkHasher,
    pub(crate) verify_bases: bool,
    sealed: Vec<u8>,
    prefix: Vec<u8>,
}

impl BlockReader {
    /// Creates a reader for a repository.
    ///
    /// # Errors
    /// When zstd cannot be set up.
    pub fn new(repo: &Repository) -> Result<Self> {
        let opener = BlockOpener::new(repo.suite().clone()).map_err(Error::making("a block reader"))?;
        let (healer, control) = (Arc::clone(repo.healer()), repo.control().clone());
        let (storage, bases) = (Arc::clone(repo.shared_storage()), Arc::clone(repo.base_blocks()));
        let (hasher, sealed, prefix) = (repo.hasher().clone(), Vec::new(), Vec::new());
        Ok(Self { storage, healer, control, opener, bases, hasher, verify_bases: true, sealed, prefix })
    }

    /// Turns off the verification of bases against their ids. For callers that verify each chunk themselves,
    /// and have another reader for chunks that do not match.
    pub fn without_verifying_bases(self) -> Self {
        Self { verify_bases: false, ..self }
    }

    pub(crate) fn base_blocks(&self) -> &Arc<BaseBlocks> {
        &self.bases
    }

    /// Reads a block into `plain`. A damaged block is rebuilt if the pack has parity for it.
    ///
    /// # Errors
    /// When the pack is gone or the block is damaged.
    pub fn read(&mut self, index: &Index, at: BlockAt, plain: &mut Vec<u8>) -> Result<()> {
        let place = index.place(at)?;
        // A new buffer of megabytes for each block would be cleared by the system each time.
        let mut prefix = std::mem::take(&mut self.prefix);
        let read = self.prefix_into(index, place.kind, &place.bases, &mut prefix);
        let read = read.and_then(|()| self.read_place(&place, &prefix, plain));
        self.prefix = prefix;
        read
    }

    /// Returns the bytes of those of these chunks that exist, concatenated. They are not verified against
    /// their ids.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn read_existing(
        &mut self,
        index: &Index,
        kind: ChunkType,
        chunks: &[(ChunkId, u32)],
    ) -> Result<Vec<u8>> {
        let (mut at, mut block, mut out) = (None, Vec::new(), Vec::new());
        for (id, _) in chunks {
            let Some(found) = index.find_any(kind, id)? else { continue };
            if at != Some(found.block) {
                self.read(index, found.block, &mut block)?;
                at = Some(found.block);
            }
            let start = found.start as usize;
            out.extend(block.get(start..start + found.len as usize).into_iter().flatten());
        }
        Ok(out)
    }

    pub(crate) fn read_place(
        &mut self,
        place: &BlockPlace,
        prefix: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<()> {
        let storage = Arc::clone(&self.storage);
        let direct = packs::range_reader(storage.as_ref(), &place.pack);
        let Err(cause) = self.read_with(&direct, place, prefix, plain) else { return Ok(()) };
        let healed = self.healer.heal(storage.as_ref(), &self.control, &place.pack, cause)?;
        self.read_with(&|at, out: &mut [u8]| healed.read(storage.as_ref(), at, out), place, prefix, plain)
    }

    /// Decodes the sealed bytes of a block, read by the caller, into `plain`. `sealed` is scratch afterwards.
    ///
    /// # Errors
    /// When they are not authentic, or were made against another prefix.
    pub fn open(
        &mut self,
        sealed_as: SealedAs,
        row: &BlockRow,
        prefix: &[u8],
        sealed: &mut [u8],
        plain: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        match row.codec {
            Codec::Delta => self.opener.open_delta(&row.seal(sealed_as), sealed, prefix, plain),
            _ => self.opener.open(&row.seal(sealed_as), sealed, plain),
        }
    }

    /// Verifies the seal of a block's bytes, without needing its bases. `sealed` is scratch afterwards.
    ///
    /// # Errors
    /// When they are not authentic.
    pub fn check_seal(
        &self,
        sealed_as: SealedAs,
        row: &BlockRow,
        sealed: &mut [u8],
    ) -> Result<(), DecodeError> {
        self.opener.check_seal(&row.seal(sealed_as), sealed)
    }

    /// Returns the sealed bytes of a block, sealed again with the keys in use if they were sealed with
    /// others. Needed to move a block to a new pack: all blocks of a pack are sealed with the same keys.
    ///
    /// # Errors
    /// When they are not authentic.
    pub fn reseal(
        &self,
        suite: &CipherSuite,
        sealed_as: SealedAs,
        row: &BlockRow,
        mut sealed: Vec<u8>,
    ) -> Result<Vec<u8>, DecodeError> {
        if sealed_as.0 == suite.now() {
            return Ok(sealed);
        }
        self.opener.reseal(suite, &row.seal(sealed_as), &mut sealed)
    }

    /// Reads a block that is no delta, without parity. Also returns it as sealed for another repository.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_and_reseal(
        &mut self,
        to: &CipherSuite,
        index: &Index,
        at: BlockAt,
        plain: &mut Vec<u8>,
    ) -> Result<SealedBlock> {
        let place = index.place(at)?;
        self.sealed.resize(place.stored as usize, 0);
        let offset = u64::from(place.offset);
        self.storage.read_range(ObjectKind::Packs, &place.pack.hex(), offset, &mut self.sealed)?;
        let mut scratch = self.sealed.clone();
        let (kind, codec, len) = (place.kind, place.codec, place.plain);
        let sealed = self.opener.reseal(to, &place.seal, &mut scratch);
        let sealed = sealed.map_err(Error::damaged(ObjectKind::Packs.path(&place.pack.hex())))?;
        let opened = self.opener.open(&place.seal, &mut self.sealed, plain);
        opened.map_err(Error::damaged(ObjectKind::Packs.path(&place.pack.hex())))?;
        Ok(SealedBlock { kind, codec, plain: len, chunks: Vec::new(), bases: Vec::new(), sealed })
    }

    fn read_with(
        &mut self,
        read: &dyn Fn(u64, &mut [u8]) -> Result<()>,
        place: &BlockPlace,
        prefix: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<()> {
        let sealed = &mut self.sealed;
        sealed.resize(place.stored as usize, 0);
        read(u64::from(place.offset), sealed)?;
        let opened = match place.codec {
            Codec::Delta => self.opener.open_delta(&place.seal, sealed, prefix, plain),
            _ => self.opener.open(&place.seal, sealed, plain),
        };
        opened.map_err(Error::damaged(ObjectKind::Packs.path(&place.pack.hex())))
    }
}

/// Returns the bytes of a chunk in its block, verified against its id.
///
/// # Errors
/// When they do not match.
pub fn verified_chunk<'a>(
    hasher: &ChunkHasher,
    kind: ChunkType,
    id: &ChunkId,
    block: &'a [u8],
    location: &Location,
) -> Result<&'a [u8]> {
    let start = location.start as usize;
    let bytes = block.get(start..start + location.len as usize);
    bytes
        .filter(|bytes| hasher.id_of(kind, bytes) == *id)
        .ok_or_else(|| Error::because(format!("chunk {}", id.short()), "its content does not match its id"))
}

/// Reads single chunks, mostly of trees, through a small cache of blocks.
#[derive(Debug)]
pub struct ChunkReader {
    reader: BlockReader,
    hasher: ChunkHasher,
    index: Arc<Index>,
    /// Lists packs again when a chunk turns out to be gone.
    reading: Option<Arc<ReadSession>>,
    /// Used by a write key instead of the repository.
    memory: Option<Arc<TreeMemory>>,
    cache: BlockLru,
}

/// An LRU cache of decoded blocks.
#[derive(Debug, Default)]
struct BlockLru {
    blocks: HashMap<BlockAt, (Arc<Vec<u8>>, u64)>,
    /// By the number of their last use.
    order: BTreeMap<u64, BlockAt>,
    uses: u64,
    bytes: usize,
}

impl BlockLru {
    fn get(&mut self, at: BlockAt) -> Option<Arc<Vec<u8>>> {
        let (block, last) = self.blocks.get_mut(&at)?;
        // Usually it is the most recently used one.
        if *last != self.uses {
            self.uses += 1;
            self.order.remove(last);
            self.order.insert(self.uses, at);
            *last = self.uses;
        }
        Some(Arc::clone(block))
    }

    fn put(&mut self, at: BlockAt, block: &Arc<Vec<u8>>) {
        self.uses += 1;
        self.bytes += block.len();
        self.blocks.insert(at, (Arc::clone(block), self.uses));
        self.order.insert(self.uses, at);
        while self.is_over_limit()
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.bytes -= self.blocks.remove(&oldest).map_or(0, |(block, _)| block.len());
        }
    }

    fn is_over_limit(&self) -> bool {
        self.blocks.len() > MIN_BLOCKS && (self.bytes > CACHE_BYTES || self.blocks.len() > MAX_BLOCKS)
    }
}

impl ReadSession {
    /// Creates a chunk reader that lists packs again when a chunk turns out to be gone.
    ///
    /// # Errors
    /// When zstd cannot be set up or the repository cannot be read.
    pub fn chunks(self: &Arc<Self>) -> Result<ChunkReader> {
        ChunkReader::following(self)
    }
}

impl ChunkReader {
    /// Creates a reader for an index.
    ///
    /// # Errors
    /// When zstd cannot be set up.
    pub fn new(repo: &Repository, index: Arc<Index>) -> Result<Self> {
        let reader = BlockReader::new(repo)?;
        let (hasher, memory) = (repo.hasher().clone(), repo.memory().cloned());
        Ok(Self { reader, hasher, index, reading: None, memory, cache: BlockLru::default() })
    }

    /// R1: creates a reader that finds chunks that a gc run has moved, by loading a newer index.
    ///
    /// # Errors
    /// When zstd cannot be set up or the repository cannot be read.
    pub fn following(reading: &Arc<ReadSession>) -> Result<Self> {
        let reader = Self::new(reading.repo(), reading.index()?)?;
        Ok(Self { reading: Some(Arc::clone(reading)), ..reader })
    }

    /// Returns the current index.
    pub fn index(&self) -> &Arc<Index> {
        &self.index
    }

    /// Returns a chunk's bytes. If one copy is damaged, tries the others; if all packs are gone, lists packs
    /// again.
    ///
    /// # Errors
    /// When no copy is intact.
    pub fn get(&mut self, kind: ChunkType, id: &ChunkId) -> Result<Vec<u8>> {
        if let Some(memory) = &self.memory {
            let missing = || Error::Missing {
                what: format!("chunk {} in the local memory of the write key", id.short()),
            };
            return memory.chunk(id).ok_or_else(missing);
        }
        loop {
            match self.get_from_index(kind, id) {
                Err(err) if err.is_damage() && self.refresh_index()? => {}
                other => return other,
            }
        }
    }

    /// R1: reloads the index, and returns whether it has anything new.
    fn refresh_index(&mut self) -> Result<bool> {
        let Some(reading) = &self.reading else { return Ok(false) };
        let Some(index) = reading.newer_index(&self.index)? else { return Ok(false) };
        self.index = index;
        self.cache = BlockLru::default();
        Ok(true)
    }

    fn get_from_index(&mut self, kind: ChunkType, id: &ChunkId) -> Result<Vec<u8>> {
        let missing = || Error::Missing { what: format!("chunk {}", id.short()) };
        let index = Arc::clone(&self.index);
        let first = index.find_any(kind, id)?.ok_or_else(missing)?;
        let failed = match self.chunk_at(kind, id, &first) {
            Ok(bytes) => return Ok(bytes),
            Err(err) if err.is_damage() => err,
            Err(err) => return Err(err),
        };
        let copies = index.copies(kind, id)?;
        let mut others = copies.iter().map(|copy| &copy.location).filter(|location| **location != first);
        others.find_map(|location| self.chunk_at(kind, id, location).ok()).ok_or(failed)
    }

    fn chunk_at(&mut self, kind: ChunkType, id: &ChunkId, location: &Location) -> Result<Vec<u8>> {
        let block = self.block(location.block)?;
        verified_chunk(&self.hasher, kind, id, &block, location).map(<[u8]>::to_vec)
    }

    fn block(&mut self, at: BlockAt) -> Result<Arc<Vec<u8>>> {
        if let Some(block) = self.cache.get(at) {
            return Ok(block);
        }
        let mut plain = Vec::new();
        self.reader.read(&self.index, at, &mut plain)?;
        let block = Arc::new(plain);
        self.cache.put(at, &block);
        Ok(block)
    }
}
