//! The sealing workers: they compress blocks, as deltas where that pays, and encrypt them.

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

/// Seals blocks until there are no more. Buffers go `back`, for reuse.
pub(super) fn seal_blocks(
    repo: &Repository,
    level: i32,
    blocks: &Receiver<OpenBlock>,
    out: &Sender<SealedBlock>,
    back: &Sender<Vec<u8>>,
) -> Result<()> {
    let mut worker = Worker {
        repo,
        usual: sealer(repo, level)?,
        harder: None,
        reader: None,
        on_noise: Attempts::on_noise(),
        on_others: Attempts::on_others(),
    };
    let send = |block| out.send(block).map_err(|_| Error::Stopped);
    for mut block in blocks {
        if let Some(SealedDelta { dictionary, delta, rest }) = worker.delta(&block)? {
            dictionary.into_iter().chain([delta]).try_for_each(send)?;
            let plain = std::mem::replace(&mut block.plain, rest.plain);
            // If the channel is full, the buffer is freed.
            let _ = back.try_send(plain);
            (block.len, block.chunks) = (block.plain.len(), rest.chunks);
        }
        if !block.chunks.is_empty() {
            send(worker.whole(&mut block)?)?;
            let _ = back.try_send(block.plain);
        }
    }
    Ok(())
}

fn sealer(repo: &Repository, level: i32) -> Result<BlockSealer> {
    BlockSealer::new(repo.suite().clone(), level).map_err(Error::making("a block"))
}

fn plain(block: &OpenBlock) -> Result<&[u8]> {
    error::part(&block.plain, 0..block.len, "a block is as long as its chunks")
}

struct Worker<'a> {
    repo: &'a Repository,
    usual: BlockSealer,
    /// Made at the first block that is compressed harder.
    harder: Option<BlockSealer>,
    /// Reads bases.
    reader: Option<BlockReader>,
    on_noise: Attempts,
    on_others: Attempts,
}

impl Worker<'_> {
    /// Seals a block as a delta, if it is meant to be one and that pays.
    fn delta(&mut self, block: &OpenBlock) -> Result<Option<SealedDelta>> {
        let Some(made_from) = &block.made_from else { return Ok(None) };
        let plain = plain(block)?;
        let is_noise = block.kind == ChunkType::Data && looks_random(plain);
        let attempts = if is_noise { &mut self.on_noise } else { &mut self.on_others };
        if !made_from.is_sure && block.kind == ChunkType::Data && !attempts.is_tried() {
            return Ok(None);
        }
        let effort = effort_for(block.kind, is_noise, block.harder);
        let to_seal = PlainBlock { kind: block.kind, plain, chunks: &block.chunks, effort };
        let delta = seal_delta(self.repo, &to_seal, made_from, &mut self.usual, &mut self.reader)?;
        if block.kind == ChunkType::Data {
            attempts.came(delta.is_some());
        }
        Ok(delta)
    }

    fn whole(&mut self, block: &mut OpenBlock) -> Result<SealedBlock> {
        let sealer = match (block.harder, &mut self.harder) {
            (false, _) => &mut self.usual,
            (true, Some(harder)) => harder,
            (true, none) => none.insert(sealer(self.repo, HARDER)?),
        };
        let chunks = std::mem::take(&mut block.chunks);
        sealer.seal(block.kind, plain(block)?, chunks).map_err(Error::making("a block"))
    }
}
