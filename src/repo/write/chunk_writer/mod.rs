//! Writing chunks: deduplication, blocks, packs. Exactly one thread owns a [`ChunkWriter`], so deduplication
//! needs no lock.
//!
//! The pipeline has no cycle: the owner sends full blocks to the sealing workers, they send sealed blocks to
//! the one packer, and it sends complete packs to the writers (`pack_writer`). All these channels are
//! bounded. What goes back are empty buffers, for which no thread waits, and the notes of stored packs.

mod budget;
mod packer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Scope, ScopedJoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::codec::chunk::block::SealedBlock;
use crate::codec::crypto::hash::ChunkType;
use crate::error::{Error, Result, fed, together};
use crate::model::config::{CipherKind, Role};
use crate::model::id::{ChunkId, SnapshotId};
use crate::repo::index::Index;
use crate::repo::index::catalog::TableSource;
use crate::repo::index::pending::PendingChunks;
use crate::repo::pack::packs::StoredPack;
use crate::repo::repository::Repository;
use crate::repo::write::blocks_by_owner::ByOwner;
use crate::repo::write::delta_sealer::MadeFrom;
use crate::repo::write::delta_writer::{Like, Similar, bases_of};
use crate::repo::write::drift::Probe;
use crate::repo::write::open_block::OpenBlock;
use crate::repo::write::pack_writer::{CompletePack, PackWriter, Written};
use crate::repo::write::put_chunk::{PutChunk, UNKNOWN_OWNER};
use crate::repo::write::seal;
use crate::util::threads;

pub use budget::{CompressionPolicy, MOST_HARDER};

use budget::Budget;
use packer::pack_all;

/// The types of chunks, each in its [`slot`].
const KINDS: [ChunkType; 2] = [ChunkType::Data, ChunkType::Tree];

const fn slot(kind: ChunkType) -> usize {
    match kind {
        ChunkType::Data => 0,
        ChunkType::Tree => 1,
    }
}

/// Stores chunks, each once however often it is offered.
#[derive(Debug)]
pub struct ChunkWriter<'scope> {
    index: Arc<Index>,
    /// Chunks written by this run, in a durable pack or not.
    ours: PendingChunks,
    /// Packs that have become durable. Unbounded, so that no writer waits for the owner to receive.
    landed: Receiver<StoredPack>,
    /// Of files, and of trees.
    plain: [ByOwner<OpenBlock>; 2],
    similar: [ByOwner<Similar>; 2],
    /// Whether blocks of different owners are kept separate, because their sizes reveal similarities.
    is_separate: bool,
    /// Whether blocks may be stored as deltas.
    deltas: bool,
    /// Minimum length in bytes of a chunk that does not end its file.
    shortest: u32,
    target: usize,
    /// Maximum length in bytes of a chunk of a file, which may be the last one of a block.
    longest: usize,
    blocks: Sender<OpenBlock>,
    budget: Budget,
    /// Buffers of sealed blocks, for reuse.
    empty: Receiver<Vec<u8>>,
    /// For blocks that are already sealed.
    sealed: Sender<SealedBlock>,
    sealers: Vec<ScopedJoinHandle<'scope, Result<()>>>,
    compressor: ScopedJoinHandle<'scope, Result<()>>,
    writers: Vec<ScopedJoinHandle<'scope, Result<()>>>,
    writing: Arc<PackWriter<'scope>>,
    sealed_bytes: Arc<AtomicU64>,
    /// New chunks so far.
    new: Written,
}

