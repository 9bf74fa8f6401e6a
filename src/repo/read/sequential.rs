//! Reads stored content in a planned order, with read-ahead.
//!
//! A planner decides what comes next, on a thread of its own. Workers read and decode the blocks that this
//! needs. The caller's thread receives the bytes in order. The cache of decoded blocks is bounded: the
//! planner waits while its requests fill the cache, and a block stays cached while there is room, in case it
//! is needed again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use parking_lot::{Condvar, Mutex};

use crate::codec::crypto::hash::ChunkType;
use crate::error::{Error, Result};
use crate::model::entry::ContentPart;
use crate::model::id::ChunkId;
use crate::repo::index::{BlockAt, Index, Location};
use crate::repo::read::chunk_reader::{self, BlockReader, ChunkReader};
use crate::repo::read::read_session::ReadSession;
use crate::repo::repository::Repository;
use crate::repo::walk::plausible::check_len;
use crate::util::{threads, zeros};

/// Plain bytes of decoded and requested blocks: about 48 blocks.
const QUEUE_BYTES: u64 = 48 << 20;
/// Steps per group; the channel carries groups.
const STEPS_PER_GROUP: usize = 64;
/// Groups in the channel.
const MAX_QUEUED_GROUPS: usize = 32;

enum Step {
    Bytes(Vec<u8>),
    Chunk(ChunkId, Location),
    /// A chunk that the planner's index does not have; the consumer lists packs again.
    Unlisted(ChunkId, u32),
    Zeros(u64),
    /// The steps that follow belong to this path.
    At(Vec<u8>),
}

/// The planner's handle for queueing content.
pub struct Feed<'a> {
    index: &'a Index,
    blocks: &'a BlockQueue,
    jobs: Sender<BlockAt>,
    out: Sender<Vec<Step>>,
    group: Vec<Step>,
}

struct BlockQueue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    slots: HashMap<BlockAt, Slot>,
    /// Blocks without pending uses, the longest idle first.
    idle: VecDeque<BlockAt>,
    /// Plain bytes of all slots.
    bytes_held: u64,
    /// The consumer has stopped.
    ended: bool,
}

struct Slot {
    block: Block,
    plain: u64,
    /// Number of steps that will still use it.
    uses: usize,
    is_idle: bool,
}

#[derive(Clone)]
enum Block {
    Waiting,
    Ready(Arc<Vec<u8>>),
    /// It could not be read; the consumer retries it and reports the error.
    Failed,
}

