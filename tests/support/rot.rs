//! Simulated bit rot: a file is written to, and then the newest snapshot gets its new ctime.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use snap_backup::codec::crypto::hash::ChunkType;
use snap_backup::codec::tree::dir::DirBuilder;
use snap_backup::model::entry::{Entry, Kind, Time};
use snap_backup::model::id::ChunkId;
use snap_backup::model::records::SessionKind;
use snap_backup::repo::index::Index;
use snap_backup::repo::options::OpenOptions;
use snap_backup::repo::read::chunk_reader::ChunkReader;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::sessions::session::Session;
use snap_backup::repo::snapshots;
use snap_backup::repo::walk::dir_reader::DirReader;
use snap_backup::repo::write::chunk_writer::{ChunkWriter, CompressionPolicy};
use snap_backup::storage::local::LocalStorage;

use super::Sandbox;

/// Flips a bit in the middle of a file and resets its mtime, as no ordinary program does.
pub fn flip(path: &Path) {
    let found = fs::metadata(path).unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let (mut byte, middle) = ([0], found.len() / 2);
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 4], middle).unwrap();
    file.set_modified(found.modified().unwrap()).unwrap();
}

/// The sandbox's repository, which must not be encrypted.
pub fn open(sandbox: &Sandbox) -> Repository {
    let cache = Some(sandbox.cache());
    let options = OpenOptions { password: None, cache, ..OpenOptions::default() };
    Repository::open(Arc::new(LocalStorage::new(sandbox.path("repo"))), &options).unwrap()
}

/// Saves the newest snapshot once more, with the current ctimes of the files of `src`: anything written to
/// them since it was made is bit rot to the next backup. `change` may change entries further; it gets their
/// stored paths.
pub fn settle(sandbox: &Sandbox, change: &mut dyn FnMut(&str, &mut Entry)) {
    // Times count only if they are older than the snapshot by two seconds.
    std::thread::sleep(Duration::from_millis(2100));
    let repo = open(sandbox);
    let newest = snapshots::list(&repo).unwrap().pop().unwrap();
    let (session, repo_state) = Session::open(&repo, SessionKind::Writer).unwrap();
    let index = Arc::new(Index::load(&repo, repo_state).unwrap());
    let stored = AtomicU64::new(0);
    let mut manifest = newest.manifest;
    manifest.root = std::thread::scope(|scope| {
        let policy = CompressionPolicy { level: 1, harder: 0 };
        let mut out =
            ChunkWriter::start(scope, &repo, session.id, Arc::clone(&index), policy, &stored).unwrap();
        let mut reader = ChunkReader::new(&repo, Arc::clone(&index)).unwrap();
        let root = rebuild(&repo, &mut reader, &mut out, manifest.root, &sandbox.path(""), "", change);
        out.finish(Ok(())).unwrap();
        root
    });
    (manifest.started, manifest.ended) = (Time::now(), Time::now());
    assert!(snapshots::commit(&repo, session.id, &manifest).unwrap());
    session.close().unwrap();
}

fn rebuild(
    repo: &Repository,
    reader: &mut ChunkReader,
    out: &mut ChunkWriter<'_>,
    tree: ChunkId,
    root: &Path,
    base: &str,
    change: &mut dyn FnMut(&str, &mut Entry),
) -> ChunkId {
    let (mut dir, mut builder) = (DirReader::new(tree), DirBuilder::default());
    let hasher = repo.hasher().clone();
    let mut pieces = Vec::new();
    while let Some(mut entry) = dir.next(reader).unwrap() {
        let path = format!("{base}{}", String::from_utf8_lossy(&entry.name));
        if let Kind::Dir { tree } = &mut entry.kind {
            *tree = rebuild(repo, reader, out, *tree, root, &format!("{path}/"), change);
        }
        if let Ok(found) = fs::symlink_metadata(PathBuf::from(root).join(&path))
            && entry.is_file()
        {
            entry.meta.ctime = Time { sec: found.ctime(), nanos: found.ctime_nsec() as u32 };
        }
        change(&path, &mut entry);
        builder.push(&entry, &hasher, &mut |bytes| Ok(put(repo, &mut pieces, bytes))).unwrap();
    }
    let root = builder.finish(&mut |bytes| Ok(put(repo, &mut pieces, bytes))).unwrap();
    for bytes in pieces {
        let id = hasher.id_of(ChunkType::Tree, &bytes);
        out.put(0, ChunkType::Tree, id, &bytes).unwrap();
    }
    root
}

fn put(repo: &Repository, pieces: &mut Vec<Vec<u8>>, bytes: &[u8]) -> ChunkId {
    pieces.push(bytes.to_vec());
    repo.hasher().id_of(ChunkType::Tree, bytes)
}
