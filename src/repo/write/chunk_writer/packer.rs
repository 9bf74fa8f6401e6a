//! The packer: collects sealed blocks until a pack is full.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender};

use crate::codec::chunk::block::SealedBlock;
use crate::codec::crypto::hash::ChunkType;
use crate::codec::pack::padding::Padding;
use crate::error::{Error, Result};
use crate::repo::repository::Repository;
use crate::repo::write::pack_writer::CompletePack;

/// Blocks of one type that are being collected into a pack.
struct OpenPack {
    kind: ChunkType,
    /// Stored bytes at which the pack is full.
    target: u64,
    size: u64,
    blocks: Vec<SealedBlock>,
}

impl OpenPack {
    /// Returns the complete pack. A full one needs no padding: its size only shows by how much the target was
    /// exceeded.
    fn complete(self) -> CompletePack {
        let padding = if self.size >= self.target { Padding::None } else { Padding::Padded };
        CompletePack { kind: self.kind, blocks: self.blocks, padding }
    }
}

/// Collects blocks into packs until there are no more. `bytes` counts the stored bytes of the blocks
/// received.
pub(super) fn collect_packs(
    repo: &Repository,
    blocks: &Receiver<SealedBlock>,
    out: &Sender<CompletePack>,
    bytes: &AtomicU64,
) -> Result<()> {
    let config = repo.config();
    let new = |kind| {
        let target = u64::from(if kind == ChunkType::Data { config.data_pack } else { config.tree_pack });
        OpenPack { kind, target, size: 0, blocks: Vec::new() }
    };
    let (mut data, mut tree) = (new(ChunkType::Data), new(ChunkType::Tree));
    for block in blocks {
        let open = if block.kind == ChunkType::Data { &mut data } else { &mut tree };
        bytes.fetch_add(block.sealed.len() as u64, Ordering::Relaxed);
        open.size += block.sealed.len() as u64;
        open.blocks.push(block);
        if open.size >= open.target {
            let full = std::mem::replace(open, new(open.kind));
            out.send(full.complete()).map_err(|_| Error::Stopped)?;
        }
    }
    for pack in [data, tree] {
        if !pack.blocks.is_empty() {
            out.send(pack.complete()).map_err(|_| Error::Stopped)?;
        }
    }
    Ok(())
}
