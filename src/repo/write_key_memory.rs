//! The local memory of a write key, which cannot read its snapshots back from the repository.
//!
//! For each set, a file in the state directory contains the manifests of the last runs, and the trees of the
//! newest complete snapshot and of a partial one after it. It is sealed with a key that only the slot has. If
//! the file is lost or damaged, all sources are read and hashed again, and only new chunks are stored.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
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

/// Maximum size in bytes of the compressed trees of a set. Files of trees beyond that are read again in each
/// run.
const MAX_BYTES: usize = 128 << 20;
/// Maximum number of manifests that are kept of a set. Alarms compare a run with earlier ones.
const MAX_MANIFESTS: usize = 64;
/// Compression level.
const LEVEL: i32 = 1;

/// The memory of one write key in one repository.
#[derive(Debug)]
pub(crate) struct TreeMemory {
    /// The folder of the files; `None` if nothing is kept for later runs.
    dir: Option<PathBuf>,
    cipher: Cipher,
    aad: Vec<u8>,
    contents: Mutex<Contents>,
}

/// The loaded snapshots and tree chunks of a set.
#[derive(Debug, Default)]
struct Contents {
    snapshots: Vec<(SnapshotId, Manifest)>,
    chunks: HashMap<ChunkId, CompressedChunk>,
    /// Total compressed bytes of the chunks.
    bytes: usize,
    /// Whether a set was loaded.
    is_loaded: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct CompressedChunk {
    codec: u8,
    len: u32,
    bytes: ByteBuf,
}

/// The file of a set.
#[derive(Serialize, Deserialize)]
struct Stored {
    snapshots: Vec<(SnapshotId, Manifest)>,
    chunks: Vec<(ChunkId, CompressedChunk)>,
}

impl TreeMemory {
    /// Creates the memory of a slot, without a file if there is no state directory.
    pub(crate) fn new(state: Option<&Path>, repo: &RepoId, slot: &KeyId, key: Key) -> Self {
        let dir = state.map(|state| state.join("memory").join(format!("{}-{}", repo.hex(), slot.short())));
        let aad = [b"snap memory 1".as_slice(), repo.as_bytes(), slot.as_bytes()].concat();
        Self { dir, cipher: Cipher::new(CipherKind::Xaes256Gcm, key), aad, contents: Mutex::default() }
    }

    /// Loads the memory of a set. Returns a message if a file exists that cannot be used.
    pub(crate) fn load_set(&self, set: &str) -> Option<String> {
        let Some(dir) = &self.dir else {
            self.contents.lock().is_loaded = true;
            return None;
        };
        let path = dir.join(set);
        let stored = match fs::read(&path) {
            Ok(mut bytes) => self.open(set, &mut bytes).map_err(|err| err.to_string()),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
                *self.contents.lock() = Contents { is_loaded: true, ..Contents::default() };
                return None;
            }
            Err(err) => Err(err.to_string()),
        };
        let mut contents = self.contents.lock();
        *contents = Contents { is_loaded: true, ..Contents::default() };
        match stored {
            Ok(Stored { snapshots, chunks }) => {
                contents.bytes = chunks.iter().map(|(_, compressed)| compressed.bytes.len()).sum();
                (contents.snapshots, contents.chunks) = (snapshots, chunks.into_iter().collect());
                None
            }
            Err(why) => Some(format!(
                "{}: the local memory of the write key cannot be used ({why}); all files are read again",
                path.display()
            )),
        }
    }

    fn open(&self, set: &str, bytes: &mut [u8]) -> Result<Stored, DecodeError> {
        wire::decode(self.cipher.open(&self.set_aad(set), bytes)?)
    }

    fn set_aad(&self, set: &str) -> Vec<u8> {
        [self.aad.as_slice(), set.as_bytes()].concat()
    }

    /// Returns the remembered snapshots of the loaded set or, if none was loaded, of all sets.
    pub(crate) fn snapshots(&self) -> Vec<(SnapshotId, Manifest)> {
        let contents = self.contents.lock();
        if contents.is_loaded {
            return contents.snapshots.clone();
        }
        drop(contents);
        let files = self.dir.as_ref().and_then(|dir| fs::read_dir(dir).ok());
        let sets = files.into_iter().flatten().flatten().filter_map(|file| {
            let (set, mut bytes) = (file.file_name().into_string().ok()?, fs::read(file.path()).ok()?);
            // A file that cannot be used is reported when its set is loaded.
            self.open(&set, &mut bytes).ok()
        });
        sets.flat_map(|stored| stored.snapshots).collect()
    }

