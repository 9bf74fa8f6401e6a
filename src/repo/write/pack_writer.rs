//! Writing packs that are complete: one after the other to a disk, several at once where each waits for a line.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender};

use crate::codec::chunk::block::SealedBlock;
use crate::codec::chunk::compress::Codec;
use crate::codec::crypto::hash::ChunkType;
use crate::error::{Error, Result};
use crate::model::id::SnapshotId;
use crate::repo::pack::header_bundles::BundleBuilder;
use crate::repo::pack::packs;
use crate::repo::pack::packs::StoredPack;
use crate::repo::repository::Repository;

/// Packs on their way to a far store at once: while the answer to one is awaited, another fills the line. Each is in memory.
const FAR: usize = 2;

/// Blocks of one type that are a pack.
pub(crate) struct CompletePack {
    pub(crate) kind: ChunkType,
    pub(crate) blocks: Vec<SealedBlock>,
}

/// What a sink has written, once it is all durable.
#[derive(Debug, Default)]
pub struct Written {
    /// How many packs.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of their parity.
    pub parity: u64,
    /// Those of their blocks that are deltas.
    pub deltas: Deltas,
}

/// Delta blocks, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deltas {
    /// How many.
    pub blocks: u64,
    /// Plain bytes of their chunks.
    pub plain: u64,
    /// Their stored bytes.
    pub stored: u64,
}

impl Deltas {
    /// Counts a block, if it is one.
    pub fn count(&mut self, codec: Codec, plain: u64, stored: u64) {
        if codec == Codec::Delta {
            self.blocks += 1;
            self.plain += plain;
            self.stored += stored;
        }
    }

    /// Counts others as well.
    pub fn add(&mut self, other: Self) {
        self.blocks += other.blocks;
        self.plain += other.plain;
        self.stored += other.stored;
    }
}

/// What the threads that write have in common.
#[derive(Debug)]
pub(crate) struct PackWriter<'a> {
    repo: &'a Repository,
    session: SnapshotId,
    /// Grows as packs become durable.
    stored: &'a AtomicU64,
    written: Mutex<Written>,
    bundle_builder: Mutex<BundleBuilder>,
    failed: AtomicBool,
}

impl<'a> PackWriter<'a> {
    pub(crate) fn new(repo: &'a Repository, session: SnapshotId, stored: &'a AtomicU64) -> Self {
        let (written, bundle_builder, failed) = (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        Self { repo, session, stored, written, bundle_builder, failed }
    }

    /// How many threads are to write.
    pub(crate) fn threads(&self) -> usize {
        if self.repo.storage().is_remote() { FAR } else { 1 }
    }

    /// Writes packs until there are no more, or a thread has failed.
    ///
    /// # Errors
    /// When a pack could not be made durable; `Stopped` where another thread says why.
    pub(crate) fn work(&self, packs: &Receiver<CompletePack>, land: &Sender<StoredPack>) -> Result<()> {
        for pack in packs {
            if self.failed.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            self.one(pack, land).inspect_err(|_| self.failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    }

    fn one(&self, pack: CompletePack, land: &Sender<StoredPack>) -> Result<()> {
        let (repo, share) = (self.repo, self.repo.config().parity());
        let what = (pack.kind, self.session);
        let mut deltas = Deltas::default();
        for block in &pack.blocks {
            deltas.count(block.codec, u64::from(block.plain), block.sealed.len() as u64);
        }
        let (mut pack, sidecar) = packs::write(repo.storage(), repo.suite(), what, pack.blocks, share)?;
        let parity = sidecar.unwrap_or_else(|err| {
            // The pack is durable, and as good as it is without: the next collection writes what is missing.
            repo.warn(format!(
                "{}: what is saved is whole, but some of it has no parity; `snap repair parity` writes it",
                err.chain()
            ));
            0
        });
        self.stored.fetch_add(pack.len, Ordering::Relaxed);
        let mut written = lock(&self.written);
        written.packs += 1;
        written.bytes += pack.len;
        written.parity += parity;
        written.deltas.add(deltas);
        drop(written);
        let front = std::mem::take(&mut pack.front);
        let full = lock(&self.bundle_builder).add(pack.id, pack.len, front);
        self.say(full.map_or(Ok(()), |full| full.write(repo)));
        // After a failure elsewhere nobody takes it.
        let _ = land.send(pack);
        Ok(())
    }

    /// Once all threads are done.
    pub(crate) fn finish(&self) -> Written {
        self.say(std::mem::take(&mut *lock(&self.bundle_builder)).finish(self.repo));
        std::mem::take(&mut *lock(&self.written))
    }

    /// Nobody needs a segment: where one cannot be written, that is only said.
    fn say(&self, segment: Result<()>) {
        if let Err(err) = segment {
            self.repo.warn(format!(
                "{}: nothing is lost, but machines that do not know this repository yet will need more requests",
                err.chain()
            ));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
