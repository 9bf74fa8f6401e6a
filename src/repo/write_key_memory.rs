//! The local memory of a write key, which cannot read its snapshots back from the repository.
//!
//! For each set, a file in the state directory contains the manifests of the last runs, and the trees of the
//! newest complete snapshot and of a partial one after it. It is sealed with a key that only the slot has. If
//! the file is lost or damaged, all sources are read and hashed again, and only new chunks are stored.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::codec::chunk::compress::{Codec, Compressor, Decompressor};
use crate::codec::crypto::cipher::Cipher;
use crate::codec::crypto::hash::{ChunkType, Key};
use crate::codec::tree::chunk_ref::ChunkRef;
use crate::codec::wire;
use crate::model::config::CipherKind;
use crate::model::decode_error::DecodeError;
use crate::model::id::{ChunkId, KeyId, RepoId, SnapshotId};
use crate::model::manifest::Manifest;
use crate::util::new_file;

/// Maximum size in bytes of the compressed trees of a set. Beyond that, files are read again.
const MOST: usize = 128 << 20;
/// Number of manifests of a set that are kept, because alarms compare a run with earlier ones.
const MANIFESTS: usize = 64;
const LEVEL: i32 = 1;

/// The memory of one write key in one repository.
#[derive(Debug)]
pub(crate) struct TreeMemory {
    dir: Option<PathBuf>,
    cipher: Cipher,
    aad: Vec<u8>,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    snapshots: Vec<(SnapshotId, Manifest)>,
    chunks: HashMap<ChunkId, Packed>,
    bytes: usize,
    /// Whether it contains the trees of a recalled set.
    recalled: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Packed {
    codec: u8,
    len: u32,
    bytes: ByteBuf,
}

/// The file of a set.
#[derive(Serialize, Deserialize)]
struct Stored {
    snapshots: Vec<(SnapshotId, Manifest)>,
    chunks: Vec<(ChunkId, Packed)>,
}

impl TreeMemory {
    /// Creates the memory of a slot, without a file if there is no state directory.
    pub(crate) fn new(state: Option<&Path>, repo: &RepoId, slot: &KeyId, key: Key) -> Self {
        let dir = state.map(|state| state.join("memory").join(format!("{}-{}", repo.hex(), slot.short())));
        let aad = [b"snap memory 1".as_slice(), repo.as_bytes(), slot.as_bytes()].concat();
        Self { dir, cipher: Cipher::new(CipherKind::Xaes256Gcm, key), aad, held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock()
    }

    /// Loads the memory of a set. Returns why an existing file could not be used.
    pub(crate) fn recall(&self, set: &str) -> Option<String> {
        let Some(dir) = &self.dir else {
            self.held().recalled = true;
            return None;
        };
        let path = dir.join(set);
        let stored = match fs::read(&path) {
            Ok(mut bytes) => self.open(set, &mut bytes).map_err(|err| err.to_string()),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
                *self.held() = Held { recalled: true, ..Held::default() };
                return None;
            }
            Err(err) => Err(err.to_string()),
        };
        let mut held = self.held();
        *held = Held { recalled: true, ..Held::default() };
        match stored {
            Ok(Stored { snapshots, chunks }) => {
                held.bytes = chunks.iter().map(|(_, packed)| packed.bytes.len()).sum();
                (held.snapshots, held.chunks) = (snapshots, chunks.into_iter().collect());
                None
            }
            Err(why) => Some(format!(
                "{}: the local memory of the write key cannot be used ({why}); all files are read again",
                path.display()
            )),
        }
    }

    fn open(&self, set: &str, bytes: &mut [u8]) -> Result<Stored, DecodeError> {
        wire::decode(self.cipher.open(&self.bound_to(set), bytes)?)
    }

    fn bound_to(&self, set: &str) -> Vec<u8> {
        [self.aad.as_slice(), set.as_bytes()].concat()
    }