impl<'scope> ChunkWriter<'scope> {
    /// Starts the workers. `stored` grows as packs become durable.
    ///
    /// # Errors
    /// When a thread of a stage cannot be started; those that were started end.
    pub fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        repo: &'env Repository,
        session: SnapshotId,
        index: Arc<Index>,
        effort: CompressionPolicy,
        stored: &'env AtomicU64,
    ) -> Result<Self> {
        let (workers, target) = (threads::workers(), repo.config().block_target as usize);
        let (blocks, to_seal) = bounded::<OpenBlock>(workers);
        let (to_pack, sealed) = bounded::<SealedBlock>(workers);
        // Capacity 0: at most one complete pack waits while those before it are written and synced.
        let (to_write, packs) = bounded::<CompletePack>(0);
        let (back, empty) = bounded::<Vec<u8>>(2 * workers);
        let (land, landed) = unbounded::<StoredPack>();
        let sealers = threads::pool(scope, "seal", workers, || {
            let (to_seal, to_pack, back) = (to_seal.clone(), to_pack.clone(), back.clone());
            move || seal::seal_blocks(repo, effort.level, &to_seal, &to_pack, &back)
        })?;
        let sealed_in = to_pack.clone();
        let sealed_bytes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&sealed_bytes);
        let compressor = threads::start(scope, "pack", move || pack_all(repo, &sealed, &to_write, &counted))?;
        let writing = Arc::new(PackWriter::new(repo, session, stored));
        let writers = threads::pool(scope, "write", writing.threads(), || {
            let (writing, packs, land) = (Arc::clone(&writing), packs.clone(), land.clone());
            move || writing.write_packs(&packs, &land)
        })?;
        Ok(Self {
            index,
            ours: PendingChunks::new(TableSource::of(repo)),
            landed,
            plain: KINDS.map(|kind| ByOwner::new(OpenBlock::new(kind, Vec::new()))),
            similar: KINDS.map(|kind| ByOwner::new(Similar::new(kind))),
            is_separate: repo.config().cipher != CipherKind::None,
            deltas: repo.config().has_deltas() && repo.role() != Role::Write,
            shortest: repo.config().chunker.min,
            target,
            longest: repo.config().chunker.max as usize,
            blocks,
            budget: Budget::new(effort),
            empty,
            sealed: sealed_in,
            sealers,
            compressor,
            writers,
            writing,
            sealed_bytes,
            new: Written::default(),
        })
    }

    /// Returns whose blocks the chunks of an owner go to.
    fn sharer(&self, owner: u32) -> u32 {
        if self.is_separate { owner } else { UNKNOWN_OWNER }
    }

    /// Closes an owner's blocks of this type, so that later chunks share no block with earlier ones.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn close_blocks(&mut self, owner: u32, kind: ChunkType) -> Result<()> {
        let owner = self.sharer(owner);
        let (plain, similar) = (&mut self.plain[slot(kind)], &mut self.similar[slot(kind)]);
        // The blocks of another owner may be current: those of this one are open all the same.
        let others = [
            plain.select(owner, || OpenBlock::new(kind, Vec::new())),
            similar.select(owner, || Similar::new(kind)).and_then(|mut other| other.take()),
        ];
        let own = [
            Some(std::mem::replace(plain.current(), OpenBlock::new(kind, Vec::new()))),
            similar.current().take(),
        ];
        for block in others.into_iter().chain(own).flatten().filter(|block| block.len > 0) {
            self.budget.send(block, &self.blocks)?;
        }
        Ok(())
    }

    /// Announces chunks of another stored block. A block has files of one owner, who is not recorded in it.
    /// So in an encrypted repository these chunks share no block with earlier ones.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn keep_apart(&mut self, kind: ChunkType) -> Result<()> {
        if self.is_separate { self.close_blocks(UNKNOWN_OWNER, kind) } else { Ok(()) }
    }

    /// Compresses so many more bytes harder.
    pub fn add_harder(&mut self, bytes: u64) {
        self.budget.add_harder(bytes);
    }

    /// Returns the bytes of blocks passed on to packs, durable or not.
    pub fn sealed_bytes(&self) -> u64 {
        self.sealed_bytes.load(Ordering::Relaxed)
    }

    fn record_stored(&mut self) {
        while let Ok(pack) = self.landed.try_recv() {
            self.ours.record_durable(pack);
        }
    }

    /// Stores a chunk of this owner unless it is stored already. Returns whether it was new. The caller has
    /// computed its id.
    ///
    /// # Errors
    /// `Stopped` when a worker has failed: [`Self::finish`] returns the cause. When a table could not be
    /// read.
    pub fn put(&mut self, owner: u32, kind: ChunkType, id: ChunkId, plain: &[u8]) -> Result<bool> {
        self.record_stored();
        if self.ours.has(kind, &id)? || self.index.find(kind, &id)?.is_some() {
            return Ok(false);
        }
        self.ours.add(id);
        self.new.count(kind, 1, plain.len() as u64);
        let owner = self.sharer(owner);
        let open = &mut self.plain[slot(kind)];
        if let Some(other) = open.select(owner, || OpenBlock::new(kind, Vec::new()))
            && other.len > 0
        {
            self.budget.send(other, &self.blocks)?;
        }
        let block = open.current();
        if block.plain.capacity() == 0 {
            block.plain.reserve_exact(self.target + self.longest);
        }
        block.plain.extend_from_slice(plain);
        block.len += plain.len();
        block.chunks.push((id, plain.len() as u32));
        if block.len >= self.target {
            let next = OpenBlock::new(kind, self.empty.try_recv().unwrap_or_default());
            let full = std::mem::replace(block, next);
            self.budget.send(full, &self.blocks)?;
        }
        Ok(true)
    }

    /// Stores a chunk as a delta against these bases, which the caller has checked, if that makes it much
    /// smaller. All such chunks must have bases of the same index.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn put_made_from(
        &mut self,
        kind: ChunkType,
        id: ChunkId,
        plain: &[u8],
        (index, bases): (&Arc<Index>, &[(ChunkId, u32)]),
    ) -> Result<()> {
        self.record_stored();
        if self.ours.has(kind, &id)? {
            return Ok(());
        }
        self.add_similar(UNKNOWN_OWNER, (kind, id), plain, index, (&[], &Like::of(bases)))
    }

    fn add_similar(
        &mut self,
        owner: u32,
        (kind, id): (ChunkType, ChunkId),
        plain: &[u8],
        index: &Arc<Index>,
        (like, alike): (&[(ChunkId, u32)], &Like),
    ) -> Result<()> {
        self.ours.add(id);
        self.new.count(kind, 1, plain.len() as u64);
        let owner = self.sharer(owner);
        let open = &mut self.similar[slot(kind)];
        if let Some(full) = open.select(owner, || Similar::new(kind)).and_then(|mut other| other.take()) {
            self.budget.send(full, &self.blocks)?;
        }
        let similar = open.current();
        if let Some(full) = similar.make_room(alike) {
            self.budget.send(full, &self.blocks)?;
        }
        if similar.is_new() {
            similar.reserve(self.empty.try_recv().unwrap_or_default(), self.target + self.longest);
        }
        similar.push(id, plain, like, alike, index);
        if let Some(full) = similar.take_if(self.target) {
            self.budget.send(full, &self.blocks)?;
        }
        Ok(())
    }

    /// Stores chunks of a delta block as a delta against these bases of an index. The caller has checked
    /// them.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn put_delta(
        &mut self,
        kind: ChunkType,
        chunks: Vec<(ChunkId, u32)>,
        plain: Vec<u8>,
        (index, bases): (&Arc<Index>, Vec<(ChunkId, u32)>),
    ) -> Result<()> {
        self.record_stored();
        chunks.iter().for_each(|(id, _)| self.ours.add(*id));
        self.new.count(kind, chunks.len(), plain.len() as u64);
        let index = Arc::clone(index);
        let made_from = Some(MadeFrom { index, bases, probe: Probe::default(), is_sure: true });
        let len = plain.len();
        self.budget.send(OpenBlock { kind, plain, len, chunks, harder: false, made_from }, &self.blocks)
    }

    /// Stores a sealed block as it is. Its chunks count as stored from then on.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn put_block(&mut self, block: SealedBlock) -> Result<()> {
        self.record_stored();
        block.chunks.iter().for_each(|(id, _)| self.ours.add(*id));
        self.new.added += u64::from(block.plain);
        self.sealed.send(block).map_err(|_| Error::Stopped)
    }

    /// Writes the remaining data and waits until all is durable. Returns what `producer`, which has put the
    /// chunks, has returned, and what was written.
    ///
    /// # Errors
    /// The producer's, or the first failure of a worker if that is what stopped the producer.
    pub fn finish<T>(self, producer: Result<T>) -> Result<(T, Written)> {
        fed(producer, self.end())
    }

    fn end(self) -> Result<Written> {
        let Self {
            plain,
            similar,
            blocks,
            mut budget,
            sealed,
            sealers,
            compressor,
            writers,
            writing,
            landed,
            mut ours,
            new,
            ..
        } = self;
        let mut failed = None;
        let similar = similar.into_iter().flat_map(ByOwner::into_all);
        let similar = similar.filter_map(|mut similar| similar.take());
        for block in plain.into_iter().flat_map(ByOwner::into_all).chain(similar) {
            if block.len > 0 && budget.send(block, &blocks).is_err() {
                failed = Some(Error::Stopped);
            }
        }
        drop((blocks, sealed));
        let sealed = sealers.into_iter().map(|worker| worker.join().unwrap_or(Err(Error::Stopped)));
        let sealed: Vec<Result<()>> = sealed.collect();
        let packed = compressor.join().unwrap_or(Err(Error::Stopped));
        let written = writers.into_iter().map(|writer| writer.join().unwrap_or(Err(Error::Stopped)));
        let written: Vec<Result<()>> = written.collect();
        landed.iter().for_each(|pack| ours.record_durable(pack));
        ours.settle();
        // Writers first: their failure usually is the cause of the others.
        let others = sealed.into_iter().chain([packed, failed.map_or(Ok(()), Err)]);
        together(written.into_iter().chain(others))?;
        Ok(Written { added: new.added, new_chunks: new.new_chunks, ..writing.finish() })
    }
}

