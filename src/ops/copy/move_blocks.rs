//! Copies between repositories that name chunks alike: missing data is moved block by block, as it is stored.

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

/// Minimum share of needed bytes at which a block is moved whole, including its unneeded chunks.
const WHOLE: f64 = 0.8;
/// Blocks read concurrently, and maximum number that wait. Hides the latency of remote storage.
const READERS: usize = 4;

/// Copies snapshots one after the other.
pub(super) struct Alike<'a> {
    from: &'a Repository,
    /// Reads the source, including chunks that gc has moved or of which one copy is damaged.
    reader: ChunkReader,
    /// Pieces of trees that the destination has with everything below, as long as the snapshots copied
    /// before exist.
    seen: HashSet<ChunkId>,
    /// Whether deltas of the source may become deltas in the destination.
    deltas: bool,
}

/// What one job passes to the writer.
enum Moved {
    Whole(SealedBlock),
    /// Needed chunks that have to be read one by one.
    Single(ChunkType, Vec<ChunkId>),
    /// Needed chunks with their bytes, and their bases in the source.
    Plain(ChunkType, Vec<(ChunkId, Vec<u8>)>, Vec<(ChunkId, u32)>),
}

/// A block of which some chunks are needed.
struct Job {
    at: BlockAt,
    kind: ChunkType,
    /// Index entry of its first chunk.
    first: usize,
    /// Plain bytes that are needed of it.
    bytes: u64,
}

impl<'a> Alike<'a> {
    /// Makes a copier from `from`, for these snapshots.
    pub(super) fn new(from: &'a Repository, past: &SnapshotSet, deltas: bool) -> Result<Self> {
        Ok(Self { from, reader: past.another_reader()?, seen: HashSet::new(), deltas })
    }

    /// Stores what a snapshot needs and the writer's index does not have, and returns its root. `vouched`
    /// means that the snapshots copied before still exist, and all of their data may be reused.
    pub(super) fn copy(
        &mut self,
        to: &Repository,
        old: &Snapshot,
        vouched: bool,
        chunk_writer: &mut ChunkWriter<'_>,
        observer: &dyn Observer,
        stop: &AtomicBool,
    ) -> Result<ChunkId> {
        if !vouched {
            self.seen.clear();
        }
        let root = old.manifest.root;
        let wanted = self.wanted(&root, chunk_writer.index(), stop);
        let here = Arc::clone(self.reader.index());
        let moved =
            wanted.and_then(|wanted| self.move_all(&here, &wanted, to.suite(), chunk_writer, observer, stop));
        if moved.is_err() {
            // Some of what was marked as seen was not stored after all.
            self.seen.clear();
        }
        moved.map(|()| root)
    }

    /// Returns the index entries, in the source, of chunks that the destination lacks.
    fn wanted(&mut self, root: &ChunkId, there: &Index, stop: &AtomicBool) -> Result<BitSet> {
        let mut wanted = BitSet::default();
        let mut todo = vec![ChunkRef::Dir(*root)];
        while let Some(need) = todo.pop() {
            let (kind, id) = need.name();
            if kind == ChunkType::Tree && self.seen.contains(id) {
                continue;
            }
            if there.find(kind, id)?.is_none() {
                wanted.insert(self.row(kind, id)?);
            }
            if kind == ChunkType::Tree {
                if stop.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted);
                }
                self.seen.insert(*id);
                let bytes = self.reader.get(kind, id)?;
                let damaged = Error::damaged(format!("tree {}", id.short()));
                todo.extend(need.named_in(&bytes).map_err(damaged)?);
            }
        }
        Ok(wanted)
    }

    fn row(&self, kind: ChunkType, id: &ChunkId) -> Result<usize> {
        let index = self.reader.index();
        if let Some(copy) = index.near(kind, id) {
            return Ok(copy.row);
        }
        let copies = index.copies(kind, id)?;
        // A copy stored by another write key is not trusted and comes last.
        let good = copies.iter().min_by_key(|copy| (copy.not_writable, copy.foreign));
        good.map(|copy| copy.row).ok_or_else(|| Error::Missing { what: format!("chunk {}", id.short()) })
    }

    fn move_all(
        &mut self,
        here: &Index,
        wanted: &BitSet,
        suite: &CipherSuite,
        chunk_writer: &mut ChunkWriter<'_>,
        observer: &dyn Observer,
        stop: &AtomicBool,
    ) -> Result<()> {
        let jobs = jobs(here, wanted)?;
        observer.notice(Event::Part { bytes: jobs.iter().map(|job| job.bytes).sum() });
        let (work, queue) = (Work { from: self.from, here, wanted, suite }, Queue::new(&jobs));
        let (out, moved) = bounded(READERS);
        std::thread::scope(|scope| {
            let (work, queue) = (&work, &queue);
            threads::pool(scope, "read", READERS.min(jobs.len()), || {
                let out = out.clone();
                move || work.run(queue, &out)
            })?;
            drop(out);
            for one in moved {
                if stop.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted);
                }
                let bytes = self.put(one?, chunk_writer)?;
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
            // Encoded again, as a delta against the same bases in the destination.
            Moved::Plain(kind, chunks, bases) => chunks.iter().try_fold(0, |sum, (id, bytes)| {
                if self.deltas {
                    chunk_writer.put_similar(UNKNOWN_OWNER, kind, *id, bytes, &bases)?
                } else {
                    chunk_writer.put(UNKNOWN_OWNER, kind, *id, bytes)?
                };
                Ok(sum + bytes.len() as u64)
            }),
            // The copy in the source is damaged or was moved: the reader looks for another one.
            Moved::Single(kind, chunks) => chunks.iter().try_fold(0, |sum, id| {
                let bytes = self.reader.get(kind, id)?;
                chunk_writer.put(UNKNOWN_OWNER, kind, *id, &bytes)?;
                Ok(sum + bytes.len() as u64)
            }),
        }
    }
}

