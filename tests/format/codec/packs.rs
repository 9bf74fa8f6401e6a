//! Tables of packs: what was written is read, and inconsistent tables are refused even if they are sealed.

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any};
use proptest::{prop_assert, prop_assert_eq, proptest};
use snap_backup::codec::chunk::block::SealedBlock;
use snap_backup::codec::chunk::compress::Codec;
use snap_backup::codec::crypto::hash::{ChunkType, Key};
use snap_backup::codec::crypto::suite::{CipherSuite, EpochKeys};
use snap_backup::codec::pack::base::{BaseNamer, BaseRef};
use snap_backup::codec::pack::padding::{Padding, padded_len};
use snap_backup::codec::pack::{PREAMBLE_LEN, PackHeader, Table};
use snap_backup::codec::{pack, wire};
use snap_backup::model::config::CipherKind;
use snap_backup::model::decode_error::DecodeError;
use snap_backup::model::id::{ChunkId, SnapshotId};

use super::{flipped, suite, values};

fn blocks() -> impl Strategy<Value = Vec<SealedBlock>> {
    let chunks = vec((values::chunk_ids(), 1..1u32 << 20), 1..20);
    let bases = vec((values::chunk_ids(), 0..1u32 << 20), 1..4);
    let block =
        (0..3u8, chunks, bases, vec(any::<u8>(), 0..200)).prop_map(|(codec, chunks, bases, sealed)| {
            let codec = Codec::from_byte(codec).unwrap();
            let hasher = BaseNamer::of(&chunks);
            let bases = bases.iter().filter(|_| codec == Codec::Delta).map(|base| hasher.name(base));
            SealedBlock {
                kind: ChunkType::Data,
                codec,
                plain: chunks.iter().map(|(_, len)| len).sum(),
                bases: bases.collect(),
                chunks,
                sealed,
            }
        });
    vec(block, 0..12)
}

