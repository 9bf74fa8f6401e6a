//! Copies between repositories that name and cut chunks in the same way: missing data is moved block by
//! block, as it is stored.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Sender, bounded};

use crate::codec::chunk::block::{self, SealedBlock};
use crate::codec::chunk::compress::Codec;
use crate::codec::crypto::hash::ChunkType;
use crate::codec::crypto::suite::CipherSuite;
use crate::codec::tree::chunk_ref::ChunkRef;
use crate::error::{Error, Result};
use crate::model::id::ChunkId;
use crate::progress::{Event, Observer};
use crate::repo::index::{BlockAt, Index};
use crate::repo::read::chunk_reader::{BlockReader, ChunkReader};
use crate::repo::repository::Repository;
use crate::repo::snapshots::Snapshot;
use crate::repo::walk::snapshot_set::SnapshotSet;
use crate::repo::write::chunk_writer::ChunkWriter;
use crate::repo::write::put_chunk::{PutChunk, UNKNOWN_OWNER};
use crate::util::bitset::BitSet;
use crate::util::parallel::Queue;
use crate::util::threads;

/// Minimum share of missing bytes at which a block is moved whole, including chunks that the destination has.
const MIN_WHOLE_SHARE: f64 = 0.8;
/// Number of threads that read blocks, which hides the latency of remote storage, and of blocks that wait to
/// be written.
const READERS: usize = 4;

/// Copies snapshots one after the other.
pub(super) struct BlockMover<'a> {
    from: &'a Repository,
    /// Reads single chunks of the source. Finds those that gc has moved, and other copies of damaged ones.
    reader: ChunkReader,
    /// Pieces of trees that the destination has, with everything below them, as long as the snapshots that
    /// were copied before exist.
    known_pieces: HashSet<ChunkId>,
    /// Whether deltas of the source may become deltas in the destination.
    deltas: bool,
}

/// The data of a block that a reading thread passes to the writer.
enum Moved {
    /// The block as it is stored.
    Whole(SealedBlock),
    /// Missing chunks that have to be read one by one, because the block could not be read.
    Single(ChunkType, Vec<ChunkId>),
    /// Missing chunks with their bytes, and the bases of their block in the source.
    Plain(ChunkType, Vec<(ChunkId, Vec<u8>)>, Vec<(ChunkId, u32)>),
}

/// A block with chunks that the destination lacks.
struct BlockJob {
    block: BlockAt,
    kind: ChunkType,
    /// Index entry of its first chunk.
    first: usize,
    /// Plain bytes of these chunks.
    bytes: u64,
}

impl<'a> BlockMover<'a> {
    /// Creates a mover from `from`, for these snapshots.
    pub(super) fn new(from: &'a Repository, source: &SnapshotSet, deltas: bool) -> Result<Self> {
        Ok(Self { from, reader: source.new_reader()?, known_pieces: HashSet::new(), deltas })
    }

    /// Stores the chunks of a snapshot that the writer's index does not have, and returns its root.
    /// `may_reuse`: the snapshots that were copied before still exist, so that all of their data may be
    /// reused (W2).
    pub(super) fn copy(
        &mut self,
        to: &Repository,
        old: &Snapshot,
        may_reuse: bool,
        chunk_writer: &mut ChunkWriter<'_>,
        observer: &dyn Observer,
        stop: &AtomicBool,
    ) -> Result<ChunkId> {
        if !may_reuse {
            self.known_pieces.clear();
        }
        let root = old.manifest.root;
        let missing = self.missing_rows(&root, chunk_writer.index(), stop);
        let index = Arc::clone(self.reader.index());
        let moved = missing
            .and_then(|missing| self.move_blocks(&index, &missing, to.suite(), chunk_writer, observer, stop));
        if moved.is_err() {
            // Some of these pieces were not stored.
            self.known_pieces.clear();
        }
        moved.map(|()| root)
    }

