//! Moves needed chunks out of packs that are to be deleted. Each block is opened and its chunks are hashed
//! first: gc must never make damage permanent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::codec::chunk::block::{self, SealedAs, SealedBlock};
use crate::codec::pack::BlockRow;
use crate::error::{self, Error, Result};
use crate::model::decode_error::DecodeError;
use crate::model::id::{ChunkId, SnapshotId};
use crate::ops::gc::plan::{PackAction, Plan};
use crate::progress::{Event, Observer};
use crate::repo::index::catalog::PackInfo;
use crate::repo::index::{BlockAt, Index};
use crate::repo::read::chunk_reader::BlockReader;
use crate::repo::repository::Repository;
use crate::repo::write::chunk_writer::{ChunkWriter, CompressionPolicy};
use crate::repo::write::pack_writer::Written;
use crate::repo::write::put_chunk::UNKNOWN_OWNER;
use crate::storage::ObjectKind;
use crate::util::{parallel, threads};

/// Moves the needed chunks of the packs with [`PackAction::Move`].
pub(super) struct Repacker<'a> {
    pub(super) repo: &'a Repository,
    pub(super) index: &'a Arc<Index>,
    pub(super) plan: &'a Plan,
    pub(super) session: SnapshotId,
    pub(super) observer: &'a dyn Observer,
    pub(super) stop: &'a AtomicBool,
}

/// The result of a move.
#[derive(Default)]
pub(super) struct Moved {
    pub(super) written: Written,
    /// Packs that turned out to be damaged, by number. They stay.
    pub(super) damaged: Vec<(usize, Error)>,
    /// Total size of the old packs, in bytes.
    pub(super) read: u64,
}

