//! Decoded blocks that many threads share: at most so many bytes of them, read ahead on request. Each is read once for
//! all who wait for it, and each chunk of one is compared with its id once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::codec::crypto::hash::{ChunkHasher, ChunkType};
use crate::error;
use crate::error::{Error, Result};
use crate::model::id::{ChunkId, PackId};
use crate::repo::index::{BlockAt, Index, Location};
use crate::repo::read::chunk_reader;
use crate::repo::read::chunk_reader::BlockReader;
use crate::repo::repository::Repository;
use crate::util::threads;

/// Blocks that wait to be read ahead; who asks for more is not heard.
const AHEAD: usize = 16;
/// Chunks from this length on are compared with their ids once for each time that their block is read; shorter ones each
/// time, which costs less than to remember them.
const REMEMBERED: u32 = 4 << 10;

/// A pack and the number of a block in it: the same in every index.
type Key = (PackId, u32);

/// The blocks, and the threads that read ahead.
#[derive(Debug)]
pub(crate) struct BlockCache {
    room: Arc<Room>,
    jobs: Option<Sender<(Arc<Index>, BlockAt)>>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Room {
    repo: Repository,
    hasher: ChunkHasher,
    limit: usize,
    state: Mutex<State>,
    changed: Condvar,
    /// Readers that nobody uses.
    readers: Mutex<Vec<BlockReader>>,
}

#[derive(Debug, Default)]
struct State {
    slots: HashMap<Key, Slot>,
    /// Blocks that are here, by the number of their last use.
    order: BTreeMap<u64, Key>,
    uses: u64,
    held: usize,
}

#[derive(Debug)]
enum Slot {
    /// Somebody reads it.
    Waiting,
    Ready(Arc<Block>, u64),
}

#[derive(Debug)]
struct Block {
    bytes: Vec<u8>,
    /// Chunks that have their ids, by where they begin.
    sound: Mutex<HashMap<u32, ChunkId>>,
}

/// Bytes of a chunk, which have its id.
#[derive(Debug, Clone)]
pub struct Chunk {
    block: Arc<Block>,
    start: usize,
    end: usize,
}

impl Chunk {
    /// The bytes. That they lie in the block was looked at when this was made.
    pub fn bytes(&self) -> &[u8] {
        self.block.bytes.get(self.start..self.end).unwrap_or(&[])
    }

    /// Of bytes that lie in no shared block.
    pub(crate) fn alone(bytes: Vec<u8>) -> Self {
        let end = bytes.len();
        Self { block: Arc::new(Block { bytes, sound: Mutex::default() }), start: 0, end }
    }
}

impl BlockCache {
    /// At most `limit` bytes, beside those that are being read or used.
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub(crate) fn new(repo: &Repository, limit: usize, workers: usize) -> Result<Self> {
        let room = Arc::new(Room {
            repo: repo.clone(),
            hasher: repo.hasher().clone(),
            limit,
            state: Mutex::default(),
            changed: Condvar::new(),
            readers: Mutex::default(),
        });
        let (jobs, to_read) = bounded(AHEAD);
        let mut blocks = Self { room, jobs: Some(jobs), workers: Vec::new() };
        for _ in 0..workers {
            let (room, to_read) = (Arc::clone(&blocks.room), to_read.clone());
            // With fewer, or none, whoever needs a block reads it.
            let Ok(worker) = threads::detached("ahead", move || room.read_ahead(&to_read)) else { break };
            blocks.workers.push(worker);
        }
        Ok(blocks)
    }

    /// A chunk, at this place.
    ///
    /// # Errors
    /// When its block cannot be read, or its bytes do not have its id.
    pub(crate) fn chunk(
        &self,
        index: &Index,
        kind: ChunkType,
        id: &ChunkId,
        location: &Location,
    ) -> Result<Chunk> {
        let block = self.room.block(index, location.block)?;
        let (start, len) = (location.start as usize, location.len as usize);
        if block.sound().get(&location.start) != Some(id) {
            chunk_reader::slice(&self.room.hasher, kind, id, &block.bytes, location)?;
            if location.len >= REMEMBERED {
                block.sound().insert(location.start, *id);
            }
        }
        let end = start.saturating_add(len);
        error::part(&block.bytes, start..end, "a chunk with its id lies in its block")?;
        Ok(Chunk { block, start, end })
    }

