//! Packs with deltas that only a faulty or malicious writer makes.

use std::sync::Arc;

use snap_backup::Error;
use snap_backup::codec::chunk::block::BlockSealer;
use snap_backup::codec::chunk::compress::Codec;
use snap_backup::codec::crypto::hash::ChunkType;
use snap_backup::model::id::{ChunkId, SnapshotId};
use snap_backup::repo::index::Index;
use snap_backup::repo::pack::packs;
use snap_backup::repo::read::chunk_reader::ChunkReader;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::sessions::session::RepoState;
use snap_backup::storage::{ObjectKind, Storage};

use crate::deltas::{deltas, packs_of_deltas, tables, version, write};
use crate::support::stage::Stage;

#[test]
fn no_delta_is_made_from_a_base_with_a_wrong_id() {
    let stage = Stage::new();
    write(&stage, 0);
    stage.backup("src");
    let repo = stage.library.open();
    let (id, table) = tables(&stage).into_iter().find(|(_, table)| table.kind == ChunkType::Data).unwrap();
    let mut sealer = BlockSealer::new(repo.suite().clone(), 3).unwrap();
    let blocks = table.blocks.iter().map(|block| {
        assert_eq!(block.plain as usize, version(1, 0).len());
        sealer.seal(ChunkType::Data, &version(1, 7), block.chunks.clone()).unwrap()
    });
    let (blocks, what) = (blocks.collect(), (ChunkType::Data, FORGER));
    packs::write(repo.storage(), repo.suite(), what, blocks, 0).unwrap().1.unwrap();
    stage.storage.inner.remove(ObjectKind::Packs, &id.hex()).unwrap();
    write(&stage, 1);
    stage.backup("src");
    assert_eq!(deltas(&stage, ChunkType::Data), 0);
}

#[test]
fn base_copy_with_a_wrong_id_is_replaced_by_another() {
    let stage = Stage::new();
    write(&stage, 0);
    stage.backup("src");
    let repo = stage.library.open();
    let (id, table) = tables(&stage).into_iter().find(|(_, table)| table.kind == ChunkType::Data).unwrap();
    write(&stage, 1);
    let second = stage.backup("src");
    assert!(deltas(&stage, ChunkType::Data) > 0);
    // The name of a pack is random, and the first copy is tried first.
    loop {
        let mut sealer = BlockSealer::new(repo.suite().clone(), 3).unwrap();
        let chunks = table.blocks[0].chunks.clone();
        let block = sealer.seal(ChunkType::Data, &version(1, 7), chunks).unwrap();
        let (pack, parity) =
            packs::write(repo.storage(), repo.suite(), (ChunkType::Data, FORGER), vec![block], 0).unwrap();
        parity.unwrap();
        if pack.id < id {
            break;
        }
        stage.storage.inner.remove(ObjectKind::Packs, &pack.id.hex()).unwrap();
    }
    stage.library.assert_restores(Some(second), "src");
}

#[test]
fn delta_of_a_running_session_replaces_no_other_copy() {
    let stage = Stage::new();
    write(&stage, 0);
    let first = stage.backup("src");
    let repo = stage.library.open();
    let in_first = tables(&stage).into_iter().find(|(_, table)| table.kind == ChunkType::Data).unwrap().1;
    let base = in_first.blocks[0].chunks[0];
    let prefix = read(&repo, &base.0).unwrap();
    // A second source has a chunk similar to one of the first. The running session has stored it as a delta.
    let mut like = prefix.clone();
    like[10] ^= 1;
    stage.library.write("other", &[("file", &like)]);
    let other = stage.backup("other");
    let wanted = repo.hasher().id_of(ChunkType::Data, &like);
    stage.stand_on(FORGER, "elsewhere".into());
    let whole = tables(&stage).into_iter().find(|(_, table)| {
        table.blocks.iter().any(|block| block.codec != Codec::Delta && block.chunks[0].0 == wanted)
    });
    let whole = whole.expect("the other file is one chunk").0;
    // The name of a pack is random: of two copies the first is marked, and that must be the other one.
    loop {
        forge(&repo, &like, (base, &prefix));
        let forged = packs_of_deltas(&stage)[0];
        if forged > whole {
            break;
        }
        stage.storage.inner.remove(ObjectKind::Packs, &forged.hex()).unwrap();
    }
    stage.forget(first);
    assert!(!stage.gc().waiting_for.is_empty());
    stage.storage.inner.remove(ObjectKind::Sessions, &FORGER.hex()).unwrap();
    stage.gc();
    stage.library.assert_restores(Some(other), "other");
    stage.assert_sound();
}