impl Repacker<'_> {
    /// Writes the needed chunks of all packs that are moved to new packs, and waits until these are durable.
    pub(super) fn run(&self) -> Result<Moved> {
        // No higher level for some blocks: most are copied as they are, and few are compressed again.
        let policy = CompressionPolicy { level: self.repo.config().level, harder: 0 };
        let stored = AtomicU64::new(0);
        // One reader for all packs: there may be many small ones.
        let mut reader = BlockReader::new(self.repo)?;
        std::thread::scope(|scope| {
            let mut moved = Moved::default();
            // With an empty index every chunk is written: which copies stay has been decided.
            let empty_index = Arc::new(Index::default());
            let mut chunk_writer =
                ChunkWriter::start(scope, self.repo, self.session, empty_index, policy, &stored)?;
            let result = self.repack_packs(&mut moved, &mut reader, &mut chunk_writer);
            chunk_writer.finish(result).map(|((), written)| Moved { written, ..moved })
        })
    }

    fn repack_packs(
        &self,
        moved: &mut Moved,
        reader: &mut BlockReader,
        chunk_writer: &mut ChunkWriter<'_>,
    ) -> Result<()> {
        for (at, pack) in self.index.packs().iter().enumerate() {
            if self.plan.packs.get(at).is_none_or(|usage| usage.action != PackAction::Move) {
                continue;
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            match self.repack_pack(at as u32, pack, reader, chunk_writer) {
                Ok(()) => {}
                // A pack that vanished since it was listed is not damage.
                Err(err) if err.is_damage() && !err.is_missing() => {
                    moved.damaged.extend(find_damaged_packs(self.repo, self.index, at, err)?)
                }
                Err(err) => return Err(err),
            }
            moved.read += pack.len;
            self.observer.notice(Event::Done { files: 1, bytes: pack.len });
        }
        Ok(())
    }

    fn repack_pack(
        &self,
        at: u32,
        pack: &PackInfo,
        reader: &mut BlockReader,
        chunk_writer: &mut ChunkWriter<'_>,
    ) -> Result<()> {
        let mut plain = Vec::new();
        let table = self.index.table(at)?;
        for (number, (row, first)) in (0..).zip(table.blocks()) {
            let reencode = self.plan.reencoded.contains_key(&BlockAt { pack: at, block: number });
            let kept = self.kept_chunks(pack.first + first as usize, row);
            let bytes: u64 = row
                .chunks
                .iter()
                .zip(&kept)
                .filter(|(_, kept)| **kept)
                .map(|((_, len), _)| u64::from(*len))
                .sum();
            if bytes == 0 {
                continue;
            }
            let sealed_as = (table.table.sealing(), pack.kind);
            let sealed = read_block((self.repo, self.index), reader, (pack, sealed_as), row, &mut plain)?;
            let all_match = self.all_match(pack, row, &plain, &kept)?;
            let dead = 1.0 - bytes as f64 / f64::from(row.plain.max(1));
            let first = pack.first + first as usize;
            let becomes_delta =
                (first..).take(row.chunks.len()).any(|chunk| self.plan.new_deltas.contains_key(&chunk));
            if all_match && !reencode && !becomes_delta && dead <= self.plan.max_dead_share {
                let sealed = reader
                    .reseal(self.repo.suite(), sealed_as, row, sealed)
                    .map_err(|source| damaged_pack(pack, source))?;
                chunk_writer.put_block(SealedBlock {
                    kind: pack.kind,
                    codec: row.codec,
                    plain: row.plain,
                    chunks: row.chunks.clone(),
                    bases: row.bases.clone(),
                    sealed,
                })?;
                continue;
            }
            if !row.bases.is_empty() && !reencode {
                let (chunks, plain) = cut_kept_chunks(row, &kept, &plain);
                let bases = self.index.bases_of(pack.kind, row)?;
                chunk_writer.put_delta(pack.kind, chunks, plain, (self.index, bases))?;
                continue;
            }
            if becomes_delta {
                chunk_writer.close_blocks(UNKNOWN_OWNER, pack.kind)?;
            } else {
                chunk_writer.keep_apart(pack.kind)?;
            }
            let mut start = 0usize;
            for (chunk_row, ((id, len), kept)) in (first..).zip(row.chunks.iter().zip(&kept)) {
                let end = start + *len as usize;
                let chunk = error::part(&plain, start..end, "the chunks of an intact block are within it")?;
                start = end;
                match self.plan.new_deltas.get(&chunk_row) {
                    Some(bases) if *kept => {
                        chunk_writer.put_with_bases(pack.kind, *id, chunk, (self.index, bases))?;
                    }
                    None if *kept => _ = chunk_writer.put(UNKNOWN_OWNER, pack.kind, *id, chunk)?,
                    _ => {}
                }
            }
            if becomes_delta {
                chunk_writer.close_blocks(UNKNOWN_OWNER, pack.kind)?;
            }
        }
        Ok(())
    }

    /// Returns, for each chunk of a block, whether this copy is kept.
    fn kept_chunks(&self, first: usize, row: &BlockRow) -> Vec<bool> {
        (first..).take(row.chunks.len()).map(|chunk| self.plan.kept.has(chunk)).collect()
    }

    /// Returns whether every chunk of a block matches its id. Fails if a kept one does not.
    fn all_match(&self, pack: &PackInfo, row: &BlockRow, plain: &[u8], kept: &[bool]) -> Result<bool> {
        let chunks = block::cut(self.repo.hasher(), pack.kind, &row.chunks, plain);
        let mut wrong = chunks.zip(kept).filter(|(chunk, _)| !chunk.is_right).peekable();
        let all_match = wrong.peek().is_none();
        match wrong.find(|(_, kept)| **kept) {
            None => Ok(all_match),
            Some((chunk, _)) => Err(damaged_pack(pack, chunk.wrong())),
        }
    }
}

/// Returns the packs that caused `err` while pack `at` was read: those with damaged bases of its deltas or,
/// if there are none, the pack itself.
fn find_damaged_packs(
    repo: &Repository,
    index: &Index,
    at: usize,
    err: Error,
) -> Result<Vec<(usize, Error)>> {
    let (mut reader, mut found) = (BlockReader::new(repo)?, Vec::new());
    let table = index.table(at as u32)?;
    let mut bases = Vec::new();
    for (row, _) in table.blocks() {
        bases.extend(index.bases_of(table.table.kind, row)?);
    }
    for base in bases {
        match reader.prefix(index, table.table.kind, &[base]) {
            Err(err) if err.is_damage() && !err.is_missing() => {
                let copies = index.base_copies(table.table.kind, &base)?;
                for copy in copies.iter().filter(|copy| copy.in_usable_pack) {
                    let at = copy.location.block.pack as usize;
                    let Some(pack) = index.packs().get(at) else { continue };
                    found.push((at, damaged_pack(pack, DecodeError::with(err.chain()))));
                }
            }
            _ => {}
        }
    }
    if found.is_empty() {
        found.push((at, err));
    }
    Ok(found)
}

