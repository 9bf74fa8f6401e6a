//! A bounded cache of decoded blocks, shared by many threads, with read-ahead on request. Each block is read
//! once for all threads that wait for it, and each of its chunks is verified against its id once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Condvar, Mutex};

use crate::codec::crypto::hash::{ChunkHasher, ChunkType};
use crate::error::{self, Error, Result};
use crate::model::id::{ChunkId, PackId};
use crate::repo::index::{BlockAt, Index, Location};
use crate::repo::read::chunk_reader::{self, BlockReader};
use crate::repo::repository::Repository;
use crate::util::threads;

/// Maximum blocks queued for read-ahead; further requests are ignored.
const MAX_REQUESTS: usize = 16;
/// Chunks of at least this length are verified once each time their block is read. Shorter ones are verified
/// at each use, which costs less than remembering them.
const MIN_REMEMBERED_BYTES: u32 = 4 << 10;

/// A pack and the number of a block in it: the same in every index.
type Key = (PackId, u32);

/// The blocks, and the read-ahead threads.
#[derive(Debug)]
pub(crate) struct BlockCache {
    inner: Arc<Inner>,
    jobs: Option<Sender<(Arc<Index>, BlockAt)>>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Inner {
    repo: Repository,
    hasher: ChunkHasher,
    limit: usize,
    state: Mutex<State>,
    changed: Condvar,
    /// Idle readers.
    readers: Mutex<Vec<BlockReader>>,
}

#[derive(Debug, Default)]
struct State {
    slots: HashMap<Key, Slot>,
    /// Cached blocks by the number of their last use.
    order: BTreeMap<u64, Key>,
    uses: u64,
    bytes: usize,
}

#[derive(Debug)]
enum Slot {
    /// A thread is reading it.
    Waiting,
    Ready(Arc<Block>, u64),
}

#[derive(Debug)]
struct Block {
    bytes: Vec<u8>,
    /// Verified chunks by their offset in the block.
    verified: Mutex<HashMap<u32, ChunkId>>,
}

/// The verified bytes of a chunk.
#[derive(Debug, Clone)]
pub struct Chunk {
    block: Arc<Block>,
    start: usize,
    end: usize,
}

impl Chunk {
    /// Returns the bytes.
    ///
    /// # Errors
    /// [`Error::Bug`]: the range was checked when this was created.
    pub fn bytes(&self) -> Result<&[u8]> {
        error::part(&self.block.bytes, self.start..self.end, "a chunk is within its block")
    }

    /// Wraps bytes that lie in no shared block.
    pub(crate) fn unshared(bytes: Vec<u8>) -> Self {
        let end = bytes.len();
        Self { block: Arc::new(Block { bytes, verified: Mutex::default() }), start: 0, end }
    }
}

impl BlockCache {
    /// Creates a cache of at most `limit` bytes, not counting blocks that are being read or used. If no thread
    /// can be started, blocks are read when they are needed.
    pub(crate) fn new(repo: &Repository, limit: usize, workers: usize) -> Self {
        let inner = Arc::new(Inner {
            repo: repo.clone(),
            hasher: repo.hasher().clone(),
            limit,
            state: Mutex::default(),
            changed: Condvar::new(),
            readers: Mutex::default(),
        });
        let (jobs, to_read) = bounded(MAX_REQUESTS);
        let mut blocks = Self { inner, jobs: Some(jobs), workers: Vec::new() };
        for _ in 0..workers {
            let (inner, to_read) = (Arc::clone(&blocks.inner), to_read.clone());
            let Ok(worker) = threads::detached("ahead", move || inner.prefetch(&to_read)) else { break };
            blocks.workers.push(worker);
        }
        blocks
    }

