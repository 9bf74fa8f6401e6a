//! The sidecar of a pack, byte for byte, including the code, which is from another crate.

use snap_backup::codec::crypto::hash::sha256;
use snap_backup::codec::pack::parity::{self, Layout};
use snap_backup::model::id::{PackId, hex};

use super::golden;

/// Three sectors and a part of one.
fn pack() -> Vec<u8> {
    (0..13_000u32).map(|at| (at * 31 % 251) as u8).collect()
}

#[test]
fn bytes_of_sidecars_have_not_changed() {
    let pack = pack();
    let layout = Layout::new(PackId::new(sha256(&pack)), pack.len() as u64, 50).unwrap();
    let make = || parity::sidecar(&layout, &[&pack]).unwrap().concat();
    let bytes = golden("open", "parity", make);
    assert_eq!(make(), bytes);
    assert_eq!(bytes[..8], *b"SNAPRS\x01\0");
    assert_eq!(hex(&bytes[8..32]), "00100000040000000200000000000000c832000000000000");
    assert_eq!(bytes.len(), 2 * (64 + 6 * 8 + 16) + 2 * 4096);
}