    /// Returns the index entries, in the source, of chunks that the destination lacks.
    fn missing_rows(&mut self, root: &ChunkId, destination: &Index, stop: &AtomicBool) -> Result<BitSet> {
        let mut missing = BitSet::default();
        let mut pending = vec![ChunkRef::Dir(*root)];
        while let Some(chunk_ref) = pending.pop() {
            let (kind, id) = chunk_ref.type_and_id();
            if kind == ChunkType::Tree && self.known_pieces.contains(id) {
                continue;
            }
            if destination.find(kind, id)?.is_none() {
                missing.insert(self.row(kind, id)?);
            }
            if kind == ChunkType::Tree {
                if stop.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted);
                }
                self.known_pieces.insert(*id);
                let bytes = self.reader.get(kind, id)?;
                let damaged = Error::damaged(format!("tree {}", id.short()));
                pending.extend(chunk_ref.references_in(&bytes).map_err(damaged)?);
            }
        }
        Ok(missing)
    }

    /// Returns the index entry of a copy in the source.
    fn row(&self, kind: ChunkType, id: &ChunkId) -> Result<usize> {
        let index = self.reader.index();
        if let Some(copy) = index.find_cached(kind, id) {
            return Ok(copy.number);
        }
        let copies = index.copies(kind, id)?;
        // A copy stored by another write key is not trusted and comes last.
        let good = copies.iter().min_by_key(|copy| (!copy.in_usable_pack, copy.foreign));
        good.map(|copy| copy.number).ok_or_else(|| Error::Missing { what: format!("chunk {}", id.short()) })
    }

    fn move_blocks(
        &mut self,
        index: &Index,
        missing: &BitSet,
        suite: &CipherSuite,
        chunk_writer: &mut ChunkWriter<'_>,
        observer: &dyn Observer,
        stop: &AtomicBool,
    ) -> Result<()> {
        let jobs = jobs(index, missing)?;
        observer.notice(Event::Part { bytes: jobs.iter().map(|job| job.bytes).sum() });
        let (source, queue) = (BlockSource { from: self.from, index, missing, suite }, Queue::new(&jobs));
        let (out, moved) = bounded(READERS);
        std::thread::scope(|scope| {
            let (source, queue) = (&source, &queue);
            threads::pool(scope, "read", READERS.min(jobs.len()), || {
                let out = out.clone();
                move || source.run(queue, &out)
            })?;
            drop(out);
            for result in moved {
                if stop.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted);
                }
                let bytes = self.put(result?, chunk_writer)?;
                observer.notice(Event::Done { files: 0, bytes });
            }
            Ok(())
        })
    }

    fn put(&mut self, moved: Moved, chunk_writer: &mut ChunkWriter<'_>) -> Result<u64> {
        if let Moved::Plain(kind, ..) | Moved::Single(kind, _) = &moved {
            chunk_writer.keep_apart(*kind)?;
        }
        match moved {
            Moved::Whole(block) => {
                let bytes = u64::from(block.plain);
                chunk_writer.put_block(block).map(|()| bytes)
            }
            // Encoded again: if possible as a delta, against the same bases in the destination.
            Moved::Plain(kind, chunks, bases) => chunks.iter().try_fold(0, |sum, (id, bytes)| {
                if self.deltas {
                    chunk_writer.put_similar(UNKNOWN_OWNER, kind, *id, bytes, &bases)?
                } else {
                    chunk_writer.put(UNKNOWN_OWNER, kind, *id, bytes)?
                };
                Ok(sum + bytes.len() as u64)
            }),
            // This copy in the source is damaged or was moved. The reader looks for another one.
            Moved::Single(kind, chunks) => chunks.iter().try_fold(0, |sum, id| {
                let bytes = self.reader.get(kind, id)?;
                chunk_writer.put(UNKNOWN_OWNER, kind, *id, &bytes)?;
                Ok(sum + bytes.len() as u64)
            }),
        }
    }
}

