//! Writes chunks: deduplication, blocks, packs. Exactly one thread owns a [`ChunkWriter`], so deduplication
//! needs no lock.
//!
//! The owner sends full blocks to the sealing workers (`seal`), they send sealed blocks to the one packer
//! (`packer`), and it sends complete packs to the writers (`pack_writer`). All these channels are bounded.
//! Only empty buffers, for which no thread waits, and messages about stored packs go in the other direction,
//! so no cycle can block.

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
use crate::repo::write::delta_sealer::DeltaBases;
use crate::repo::write::delta_writer::{BaseChoice, OpenDelta, choose_bases};
use crate::repo::write::drift::Probe;
use crate::repo::write::open_block::OpenBlock;
use crate::repo::write::pack_writer::{CompletePack, PackWriter, Written};
use crate::repo::write::put_chunk::{PutChunk, UNKNOWN_OWNER};
use crate::repo::write::seal;
use crate::util::threads;

pub use budget::{CompressionPolicy, MAX_HARDER_BYTES};

use budget::Budget;
use packer::collect_packs;

/// The types of chunks, each in its [`slot`].
const KINDS: [ChunkType; 2] = [ChunkType::Data, ChunkType::Tree];

const fn slot(kind: ChunkType) -> usize {
    match kind {
        ChunkType::Data => 0,
        ChunkType::Tree => 1,
    }
}

/// Stores chunks, each once, however often it is put.
#[derive(Debug)]
pub struct ChunkWriter<'scope> {
    index: Arc<Index>,
    /// Chunks written by this run, in a durable pack or not.
    pending: PendingChunks,
    /// Packs that have become durable. Unbounded, so that no writer waits for this thread.
    stored_packs: Receiver<StoredPack>,
    /// Blocks that will be stored whole, by type: of files, and of trees.
    open_blocks: [ByOwner<OpenBlock>; 2],
    /// Blocks that will be stored as deltas, by type.
    open_deltas: [ByOwner<OpenDelta>; 2],
    /// Whether blocks of different owners are kept separate, because their sizes reveal similarities.
    separates_owners: bool,
    /// Whether blocks may be stored as deltas.
    deltas: bool,
    /// Minimum length in bytes of a chunk that does not end its file.
    min_chunk_len: u32,
    /// Plain bytes at which a block is full.
    target: usize,
    /// Maximum length in bytes of a chunk of a file. A block may exceed `target` by as much.
    max_chunk_len: usize,
    blocks: Sender<OpenBlock>,
    budget: Budget,
    /// Buffers of sealed blocks, for reuse.
    empty_buffers: Receiver<Vec<u8>>,
    /// Passes blocks that are already sealed to the packer.
    sealed: Sender<SealedBlock>,
    sealers: Vec<ScopedJoinHandle<'scope, Result<()>>>,
    packer: ScopedJoinHandle<'scope, Result<()>>,
    writers: Vec<ScopedJoinHandle<'scope, Result<()>>>,
    pack_writer: Arc<PackWriter<'scope>>,
    /// Bytes of the sealed blocks that the packer has received.
    sealed_bytes: Arc<AtomicU64>,
    /// Counts of new chunks so far.
    counts: Written,
}

