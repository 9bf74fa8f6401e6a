//! A pack of two blocks, one raw and one compressed: its ends, both tables, its blocks.

use snap_backup::codec::chunk::block::{BlockOpener, BlockSealer, SealedBlock};
use snap_backup::codec::chunk::compress::Codec;
use snap_backup::codec::crypto::hash::{ChunkType, sha256};
use snap_backup::codec::pack;
use snap_backup::codec::pack::base::BaseNamer;
use snap_backup::codec::pack::{BlockRow, PREAMBLE_LEN, PackHeader, Table};
use snap_backup::model::config::CipherKind;
use snap_backup::model::id::{ChunkId, SnapshotId, hex};

use super::{CIPHERS, REPO, flips, golden, hasher, suite};

const SESSION: SnapshotId = SnapshotId::new([0xa1; 16]);

/// Plain chunks of the two blocks.
fn chunks() -> [Vec<Vec<u8>>; 2] {
    [vec![b"hello".to_vec(), b"world!".to_vec()], vec![vec![b'x'; 300]]]
}

fn named(plain: &[u8]) -> (ChunkId, u32) {
    (hasher().id_of(ChunkType::Data, plain), u32::try_from(plain.len()).unwrap())
}

fn make(cipher: CipherKind) -> Vec<u8> {
    let mut sealer = BlockSealer::new(suite(cipher), 3).unwrap();
    let blocks = chunks().map(|chunks| {
        let named = chunks.iter().map(|plain| named(plain)).collect();
        sealer.seal(ChunkType::Data, &chunks.concat(), named).unwrap()
    });
    framed(cipher, &blocks)
}

fn framed(cipher: CipherKind, blocks: &[SealedBlock; 2]) -> Vec<u8> {
    let frame = pack::frame(&suite(cipher), ChunkType::Data, SESSION, blocks).unwrap();
    [frame.head, blocks[0].sealed.clone(), blocks[1].sealed.clone(), frame.tail].concat()
}

/// Puts the stored blocks into a new pack frame.
fn framed_today(cipher: CipherKind, pack: &[u8]) -> Vec<u8> {
    let blocks = table(cipher).blocks.into_iter().map(|row| SealedBlock {
        kind: ChunkType::Data,
        codec: row.codec,
        plain: row.plain,
        chunks: row.chunks,
        bases: Vec::new(),
        sealed: pack[row.offset as usize..][..row.stored as usize].to_vec(),
    });
    framed(cipher, blocks.collect::<Vec<_>>().first_chunk().unwrap())
}

pub(crate) fn stored(folder: &str, cipher: CipherKind) -> Vec<u8> {
    golden(folder, "pack", || make(cipher))
}

/// Stored bytes of the two blocks.
const BLOCKS: [usize; 2] = [51, 59];

/// Stored bytes of a table, which is signed if there is encryption.
pub(crate) fn table_len(cipher: CipherKind) -> usize {
    150 + suite(cipher).signature_len()
}

/// Stored bytes of the whole file.
fn length(cipher: CipherKind) -> usize {
    2 * (PREAMBLE_LEN + table_len(cipher)) + BLOCKS[0] + BLOCKS[1]
}

pub(crate) fn table(cipher: CipherKind) -> Table {
    let [first, second] = chunks().map(|chunks| chunks.iter().map(|plain| named(plain)).collect());
    let start = (PREAMBLE_LEN + table_len(cipher)) as u32;
    let blocks = vec![
        BlockRow {
            offset: start,
            stored: BLOCKS[0] as u32,
            plain: 11,
            codec: Codec::Raw,
            chunks: first,
            bases: Vec::new(),
        },
        BlockRow {
            offset: start + BLOCKS[0] as u32,
            stored: BLOCKS[1] as u32,
            plain: 300,
            codec: Codec::Zstd,
            chunks: second,
            bases: Vec::new(),
        },
    ];
    Table { kind: ChunkType::Data, session: SESSION, epoch: 0, by: None, own: None, blocks }
}