    /// Asks for a block that will be wanted; best effort.
    pub(crate) fn ask(&self, index: &Arc<Index>, at: BlockAt) {
        if let Some(jobs) = self.jobs.as_ref().filter(|_| !self.room.has(index, at)) {
            let _ = jobs.try_send((Arc::clone(index), at));
        }
    }

    /// Lets go of all of them.
    pub(crate) fn clear(&self) {
        let mut state = self.room.state();
        state.slots.retain(|_, slot| matches!(slot, Slot::Waiting));
        state.order.clear();
        state.held = 0;
        self.room.readers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.room.repo.base_blocks().clear();
    }
}

impl Drop for BlockCache {
    fn drop(&mut self) {
        self.jobs = None;
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

impl Block {
    fn sound(&self) -> MutexGuard<'_, HashMap<u32, ChunkId>> {
        self.sound.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A block that one thread has set out to read: if nothing comes of it, others must not wait for ever.
struct FetchGuard<'a> {
    room: &'a Room,
    key: Key,
}

impl Drop for FetchGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.room.state();
        if matches!(state.slots.get(&self.key), Some(Slot::Waiting)) {
            state.slots.remove(&self.key);
        }
        self.room.changed.notify_all();
    }
}

impl Room {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, index: &Index, at: BlockAt) -> bool {
        key(index, at).is_ok_and(|key| self.state().slots.contains_key(&key))
    }

    fn read_ahead(&self, jobs: &Receiver<(Arc<Index>, BlockAt)>) {
        for (index, at) in jobs {
            // Whoever needs it hears why it cannot be read.
            let _ = self.block(&index, at);
        }
    }

    fn block(&self, index: &Index, at: BlockAt) -> Result<Arc<Block>> {
        let key = key(index, at)?;
        {
            let mut state = self.state();
            loop {
                if let Some(block) = state.get(&key) {
                    return Ok(block);
                }
                if state.slots.contains_key(&key) {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                } else {
                    break;
                }
            }
            state.slots.insert(key, Slot::Waiting);
        }
        let _claim = FetchGuard { room: self, key };
        let bytes = self.read(index, at)?;
        let block = Arc::new(Block { bytes, sound: Mutex::default() });
        self.state().put(key, &block, self.limit);
        Ok(block)
    }

    fn read(&self, index: &Index, at: BlockAt) -> Result<Vec<u8>> {
        let kept = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut reader = match kept {
            Some(reader) => reader,
            None => BlockReader::new(&self.repo)?,
        };
        let mut plain = Vec::new();
        let read = reader.read(index, at, &mut plain);
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        read.map(|()| plain)
    }
}

impl State {
    fn get(&mut self, key: &Key) -> Option<Arc<Block>> {
        let Some(Slot::Ready(block, used)) = self.slots.get_mut(key) else { return None };
        self.uses += 1;
        self.order.remove(used);
        self.order.insert(self.uses, *key);
        *used = self.uses;
        Some(Arc::clone(block))
    }

    fn put(&mut self, key: Key, block: &Arc<Block>, limit: usize) {
        while self.held.saturating_add(block.bytes.len()) > limit
            && let Some((_, oldest)) = self.order.pop_first()
        {
            if let Some(Slot::Ready(old, _)) = self.slots.remove(&oldest) {
                self.held = self.held.saturating_sub(old.bytes.len());
            }
        }
        self.uses += 1;
        self.held = self.held.saturating_add(block.bytes.len());
        self.order.insert(self.uses, key);
        self.slots.insert(key, Slot::Ready(Arc::clone(block), self.uses));
    }
}

fn key(index: &Index, at: BlockAt) -> Result<Key> {
    let missing = || Error::Missing { what: "a block of an unknown pack".into() };
    index.packs().get(at.pack as usize).map(|pack| (pack.id, at.block)).ok_or_else(missing)
}