impl<'scope> ChunkWriter<'scope> {
    /// Starts the threads. `stored` counts the bytes of durable packs.
    ///
    /// # Errors
    /// When not even one thread of a stage can be started. Threads that were started then end.
    pub fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        repo: &'env Repository,
        session: SnapshotId,
        index: Arc<Index>,
        policy: CompressionPolicy,
        stored: &'env AtomicU64,
    ) -> Result<Self> {
        let (workers, target) = (threads::workers(), repo.config().block_target as usize);
        let (blocks, to_seal) = bounded::<OpenBlock>(workers);
        let (to_pack, sealed) = bounded::<SealedBlock>(workers);
        // Capacity 0: at most one complete pack waits while those before it are written and synced.
        let (to_write, packs) = bounded::<CompletePack>(0);
        let (return_buffer, empty_buffers) = bounded::<Vec<u8>>(2 * workers);
        let (report_stored, stored_packs) = unbounded::<StoredPack>();
        let sealers = threads::pool(scope, "seal", workers, || {
            let (to_seal, to_pack, return_buffer) = (to_seal.clone(), to_pack.clone(), return_buffer.clone());
            move || seal::seal_blocks(repo, policy.level, &to_seal, &to_pack, &return_buffer)
        })?;
        let sealed_in = to_pack.clone();
        let sealed_bytes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&sealed_bytes);
        let packer =
            threads::start(scope, "pack", move || collect_packs(repo, &sealed, &to_write, &counted))?;
        let pack_writer = Arc::new(PackWriter::new(repo, session, stored));
        let writers = threads::pool(scope, "write", pack_writer.threads(), || {
            let (pack_writer, packs, report_stored) =
                (Arc::clone(&pack_writer), packs.clone(), report_stored.clone());
            move || pack_writer.write_packs(&packs, &report_stored)
        })?;
        Ok(Self {
            index,
            pending: PendingChunks::new(TableSource::of(repo)),
            stored_packs,
            open_blocks: KINDS.map(|kind| ByOwner::new(OpenBlock::new(kind, Vec::new()))),
            open_deltas: KINDS.map(|kind| ByOwner::new(OpenDelta::new(kind))),
            separates_owners: repo.config().cipher != CipherKind::None,
            deltas: repo.config().has_deltas() && repo.role() != Role::Write,
            min_chunk_len: repo.config().chunker.min,
            target,
            max_chunk_len: repo.config().chunker.max as usize,
            blocks,
            budget: Budget::new(policy),
            empty_buffers,
            sealed: sealed_in,
            sealers,
            packer,
            writers,
            pack_writer,
            sealed_bytes,
            counts: Written::default(),
        })
    }

    /// Returns the owner of the blocks that chunks of this owner are added to.
    fn block_owner(&self, owner: u32) -> u32 {
        if self.separates_owners { owner } else { UNKNOWN_OWNER }
    }

    /// Closes an owner's blocks of this type, so that later chunks share no block with earlier ones.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn close_blocks(&mut self, owner: u32, kind: ChunkType) -> Result<()> {
        let owner = self.block_owner(owner);
        let (blocks, deltas) = (&mut self.open_blocks[slot(kind)], &mut self.open_deltas[slot(kind)]);
        // This owner's blocks may be open without being current.
        let others = [
            blocks.select(owner, || OpenBlock::new(kind, Vec::new())),
            deltas.select(owner, || OpenDelta::new(kind)).and_then(|mut other| other.take()),
        ];
        let own = [
            Some(std::mem::replace(blocks.current(), OpenBlock::new(kind, Vec::new()))),
            deltas.current().take(),
        ];
        for block in others.into_iter().chain(own).flatten().filter(|block| block.len > 0) {
            self.budget.send(block, &self.blocks)?;
        }
        Ok(())
    }

    /// To be called before chunks of another stored block are put. A block has files of one owner, which it
    /// does not record; so in an encrypted repository these chunks must share no block with earlier ones.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn keep_apart(&mut self, kind: ChunkType) -> Result<()> {
        if self.separates_owners { self.close_blocks(UNKNOWN_OWNER, kind) } else { Ok(()) }
    }

    /// Allows this many more bytes to be compressed harder.
    pub fn add_harder(&mut self, bytes: u64) {
        self.budget.add_harder(bytes);
    }

    /// Returns the stored bytes of all sealed blocks so far, durable or not.
    pub fn sealed_bytes(&self) -> u64 {
        self.sealed_bytes.load(Ordering::Relaxed)
    }

    /// Records the packs that have become durable since the last call.
    fn record_stored(&mut self) {
        while let Ok(pack) = self.stored_packs.try_recv() {
            self.pending.record_durable(pack);
        }
    }

    /// Stores a chunk whole, unless it is stored already. Returns whether it was new. The caller has computed
    /// its id.
    ///
    /// # Errors
    /// `Stopped` when a worker has failed: [`Self::finish`] returns the cause. When a table could not be
    /// read.
    pub fn put(&mut self, owner: u32, kind: ChunkType, id: ChunkId, plain: &[u8]) -> Result<bool> {
        self.record_stored();
        if self.pending.has(kind, &id)? || self.index.find(kind, &id)?.is_some() {
            return Ok(false);
        }
        self.pending.add(id);
        self.counts.count(kind, 1, plain.len() as u64);
        let owner = self.block_owner(owner);
        let open = &mut self.open_blocks[slot(kind)];
        if let Some(other) = open.select(owner, || OpenBlock::new(kind, Vec::new()))
            && other.len > 0
        {
            self.budget.send(other, &self.blocks)?;
        }
        let block = open.current();
        if block.plain.capacity() == 0 {
            block.plain.reserve_exact(self.target + self.max_chunk_len);
        }
        block.plain.extend_from_slice(plain);
        block.len += plain.len();
        block.chunks.push((id, plain.len() as u32));
        if block.len >= self.target {
            let next = OpenBlock::new(kind, self.empty_buffers.try_recv().unwrap_or_default());
            let full = std::mem::replace(block, next);
            self.budget.send(full, &self.blocks)?;
        }
        Ok(true)
    }

    /// Stores a chunk as a delta against these bases, if that makes it much smaller. The caller has checked
    /// that new data may refer to them. All such chunks must have bases of the same index.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn put_with_bases(
        &mut self,
        kind: ChunkType,
        id: ChunkId,
        plain: &[u8],
        (index, bases): (&Arc<Index>, &[(ChunkId, u32)]),
    ) -> Result<()> {
        self.record_stored();
        if self.pending.has(kind, &id)? {
            return Ok(());
        }
        self.add_to_delta(UNKNOWN_OWNER, (kind, id), plain, index, (&[], &BaseChoice::of(bases)))
    }

    fn add_to_delta(
        &mut self,
        owner: u32,
        (kind, id): (ChunkType, ChunkId),
        plain: &[u8],
        index: &Arc<Index>,
        (similar, choice): (&[(ChunkId, u32)], &BaseChoice),
    ) -> Result<()> {
        self.pending.add(id);
        self.counts.count(kind, 1, plain.len() as u64);
        let owner = self.block_owner(owner);
        let open = &mut self.open_deltas[slot(kind)];
        if let Some(full) = open.select(owner, || OpenDelta::new(kind)).and_then(|mut other| other.take()) {
            self.budget.send(full, &self.blocks)?;
        }
        let delta = open.current();
        if let Some(full) = delta.take_unless_fits(choice) {
            self.budget.send(full, &self.blocks)?;
        }
        if delta.is_new() {
            delta
                .reserve(self.empty_buffers.try_recv().unwrap_or_default(), self.target + self.max_chunk_len);
        }
        delta.push(id, plain, similar, choice, index);
        if let Some(full) = delta.take_if(self.target) {
            self.budget.send(full, &self.blocks)?;
        }
        Ok(())
    }

    /// Stores the chunks of an existing delta block as a delta against these bases. The caller has checked
    /// that new data may refer to them.
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
        chunks.iter().for_each(|(id, _)| self.pending.add(*id));
        self.counts.count(kind, chunks.len(), plain.len() as u64);
        let index = Arc::clone(index);
        let delta_bases = Some(DeltaBases { index, bases, probe: Probe::default(), is_worthwhile: true });
        let len = plain.len();
        self.budget.send(OpenBlock { kind, plain, len, chunks, harder: false, delta_bases }, &self.blocks)
    }

    /// Stores a sealed block as it is. Later puts of its chunks store nothing.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn put_block(&mut self, block: SealedBlock) -> Result<()> {
        self.record_stored();
        block.chunks.iter().for_each(|(id, _)| self.pending.add(*id));
        self.counts.added += u64::from(block.plain);
        self.sealed.send(block).map_err(|_| Error::Stopped)
    }

    /// Writes the remaining data and waits until all is durable. `producer` is the result of the code that
    /// has put the chunks. Returns its value, and the counts of written data.
    ///
    /// # Errors
    /// The producer's error, or the first failure of a thread if that stopped the producer.
    pub fn finish<T>(self, producer: Result<T>) -> Result<(T, Written)> {
        fed(producer, self.end())
    }

    fn end(self) -> Result<Written> {
        let Self {
            open_blocks,
            open_deltas,
            blocks,
            mut budget,
            sealed,
            sealers,
            packer,
            writers,
            pack_writer,
            stored_packs,
            mut pending,
            counts,
            ..
        } = self;
        let mut failed = None;
        let deltas = open_deltas.into_iter().flat_map(ByOwner::into_all);
        let deltas = deltas.filter_map(|mut delta| delta.take());
        for block in open_blocks.into_iter().flat_map(ByOwner::into_all).chain(deltas) {
            if block.len > 0 && budget.send(block, &blocks).is_err() {
                failed = Some(Error::Stopped);
            }
        }
        drop((blocks, sealed));
        let sealed = sealers.into_iter().map(|worker| worker.join().unwrap_or(Err(Error::Stopped)));
        let sealed: Vec<Result<()>> = sealed.collect();
        let packing = packer.join().unwrap_or(Err(Error::Stopped));
        let written = writers.into_iter().map(|writer| writer.join().unwrap_or(Err(Error::Stopped)));
        let written: Vec<Result<()>> = written.collect();
        stored_packs.iter().for_each(|pack| pending.record_durable(pack));
        pending.persist_tables();
        // Errors of writers come first, since they usually cause the others.
        let others = sealed.into_iter().chain([packing, failed.map_or(Ok(()), Err)]);
        together(written.into_iter().chain(others))?;
        Ok(Written { added: counts.added, new_chunks: counts.new_chunks, ..pack_writer.finish() })
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
        similar: &[(ChunkId, u32)],
    ) -> Result<bool> {
        if similar.is_empty() || !self.deltas {
            return self.put(owner, kind, id, plain);
        }
        self.record_stored();
        if self.pending.has(kind, &id)? || self.index.find(kind, &id)?.is_some() {
            return Ok(false);
        }
        let choice = choose_bases(&self.index, kind, similar, self.min_chunk_len)?;
        if choice.bases.is_empty() {
            return self.put(owner, kind, id, plain);
        }
        let index = Arc::clone(&self.index);
        self.add_to_delta(owner, (kind, id), plain, &index, (similar, &choice))?;
        Ok(true)
    }

    fn put_whole(&mut self, kind: ChunkType, chunks: &[(ChunkId, u32)], plain: &mut Vec<u8>) -> Result<bool> {
        let len: usize = chunks.iter().map(|(_, len)| *len as usize).sum();
        if len < self.target || len > plain.len() {
            return Ok(false);
        }
        self.record_stored();
        for (at, (id, _)) in chunks.iter().enumerate() {
            if self.pending.has(kind, id)? || self.index.find(kind, id)?.is_some() {
                // Nothing is stored here; the caller puts the chunks one by one.
                chunks.iter().take(at).for_each(|(id, _)| self.pending.cancel(id));
                return Ok(false);
            }
            self.pending.add(*id);
        }
        self.counts.count(kind, chunks.len(), len as u64);
        let plain = std::mem::replace(plain, self.empty_buffers.try_recv().unwrap_or_default());
        let block = OpenBlock { kind, plain, len, chunks: chunks.to_vec(), harder: false, delta_bases: None };
        self.budget.send(block, &self.blocks).map(|()| true)
    }
}