fn ends(cipher: CipherKind, bytes: &[u8]) -> PackHeader {
    PackHeader::parse(bytes.first_chunk().unwrap(), length(cipher) as u64).unwrap()
}

#[test]
fn both_ends_and_both_tables_say_the_same() {
    for (folder, cipher) in CIPHERS {
        let pack = stored(folder, cipher);
        let (all, table_len) = (length(cipher), table_len(cipher));
        assert_eq!(pack.len(), all, "{folder}");
        let (head, tail) = (&pack[..PREAMBLE_LEN], &pack[all - PREAMBLE_LEN..]);
        assert_eq!(head[..6], *b"SNAPPK");
        assert_eq!(tail[..6], *b"SNAPPE");
        assert_eq!(head[6..], tail[6..]);
        assert_eq!(ends(cipher, head), ends(cipher, tail));
        let (first, second) = (
            &pack[PREAMBLE_LEN..PREAMBLE_LEN + table_len],
            &pack[all - PREAMBLE_LEN - table_len..all - PREAMBLE_LEN],
        );
        assert_eq!(first, second);
        assert_eq!(
            ends(cipher, head).open_table(&suite(cipher), first.to_vec()).unwrap(),
            table(cipher),
            "{folder}"
        );
    }
    assert_eq!(
        hex(&sha256(&stored("open", CipherKind::None))),
        "77b035a9c99f60cfb443349af72820d0121301a7ed42df545d2698e8fdb3d934"
    );
    assert_eq!(
        hex(&sha256(&stored("sealed", CipherKind::Xaes256Gcm))),
        "42cd1925b6605a1fdbdd6b35b4d7dca21b885e85477102dd93c885ee4fbb845b"
    );
}

#[test]
fn preamble_fields_and_table_bytes_have_not_moved() {
    let packs = CIPHERS.map(|(folder, cipher)| (cipher, stored(folder, cipher)));
    let today = packs.clone().map(|(cipher, pack)| (cipher, framed_today(cipher, &pack)));
    for (cipher, pack) in packs.into_iter().chain(today) {
        let code = u8::from(cipher != CipherKind::None);
        let table_len = table_len(cipher) as u8;
        let lengths = [code, 0, 0, 110, 0, 0, 0, table_len, 0, 0, 0, 110];
        let clear = [&b"SNAPPK\x01\0\x01"[..], &lengths, &[0; 11], &[0xa1; 16]];
        assert_eq!(pack[..48], clear.concat());
        let aad = [&b"table"[..], REPO.as_bytes(), &pack[..PREAMBLE_LEN]].concat();
        let mut sealed = pack[PREAMBLE_LEN..PREAMBLE_LEN + usize::from(table_len)].to_vec();
        let suite = suite(cipher);
        let plain = suite.shared().open(&aad, &mut sealed).unwrap();
        let plain = suite.verified(0, &aad, plain).unwrap();
        assert_eq!(
            hex(plain),
            "02330b0002a977463098b17cdf527a88b8ad942876211b95e627b7418e20abc1243bdd4e8005d7e055a55715c5b4be74\
            c19f1cc1c93ccceb636544bbecbcfd2aa805e77cb910063bac02010129da705768e824594875fc6bf7e2ee725656a515\
            ffd093404b101e1cb96f4203ac02"
        );
    }
}

#[test]
fn blocks_open_to_the_chunks_that_the_table_names() {
    for (folder, cipher) in CIPHERS {
        let pack = stored(folder, cipher);
        let mut opener = BlockOpener::new(suite(cipher)).unwrap();
        for (row, chunks) in table(cipher).blocks.iter().zip(chunks()) {
            let mut sealed = pack[row.offset as usize..][..row.stored as usize].to_vec();
            let mut plain = Vec::new();
            opener.open(&row.seal((0, ChunkType::Data)), &mut sealed, &mut plain).unwrap();
            assert_eq!(plain, chunks.concat(), "{folder}");
        }
    }
}

