//! Packs with wrong content: bytes under the id of another chunk, as written by a machine with bad memory or
//! a faulty program.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use crate::support::library::Library;
use snap_backup::Control;
use snap_backup::codec::chunk::block::BlockSealer;
use snap_backup::codec::crypto::hash::ChunkType;
use snap_backup::model::id::{ChunkId, PackId, SnapshotId};
use snap_backup::ops::{backup, gc};
use snap_backup::repo::index::{BlockAt, Index};
use snap_backup::repo::pack::packs;
use snap_backup::repo::read::chunk_reader::{BlockReader, ChunkReader};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::sessions::session::RepoState;
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{ObjectKind, Storage};

const WRITER: SnapshotId = SnapshotId::new([5; 16]);

fn library() -> (Library, Arc<MemoryStorage>) {
    let storage = Arc::new(MemoryStorage::default());
    (Library::on(storage.clone(), None), storage)
}

fn index(repo: &Repository) -> Arc<Index> {
    let repo_state = RepoState::read(repo.storage(), repo.suite(), |_| Ok(())).unwrap();
    Arc::new(Index::load(repo, repo_state).unwrap())
}

/// Writes a pack of one block, whatever the ids are.
fn write(repo: &Repository, plain: &[u8], chunks: Vec<(ChunkId, u32)>) -> PackId {
    let mut sealer = BlockSealer::new(repo.suite().clone(), 3).unwrap();
    let block = sealer.seal(ChunkType::Data, plain, chunks).unwrap();
    packs::write(repo.storage(), repo.suite(), (ChunkType::Data, WRITER), vec![block], 0).unwrap().0.id
}

fn lone(repo: &Repository, id: ChunkId, bytes: &[u8]) -> PackId {
    write(repo, bytes, vec![(id, u32::try_from(bytes.len()).unwrap())])
}

/// A block can be opened, but what is at the position of a chunk is not that chunk.
#[test]
fn a_chunk_whose_bytes_do_not_have_its_id_is_damage() {
    let (library, _) = library();
    let repo = library.open();
    let id = repo.hasher().id_of(ChunkType::Data, b"the right bytes");
    lone(&repo, id, b"the wrong bytes");
    let mut reader = ChunkReader::new(&repo, index(&repo)).unwrap();
    let err = reader.get(ChunkType::Data, &id).unwrap_err();
    assert!(err.is_damage() && err.chain().contains("does not match its id"), "{}", err.chain());
}

/// The pack that is tried first has the wrong bytes.
#[test]
fn intact_one_of_two_copies_is_read() {
    let (library, storage) = library();
    let repo = library.open();
    let id = repo.hasher().id_of(ChunkType::Data, b"the right bytes");
    lone(&repo, id, b"the right bytes");
    for _ in 0..100 {
        let wrong = lone(&repo, id, b"the wrong bytes");
        let index = index(&repo);
        let first = index.find_any(ChunkType::Data, &id).unwrap().unwrap();
        if index.packs()[first.block.pack as usize].id == wrong {
            let mut reader = ChunkReader::new(&repo, index).unwrap();
            assert_eq!(reader.get(ChunkType::Data, &id).unwrap(), b"the right bytes");
            return;
        }
        // A pack's name is random: another one may come first.
        storage.remove(ObjectKind::Packs, &wrong.hex()).unwrap();
    }
    panic!("a pack of random name never came first");
}

/// If a gc run moved a block as it is, it would move the wrong bytes under their id, and a later backup would
/// find them. So it extracts the needed chunks from the block.
#[test]
fn gc_leaves_a_dead_chunk_with_a_wrong_id_behind() {
    let (library, storage) = library();
    for seed in 0..40u64 {
        library.write("src", &[(&format!("f{seed}"), format!("{seed}").repeat(500).as_bytes())]);
        library.backup("src", backup::Options::default());
    }
    let repo = library.open();
    let before = index(&repo);
    let at = before.packs().iter().position(|pack| pack.kind == ChunkType::Data).unwrap() as u32;
    let (row, _) = before.table(at).unwrap().block(0).map(|(row, first)| (row.clone(), first)).unwrap();
    let mut plain = Vec::new();
    BlockReader::new(&repo).unwrap().read(&before, BlockAt { pack: at, block: 0 }, &mut plain).unwrap();
    // A dead chunk in the same block, smaller than the share that moves with the needed chunks.
    let poison = repo.hasher().id_of(ChunkType::Data, b"right");
    plain.extend_from_slice(b"wrong");
    let mut chunks = row.chunks;
    chunks.push((poison, 5));
    storage.remove(ObjectKind::Packs, &before.packs()[at as usize].id.hex()).unwrap();
    let crafted = write(&repo, &plain, chunks);
    drop(repo);
    let report = gc::run(&library.open(), &gc::Options::default(), &Control::default()).unwrap();
    let after = index(&library.open());
    assert!(report.packs_moved >= 32 && after.packs().iter().all(|pack| pack.id != crafted), "{report:?}");
    assert!(after.find_any(ChunkType::Data, &poison).unwrap().is_none(), "the wrong bytes were moved");
    library.assert_restores(library.snapshots().last().copied(), "src");
    assert_eq!(library.errors(), Vec::<String>::new());
}
