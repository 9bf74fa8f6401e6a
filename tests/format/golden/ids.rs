//! Keys and names that are derived only from the master key and the repository's id.

use snap_backup::codec::crypto::hash::{ChunkType, mac, sha256};
use snap_backup::model::id::hex;

use super::{hasher, keys};

#[test]
fn the_derived_keys() {
    let keys = keys();
    assert_eq!(hex(keys.id.bytes()), "b0d594da230641acb75fa3e4fdb459d364b52d9cdc6c15f63900765cdafa096b");
    assert_eq!(hex(keys.data.bytes()), "528e6a8d376f96fa24d72e1669ba20cbfefb5871b8f939cf16901add24602916");
    assert_eq!(hex(keys.meta.bytes()), "680d8249a89637fcf09ed229c6e836161339de4729ffa4022bf4e14a2f7cdaec");
    assert_eq!(hex(keys.config.bytes()), "5bf603c4c8f2cba7fa42406680a332ce3caf35ce6f86e106465158cee2dcc155");
}

#[test]
fn the_gear_table() {
    let gear = keys().gear;
    assert_eq!(
        gear[..4],
        [0xe057_1edc_c402_4f04, 0xfe4f_27ce_6821_1261, 0x58b2_b206_b24d_f01e, 0xf5ca_f7ba_0404_ed23]
    );
    let bytes: Vec<u8> = gear.iter().flat_map(|word| word.to_le_bytes()).collect();
    assert_eq!(hex(&sha256(&bytes)), "1f9d97c6fd610673f9abb5ac4883d3a60795597bfb5dc737755a6666aa335e3e");
}

#[test]
fn the_ids_of_chunks() {
    let id = |kind, plain: &[u8]| hasher().id_of(kind, plain).hex();
    assert_eq!(
        id(ChunkType::Data, b"hello"),
        "a977463098b17cdf527a88b8ad942876211b95e627b7418e20abc1243bdd4e80"
    );
    assert_eq!(
        id(ChunkType::Tree, b"hello"),
        "cb4b961eaa9b5ea26dff8973d9eb76e30507df49603a90c06c4cd279472eba38"
    );
    assert_eq!(id(ChunkType::Data, b""), "756f6de82efe2db153773e1df4931c667980487fa14ad0ba175d5c405f2fd166");
    assert_eq!(id(ChunkType::Data, b"hello"), hex(&mac(&keys().id, b"\x01hello")));
}

#[test]
fn the_numbers_that_split_directories_and_join_hard_links() {
    assert_eq!(hasher().tag(b"split", b"name"), 0x3317_e5b7_f022_3aeb);
    assert_eq!(hasher().tag(b"link", b"home/ada/a"), 0x926b_3a60_8f6a_b8f0);
}