/// Opens the table at an end of a pack of `len` bytes.
fn opened(suite: &CipherSuite, end: &[u8], table: &[u8], len: usize) -> Result<Table, DecodeError> {
    PackHeader::parse(end.first_chunk().unwrap(), len as u64)?.open_table(suite, table.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn framed_pack_is_read_from_either_end_never_with_bit_flips(
        blocks in blocks(),
        session in values::sessions(),
        cipher in values::ciphers(),
        bit in any::<usize>(),
        is_padded in any::<bool>(),
    ) {
        let suite = suite(cipher);
        let padding = if is_padded { Padding::Padded } else { Padding::None };
        let frame = pack::padded_frame(&suite, ChunkType::Data, session, (&blocks, padding)).unwrap();
        let area: usize = blocks.iter().map(|block| block.sealed.len()).sum();
        let len = frame.head.len() + area + frame.tail.len();
        let start = u32::try_from(frame.head.len()).unwrap();
        let (table, _) = Table::of_blocks((ChunkType::Data, 0.into()), session, start, blocks);
        let (head, first) = frame.head.split_at(PREAMBLE_LEN);
        let (second, tail) = frame.tail.split_at(frame.tail.len() - PREAMBLE_LEN);
        let second = &second[second.len() - first.len()..];
        prop_assert!(!is_padded || cipher == CipherKind::None || padded_len(len as u64) == len as u64);
        prop_assert_eq!(opened(&suite, head, first, len), Ok(table.clone()));
        prop_assert_eq!(opened(&suite, tail, second, len), Ok(table.clone()));
        prop_assert!(opened(&suite, &flipped(head, bit), first, len).is_err());
        prop_assert!(opened(&suite, &flipped(tail, bit), second, len).is_err());
        prop_assert!(opened(&suite, head, &flipped(first, bit), len).is_err());
        prop_assert!(opened(&suite, head, &first[..bit % first.len()], len).is_err());
        prop_assert!(opened(&suite, head, first, len + 1).is_err());
        prop_assert_eq!(Table::from_cached(&table.to_cached().unwrap()), Ok(table));
    }
}

type Row = (u32, u32, u8, Vec<(ChunkId, u32)>);

/// A preamble and a table of these bytes, sealed by anybody who can: without encryption that is everybody.
fn sealed_bytes(suite: &CipherSuite, plain: Vec<u8>, area: u64) -> (Vec<u8>, Vec<u8>) {
    let mut head = b"SNAPPK\x01\0\x01\0\0\0".to_vec();
    head.extend(u32::try_from(plain.len()).unwrap().to_le_bytes());
    head.extend(u32::try_from(plain.len() + 40).unwrap().to_le_bytes());
    head.extend(area.to_le_bytes());
    head.resize(PREAMBLE_LEN, 0);
    let mut table = Vec::new();
    let aad = [b"table", &suite.repo.as_bytes()[..], &head].concat();
    suite.shared().seal(&aad, &plain, &mut table).unwrap();
    (head, table)
}

/// Returns whether the table of these rows opens in a pack whose blocks have `area` bytes.
fn accepts(rows: &[Row], area: u64) -> bool {
    accepts_bytes(wire::encode(&rows).unwrap(), area)
}

fn accepts_bytes(plain: Vec<u8>, area: u64) -> bool {
    let suite = suite(CipherKind::None);
    let (head, table) = sealed_bytes(&suite, plain, area);
    let len = 2 * (head.len() + table.len()) as u64 + area;
    opened(&suite, &head, &table, usize::try_from(len).unwrap()).is_ok()
}

#[test]
fn sealed_tables_whose_lengths_do_not_add_up_are_refused() {
    let id = ChunkId::new([3; 32]);
    let good: Vec<Row> = vec![(100, 12, 0, vec![(id, 5), (id, 7)]), (50, 9, 1, vec![(id, 9)])];
    assert!(accepts(&good, 150));
    assert!(!accepts(&good, 149), "blocks beyond the pack's end");
    assert!(!accepts(&good, 151), "a gap behind the blocks");
    assert!(!accepts(&[(100, 13, 0, good[0].3.clone())], 100), "chunks shorter than their block");
    assert!(!accepts(&[(100, 4, 0, vec![(id, u32::MAX), (id, 5)])], 100), "lengths beyond 2^32");
    assert!(!accepts(&[(100, 5, 3, vec![(id, 5)])], 100), "an unknown codec");
    assert!(accepts(&[(100, 5, 0, vec![(id, 5)])], 100));
    assert!(!accepts(&[(100, 0, 0, Vec::new())], 100), "a block without chunks");
    assert!(!accepts(&[(100, 5, 0, vec![(id, 5), (id, 0)])], 100), "a chunk without bytes");
    let short = || vec![(id, 5)];
    assert!(!accepts(&[(u32::MAX, 5, 0, short()), (101, 5, 0, short())], 100), "lengths that wrap");
    assert!(!accepts(&[], (1 << 30) + 1), "a pack beyond all bounds");
}

#[test]
fn sealed_pack_with_a_wrong_header_byte_is_refused() {
    let suite = suite(CipherKind::None);
    let plain = wire::encode(&vec![(100u32, 5u32, 0u8, vec![(ChunkId::new([3; 32]), 5u32)])]).unwrap();
    let opens = |at: usize, byte: u8| {
        let (mut head, _) = sealed_bytes(&suite, plain.clone(), 100);
        head[at] = byte;
        let mut table = Vec::new();
        let aad = [b"table", &suite.repo.as_bytes()[..], &head].concat();
        suite.shared().seal(&aad, &plain, &mut table).unwrap();
        opened(&suite, &head, &table, 2 * (head.len() + table.len()) + 100)
    };
    assert!(opens(9, 0).is_ok());
    // At offset 28 is the epoch, of which there are no keys.
    for at in [9, 28, 29, 30, 31] {
        let why = opens(at, 1).unwrap_err();
        assert!(!why.is_newer(), "byte {at}: {why}");
    }
    assert!(!opens(11, 1).unwrap_err().is_newer(), "keys of a session that are none");
    assert!(opens(11, 2).unwrap_err().is_newer(), "another way of sealing is that of a newer program");
    assert!(!opens(6, 0).unwrap_err().is_newer(), "version 0 is damage");
    assert!(
        opens(6, 2).unwrap_err().is_newer() && opens(7, 1).unwrap_err().is_newer(),
        "a newer pack is not"
    );
}

/// A table of one delta row with these bases.
fn delta(bases: &[(ChunkId, u32)]) -> Vec<u8> {
    let id = ChunkId::new([3; 32]);
    let mut bytes = wire::encode(&vec![(100u32, 12u32, 2u8, vec![(id, 12u32)])]).unwrap();
    let hasher = BaseNamer::of(&[(id, 12)]);
    let bases: Vec<BaseRef> = bases.iter().map(|base| hasher.name(base)).collect();
    bytes.extend(wire::encode(&bases).unwrap());
    bytes
}

#[test]
fn delta_names_its_bases_up_to_the_prefix_limit() {
    let id = |number: u8| ChunkId::new([number; 32]);
    assert!(accepts_bytes(delta(&[(id(1), 5)]), 100));
    assert!(accepts_bytes(delta(&[(id(1), 3 << 20), (id(2), 1 << 20)]), 100));
    assert!(!accepts_bytes(delta(&[(id(1), 3 << 20), (id(2), (1 << 20) + 1)]), 100), "too long a prefix");
    assert!(!accepts_bytes(delta(&[(id(1), u32::MAX), (id(2), 5)]), 100), "lengths that wrap");
    assert!(!accepts_bytes(delta(&[]), 100), "none");
    assert!(!accepts(&[(100, 12, 2, vec![(id(3), 12)])], 100), "a row that ends before them");
    let mut longer = delta(&[(id(1), 5)]);
    longer.push(0);
    assert!(!accepts_bytes(longer, 100), "bytes left over");
}

proptest! {
    #[test]
    fn sealed_tables_of_any_rows_open_only_when_they_add_up(
        rows in vec((0..9u32, 0..9u32, 0..3u8, vec((values::chunk_ids(), 0..5u32), 0..3)), 0..4),
        area in 0..30u64,
    ) {
        let fits = rows.iter().map(|row| u64::from(row.0)).sum::<u64>() == area
            && rows.iter().all(|row| !row.3.is_empty() && row.3.iter().all(|(_, len)| *len > 0))
            && rows.iter().all(|row| row.2 < 2 && row.3.iter().map(|(_, len)| len).sum::<u32>() == row.1);
        prop_assert_eq!(accepts(&rows, area), fits);
    }
}

/// Otherwise a holder of the shared key could claim of any pack that it contains any chunk.
#[test]
fn a_table_that_no_full_key_signed_is_refused() {
    let keys = EpochKeys::full(0, &super::keys()).unwrap();
    let repo = suite(CipherKind::Xaes256Gcm).repo;
    let forger = EpochKeys { signing: Some(Key::new([9; 32])), ..keys };
    let forger = CipherSuite::of_epochs(CipherKind::Xaes256Gcm, repo, std::iter::empty(), forger);
    let frame = pack::frame(&forger, ChunkType::Data, SnapshotId::new([1; 16]), &[]).unwrap();
    let (head, table) = frame.head.split_at(PREAMBLE_LEN);
    let len = frame.head.len() + frame.tail.len();
    assert!(opened(&forger, head, table, len).is_err(), "signed with a key that does not verify");
    let honest = pack::frame(&suite(CipherKind::Xaes256Gcm), ChunkType::Data, SnapshotId::new([1; 16]), &[]);
    let honest = honest.unwrap();
    let (head, table) = honest.head.split_at(PREAMBLE_LEN);
    assert!(opened(&forger, head, table, len).is_ok());
}
