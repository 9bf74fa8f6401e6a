//! Stored content in the order in which it is wanted, read ahead of whoever takes it.
//!
//! A planner says what comes next, on a thread of its own; workers read and decode the blocks that this takes; the
//! caller's thread gets the bytes in order. Decoded blocks stand on a shelf of bounded size: the planner waits while
//! what it has asked for fills it, and a block stays, as long as there is room, in case it is wanted again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::codec::crypto::hash::ChunkType;
use crate::error::{Error, Result};
use crate::model::entry::Part;
use crate::model::id::ChunkId;
use crate::repo::index::{BlockAt, Index, Location};
use crate::repo::read::chunk_reader;
use crate::repo::read::chunk_reader::{BlockReader, ChunkReader};
use crate::repo::read::read_session::ReadSession;
use crate::repo::repository::Repository;
use crate::repo::walk::dir_reader::bad;
use crate::util::threads;

/// Plain bytes of decoded blocks kept and asked for: about 48 blocks.
const SHELF: u64 = 48 << 20;
/// Steps that travel together, and groups of them that may wait.
const TOGETHER: usize = 64;
const AHEAD: usize = 32;
/// Zeros given out at once.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

enum Step {
    Bytes(Vec<u8>),
    Chunk(ChunkId, Location),
    /// A chunk that was not where packs were listed: whoever takes it lists again.
    Unlisted(ChunkId, u32),
    Zeros(u64),
    /// What follows belongs to this path.
    At(Vec<u8>),
}

/// What the planner talks to.
pub struct Feed<'a> {
    index: &'a Index,
    catalog: &'a BlockQueue,
    jobs: Sender<BlockAt>,
    out: Sender<Vec<Step>>,
    waiting: Vec<Step>,
}

struct BlockQueue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    slots: HashMap<BlockAt, Slot>,
    /// Blocks that nobody waits for, the longest idle first.
    idle: VecDeque<BlockAt>,
    /// Plain bytes of all slots.
    held: u64,
    /// The caller has had enough.
    over: bool,
}

struct Slot {
    block: Block,
    plain: u64,
    /// Steps that are still to take from it.
    uses: usize,
    is_idle: bool,
}

#[derive(Clone)]
enum Block {
    Waiting,
    Ready(Arc<Vec<u8>>),
    /// It could not be read; whoever needs it tries again alone and hears why.
    Failed,
}