impl PutChunk for ChunkWriter<'_> {
    fn index(&self) -> &Index {
        &self.index
    }

    fn put_similar(
        &mut self,
        owner: u32,
        kind: ChunkType,
        id: ChunkId,
        plain: &[u8],
        like: &[(ChunkId, u32)],
    ) -> Result<bool> {
        if like.is_empty() || !self.deltas {
            return self.put(owner, kind, id, plain);
        }
        self.record_stored();
        if self.ours.has(kind, &id)? || self.index.find(kind, &id)?.is_some() {
            return Ok(false);
        }
        let alike = bases_of(&self.index, kind, like, self.shortest)?;
        if alike.bases.is_empty() {
            return self.put(owner, kind, id, plain);
        }
        let index = Arc::clone(&self.index);
        self.add_similar(owner, (kind, id), plain, &index, (like, &alike))?;
        Ok(true)
    }

    fn put_whole(&mut self, kind: ChunkType, chunks: &[(ChunkId, u32)], plain: &mut Vec<u8>) -> Result<bool> {
        let len: usize = chunks.iter().map(|(_, len)| *len as usize).sum();
        if len < self.target || len > plain.len() {
            return Ok(false);
        }
        self.record_stored();
        for (at, (id, _)) in chunks.iter().enumerate() {
            if self.ours.has(kind, id)? || self.index.find(kind, id)?.is_some() {
                // The chunks before it are not stored yet; `put` will do that.
                chunks.iter().take(at).for_each(|(id, _)| self.ours.take_back(id));
                return Ok(false);
            }
            self.ours.add(*id);
        }
        self.new.count(kind, chunks.len(), len as u64);
        let plain = std::mem::replace(plain, self.empty.try_recv().unwrap_or_default());
        let block = OpenBlock { kind, plain, len, chunks: chunks.to_vec(), harder: false, made_from: None };
        self.budget.send(block, &self.blocks).map(|()| true)
    }
}
