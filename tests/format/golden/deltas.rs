//! A pack of one delta block: its row names its bases, and its frame opens only with them.

use snap_backup::codec::chunk::block::{BlockOpener, BlockSealer};
use snap_backup::codec::chunk::compress::Codec;
use snap_backup::codec::crypto::hash::{ChunkType, sha256};
use snap_backup::codec::pack;
use snap_backup::codec::pack::base::BaseNamer;
use snap_backup::codec::pack::{PREAMBLE_LEN, PackHeader, Table};
use snap_backup::model::config::CipherKind;
use snap_backup::model::id::{ChunkId, SnapshotId, hex};

use super::{CIPHERS, REPO, flips, golden, hasher, suite};

const SESSION: SnapshotId = SnapshotId::new([0xa1; 16]);

/// Sixty-four lines; those from `changed` up to the next multiple of 32 are different.
fn lines(changed: usize) -> Vec<u8> {
    let line = |at: usize| {
        let word = hex(&sha256(&[at as u8]));
        let sign = if at >= changed && at % 32 >= changed % 32 { "!" } else { "." };
        format!("{at} {word}{sign}\n")
    };
    (0..64).flat_map(|at| line(at).into_bytes()).collect()
}

fn bases() -> [Vec<u8>; 2] {
    let whole = lines(64);
    let (first, second) = whole.split_at(2000);
    [first.to_vec(), second.to_vec()]
}

fn changed() -> Vec<u8> {
    lines(61)
}

fn named(plain: &[u8]) -> (ChunkId, u32) {
    (hasher().id_of(ChunkType::Data, plain), u32::try_from(plain.len()).unwrap())
}

fn make(cipher: CipherKind) -> Vec<u8> {
    let mut sealer = BlockSealer::new(suite(cipher), 3).unwrap();
    let (bases, plain) = (bases(), changed());
    let names = bases.each_ref().map(|base| named(base));
    let block = sealer.seal_delta(ChunkType::Data, &plain, &[named(&plain)], (&names, &bases.concat()));
    let block = block.unwrap().unwrap();
    let frame = pack::frame(&suite(cipher), ChunkType::Data, SESSION, std::slice::from_ref(&block)).unwrap();
    [frame.head, block.sealed, frame.tail].concat()
}

fn stored(folder: &str, cipher: CipherKind) -> Vec<u8> {
    golden(folder, "delta-pack", || make(cipher))
}

fn table(cipher: CipherKind, pack: &[u8]) -> Table {
    let ends = PackHeader::parse(pack.first_chunk().unwrap(), pack.len() as u64).unwrap();
    ends.open_table(&suite(cipher), pack[PREAMBLE_LEN..PREAMBLE_LEN + ends.table_len as usize].to_vec())
        .unwrap()
}

#[test]
fn a_row_names_the_bases_in_the_order_of_the_prefix() {
    for (folder, cipher) in CIPHERS {
        let pack = stored(folder, cipher);
        let table = table(cipher, &pack);
        let [row] = table.blocks.as_slice() else { panic!("{folder}: {table:?}") };
        assert_eq!((row.codec, &row.chunks), (Codec::Delta, &vec![named(&changed())]), "{folder}");
        let hasher = BaseNamer::of(&row.chunks);
        assert_eq!(row.bases, bases().map(|base| hasher.name(&named(&base))), "{folder}");
        assert!(row.stored < 200, "{folder}: {} bytes for three lines that changed", row.stored);
    }
}

#[test]
fn bytes_of_the_row_have_not_moved() {
    for (folder, cipher) in CIPHERS {
        let pack = stored(folder, cipher);
        let ends = PackHeader::parse(pack.first_chunk().unwrap(), pack.len() as u64).unwrap();
        let aad = [&b"table"[..], REPO.as_bytes(), &pack[..PREAMBLE_LEN]].concat();
        let mut sealed = pack[PREAMBLE_LEN..PREAMBLE_LEN + ends.table_len as usize].to_vec();
        let suite = suite(cipher);
        let plain = suite.shared().open(&aad, &mut sealed).unwrap();
        let plain = suite.verified(0, &aad, plain).unwrap();
        let name = |plain: &[u8]| hex(named(plain).0.as_bytes());
        // A prefix of the id, and a hash of the delta's chunks and the id.
        let [first, second] = bases().map(|base| {
            let id = named(&base).0;
            let tag = sha256(&[&named(&changed()).0.as_bytes()[..], id.as_bytes()].concat());
            hex(&id.as_bytes()[..8]) + &hex(&tag[..4])
        });
        // One row; stored, plain, codec 2; a chunk and its length; two bases and theirs.
        let stored = wire_number(table(cipher, &pack).blocks[0].stored);
        let lengths = [changed().len(), 2000, lines(64).len() - 2000].map(|len| wire_number(len as u32));
        let [plain_len, first_len, second_len] = lengths;
        let chunk = name(&changed());
        let row =
            format!("01{stored}{plain_len}0201{chunk}{plain_len}02{first}{first_len}{second}{second_len}");
        assert_eq!(hex(plain), row, "{folder}");
    }
}

/// A varint in hex.
fn wire_number(number: u32) -> String {
    hex(&snap_backup::codec::wire::encode(&number).unwrap())
}

#[test]
fn delta_frame_opens_only_with_its_bases_in_order() {
    for (folder, cipher) in CIPHERS {
        let pack = stored(folder, cipher);
        let row = &table(cipher, &pack).blocks[0];
        let sealed = &pack[row.offset as usize..][..row.stored as usize];
        let mut opener = BlockOpener::new(suite(cipher)).unwrap();
        let [first, second] = bases();
        let mut opens = |prefix: &[u8], sealed: &[u8]| {
            let mut plain = Vec::new();
            let opened =
                opener.open_delta(&row.seal((0, ChunkType::Data)), &mut sealed.to_vec(), prefix, &mut plain);
            opened.is_ok_and(|()| plain == changed())
        };
        assert!(opens(&[&first[..], &second].concat(), sealed), "{folder}");
        assert!(!opens(&[&second[..], &first].concat(), sealed), "{folder}: another order");
        assert!(!opens(&first, sealed), "{folder}: one lacks");
        assert!(!opens(&[], sealed), "{folder}: none");
        let prefix = [&first[..], &second].concat();
        for (bit, bad) in flips(sealed) {
            assert!(!opens(&prefix, &bad), "{folder}: bit {bit}");
        }
        let mut plain = Vec::new();
        let alone = opener.open(&row.seal((0, ChunkType::Data)), &mut sealed.to_vec(), &mut plain);
        assert!(alone.is_err(), "{folder}: a delta by itself");
    }
}
