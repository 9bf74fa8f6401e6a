//! A header bundle of the golden pack: its content, and the header in it.

use snap_backup::codec::crypto::hash::sha256;
use snap_backup::codec::crypto::sealed_object;
use snap_backup::codec::pack::PREAMBLE_LEN;
use snap_backup::codec::pack::header_bundle::{BundlePart, Contents};
use snap_backup::codec::wire;
use snap_backup::model::config::CipherKind;
use snap_backup::model::id::{PackId, hex};

use super::packs::{stored, table, table_len};
use super::{CIPHERS, flips, golden, suite};

const NAME: &str = "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";

#[test]
fn bytes_of_header_bundles_have_not_changed() {
    for (folder, cipher) in CIPHERS {
        let pack = stored(folder, cipher);
        let front = &pack[..PREAMBLE_LEN + table_len(cipher)];
        let contents = Contents(vec![(PackId::new(sha256(&pack)), pack.len() as u64, front.len() as u32)]);
        let close = || sealed_object::seal(&suite(cipher), sealed_object::SEGMENT, NAME, &contents).unwrap();
        let bytes = golden(folder, "segment", || [close().as_slice(), front].concat());
        let start = sealed_object::object_len(&bytes).unwrap();
        let (head, behind) = bytes.split_at(start as usize);
        assert_eq!((&bytes[..8], behind), (&b"SNAPIX\x01\0"[..], front), "{folder}");
        let open = |head: &[u8]| {
            sealed_object::open::<Contents>(&suite(cipher), sealed_object::SEGMENT, NAME, head.to_vec())
        };
        assert_eq!(open(head).unwrap(), contents);
        let parts = contents.parts(start, bytes.len() as u64).unwrap();
        let part = BundlePart {
            pack: contents.0[0].0,
            pack_len: pack.len() as u64,
            at: start,
            len: front.len() as u32,
        };
        assert_eq!(parts, [part]);
        assert_eq!(part.table(&suite(cipher), behind).unwrap(), table(cipher));
        assert!(flips(head).all(|(_, bad)| open(&bad).is_err()), "{folder}");
        assert!(flips(behind).all(|(_, bad)| part.table(&suite(cipher), &bad).is_err()), "{folder}");
        if cipher == CipherKind::None {
            let body = "01\
                77b035a9c99f60cfb443349af72820d0121301a7ed42df545d2698e8fdb3d9349a04d601";
            assert_eq!(hex(&wire::encode(&contents).unwrap()), body);
            assert_eq!(close(), head);
        }
    }
}

#[test]
fn lengths_that_do_not_add_up_are_refused() {
    let row = |len, front| (PackId::new([1; 32]), len, front);
    let good = Contents(vec![row(500, 64), row(500, 200)]);
    assert_eq!(good.parts(100, 364).unwrap().len(), 2);
    for file_len in [0, 100, 363, 365] {
        assert!(good.parts(100, file_len).is_err(), "{file_len}");
    }
    for (len, front) in [(500, 63), (100, 101), (u64::MAX, 64)] {
        assert!(Contents(vec![row(len, front)]).parts(0, u64::from(front)).is_err(), "{len} {front}");
    }
    assert!(Contents(vec![row(500, 64)]).parts(u64::MAX - 10, 54).is_err());
}