#[test]
fn a_flipped_bit_in_an_end_or_a_table_is_noticed() {
    for (folder, cipher) in CIPHERS {
        let pack = stored(folder, cipher);
        let opens = |head: &[u8], table: &[u8]| {
            let ends = PackHeader::parse(head.first_chunk().unwrap(), length(cipher) as u64);
            ends.and_then(|ends| ends.open_table(&suite(cipher), table.to_vec())).is_ok()
        };
        let (head, rest) = pack.split_at(PREAMBLE_LEN);
        let (sealed, rest) = rest.split_at(table_len(cipher));
        let tail = &rest[rest.len() - PREAMBLE_LEN..];
        assert!(opens(head, sealed) && opens(tail, sealed));
        for end in [head, tail] {
            for (bit, bad) in flips(end) {
                assert!(!opens(&bad, sealed), "{folder}: bit {bit} of an end");
            }
        }
        for (bit, bad) in flips(sealed) {
            assert!(!opens(head, &bad), "{folder}: bit {bit} of the table");
        }
    }
}

#[test]
fn block_is_bound_to_its_place_type_codec_and_length() {
    for (folder, cipher) in CIPHERS {
        let pack = stored(folder, cipher);
        let mut opener = BlockOpener::new(suite(cipher)).unwrap();
        let mut opens = |kind, row: &BlockRow, sealed: &[u8]| {
            opener.open(&row.seal((0, kind)), &mut sealed.to_vec(), &mut Vec::new()).is_ok()
        };
        for row in table(cipher).blocks {
            let sealed = &pack[row.offset as usize..][..row.stored as usize];
            let other = if row.codec == Codec::Raw { Codec::Zstd } else { Codec::Raw };
            assert!(opens(ChunkType::Data, &row, sealed));
            assert!(!opens(ChunkType::Tree, &row, sealed), "{folder}: as a tree");
            let other = BlockRow { codec: other, ..row.clone() };
            assert!(!opens(ChunkType::Data, &other, sealed), "{folder}: as {:?}", other.codec);
            let longer = BlockRow { plain: row.plain + 1, ..row.clone() };
            assert!(!opens(ChunkType::Data, &longer, sealed), "{folder}: longer");
            let mut chunks = row.chunks.clone();
            chunks[0].0 = ChunkId::new([7; 32]);
            let of_others = BlockRow { chunks, ..row.clone() };
            assert!(!opens(ChunkType::Data, &of_others, sealed), "{folder}: for a row of other chunks");
            let mut chunks = row.chunks.clone();
            chunks.reverse();
            chunks[0].1 += 1;
            let reordered = BlockRow { chunks, ..row.clone() };
            assert!(!opens(ChunkType::Data, &reordered, sealed), "{folder}: for a row of another order");
            let made_from =
                BlockRow { bases: vec![BaseNamer::of(&row.chunks).name(&row.chunks[0])], ..row.clone() };
            assert!(!opens(ChunkType::Data, &made_from, sealed), "{folder}: for a row with a base");
            for (bit, bad) in flips(sealed) {
                assert!(!opens(ChunkType::Data, &row, &bad), "{folder}: bit {bit}");
            }
        }
    }
}

/// A block is bound to its row, in whatever pack: gc moves both without sealing the block again.
#[test]
fn a_block_opens_in_another_pack_under_the_same_row() {
    for (folder, cipher) in CIPHERS {
        let (first, mut second) = (stored(folder, cipher), framed_today(cipher, &stored(folder, cipher)));
        assert_ne!(first, second, "each pack has random bytes");
        let row = &table(cipher).blocks[1];
        let sealed = &mut second[row.offset as usize..][..row.stored as usize];
        let mut plain = Vec::new();
        let mut opener = BlockOpener::new(suite(cipher)).unwrap();
        opener.open(&row.seal((0, ChunkType::Data)), sealed, &mut plain).unwrap();
        assert_eq!(plain, chunks()[1].concat(), "{folder}");
    }
}