/// Returns blocks of which some chunks are needed, in storage order.
fn jobs(here: &Index, wanted: &BitSet) -> Result<Vec<Job>> {
    let mut jobs = Vec::new();
    for (number, pack) in (0..).zip(here.packs()) {
        let any = |first: usize, chunks: usize| (first..).take(chunks).any(|row| wanted.has(row));
        if !any(pack.first, pack.chunks as usize) {
            continue;
        }
        let table = here.table(number)?;
        for (nth, (row, first)) in (0..).zip(table.blocks()) {
            let first = pack.first + first as usize;
            let lens = (first..).zip(&row.chunks).filter(|(row, _)| wanted.has(*row));
            let (count, bytes) =
                lens.fold((0, 0), |(count, sum), (_, (_, len))| (count + 1, sum + u64::from(*len)));
            if count > 0 {
                jobs.push(Job { at: BlockAt { pack: number, block: nth }, kind: pack.kind, first, bytes });
            }
        }
    }
    Ok(jobs)
}

/// What the reading threads share.
struct Work<'a> {
    from: &'a Repository,
    here: &'a Index,
    wanted: &'a BitSet,
    /// The cipher suite of the destination.
    suite: &'a CipherSuite,
}

impl Work<'_> {
    fn run(&self, queue: &Queue<'_, Job>, out: &Sender<Result<Moved>>) {
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

    fn move_block(&self, job: &Job, reader: &mut BlockReader, plain: &mut Vec<u8>) -> Result<Moved> {
        let table = self.here.table(job.at.pack)?;
        let chunks = table.block(job.at.block).map_or(&[][..], |(row, _)| &row.chunks);
        // A delta can be opened only with its bases, which the destination may not have.
        let is_delta = self.here.place(job.at)?.codec == Codec::Delta;
        let read = if is_delta {
            reader.read(self.here, job.at, plain).map(|()| None)
        } else {
            reader.read_for(self.suite, self.here, job.at, plain).map(Some)
        };
        match read {
            Ok(block) => Ok(self.sort(job, block, chunks, plain)),
            Err(err) if err.is_damage() => Ok(self.singly(job, chunks)),
            Err(err) => Err(err),
        }
    }

    /// Decides whether a block is moved whole or in parts. Needed chunks must match their ids.
    fn sort(&self, job: &Job, block: Option<SealedBlock>, all: &[(ChunkId, u32)], plain: &[u8]) -> Moved {
        let (mut sound, mut bytes, mut chunks) = (true, 0, Vec::new());
        for (row, chunk) in (job.first..).zip(block::cut(self.from.hasher(), job.kind, all, plain)) {
            let wanted = self.wanted.has(row);
            sound &= chunk.is_right;
            if wanted && !chunk.is_right {
                return self.singly(job, all);
            }
            if wanted {
                bytes += chunk.bytes.len();
                chunks.push((chunk.id, chunk.bytes));
            }
        }
        if let Some(block) = block
            && sound
            && bytes as f64 >= WHOLE * f64::from(block.plain)
        {
            return Moved::Whole(SealedBlock { chunks: all.to_vec(), ..block });
        }
        let bases = self.here.bases(job.at).unwrap_or_default();
        Moved::Plain(job.kind, chunks.into_iter().map(|(id, chunk)| (id, chunk.to_vec())).collect(), bases)
    }

    fn singly(&self, job: &Job, all: &[(ChunkId, u32)]) -> Moved {
        let wanted = (job.first..).zip(all).filter(|(row, _)| self.wanted.has(*row));
        Moved::Single(job.kind, wanted.map(|(_, (id, _))| *id).collect())
    }
}
