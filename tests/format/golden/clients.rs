//! The data of a write key: a pack and a manifest with keys of a session.

use snap_backup::codec::chunk::block::{BlockOpener, BlockSealer};
use snap_backup::codec::crypto::hash::{ChunkType, Key};
use snap_backup::codec::crypto::session_keys::{ENVELOPE, WriteSlot, WritingSession};
use snap_backup::codec::crypto::suite::CipherSuite;
use snap_backup::codec::crypto::{envelope, sealed_object};
use snap_backup::codec::pack::{self, PREAMBLE_LEN};
use snap_backup::model::config::CipherKind;
use snap_backup::model::id::{KeyId, SnapshotId};

use super::{REPO, flips, golden, hasher, keys, suite};

const SLOT: KeyId = KeyId::new([0xd1; 32]);
const NAME: &str = "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";
const PLAIN: &[u8] = b"hello";

fn pair() -> envelope::KeyPair {
    envelope::pair_of(&Key::new([5; 32])).unwrap()
}

/// A full key that knows the writer.
fn full() -> CipherSuite {
    let writer = WriteSlot { slot: SLOT, public: pair().public, last: 0 };
    suite(CipherKind::Xaes256Gcm).with_writers(vec![writer])
}

fn client() -> CipherSuite {
    let to = envelope::pair_of(&keys().session).unwrap().public;
    full().writing(WritingSession::begin(&REPO, SLOT, &pair(), &to).unwrap())
}

#[test]
fn pack_of_a_write_key_has_not_changed() {
    let bytes = golden("sealed", "client-pack", || {
        let client = client();
        let chunk = (hasher().id_of(ChunkType::Data, PLAIN), PLAIN.len() as u32);
        let block = BlockSealer::new(client.clone(), 3).unwrap().seal(ChunkType::Data, PLAIN, vec![chunk]);
        let block = block.unwrap();
        let session = SnapshotId::new([0xa1; 16]);
        let frame = pack::frame(&client, ChunkType::Data, session, std::slice::from_ref(&block)).unwrap();
        [frame.head, block.sealed, frame.tail].concat()
    });
    assert_eq!((bytes[11], &bytes[PREAMBLE_LEN..PREAMBLE_LEN + 32]), (1, SLOT.as_bytes().as_slice()));
    let len = u32::from_le_bytes(*bytes[16..].first_chunk().unwrap()) as usize;
    let front = &bytes[..PREAMBLE_LEN + len];
    let open = |front: &[u8]| pack::open_front(&full(), front, bytes.len() as u64);
    let table = open(front).unwrap();
    let row = &table.blocks[0];
    let mut sealed = bytes[row.offset as usize..][..row.stored as usize].to_vec();
    let mut plain = Vec::new();
    let mut opener = BlockOpener::new(full()).unwrap();
    opener.open(&row.seal((table.sealing(), table.kind)), &mut sealed, &mut plain).unwrap();
    assert_eq!((plain.as_slice(), table.by.map(|by| by.slot()), table.own), (PLAIN, Some(SLOT), None));
    assert!(flips(front).all(|(_, bad)| open(&bad).is_err()), "a flipped bit in a front");
    // Only this slot identifies it as its own.
    assert_eq!(pack::open_front(&client(), front, bytes.len() as u64).unwrap().own, Some(SLOT));
}

#[test]
fn object_of_a_write_key_has_not_changed() {
    let magic = sealed_object::AUDIT;
    let bytes =
        golden("sealed", "client-object", || sealed_object::seal(&client(), magic, NAME, &7u64).unwrap());
    let open = |bytes: &[u8]| sealed_object::open_by::<u64>(&full(), magic, NAME, bytes.to_vec());
    assert_eq!(bytes.len(), 24 + ENVELOPE + 40 + 1);
    assert_eq!(open(&bytes), Ok((7, Some(SLOT))));
    assert!(flips(&bytes).all(|(_, bad)| open(&bad).is_err()), "a flipped bit");
    let unknown = suite(CipherKind::Xaes256Gcm);
    assert!(sealed_object::open_by::<u64>(&unknown, magic, NAME, bytes).is_err(), "a slot that nobody lists");
}