fn damaged_pack(pack: &PackInfo, source: DecodeError) -> Error {
    Error::Damaged { what: ObjectKind::Packs.path(&pack.id.hex()), source }
}

/// Returns the ids and lengths of a block's kept chunks, and their bytes.
fn cut_kept_chunks(row: &BlockRow, kept: &[bool], plain: &[u8]) -> (Vec<(ChunkId, u32)>, Vec<u8>) {
    let (mut remaining, mut chunks, mut bytes) = (plain, Vec::new(), Vec::new());
    for ((id, len), kept) in row.chunks.iter().zip(kept) {
        let Some((chunk, tail)) = remaining.split_at_checked(*len as usize) else { break };
        remaining = tail;
        if *kept {
            chunks.push((*id, *len));
            bytes.extend_from_slice(chunk);
        }
    }
    (chunks, bytes)
}

/// Reads a block. Returns its sealed bytes, and writes its plain bytes to `plain`. A damaged block is not
/// rebuilt from parity here: gc records the damage and keeps the pack, and `repair packs` rebuilds it.
fn read_block(
    (repo, index): (&Repository, &Index),
    reader: &mut BlockReader,
    (pack, sealed_as): (&PackInfo, SealedAs),
    row: &BlockRow,
    plain: &mut Vec<u8>,
) -> Result<Vec<u8>> {
    let name = pack.id.hex();
    let mut sealed = vec![0u8; row.stored as usize];
    repo.storage().read_range(ObjectKind::Packs, &name, u64::from(row.offset), &mut sealed)?;
    let mut scratch = sealed.clone();
    let prefix = reader.prefix_of(index, pack.kind, row)?;
    let opened = reader.open(sealed_as, row, &prefix, &mut scratch, plain);
    opened.map_err(Error::damaged(ObjectKind::Packs.path(&name)))?;
    Ok(sealed)
}

/// Verifies blocks that are kept instead of other copies. Returns the packs of those that are damaged.
pub(super) fn verify(
    repo: &Repository,
    index: &Index,
    blocks: &[BlockAt],
    stop: &AtomicBool,
) -> Result<Vec<(usize, Error)>> {
    let found = parallel::share_out("verify", threads::workers(), blocks, |queue| {
        let mut reader = BlockReader::new(repo)?;
        let (mut plain, mut damaged) = (Vec::new(), Vec::new());
        for (_, at) in queue {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            match verify_block((repo, index), &mut reader, *at, &mut plain) {
                Ok(()) => {}
                Err(err) if err.is_damage() && !err.is_missing() => {
                    damaged.extend(find_damaged_packs(repo, index, at.pack as usize, err)?);
                }
                Err(err) => return Err(err),
            }
        }
        Ok(damaged)
    })?;
    let mut damaged = found.into_iter().flatten().collect::<Vec<_>>();
    damaged.sort_by_key(|(pack, _)| *pack);
    Ok(damaged)
}

fn verify_block(
    (repo, index): (&Repository, &Index),
    reader: &mut BlockReader,
    at: BlockAt,
    plain: &mut Vec<u8>,
) -> Result<()> {
    let Some(pack) = index.packs().get(at.pack as usize) else { return Ok(()) };
    let table = index.table(at.pack)?;
    let Some((row, _)) = table.block(at.block) else { return Ok(()) };
    read_block((repo, index), reader, (pack, (table.table.sealing(), pack.kind)), row, plain)?;
    let mut chunks = block::cut(repo.hasher(), pack.kind, &row.chunks, plain);
    let wrong = chunks.find(|chunk| !chunk.is_right);
    wrong.map_or(Ok(()), |chunk| Err(damaged_pack(pack, chunk.wrong())))
}
