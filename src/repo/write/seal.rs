//! The sealing workers: they compress blocks, as deltas where that saves enough, and encrypt them.

use crossbeam_channel::{Receiver, Sender};

use crate::codec::chunk::block::{BlockSealer, SealedBlock};
use crate::codec::chunk::compress::{HARDER, looks_random};
use crate::codec::crypto::hash::ChunkType;
use crate::error::{self, Error, Result};
use crate::repo::read::chunk_reader::BlockReader;
use crate::repo::repository::Repository;
use crate::repo::write::delta_backoff::Attempts;
use crate::repo::write::delta_sealer::{PlainBlock, SealedDelta, effort_for, seal_delta};
use crate::repo::write::open_block::OpenBlock;

/// Seals blocks until there are no more. Returns buffers through `empty_buffers`, for reuse.
pub(super) fn seal_blocks(
    repo: &Repository,
    level: i32,
    blocks: &Receiver<OpenBlock>,
    out: &Sender<SealedBlock>,
    empty_buffers: &Sender<Vec<u8>>,
) -> Result<()> {
    let mut worker = Worker {
        repo,
        usual_sealer: sealer(repo, level)?,
        harder_sealer: None,
        reader: None,
        on_noise: Attempts::for_noise(),
        on_others: Attempts::for_other_data(),
    };
    let send = |block| out.send(block).map_err(|_| Error::Stopped);
    for mut block in blocks {
        if let Some(SealedDelta { dictionary, delta, dissimilar }) = worker.seal_as_delta(&block)? {
            dictionary.into_iter().chain([delta]).try_for_each(send)?;
            let plain = std::mem::replace(&mut block.plain, dissimilar.plain);
            // If the channel is full, the buffer is freed.
            let _ = empty_buffers.try_send(plain);
            (block.len, block.chunks) = (block.plain.len(), dissimilar.chunks);
        }
        if !block.chunks.is_empty() {
            send(worker.seal_whole(&mut block)?)?;
            let _ = empty_buffers.try_send(block.plain);
        }
    }
    Ok(())
}

fn sealer(repo: &Repository, level: i32) -> Result<BlockSealer> {
    BlockSealer::new(repo.suite().clone(), level).map_err(Error::making("a block"))
}

/// Returns the bytes of a block.
fn plain(block: &OpenBlock) -> Result<&[u8]> {
    error::part(&block.plain, 0..block.len, "a block is as long as its chunks")
}

struct Worker<'a> {
    repo: &'a Repository,
    usual_sealer: BlockSealer,
    /// For blocks that are compressed at the higher level; created at the first one.
    harder_sealer: Option<BlockSealer>,
    /// Reads bases; created at the first delta.
    reader: Option<BlockReader>,
    on_noise: Attempts,
    on_others: Attempts,
}

impl Worker<'_> {
    /// Seals a block as a delta, if it has bases and that saves enough.
    fn seal_as_delta(&mut self, block: &OpenBlock) -> Result<Option<SealedDelta>> {
        let Some(delta_bases) = &block.delta_bases else { return Ok(None) };
        let plain = plain(block)?;
        let is_noise = block.kind == ChunkType::Data && looks_random(plain);
        let attempts = if is_noise { &mut self.on_noise } else { &mut self.on_others };
        if !delta_bases.is_worthwhile && block.kind == ChunkType::Data && !attempts.should_try() {
            return Ok(None);
        }
        let effort = effort_for(block.kind, is_noise, block.harder);
        let to_seal = PlainBlock { kind: block.kind, plain, chunks: &block.chunks, effort };
        let delta = seal_delta(self.repo, &to_seal, delta_bases, &mut self.usual_sealer, &mut self.reader)?;
        if block.kind == ChunkType::Data {
            attempts.record(delta.is_some());
        }
        Ok(delta)
    }

    fn seal_whole(&mut self, block: &mut OpenBlock) -> Result<SealedBlock> {
        let sealer = match (block.harder, &mut self.harder_sealer) {
            (false, _) => &mut self.usual_sealer,
            (true, Some(harder)) => harder,
            (true, none) => none.insert(sealer(self.repo, HARDER)?),
        };
        let chunks = std::mem::take(&mut block.chunks);
        sealer.seal(block.kind, plain(block)?, chunks).map_err(Error::making("a block"))
    }
}