    /// Returns the chunk at a location, verified against its id.
    ///
    /// # Errors
    /// When its block cannot be read, or its bytes do not match its id.
    pub(crate) fn chunk(
        &self,
        index: &Index,
        kind: ChunkType,
        id: &ChunkId,
        location: &Location,
    ) -> Result<Chunk> {
        let block = self.inner.block(index, location.block)?;
        let (start, len) = (location.start as usize, location.len as usize);
        if block.verified.lock().get(&location.start) != Some(id) {
            chunk_reader::verified_chunk(&self.inner.hasher, kind, id, &block.bytes, location)?;
            if location.len >= MIN_REMEMBERED_BYTES {
                block.verified.lock().insert(location.start, *id);
            }
        }
        let end = start.saturating_add(len);
        error::part(&block.bytes, start..end, "a chunk with the right id is within its block")?;
        Ok(Chunk { block, start, end })
    }

    /// Requests read-ahead of a block; ignored if many requests wait.
    pub(crate) fn prefetch(&self, index: &Arc<Index>, at: BlockAt) {
        if let Some(jobs) = self.jobs.as_ref().filter(|_| !self.inner.has(index, at)) {
            let _ = jobs.try_send((Arc::clone(index), at));
        }
    }

    pub(crate) fn clear(&self) {
        let mut state = self.inner.state.lock();
        state.slots.retain(|_, slot| matches!(slot, Slot::Waiting));
        state.order.clear();
        state.bytes = 0;
        self.inner.readers.lock().clear();
        self.inner.repo.base_blocks().clear();
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

/// A block that one thread has started to read. If that fails, its drop wakes the waiting threads.
struct FetchGuard<'a> {
    inner: &'a Inner,
    key: Key,
}

impl Drop for FetchGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.inner.state.lock();
        if matches!(state.slots.get(&self.key), Some(Slot::Waiting)) {
            state.slots.remove(&self.key);
        }
        self.inner.changed.notify_all();
    }
}

impl Inner {
    fn has(&self, index: &Index, at: BlockAt) -> bool {
        key(index, at).is_ok_and(|key| self.state.lock().slots.contains_key(&key))
    }

    fn prefetch(&self, jobs: &Receiver<(Arc<Index>, BlockAt)>) {
        for (index, at) in jobs {
            // The thread that needs the block will get the error.
            let _ = self.block(&index, at);
        }
    }

    fn block(&self, index: &Index, at: BlockAt) -> Result<Arc<Block>> {
        let key = key(index, at)?;
        {
            let mut state = self.state.lock();
            loop {
                if let Some(block) = state.get(&key) {
                    return Ok(block);
                }
                if state.slots.contains_key(&key) {
                    self.changed.wait(&mut state);
                } else {
                    break;
                }
            }
            state.slots.insert(key, Slot::Waiting);
        }
        let _guard = FetchGuard { inner: self, key };
        let bytes = self.read(index, at)?;
        let block = Arc::new(Block { bytes, verified: Mutex::default() });
        self.state.lock().put(key, &block, self.limit);
        Ok(block)
    }

    fn read(&self, index: &Index, at: BlockAt) -> Result<Vec<u8>> {
        let idle = self.readers.lock().pop();
        let mut reader = match idle {
            Some(reader) => reader,
            // Each chunk is verified, and read by a `ChunkReader` if it does not match its id. Hashing the bases
            // would take a sixth of the time of a random read.
            None => BlockReader::new(&self.repo)?.without_verifying_bases(),
        };
        let mut plain = Vec::new();
        let read = reader.read(index, at, &mut plain);
        self.readers.lock().push(reader);
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
        while self.bytes.saturating_add(block.bytes.len()) > limit
            && let Some((_, oldest)) = self.order.pop_first()
        {
            if let Some(Slot::Ready(old, _)) = self.slots.remove(&oldest) {
                self.bytes = self.bytes.saturating_sub(old.bytes.len());
            }
        }
        self.uses += 1;
        self.bytes = self.bytes.saturating_add(block.bytes.len());
        self.order.insert(self.uses, key);
        self.slots.insert(key, Slot::Ready(Arc::clone(block), self.uses));
    }
}

fn key(index: &Index, at: BlockAt) -> Result<Key> {
    let missing = || Error::Missing { what: "a block of an unknown pack".into() };
    index.packs().get(at.pack as usize).map(|pack| (pack.id, at.block)).ok_or_else(missing)
}
