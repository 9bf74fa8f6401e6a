//! Writing chunks: dedup, blocks, packs. Exactly one thread owns a [`Sink`], so dedup needs no lock.
//!
//! The pipeline has no cycle: the owner hands full blocks to the sealing workers, they hand sealed blocks to the
//! one writer, and every channel is bounded.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread::Scope;
use std::thread::ScopedJoinHandle;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;
use crossbeam_channel::bounded;

use crate::codec::block::BlockSealer;
use crate::codec::block::SealedBlock;
use crate::codec::hash::ChunkType;
use crate::error::Error;
use crate::error::Result;
use crate::model::id::ChunkId;
use crate::model::id::SnapshotId;
use crate::store::index::Index;
use crate::store::packs;
use crate::store::packs::StoredPack;
use crate::store::repository::Repository;

#[derive(Debug)]
struct OpenBlock {
    kind: ChunkType,
    plain: Vec<u8>,
    chunks: Vec<(ChunkId, u32)>,
}

impl OpenBlock {
    fn new(kind: ChunkType) -> Self {
        Self { kind, plain: Vec::new(), chunks: Vec::new() }
    }
}

/// What a sink has written, once it is all durable.
#[derive(Debug, Default)]
pub struct Written {
    /// The packs.
    pub packs: Vec<StoredPack>,
    /// Their bytes.
    pub bytes: u64,
}

/// Takes chunks, each stored once however often it is offered.
#[derive(Debug)]
pub struct Sink<'scope> {
    index: Arc<Index>,
    /// Put by this run, whether or not it is in a pack yet.
    ours: HashSet<ChunkId>,
    data: OpenBlock,
    tree: OpenBlock,
    target: usize,
    blocks: Sender<OpenBlock>,
    sealers: Vec<ScopedJoinHandle<'scope, Result<()>>>,
    writer: ScopedJoinHandle<'scope, Result<Written>>,
    added: u64,
}

impl<'scope> Sink<'scope> {
    /// Starts the workers. `stored` grows as packs become durable.
    pub fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        repo: &'env Repository,
        session: SnapshotId,
        index: Arc<Index>,
        level: i32,
        stored: &'env AtomicU64,
    ) -> Self {
        let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let (blocks, to_seal) = bounded::<OpenBlock>(workers);
        let (to_write, sealed) = bounded::<SealedBlock>(workers);
        let sealers = (0..workers)
            .map(|_| {
                let (to_seal, to_write) = (to_seal.clone(), to_write.clone());
                scope.spawn(move || seal_all(repo, level, &to_seal, &to_write))
            })
            .collect();
        let writer = scope.spawn(move || write_all(repo, session, &sealed, stored));
        Self {
            index,
            ours: HashSet::new(),
            data: OpenBlock::new(ChunkType::Data),
            tree: OpenBlock::new(ChunkType::Tree),
            target: repo.config().block_target as usize,
            blocks,
            sealers,
            writer,
            added: 0,
        }
    }

    /// The index it writes against.
    pub fn index(&self) -> &Arc<Index> {
        &self.index
    }

    /// Plain bytes stored so far.
    pub fn added(&self) -> u64 {
        self.added
    }

    /// Stores a chunk unless it is stored. True when it was new. The caller has named it.
    ///
    /// # Errors
    /// `Stopped` when a worker has failed: [`Self::finish`] says why.
    pub fn put(&mut self, kind: ChunkType, id: ChunkId, plain: &[u8]) -> Result<bool> {
        if self.ours.contains(&id) || self.index.find(kind, &id).is_some() {
            return Ok(false);
        }
        self.ours.insert(id);
        self.added += plain.len() as u64;
        let block = match kind {
            ChunkType::Data => &mut self.data,
            ChunkType::Tree => &mut self.tree,
        };
        if block.plain.capacity() == 0 {
            block.plain.reserve_exact(self.target + plain.len());
        }
        block.plain.extend_from_slice(plain);
        block.chunks.push((id, plain.len() as u32));
        if block.plain.len() >= self.target {
            let full = std::mem::replace(block, OpenBlock::new(kind));
            self.blocks.send(full).map_err(|_| Error::Stopped)?;
        }
        Ok(true)
    }

    /// Writes what is left and waits until all is durable.
    ///
    /// # Errors
    /// The first failure of a worker.
    pub fn finish(self) -> Result<Written> {
        let mut failed = None;
        for block in [self.data, self.tree] {
            if !block.plain.is_empty() && self.blocks.send(block).is_err() {
                failed = Some(Error::Stopped);
            }
        }
        drop(self.blocks);
        let sealed = self.sealers.into_iter().map(|worker| worker.join().unwrap_or(Err(Error::Stopped)));
        let sealed: Vec<Result<()>> = sealed.collect();
        let written = self.writer.join().unwrap_or(Err(Error::Stopped));
        let errors = sealed.into_iter().filter_map(Result::err).chain(failed);
        match written {
            // The writer's own failure is the cause of the others'.
            Err(err) if !matches!(err, Error::Stopped) => Err(err),
            other => match errors.reduce(|a, b| if matches!(a, Error::Stopped) { b } else { a }) {
                Some(err) => Err(err),
                None => other,
            },
        }
    }
}

fn seal_all(
    repo: &Repository,
    level: i32,
    blocks: &Receiver<OpenBlock>,
    out: &Sender<SealedBlock>,
) -> Result<()> {
    let failed = || Error::damaged("a block, being written,");
    let mut sealer = BlockSealer::new(repo.ring().clone(), level).map_err(failed())?;
    for block in blocks {
        let sealed = sealer.seal(block.kind, &block.plain, block.chunks).map_err(failed())?;
        out.send(sealed).map_err(|_| Error::Stopped)?;
    }
    Ok(())
}

fn write_all(
    repo: &Repository,
    session: SnapshotId,
    blocks: &Receiver<SealedBlock>,
    stored: &AtomicU64,
) -> Result<Written> {
    let mut written = Written::default();
    let mut open = [(ChunkType::Data, repo.config().data_pack), (ChunkType::Tree, repo.config().tree_pack)]
        .map(|(kind, target)| (kind, u64::from(target), 0u64, Vec::<SealedBlock>::new()));
    let mut write = |kind, blocks: Vec<SealedBlock>| -> Result<()> {
        let pack = packs::write(repo.storage(), repo.ring(), kind, session, blocks)?;
        written.bytes += pack.len;
        stored.store(written.bytes, Ordering::Relaxed);
        written.packs.push(pack);
        Ok(())
    };
    for block in blocks {
        for (kind, target, size, waiting) in &mut open {
            if *kind != block.kind {
                continue;
            }
            *size += block.sealed.len() as u64;
            waiting.push(block);
            if *size >= *target {
                *size = 0;
                write(*kind, std::mem::take(waiting))?;
            }
            break;
        }
    }
    for (kind, _, _, waiting) in open {
        if !waiting.is_empty() {
            write(kind, waiting)?;
        }
    }
    Ok(written)
}