/// Runs `plan` on its own thread and gives what it asks for to `out`, in order.
///
/// # Errors
/// The first failure: of the plan, of `out`, or a chunk of which no copy is whole; the error then names the path.
pub fn run(
    session: &Arc<ReadSession>,
    plan: impl FnOnce(&mut Feed<'_>) -> Result<()> + Send,
    out: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let (repo, index) = (session.repo(), &session.index()?);
    let spare = session.chunks()?;
    let catalog = BlockQueue { state: Mutex::default(), changed: Condvar::new() };
    let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    // What is asked for is bounded by the shelf.
    let (jobs, to_read) = unbounded();
    let (steps, taken) = bounded(AHEAD);
    std::thread::scope(|scope| {
        let catalog = &catalog;
        threads::pool(scope, "read", workers, || {
            let to_read = to_read.clone();
            move || catalog.serve(repo, index, &to_read)
        })?;
        drop(to_read);
        let planner = threads::start(scope, "plan", move || {
            let mut feed = Feed { index, catalog, jobs, out: steps, waiting: Vec::new() };
            let planned = plan(&mut feed);
            planned.and(feed.flush())
        })?;
        let given = give(repo, spare, catalog, taken, out);
        catalog.end();
        let planned = planner.join().unwrap_or(Err(Error::Stopped));
        match (given, planned) {
            (Err(err), _) => Err(err),
            (Ok(()), planned) => planned,
        }
    })
}

/// Takes steps until the plan ends.
fn give(
    repo: &Repository,
    mut spare: ChunkReader,
    catalog: &BlockQueue,
    steps: Receiver<Vec<Step>>,
    out: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut path = Vec::new();
    for step in steps.iter().flatten() {
        match step {
            Step::Bytes(bytes) => out(&bytes)?,
            Step::At(now) => path = now,
            Step::Zeros(mut left) => {
                while left > 0 {
                    let some = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
                    out(ZEROS.split_at(some).0)?;
                    left -= some as u64;
                }
            }
            Step::Unlisted(id, len) => {
                let bytes = spare.get(ChunkType::Data, &id).map_err(|err| belonging(&path, err))?;
                if bytes.len() as u64 != u64::from(len) {
                    return Err(belonging(&path, bad("a chunk that is not as long as its entry says")));
                }
                out(&bytes)?;
            }
            Step::Chunk(id, location) => {
                let block = catalog.wait(location.block);
                let hasher = repo.hasher();
                let sound = block.as_ref().and_then(|block| {
                    chunk_reader::slice(hasher, ChunkType::Data, &id, block, &location).ok()
                });
                match sound {
                    Some(bytes) => out(bytes)?,
                    // Another copy may be whole.
                    None => out(&spare.get(ChunkType::Data, &id).map_err(|err| belonging(&path, err))?)?,
                }
                catalog.release(location.block);
            }
        }
    }
    Ok(())
}

/// Damage, with the name of what it damages; the root has none.
pub fn belonging(path: &[u8], err: Error) -> Error {
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
    /// Bytes of the planner's own.
    ///
    /// # Errors
    /// `Stopped` when nobody takes them any more.
    pub fn bytes(&mut self, bytes: Vec<u8>) -> Result<()> {
        self.push(Step::Bytes(bytes))
    }

    /// A run of zeros.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub fn zeros(&mut self, len: u64) -> Result<()> {
        if len == 0 { Ok(()) } else { self.push(Step::Zeros(len)) }
    }

    /// What follows belongs to this path: for errors.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub fn at(&mut self, path: &[u8]) -> Result<()> {
        self.push(Step::At(path.to_vec()))
    }

    /// A part of a file, holes as zeros.
    ///
    /// # Errors
    /// When the index cannot be read; `Stopped` as [`Self::bytes`].
    pub fn part(&mut self, part: &Part) -> Result<()> {
        let (id, len) = match part {
            Part::Hole { len } => return self.zeros(*len),
            Part::Chunk { id, len } => (id, *len),
        };
        let location = self.index.find_any(ChunkType::Data, id)?.filter(|location| location.len == len);
        let Some(location) = location else { return self.push(Step::Unlisted(*id, len)) };
        let plain = u64::from(self.index.place(location.block)?.plain);
        if !self.catalog.try_reserve(location.block, plain, &self.jobs)? {
            // What is waiting must not wait here: the shelf is full of it.
            self.flush()?;
            self.catalog.reserve(location.block, plain, &self.jobs)?;
        }
        self.push(Step::Chunk(*id, location))
    }

    fn push(&mut self, step: Step) -> Result<()> {
        self.waiting.push(step);
        if self.waiting.len() < TOGETHER { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<()> {
        let together = std::mem::take(&mut self.waiting);
        if together.is_empty() {
            return Ok(());
        }
        self.out.send(together).map_err(|_| Error::Stopped)
    }
}

impl BlockQueue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a block if there is room; true when one use of it is counted.
    fn try_reserve(&self, at: BlockAt, plain: u64, jobs: &Sender<BlockAt>) -> Result<bool> {
        self.lock().reserve(at, plain, jobs)
    }

    /// As `try_reserve`, waiting for room.
    fn reserve(&self, at: BlockAt, plain: u64, jobs: &Sender<BlockAt>) -> Result<()> {
        let mut state = self.lock();
        while !state.reserve(at, plain, jobs)? {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// Waits until a block is there; `None` when it cannot be read.
    fn wait(&self, at: BlockAt) -> Option<Arc<Vec<u8>>> {
        let mut state = self.lock();
        loop {
            match state.slots.get(&at).map(|slot| slot.block.clone()) {
                Some(Block::Ready(block)) => return Some(block),
                Some(Block::Waiting) if !state.over => {}
                _ => return None,
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn release(&self, at: BlockAt) {
        let mut state = self.lock();
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
        self.lock().over = true;
        self.changed.notify_all();
    }

    /// A worker: reads what is asked for until nobody asks any more.
    fn serve(&self, repo: &Repository, index: &Index, jobs: &Receiver<BlockAt>) {
        let mut reader = BlockReader::new(repo).ok();
        for at in jobs {
            let mut plain = Vec::new();
            let wanted = !self.lock().over;
            let read =
                wanted && reader.as_mut().is_some_and(|reader| reader.read(index, at, &mut plain).is_ok());
            let mut state = self.lock();
            if let Some(slot) = state.slots.get_mut(&at) {
                slot.block = if read { Block::Ready(Arc::new(plain)) } else { Block::Failed };
            }
            self.changed.notify_all();
        }
    }
}

impl State {
    fn reserve(&mut self, at: BlockAt, plain: u64, jobs: &Sender<BlockAt>) -> Result<bool> {
        if self.over {
            return Err(Error::Stopped);
        }
        if let Some(slot) = self.slots.get_mut(&at) {
            slot.uses += 1;
            return Ok(true);
        }
        while self.held + plain > SHELF
            && let Some(oldest) = self.idle.pop_front()
        {
            let Some(slot) = self.slots.get_mut(&oldest) else { continue };
            slot.is_idle = false;
            if slot.uses == 0 {
                self.held -= slot.plain;
                self.slots.remove(&oldest);
            }
        }
        // One block that is larger than the shelf still has to pass.
        if self.held + plain > SHELF && self.held > 0 {
            return Ok(false);
        }
        self.held += plain;
        self.slots.insert(at, Slot { block: Block::Waiting, plain, uses: 1, is_idle: false });
        jobs.send(at).map_err(|_| Error::Stopped)?;
        Ok(true)
    }
}