    /// Returns the remembered snapshots of the recalled set, or of all sets.
    pub(crate) fn snapshots(&self) -> Vec<(SnapshotId, Manifest)> {
        let held = self.held();
        if held.recalled {
            return held.snapshots.clone();
        }
        drop(held);
        let files = self.dir.as_ref().and_then(|dir| fs::read_dir(dir).ok());
        let sets = files.into_iter().flatten().flatten().filter_map(|file| {
            let (set, mut bytes) = (file.file_name().into_string().ok()?, fs::read(file.path()).ok()?);
            // An unusable file is reported when its set is recalled.
            self.open(&set, &mut bytes).ok()
        });
        sets.flat_map(|stored| stored.snapshots).collect()
    }

    /// Remembers a chunk of a tree or list that a run stored or found stored.
    pub(crate) fn note(&self, id: ChunkId, plain: &[u8]) {
        let mut held = self.held();
        if held.bytes > MOST || held.chunks.contains_key(&id) {
            return;
        }
        let mut space = Vec::new();
        let packed = Compressor::new(LEVEL).and_then(|mut compressor| {
            let (codec, packed) = compressor.pack(plain, &mut space)?;
            Ok((codec.byte(), packed.to_vec()))
        });
        // If it cannot be remembered, the files are read again.
        if let Ok((codec, bytes)) = packed {
            held.bytes += bytes.len();
            held.chunks.insert(id, Packed { codec, len: plain.len() as u32, bytes: ByteBuf::from(bytes) });
        }
    }

    /// Returns the bytes of a remembered chunk.
    pub(crate) fn piece(&self, id: &ChunkId) -> Option<Vec<u8>> {
        let packed = self.held().chunks.get(id)?.clone();
        let mut plain = Vec::new();
        let mut unpacker = Decompressor::new().ok()?;
        let codec = Codec::from_byte(packed.codec)?;
        unpacker.unpack(codec, &packed.bytes, packed.len as usize, &mut plain).ok()?;
        Some(plain)
    }

    /// Remembers a committed snapshot with its trees, and forgets those with which no run will compare.
    /// Returns why that could not be saved for the next run.
    pub(crate) fn keep(&self, set: &str, id: SnapshotId, manifest: &Manifest) -> Option<String> {
        let mut roots = vec![manifest.root];
        let mut held = self.held();
        held.snapshots.push((id, manifest.clone()));
        let surplus = held.snapshots.len().saturating_sub(MANIFESTS);
        held.snapshots.drain(..surplus);
        if manifest.partial {
            let whole = held.snapshots.iter().rev().find(|(_, one)| !one.partial);
            roots.extend(whole.map(|(_, one)| one.root));
        }
        drop(held);
        let needed = self.reachable(&roots);
        let mut held = self.held();
        held.chunks.retain(|id, _| needed.contains(id));
        held.bytes = held.chunks.values().map(|packed| packed.bytes.len()).sum();
        let Some(dir) = &self.dir else { return None };
        let chunks = held.chunks.iter().map(|(id, packed)| (*id, packed.clone())).collect();
        let stored = Stored { snapshots: held.snapshots.clone(), chunks };
        drop(held);
        self.write(dir, set, &stored)
            .err()
            .map(|why| format!("{}: {why}; the next backup reads all files again", dir.join(set).display()))
    }

    fn write(&self, dir: &Path, set: &str, stored: &Stored) -> Result<(), String> {
        let plain = wire::encode(stored).map_err(|err| err.to_string())?;
        let mut sealed = Vec::new();
        self.cipher.seal(&self.bound_to(set), &plain, &mut sealed).map_err(|err| err.to_string())?;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.and_then(|()| new_file::replace(&dir.join(set), &sealed)).map_err(|err| err.to_string())
    }

    /// Returns all remembered chunks below some roots.
    fn reachable(&self, roots: &[ChunkId]) -> HashSet<ChunkId> {
        let mut found = HashSet::new();
        let mut todo: Vec<ChunkRef> = roots.iter().copied().map(ChunkRef::Dir).collect();
        while let Some(piece) = todo.pop() {
            let (kind, id) = piece.name();
            if kind == ChunkType::Tree
                && found.insert(*id)
                && let Some(bytes) = self.piece(id)
            {
                todo.extend(piece.named_in(&bytes).unwrap_or_default());
            }
        }
        found
    }
}
