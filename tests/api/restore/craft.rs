//! Snapshots that no backup makes, written to a repository with the library's own encoder.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use snap_backup::codec::crypto::hash::ChunkType;
use snap_backup::codec::tree::dir::DirBuilder;
use snap_backup::model::entry::{Content, ContentPart, Entry, Kind, Meta, Time};
use snap_backup::model::id::ChunkId;
use snap_backup::model::manifest::{Counts, Manifest, SnapshotKind};
use snap_backup::model::records::SessionKind;
use snap_backup::repo::index::Index;
use snap_backup::repo::options::OpenOptions;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::sessions::session::Session;
use snap_backup::repo::snapshots;
use snap_backup::repo::write::chunk_writer::{ChunkWriter, CompressionPolicy};
use snap_backup::storage::local::LocalStorage;

use crate::support::Sandbox;

pub struct Craft<'a, 's> {
    repo: &'a Repository,
    chunk_writer: ChunkWriter<'s>,
}

/// The sandbox's repository, which must not be encrypted.
pub fn open(sandbox: &Sandbox) -> Repository {
    let storage = Arc::new(LocalStorage::new(sandbox.path("repo")));
    Repository::open(
        storage,
        &OpenOptions { password: None, cache: Some(sandbox.cache()), ..OpenOptions::default() },
    )
    .unwrap()
}

/// Commits a snapshot with the root that `build` returns.
pub fn snapshot(repo: &Repository, counts: Counts, build: impl FnOnce(&mut Craft<'_, '_>) -> ChunkId) {
    let (session, repo_state) = Session::open(repo, SessionKind::Writer).unwrap();
    let index = Arc::new(Index::load(repo, repo_state).unwrap());
    let stored = AtomicU64::new(0);
    let root = std::thread::scope(|scope| {
        let chunk_writer = ChunkWriter::start(
            scope,
            repo,
            session.id,
            index,
            CompressionPolicy { level: 1, harder: 0 },
            &stored,
        )
        .unwrap();
        let mut craft = Craft { repo, chunk_writer };
        let root = build(&mut craft);
        craft.chunk_writer.finish(Ok(())).unwrap();
        root
    });
    let manifest = Manifest {
        kind: SnapshotKind::Full,
        parent: None,
        based_on: None,
        started: Time::now(),
        ended: Time::now(),
        host: "elsewhere".into(),
        user: "mallory".into(),
        sources: Vec::new(),
        tags: Vec::new(),
        root,
        counts,
        partial: false,
        program: "none".into(),
        extra: Vec::new(),
    };
    assert!(snapshots::commit(repo, session.id, &manifest).unwrap());
    session.close().unwrap();
}

impl Craft<'_, '_> {
    pub fn data(&mut self, bytes: &[u8]) -> ContentPart {
        let id = self.repo.hasher().id_of(ChunkType::Data, bytes);
        self.chunk_writer.put(0, ChunkType::Data, id, bytes).unwrap();
        ContentPart::Chunk { id, len: bytes.len().try_into().unwrap() }
    }

    /// Stores any bytes as a piece of a tree.
    pub fn piece(&mut self, bytes: &[u8]) -> ChunkId {
        let id = self.repo.hasher().id_of(ChunkType::Tree, bytes);
        self.chunk_writer.put(0, ChunkType::Tree, id, bytes).unwrap();
        id
    }

    /// Stores a directory with entries in the given order.
    pub fn dir(&mut self, entries: &[Entry]) -> ChunkId {
        self.forged(entries, b"", b"")
    }

    /// Stores a directory in whose only piece some bytes are replaced.
    pub fn forged(&mut self, entries: &[Entry], from: &[u8], to: &[u8]) -> ChunkId {
        let hasher = self.repo.hasher().clone();
        let mut put = |bytes: &[u8]| Ok(self.piece(&replaced(bytes, from, to)));
        let mut builder = DirBuilder::default();
        for entry in entries {
            builder.push(entry, &hasher, &mut put).unwrap();
        }
        builder.finish(&mut put).unwrap()
    }
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = (!from.is_empty()).then(|| bytes.windows(from.len()).position(|window| window == from));
    match at.flatten() {
        Some(at) => [&bytes[..at], to, &bytes[at + from.len()..]].concat(),
        None => bytes.to_vec(),
    }
}

pub fn entry(name: &str, kind: Kind) -> Entry {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mode = if matches!(kind, Kind::Dir { .. }) { 0o755 } else { 0o644 };
    let mtime = Time { sec: 1_700_000_000, nanos: 0 };
    Entry { name: name.into(), kind, meta: Meta { mode, uid, gid, mtime, ..Meta::default() } }
}

pub fn file(name: &str, parts: &[ContentPart]) -> Entry {
    let size = parts.iter().map(ContentPart::len).sum();
    entry(name, Kind::File { size, content: Content::Parts(parts.to_vec()) })
}

pub fn dir(name: &str, tree: ChunkId) -> Entry {
    entry(name, Kind::Dir { tree })
}

/// The counts of a manifest.
pub fn counts(files: u64, dirs: u64, bytes: u64) -> Counts {
    Counts { files_new: files, dirs, bytes_total: bytes, ..Counts::default() }
}

/// Returns everything below a directory, sorted.
pub fn listing(root: &Path) -> Vec<String> {
    let all = walkdir::WalkDir::new(root).sort_by_file_name().into_iter();
    all.map(|entry| entry.unwrap().path().strip_prefix(root).unwrap().display().to_string()).collect()
}