/// Returns the blocks with missing chunks, in storage order.
fn jobs(index: &Index, missing: &BitSet) -> Result<Vec<BlockJob>> {
    let mut jobs = Vec::new();
    for (number, pack) in (0..).zip(index.packs()) {
        let any_missing = |first: usize, chunks: usize| (first..).take(chunks).any(|row| missing.has(row));
        if !any_missing(pack.first, pack.chunks as usize) {
            continue;
        }
        let table = index.table(number)?;
        for (block, (row, first)) in (0..).zip(table.blocks()) {
            let first = pack.first + first as usize;
            let lens = (first..).zip(&row.chunks).filter(|(row, _)| missing.has(*row));
            let (count, bytes) =
                lens.fold((0, 0), |(count, sum), (_, (_, len))| (count + 1, sum + u64::from(*len)));
            if count > 0 {
                jobs.push(BlockJob { block: BlockAt { pack: number, block }, kind: pack.kind, first, bytes });
            }
        }
    }
    Ok(jobs)
}

/// State that the reading threads share.
struct BlockSource<'a> {
    from: &'a Repository,
    index: &'a Index,
    missing: &'a BitSet,
    /// The cipher suite of the destination.
    suite: &'a CipherSuite,
}

impl BlockSource<'_> {
    fn run(&self, queue: &Queue<'_, BlockJob>, out: &Sender<Result<Moved>>) {
        let mut reader = match BlockReader::new(self.from) {
            Ok(reader) => reader,
            Err(err) => return drop(out.send(Err(err))),
        };
        let mut plain = Vec::new();
        for (_, job) in queue {
            if out.send(self.move_block(job, &mut reader, &mut plain)).is_err() {
                return;
            }
        }
    }

    fn move_block(&self, job: &BlockJob, reader: &mut BlockReader, plain: &mut Vec<u8>) -> Result<Moved> {
        let table = self.index.table(job.block.pack)?;
        let chunks = table.block(job.block.block).map_or(&[][..], |(row, _)| &row.chunks);
        // A delta can be opened only with its bases, which the destination may not have.
        let is_delta = self.index.place(job.block)?.codec == Codec::Delta;
        let read = if is_delta {
            reader.read(self.index, job.block, plain).map(|()| None)
        } else {
            reader.read_and_reseal(self.suite, self.index, job.block, plain).map(Some)
        };
        match read {
            Ok(block) => Ok(self.whole_or_parts(job, block, chunks, plain)),
            Err(err) if err.is_damage() => Ok(self.chunk_by_chunk(job, chunks)),
            Err(err) => Err(err),
        }
    }

    /// Decides whether a block is moved whole, if `block` is given, or its missing chunks are. If one of
    /// these does not match its id, all are read one by one.
    fn whole_or_parts(
        &self,
        job: &BlockJob,
        block: Option<SealedBlock>,
        all: &[(ChunkId, u32)],
        plain: &[u8],
    ) -> Moved {
        let (mut sound, mut bytes, mut chunks) = (true, 0, Vec::new());
        for (row, chunk) in (job.first..).zip(block::cut(self.from.hasher(), job.kind, all, plain)) {
            let missing = self.missing.has(row);
            sound &= chunk.is_right;
            if missing && !chunk.is_right {
                return self.chunk_by_chunk(job, all);
            }
            if missing {
                bytes += chunk.bytes.len();
                chunks.push((chunk.id, chunk.bytes));
            }
        }
        if let Some(block) = block
            && sound
            && bytes as f64 >= MIN_WHOLE_SHARE * f64::from(block.plain)
        {
            return Moved::Whole(SealedBlock { chunks: all.to_vec(), ..block });
        }
        let bases = self.index.bases(job.block).unwrap_or_default();
        Moved::Plain(job.kind, chunks.into_iter().map(|(id, chunk)| (id, chunk.to_vec())).collect(), bases)
    }

    fn chunk_by_chunk(&self, job: &BlockJob, all: &[(ChunkId, u32)]) -> Moved {
        let missing = (job.first..).zip(all).filter(|(row, _)| self.missing.has(*row));
        Moved::Single(job.kind, missing.map(|(_, (id, _))| *id).collect())
    }
}
