//! Writes complete packs: one at a time to a disk, several concurrently to remote storage.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;

use crate::codec::chunk::block::SealedBlock;
use crate::codec::chunk::compress::Codec;
use crate::codec::crypto::hash::ChunkType;
use crate::codec::pack::padding::Padding;
use crate::error::{Error, Result};
use crate::model::config::Role;
use crate::model::id::SnapshotId;
use crate::repo::pack::header_bundles::BundleBuilder;
use crate::repo::pack::packs::{self, StoredPack};
use crate::repo::repository::Repository;

/// Maximum number of packs that are uploaded concurrently: while one waits for a response, another uses the
/// bandwidth. Each is held in memory.
const MAX_UPLOADS: usize = 2;

/// The blocks of a pack, all of one type.
pub(crate) struct CompletePack {
    pub(crate) kind: ChunkType,
    pub(crate) blocks: Vec<SealedBlock>,
    pub(crate) padding: Padding,
}

/// Counts of the durable data that a [`ChunkWriter`](super::chunk_writer::ChunkWriter) has written.
#[derive(Debug, Default)]
pub struct Written {
    /// Number of packs.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of their parity files.
    pub parity: u64,
    /// The delta blocks among them.
    pub deltas: Deltas,
    /// Plain bytes of the new chunks.
    pub added: u64,
    /// Numbers of new chunks: of files, and of trees.
    pub new_chunks: (u64, u64),
}

impl Written {
    /// Counts new chunks of one type, and their plain bytes.
    pub(crate) fn count(&mut self, kind: ChunkType, chunks: usize, bytes: u64) {
        self.added += bytes;
        match kind {
            ChunkType::Data => self.new_chunks.0 += chunks as u64,
            ChunkType::Tree => self.new_chunks.1 += chunks as u64,
        }
    }
}

/// Counts of delta blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deltas {
    /// Number of blocks.
    pub blocks: u64,
    /// Plain bytes of their chunks.
    pub plain: u64,
    /// Their stored bytes.
    pub stored: u64,
}

impl Deltas {
    /// Counts a block, if it is a delta.
    pub(crate) fn count(&mut self, codec: Codec, plain: u64, stored: u64) {
        if codec == Codec::Delta {
            self.blocks += 1;
            self.plain += plain;
            self.stored += stored;
        }
    }

    /// Adds other counts.
    pub fn add(&mut self, other: Self) {
        self.blocks += other.blocks;
        self.plain += other.plain;
        self.stored += other.stored;
    }
}

/// State shared by the writing threads.
#[derive(Debug)]
pub(crate) struct PackWriter<'a> {
    repo: &'a Repository,
    session: SnapshotId,
    /// Bytes of durable packs so far.
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

    /// Returns the number of threads to start.
    pub(crate) fn threads(&self) -> usize {
        if self.repo.storage().is_remote() { MAX_UPLOADS } else { 1 }
    }

    /// Writes packs until there are no more, or a thread has failed.
    ///
    /// # Errors
    /// When a pack could not be made durable; `Stopped` if another thread has failed.
    pub(crate) fn write_packs(
        &self,
        packs: &Receiver<CompletePack>,
        stored_packs: &Sender<StoredPack>,
    ) -> Result<()> {
        for pack in packs {
            if self.failed.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            self.write_pack(pack, stored_packs)
                .inspect_err(|_| self.failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    }

    fn write_pack(&self, pack: CompletePack, stored_packs: &Sender<StoredPack>) -> Result<()> {
        let (repo, share) = (self.repo, self.repo.config().parity());
        let what = (pack.kind, self.session);
        let mut deltas = Deltas::default();
        for block in &pack.blocks {
            deltas.count(block.codec, u64::from(block.plain), block.sealed.len() as u64);
        }
        let (mut pack, sidecar) =
            packs::write_padded(repo.storage(), repo.suite(), what, (pack.blocks, pack.padding), share)?;
        let parity = sidecar.unwrap_or_else(|err| {
            // The pack is durable and valid without parity; the next gc run writes it.
            repo.control().warn(format!(
                "{}: all data is saved, but a part of it has no parity; `Repository::repair_parity` writes \
                 it",
                err.chain()
            ));
            0
        });
        self.stored.fetch_add(pack.len, Ordering::Relaxed);
        let mut written = self.written.lock();
        written.packs += 1;
        written.bytes += pack.len;
        written.parity += parity;
        written.deltas.add(deltas);
        drop(written);
        // Only a full key signs header bundles.
        let mut front = std::mem::take(&mut pack.front);
        if repo.role() != Role::Full {
            front.clear();
        }
        let bundle = self.bundle_builder.lock().add(pack.id, pack.len, front);
        self.warn_if_failed(bundle.map_or(Ok(()), |bundle| bundle.write(repo)));
        // Fails if the receiver has ended because of another error.
        let _ = stored_packs.send(pack);
        Ok(())
    }

    /// Writes the last header bundle, and returns the counts. To be called when all threads have ended.
    pub(crate) fn finish(&self) -> Written {
        self.warn_if_failed(std::mem::take(&mut *self.bundle_builder.lock()).finish(self.repo));
        std::mem::take(&mut *self.written.lock())
    }

    /// Reports a failure to write a header bundle as a warning, since bundles are optional.
    fn warn_if_failed(&self, result: Result<()>) {
        if let Err(err) = result {
            self.repo.control().warn(format!(
                "{}: nothing is lost, but machines without an index cache of this repository will need more \
                 requests",
                err.chain()
            ));
        }
    }
}
