//! Large repositories, made quickly: real packs and real trees over chunks of eight bytes.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use snap_backup::codec::chunk::block::BlockSealer;
use snap_backup::codec::crypto::hash::ChunkType;
use snap_backup::codec::tree::dir::DirBuilder;
use snap_backup::model::entry::{Content, ContentPart, Entry, Kind, Meta, Time};
use snap_backup::model::id::{ChunkId, SnapshotId};
use snap_backup::model::manifest::{Counts, Manifest, SnapshotKind};
use snap_backup::model::records::SessionKind;
use snap_backup::repo::index::Index;
use snap_backup::repo::pack::packs;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::sessions::session::Session;
use snap_backup::repo::snapshots;
use snap_backup::repo::write::chunk_writer::{ChunkWriter, CompressionPolicy};

/// Bytes of a chunk.
pub const CHUNK: u32 = 8;

/// How much to make.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Number of the first chunk; a chunk's bytes are its number.
    pub first: u64,
    pub packs: u64,
    /// Chunks of a pack: as many as one of 32 MiB has with chunks of 64 KiB.
    pub per_pack: u64,
    pub per_file: u64,
    pub files_per_dir: u64,
}

impl Shape {
    /// So many chunks, in files of ten.
    pub fn of(chunks: u64) -> Self {
        Self { first: 0, packs: chunks.div_ceil(500), per_pack: 500, per_file: 10, files_per_dir: 1000 }
    }
}

pub fn chunk_id(repo: &Repository, number: u64) -> ChunkId {
    repo.hasher().id_of(ChunkType::Data, &number.to_le_bytes())
}

/// Writes packs of chunks and a snapshot of files made of them, through the library.
pub fn make(repo: &Repository, shape: Shape) -> SnapshotId {
    let (session, _) = Session::open(repo, SessionKind::Writer).unwrap();
    let stored = AtomicU64::new(0);
    let effort = CompressionPolicy { level: 1, harder: 0 };
    let root = std::thread::scope(|scope| {
        let mut chunk_writer =
            ChunkWriter::start(scope, repo, session.id, Arc::new(Index::default()), effort, &stored).unwrap();
        let mut put = |bytes: &[u8]| {
            let id = repo.hasher().id_of(ChunkType::Tree, bytes);
            chunk_writer.put(0, ChunkType::Tree, id, bytes)?;
            Ok(id)
        };
        let mut root = DirBuilder::default();
        let mut dir = DirBuilder::default();
        let (mut files, mut parts) = (0, Vec::new());
        let mut sealer = BlockSealer::new(repo.suite().clone(), 1).unwrap();
        for pack in 0..shape.packs {
            let first = shape.first + pack * shape.per_pack;
            for (id, len) in write_pack(repo, &session, &mut sealer, first..first + shape.per_pack) {
                parts.push(ContentPart::Chunk { id, len });
                if parts.len() as u64 == shape.per_file {
                    let content = Content::Parts(std::mem::take(&mut parts));
                    let size = shape.per_file * u64::from(CHUNK);
                    let entry = entry(format!("f{files:010}"), Kind::File { size, content });
                    dir.push(&entry, repo.hasher(), &mut put).unwrap();
                    files += 1;
                    if files % shape.files_per_dir == 0 {
                        let tree = std::mem::take(&mut dir).finish(&mut put).unwrap();
                        let entry = entry_of_dir(files, tree);
                        root.push(&entry, repo.hasher(), &mut put).unwrap();
                    }
                }
            }
        }
        if files % shape.files_per_dir != 0 {
            let tree = dir.finish(&mut put).unwrap();
            root.push(&entry_of_dir(files + 1, tree), repo.hasher(), &mut put).unwrap();
        }
        let root = root.finish(&mut put).unwrap();
        chunk_writer.finish(Ok(())).unwrap();
        root
    });
    let id = session.id;
    assert!(snapshots::commit(repo, id, &manifest(root, shape)).unwrap());
    session.close().unwrap();
    id
}

fn write_pack(
    repo: &Repository,
    session: &Session,
    sealer: &mut BlockSealer,
    numbers: std::ops::Range<u64>,
) -> Vec<(ChunkId, u32)> {
    let plain: Vec<u8> = numbers.clone().flat_map(u64::to_le_bytes).collect();
    let chunks: Vec<_> = numbers.map(|number| (chunk_id(repo, number), CHUNK)).collect();
    let block = sealer.seal(ChunkType::Data, &plain, chunks.clone()).unwrap();
    let _ =
        packs::write(repo.storage(), repo.suite(), (ChunkType::Data, session.id), vec![block], 0).unwrap();
    chunks
}

fn entry_of_dir(files: u64, tree: ChunkId) -> Entry {
    entry(format!("d{files:010}"), Kind::Dir { tree })
}

pub fn entry(name: String, kind: Kind) -> Entry {
    let mtime = Time { sec: 1_700_000_000, nanos: 0 };
    Entry {
        name: name.into_bytes(),
        kind,
        meta: Meta { mode: 0o644, mtime, ctime: mtime, ..Meta::default() },
    }
}

fn manifest(root: ChunkId, shape: Shape) -> Manifest {
    let now = Time::now();
    Manifest {
        kind: SnapshotKind::Full,
        parent: None,
        based_on: None,
        started: now,
        ended: now,
        host: "scale".into(),
        user: "scale".into(),
        sources: vec![serde_bytes::ByteBuf::from("/scale")],
        tags: Vec::new(),
        root,
        counts: Counts { files_new: shape.packs * shape.per_pack / shape.per_file, ..Counts::default() },
        partial: false,
        program: "scale".into(),
        extra: Vec::new(),
    }
}

/// Returns the peak memory of a process in KiB.
pub fn peak_of(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