const FORGER: SnapshotId = SnapshotId::new([9; 16]);

/// Writes a pack with a block of one chunk made from `base`.
fn forge(repo: &Repository, plain: &[u8], (base, prefix): ((ChunkId, u32), &[u8])) -> (ChunkId, u32) {
    let named = (repo.hasher().id_of(ChunkType::Data, plain), plain.len() as u32);
    let mut sealer = BlockSealer::new(repo.suite().clone(), 3).unwrap();
    let block = sealer.seal_delta(ChunkType::Data, plain, &[named], (&[base], prefix)).unwrap().unwrap();
    let what = (ChunkType::Data, FORGER);
    packs::write(repo.storage(), repo.suite(), what, vec![block], 0).unwrap().1.unwrap();
    named
}

fn read(repo: &Repository, id: &ChunkId) -> Result<Vec<u8>, Error> {
    let repo_state = RepoState::read(repo.storage(), repo.suite(), |_| Ok(())).unwrap();
    let index = Arc::new(Index::load(repo, repo_state).unwrap());
    let found = index.find(ChunkType::Data, id).unwrap();
    let read = ChunkReader::new(repo, index).unwrap().get(ChunkType::Data, id);
    assert_eq!(
        found.is_some(),
        read.is_ok(),
        "what may be written against can be read, and the other way round"
    );
    read
}

#[test]
fn delta_of_a_delta_is_neither_read_nor_referred_to() {
    let stage = Stage::new();
    write(&stage, 0);
    stage.backup("src");
    let repo = stage.library.open();
    let first = tables(&stage).into_iter().find(|(_, table)| table.kind == ChunkType::Data).unwrap().1;
    let base = first.blocks[0].chunks[0];
    let prefix = read(&repo, &base.0).unwrap();
    let (mut once, mut twice) = (prefix.clone(), prefix.clone());
    once[10] ^= 1;
    twice[10] ^= 2;
    let once_named = forge(&repo, &once, (base, &prefix));
    assert_eq!(read(&repo, &once_named.0).unwrap(), once);
    let twice_named = forge(&repo, &twice, (once_named, &once));
    assert!(read(&repo, &twice_named.0).is_err_and(|err| err.is_damage()));
}

#[test]
fn a_delta_of_data_is_not_made_from_a_tree() {
    let stage = Stage::new();
    // Ids in trees cannot be compressed.
    let files: Vec<(String, [u8; 1])> = (0..100).map(|at| (format!("f{at}"), [at])).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    stage.library.write("src", &files);
    stage.backup("src");
    let repo = stage.library.open();
    let trees = tables(&stage).into_iter().find(|(_, table)| table.kind == ChunkType::Tree).unwrap().1;
    let base = *trees.blocks[0].chunks.iter().max_by_key(|(_, len)| *len).unwrap();
    let repo_state = RepoState::read(repo.storage(), repo.suite(), |_| Ok(())).unwrap();
    let index = Arc::new(Index::load(&repo, repo_state).unwrap());
    let prefix = ChunkReader::new(&repo, index).unwrap().get(ChunkType::Tree, &base.0).unwrap();
    let plain = prefix[1..].to_vec();
    let named = forge(&repo, &plain, (base, &prefix));
    assert!(read(&repo, &named.0).is_err_and(|err| err.is_damage()));
}