/// Runs `plan` on its own thread and passes the content that it queues to `out`, in order.
///
/// # Errors
/// The first failure: of the plan, of `out`, or a chunk without an intact copy; the error then names the
/// path.
pub fn run(
    session: &Arc<ReadSession>,
    plan: impl FnOnce(&mut Feed<'_>) -> Result<()> + Send,
    out: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let (repo, index) = (session.repo(), &session.index()?);
    let fallback = session.chunks()?;
    let blocks = BlockQueue { state: Mutex::default(), changed: Condvar::new() };
    let workers = threads::workers();
    // Requests are bounded by the cache, so this channel need not be.
    let (jobs, to_read) = unbounded();
    let (steps, received) = bounded(MAX_QUEUED_GROUPS);
    std::thread::scope(|scope| {
        let blocks = &blocks;
        threads::pool(scope, "read", workers, || {
            let to_read = to_read.clone();
            move || blocks.read_blocks(repo, index, &to_read)
        })?;
        drop(to_read);
        let planner = threads::start(scope, "plan", move || {
            let mut feed = Feed { index, blocks, jobs, out: steps, group: Vec::new() };
            let planned = plan(&mut feed);
            planned.and(feed.flush())
        })?;
        let consumed = consume(repo, fallback, blocks, received, out);
        blocks.end();
        let planned = planner.join().unwrap_or(Err(Error::Stopped));
        match (consumed, planned) {
            (Err(err), _) => Err(err),
            (Ok(()), planned) => planned,
        }
    })
}

/// Consumes steps until the plan ends.
fn consume(
    repo: &Repository,
    mut fallback: ChunkReader,
    blocks: &BlockQueue,
    steps: Receiver<Vec<Step>>,
    out: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut path = Vec::new();
    for step in steps.iter().flatten() {
        match step {
            Step::Bytes(bytes) => out(&bytes)?,
            Step::At(new) => path = new,
            Step::Zeros(len) => zeros::pass_on(len, out)?,
            Step::Unlisted(id, len) => {
                let bytes = fallback.get(ChunkType::Data, &id);
                let bytes = bytes.and_then(|bytes| check_len(&bytes, len).map(|()| bytes));
                out(&bytes.map_err(|err| with_path(&path, err))?)?;
            }
            Step::Chunk(id, location) => {
                let block = blocks.wait(location.block);
                let hasher = repo.hasher();
                let sound = block.as_ref().and_then(|block| {
                    chunk_reader::verified_chunk(hasher, ChunkType::Data, &id, block, &location).ok()
                });
                match sound {
                    Some(bytes) => out(bytes)?,
                    // Another copy may be intact.
                    None => out(&fallback.get(ChunkType::Data, &id).map_err(|err| with_path(&path, err))?)?,
                }
                blocks.release(location.block);
            }
        }
    }
    Ok(())
}

/// Adds the path to an error of damage; the root has none.
pub fn with_path(path: &[u8], err: Error) -> Error {
    if path.is_empty() {
        return err;
    }
    let name = |what: String| format!("{}: {what}", String::from_utf8_lossy(path));
    match err {
        Error::Missing { what } => Error::Missing { what: name(what) },
        Error::Damaged { what, source } => Error::Damaged { what: name(what), source },
        other => other,
    }
}

impl Feed<'_> {
    /// Queues bytes of the planner's own.
    ///
    /// # Errors
    /// `Stopped` when the consumer has stopped.
    pub fn bytes(&mut self, bytes: Vec<u8>) -> Result<()> {
        self.push(Step::Bytes(bytes))
    }

    /// Queues a run of zeros.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub fn zeros(&mut self, len: u64) -> Result<()> {
        if len == 0 { Ok(()) } else { self.push(Step::Zeros(len)) }
    }

    /// Sets the path of what follows, for errors.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub fn set_path(&mut self, path: &[u8]) -> Result<()> {
        self.push(Step::At(path.to_vec()))
    }

    /// Queues a part of a file; holes are zeros.
    ///
    /// # Errors
    /// When the index cannot be read; `Stopped` as [`Self::bytes`].
    pub fn part(&mut self, part: &ContentPart) -> Result<()> {
        let (id, len) = match part {
            ContentPart::Hole { len } => return self.zeros(*len),
            ContentPart::Chunk { id, len } => (id, *len),
        };
        let location = self.index.find_any(ChunkType::Data, id)?.filter(|location| location.len == len);
        let Some(location) = location else { return self.push(Step::Unlisted(*id, len)) };
        let plain = u64::from(self.index.place(location.block)?.plain);
        if !self.blocks.try_reserve(location.block, plain, &self.jobs)? {
            // Send the collected steps first: the cache is full of blocks that they use.
            self.flush()?;
            self.blocks.reserve(location.block, plain, &self.jobs)?;
        }
        self.push(Step::Chunk(*id, location))
    }

    fn push(&mut self, step: Step) -> Result<()> {
        self.group.push(step);
        if self.group.len() < STEPS_PER_GROUP { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<()> {
        let group = std::mem::take(&mut self.group);
        if group.is_empty() {
            return Ok(());
        }
        self.out.send(group).map_err(|_| Error::Stopped)
    }
}

impl BlockQueue {
    /// Requests a block if there is room. Returns `true` if so; then one use of it is counted.
    fn try_reserve(&self, at: BlockAt, plain: u64, jobs: &Sender<BlockAt>) -> Result<bool> {
        self.state.lock().reserve(at, plain, jobs)
    }

    /// Like `try_reserve`, but waits for room.
    fn reserve(&self, at: BlockAt, plain: u64, jobs: &Sender<BlockAt>) -> Result<()> {
        let mut state = self.state.lock();
        while !state.reserve(at, plain, jobs)? {
            self.changed.wait(&mut state);
        }
        Ok(())
    }

    /// Waits for a block; `None` if it cannot be read.
    fn wait(&self, at: BlockAt) -> Option<Arc<Vec<u8>>> {
        let mut state = self.state.lock();
        loop {
            match state.slots.get(&at).map(|slot| slot.block.clone()) {
                Some(Block::Ready(block)) => return Some(block),
                Some(Block::Waiting) if !state.ended => {}
                _ => return None,
            }
            self.changed.wait(&mut state);
        }
    }

    fn release(&self, at: BlockAt) {
        let mut state = self.state.lock();
        let state = &mut *state;
        if let Some(slot) = state.slots.get_mut(&at) {
            slot.uses -= 1;
            if slot.uses == 0 && !slot.is_idle {
                slot.is_idle = true;
                state.idle.push_back(at);
            }
            if slot.uses == 0 {
                self.changed.notify_all();
            }
        }
    }

    fn end(&self) {
        self.state.lock().ended = true;
        self.changed.notify_all();
    }

    /// Reads requested blocks until the channel closes; run by each worker.
    fn read_blocks(&self, repo: &Repository, index: &Index, jobs: &Receiver<BlockAt>) {
        let mut reader = BlockReader::new(repo).ok();
        for at in jobs {
            let mut plain = Vec::new();
            let wanted = !self.state.lock().ended;
            let read =
                wanted && reader.as_mut().is_some_and(|reader| reader.read(index, at, &mut plain).is_ok());
            let mut state = self.state.lock();
            if let Some(slot) = state.slots.get_mut(&at) {
                slot.block = if read { Block::Ready(Arc::new(plain)) } else { Block::Failed };
            }
            self.changed.notify_all();
        }
    }
}

impl State {
    fn reserve(&mut self, at: BlockAt, plain: u64, jobs: &Sender<BlockAt>) -> Result<bool> {
        if self.ended {
            return Err(Error::Stopped);
        }
        if let Some(slot) = self.slots.get_mut(&at) {
            slot.uses += 1;
            return Ok(true);
        }
        while self.bytes_held + plain > QUEUE_BYTES
            && let Some(oldest) = self.idle.pop_front()
        {
            let Some(slot) = self.slots.get_mut(&oldest) else { continue };
            slot.is_idle = false;
            if slot.uses == 0 {
                self.bytes_held -= slot.plain;
                self.slots.remove(&oldest);
            }
        }
        // A single block larger than the cache must still be accepted.
        if self.bytes_held + plain > QUEUE_BYTES && self.bytes_held > 0 {
            return Ok(false);
        }
        self.bytes_held += plain;
        self.slots.insert(at, Slot { block: Block::Waiting, plain, uses: 1, is_idle: false });
        jobs.send(at).map_err(|_| Error::Stopped)?;
        Ok(true)
    }
}
