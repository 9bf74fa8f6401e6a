//! What is read before any key is known: the configuration and key slots.

use serde_bytes::ByteBuf;
use snap_backup::codec::chunk::chunker;
use snap_backup::codec::crypto::hash::{Key, sha256};
use snap_backup::codec::crypto::kdf::KdfParams;
use snap_backup::codec::crypto::key_slot::{self, SlotLabel, SlotSecret};
use snap_backup::codec::crypto::{keyring, signature};
use snap_backup::model::config::{CipherKind, Config, FULL, Handover, SlotEntry};
use snap_backup::model::entry::Time;
use snap_backup::model::id::{KeyId, RepoId, hex};

use super::{CIPHERS, MASTER, REPO, flips, golden, keys, suite};

fn config(cipher: CipherKind) -> Config {
    Config {
        repo: REPO,
        generation: 3,
        created: Time { sec: 1_795_000_000, nanos: 5 },
        incompat: 0,
        ro_compat: 1 << 40,
        cipher,
        open_master: (cipher == CipherKind::None).then_some(MASTER),
        chunker: chunker::K64,
        block_target: 1 << 20,
        data_pack: 32 << 20,
        tree_pack: 8 << 20,
        level: -5,
        undelete_window: 86_400,
        stale_after: 3600,
        epoch: 7,
        handovers: vec![Handover { epoch: 7, key: [8; 32], signature: ByteBuf::from([9; 64]) }],
        slots: vec![SlotEntry {
            id: KeyId::new([10; 32]),
            role: FULL,
            public: [11; 32],
            keyring: ByteBuf::from([12; 5]),
        }],
        extra: vec![(2, ByteBuf::from("later"))],
    }
}

fn is_signed_with(bytes: &[u8], seed: &Key) -> bool {
    let key = signature::verifying_key(seed).unwrap();
    key_slot::decode_config(bytes).is_ok_and(|config| keyring::is_signed(&config, bytes, config.epoch, &key))
}

#[test]
fn bytes_of_configurations_have_not_changed() {
    let key = keys().config;
    for ((folder, cipher), body) in CIPHERS.into_iter().zip([OPEN, SEALED]) {
        let close = || key_slot::encode_config(&config(cipher), &key).unwrap();
        let bytes = golden(folder, "config", close);
        assert_eq!(close(), bytes, "{folder}");
        let length = u32::try_from(body.len() / 2).unwrap().to_le_bytes();
        assert_eq!(hex(&bytes[12..bytes.len() - 64]), body, "{folder}");
        assert_eq!(bytes[..12], [&b"SNAPCF\x01\0"[..], &length].concat(), "{folder}");
        assert_eq!(key_slot::decode_config(&bytes).unwrap(), config(cipher), "{folder}");
        assert!(is_signed_with(&bytes, &key), "{folder}");
        assert!(!is_signed_with(&bytes, &keys().meta), "{folder}");
        for (bit, bad) in flips(&bytes) {
            assert!(!is_signed_with(&bad, &key), "{folder} with bit {bit} flipped");
        }
    }
}

const OPEN: &str = "0202020202020202020202020202020203809becaf0d0500808080808020000101010101010101010101010101010101\
        0101010101010101010101010101010180800180800480801080e0cdbaf0a0368080cc9ab1a036808040808080108080\
        80040980a305901c07010708080808080808080808080808080808080808080808080808080808080808084009090909\
        090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909\
        090909090909090909090909010a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a000b0b\
        0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b050c0c0c0c0c0102056c61746572";
const SEALED: &str = "0202020202020202020202020202020203809becaf0d0500808080808020010080800180800480801080e0cdbaf0a036\
        8080cc9ab1a03680804080808010808080040980a305901c070107080808080808080808080808080808080808080808\
        080808080808080808080840090909090909090909090909090909090909090909090909090909090909090909090909\
        09090909090909090909090909090909090909090909090909090909010a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a\
        0a0a0a0a0a0a0a0a0a0a0a0a0a000b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b050c\
        0c0c0c0c0102056c61746572";

fn label() -> SlotLabel {
    SlotLabel {
        created: Time { sec: 1_795_000_000, nanos: 5 },
        host: "attic".into(),
        user: "ada".into(),
        label: "paper in the safe".into(),
    }
}

/// The private key in the slot.
const PRIVATE: [u8; 32] = [5; 32];

fn private(slot: &[u8], password: &[u8]) -> Option<[u8; 32]> {
    key_slot::open(slot, password).unwrap().map(|secret| {
        assert_eq!((secret.epoch, secret.anchor), (0, [6; 32]));
        *secret.private.bytes()
    })
}

fn made_today() -> Vec<u8> {
    let costs = KdfParams { memory: 8 << 10, passes: 1, lanes: 1 };
    let secret = SlotSecret { private: Key::new(PRIVATE), epoch: 0, anchor: [6; 32] };
    key_slot::seal(&suite(CipherKind::Xaes256Gcm), &secret, b"golden", costs, &label()).unwrap()
}

fn key_slot() -> Vec<u8> {
    golden("sealed", "key-slot", made_today)
}

#[test]
fn key_slots_made_today_differ_in_their_random_bytes_only() {
    let then = key_slot();
    let [one, other] = [made_today(), made_today()];
    assert_eq!((&then[..40], then.len()), (&one[..40], one.len()));
    assert_ne!(one[40..72], other[40..72], "two salts are the same");
    assert_eq!(private(&one, b"golden"), Some(PRIVATE));
}

#[test]
fn a_key_slot_gives_its_private_key_for_its_password_alone() {
    let slot = key_slot();
    assert_eq!(hex(&sha256(&slot)), "ddc34dfb1ac68209fe54d552ef686ae4f34f68f6f33e6d36612cfe79e448ba63");
    assert_eq!(slot[..24], *b"SNAPKY\x01\0\x01\0\0\0\0\x20\0\0\x01\0\0\0\x01\0\0\0");
    assert_eq!(key_slot::repo_of(&slot).unwrap(), REPO);
    assert_eq!(private(&slot, b"golden"), Some(PRIVATE));
    assert!(key_slot::open(&slot, b"Golden").unwrap().is_none());
    assert!(key_slot::open(&slot, b"").unwrap().is_none());
    assert_eq!(key_slot::label(&slot, &suite(CipherKind::Xaes256Gcm)).unwrap(), label());
}

/// One bit of each byte: a derivation for every bit would take minutes. The lowest bit of each cost gives an
/// invalid cost, or a cheap one.
#[test]
fn a_key_slot_with_a_flipped_bit_gives_no_key_or_no_label() {
    let slot = key_slot();
    let suite = suite(CipherKind::Xaes256Gcm);
    for at in 0..slot.len() {
        let mut bad = slot.clone();
        bad[at] ^= 1;
        let opened = key_slot::open(&bad, b"golden");
        let label = key_slot::label(&bad, &suite);
        let key_part = at < 108 + 104;
        assert_eq!(matches!(opened, Ok(Some(_))), !key_part, "byte {at}");
        assert!(label.is_err(), "byte {at}");
    }
}

#[test]
fn a_slot_of_another_repository_says_so() {
    let other = RepoId::new([3; 16]);
    let mut slot = key_slot();
    slot[24..40].copy_from_slice(other.as_bytes());
    assert_eq!(key_slot::repo_of(&slot).unwrap(), other);
    assert!(key_slot::open(&slot, b"golden").is_err());
}
