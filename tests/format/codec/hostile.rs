//! Arbitrary bytes: a decoder refuses them or returns a value. It never panics.

use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};
use snap_backup::codec::chunk::block::{BlockOpener, BlockSeal};
use snap_backup::codec::chunk::compress::{Codec, Compressor, Decompressor, NO_COMPRESSION};
use snap_backup::codec::crypto::hash::ChunkType;
use snap_backup::codec::crypto::{key_slot, keyring, sealed_object, signature};
use snap_backup::codec::pack::{PackHeader, Table};
use snap_backup::codec::wire;
use snap_backup::model::config::{CipherKind, Config};
use snap_backup::model::manifest::Manifest;
use snap_backup::model::records::{AuditRecord, DamageRecord, GcRecord, Heartbeat, SessionRecord};

use super::{flipped, keys, suite, values};

/// Small ones, any, and those at the bounds.
fn numbers() -> impl Strategy<Value = u32> {
    prop_oneof![
        0..1000u32,
        any::<u32>(),
        (32 << 20) + 247..(32 << 20) + 250u32,
        (1 << 30) - 1..(1 << 30) + 2u32
    ]
}

proptest! {
    #[test]
    fn bodies(bytes in vec(any::<u8>(), 0..200)) {
        let _ = wire::decode::<Config>(&bytes);
        let _ = wire::decode::<Manifest>(&bytes);
        let _ = wire::decode::<SessionRecord>(&bytes);
        let _ = wire::decode::<GcRecord>(&bytes);
        let _ = wire::decode::<DamageRecord>(&bytes);
        let _ = wire::decode::<AuditRecord>(&bytes);
        let _ = Table::from_cached(&bytes);
    }

    #[test]
    fn sealed_things(cipher in values::ciphers(), bytes in vec(any::<u8>(), 0..300)) {
        let suite = suite(cipher);
        let object = [&sealed_object::MANIFEST[..], &[1, 0], &bytes].concat();
        prop_assert!(sealed_object::open::<Manifest>(&suite, sealed_object::MANIFEST, "name", object).is_err());
        let mut opener = BlockOpener::new(suite.clone()).unwrap();
        let len = u32::try_from(bytes.len()).unwrap();
        let seal = BlockSeal::new((0, ChunkType::Data), Codec::Raw, len, &[], &[]);
        prop_assert!(opener.open(&seal, &mut bytes.clone(), &mut Vec::new()).is_err());
        let config = [&key_slot::CONFIG[..], &[1, 0], &len.to_le_bytes(), &bytes].concat();
        let key = signature::verifying_key(&keys().config).unwrap();
        let signed = key_slot::decode_config(&config).is_ok_and(|decoded| keyring::is_signed(&decoded, &config, decoded.epoch, &key));
        prop_assert!(!signed);
        let key_slot = [&key_slot::SLOT[..], &[1, 0, 1, 0, 0, 0], &bytes].concat();
        prop_assert!(key_slot::open(&key_slot, b"password").is_err());
        prop_assert!(key_slot::label(&key_slot, &suite).is_err());
    }

    #[test]
    fn ends_of_packs(plain in numbers(), stored in numbers(), area in numbers(), off in 0..3u64) {
        let mut end = b"SNAPPK\x01\0\x01\x01\0\0".to_vec();
        end.extend([plain.to_le_bytes(), stored.to_le_bytes(), area.to_le_bytes()].concat());
        end.resize(64, 0);
        let len = 2 * (64 + u64::from(stored)) + u64::from(area);
        let fits = off == 0 && plain <= 32 << 20 && stored <= (32 << 20) + 248 && area <= 1 << 30;
        prop_assert_eq!(PackHeader::parse(end.first_chunk().unwrap(), len + off).is_ok(), fits);
    }

    #[test]
    fn packed_bytes_roundtrip_and_garbled_ones_keep_the_length(
        plain in vec(0..4u8, 0..2000),
        level in proptest::sample::select(vec![NO_COMPRESSION, -5, 1, 3, 19]),
        bit in any::<usize>(),
    ) {
        let mut space = Vec::new();
        let (codec, packed) = Compressor::new(level).unwrap().compress(&plain, &mut space).unwrap();
        let mut unpacker = Decompressor::new().unwrap();
        let mut out = vec![9];
        unpacker.decompress(codec, packed, plain.len(), &mut out).unwrap();
        prop_assert!(out == plain);
        prop_assert!(unpacker.decompress(codec, packed, plain.len() + 1, &mut out).is_err());
        if !packed.is_empty() {
            let whole = unpacker.decompress(codec, &flipped(packed, bit), plain.len(), &mut out).is_ok();
            prop_assert!(!whole || out.len() == plain.len());
            let _ = unpacker.decompress(Codec::Zstd, &packed[..bit % packed.len()], plain.len(), &mut out);
        }
    }
}

#[test]
fn a_frame_that_unpacks_to_more_than_it_should_is_cut_off_there() {
    let mut space = Vec::new();
    let zeros = vec![0; 64 << 20];
    let (codec, packed) = Compressor::new(1).unwrap().compress(&zeros, &mut space).unwrap();
    assert_eq!(codec, Codec::Zstd);
    let mut out = Vec::new();
    assert!(Decompressor::new().unwrap().decompress(codec, packed, 1000, &mut out).is_err());
    assert!(out.capacity() < 64 << 10, "{} bytes were taken for 1000", out.capacity());
}

/// Otherwise a storage could pass off objects of an encrypted repository as unencrypted ones, or the reverse.
#[test]
fn small_object_with_another_cipher_byte_is_refused_early() {
    for kind in [CipherKind::None, CipherKind::Xaes256Gcm] {
        let suite = suite(kind);
        let record = Heartbeat { count: 3, gc_seen: 2 };
        let bytes = sealed_object::seal(&suite, sealed_object::BEAT, "name", &record).unwrap();
        let open = |bytes| sealed_object::open::<Heartbeat>(&suite, sealed_object::BEAT, "name", bytes);
        assert_eq!(open(bytes.clone()).unwrap(), record);
        for byte in (0..=u8::MAX).filter(|byte| *byte != bytes[8]) {
            let forged = [&bytes[..8], &[byte], &bytes[9..]].concat();
            let why = open(forged).unwrap_err().to_string();
            assert!(why.contains("its cipher is not"), "{kind:?} {byte}: {why}");
        }
    }
}