    /// Remembers a chunk of a tree or part list that a run has stored, or that was stored already.
    pub(crate) fn add_chunk(&self, id: ChunkId, plain: &[u8]) {
        let mut contents = self.contents.lock();
        if contents.bytes > MAX_BYTES || contents.chunks.contains_key(&id) {
            return;
        }
        let mut space = Vec::new();
        let compressed = Compressor::new(LEVEL).and_then(|mut compressor| {
            let (codec, compressed) = compressor.compress(plain, &mut space)?;
            Ok((codec.byte(), compressed.to_vec()))
        });
        // If it cannot be compressed, its files are read again in the next run.
        if let Ok((codec, bytes)) = compressed {
            contents.bytes += bytes.len();
            contents
                .chunks
                .insert(id, CompressedChunk { codec, len: plain.len() as u32, bytes: ByteBuf::from(bytes) });
        }
    }

    /// Returns the bytes of a remembered chunk.
    pub(crate) fn chunk(&self, id: &ChunkId) -> Option<Vec<u8>> {
        let compressed = self.contents.lock().chunks.get(id)?.clone();
        let mut plain = Vec::new();
        let mut decompressor = Decompressor::new().ok()?;
        let codec = Codec::from_byte(compressed.codec)?;
        decompressor.decompress(codec, &compressed.bytes, compressed.len as usize, &mut plain).ok()?;
        Some(plain)
    }

    /// Remembers a committed snapshot with its trees, and drops trees with which no later run compares.
    /// Returns a message if this could not be saved for the next run.
    pub(crate) fn save_snapshot(&self, set: &str, id: SnapshotId, manifest: &Manifest) -> Option<String> {
        let mut roots = vec![manifest.root];
        let mut contents = self.contents.lock();
        contents.snapshots.push((id, manifest.clone()));
        let excess = contents.snapshots.len().saturating_sub(MAX_MANIFESTS);
        contents.snapshots.drain(..excess);
        if manifest.partial {
            let whole = contents.snapshots.iter().rev().find(|(_, manifest)| !manifest.partial);
            roots.extend(whole.map(|(_, manifest)| manifest.root));
        }
        drop(contents);
        let needed = self.reachable(&roots);
        let mut contents = self.contents.lock();
        contents.chunks.retain(|id, _| needed.contains(id));
        contents.bytes = contents.chunks.values().map(|compressed| compressed.bytes.len()).sum();
        let Some(dir) = &self.dir else { return None };
        let chunks = contents.chunks.iter().map(|(id, compressed)| (*id, compressed.clone())).collect();
        let stored = Stored { snapshots: contents.snapshots.clone(), chunks };
        drop(contents);
        self.write(dir, set, &stored)
            .err()
            .map(|why| format!("{}: {why}; the next backup reads all files again", dir.join(set).display()))
    }

    fn write(&self, dir: &Path, set: &str, stored: &Stored) -> Result<(), String> {
        let plain = wire::encode(stored).map_err(|err| err.to_string())?;
        let mut sealed = Vec::new();
        self.cipher.seal(&self.set_aad(set), &plain, &mut sealed).map_err(|err| err.to_string())?;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.and_then(|()| new_file::replace(&dir.join(set), &sealed)).map_err(|err| err.to_string())
    }

    /// Returns all remembered chunks at and below these roots.
    fn reachable(&self, roots: &[ChunkId]) -> HashSet<ChunkId> {
        let mut found = HashSet::new();
        let mut pending: Vec<ChunkRef> = roots.iter().copied().map(ChunkRef::Dir).collect();
        while let Some(piece) = pending.pop() {
            let (kind, id) = piece.type_and_id();
            if kind == ChunkType::Tree
                && found.insert(*id)
                && let Some(bytes) = self.chunk(id)
            {
                pending.extend(piece.references_in(&bytes).unwrap_or_default());
            }
        }
        found
    }
}
