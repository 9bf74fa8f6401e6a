//! A length in untrusted data must not cause an allocation of that size. This test has a binary of its own,
//! because it measures the whole process.
#![allow(clippy::unwrap_used)]

use std::fs;

use serde_bytes::ByteBuf;
use snap_backup::codec::crypto::hash::{ChunkHasher, Key};
use snap_backup::codec::crypto::key_slot;
use snap_backup::codec::pack::Table;
use snap_backup::codec::tree::dir::{DirBuilder, DirPiece};
use snap_backup::codec::tree::part_list::ListPiece;
use snap_backup::codec::wire;
use snap_backup::model::entry::{Content, ContentPart, Entry, Kind, Meta, Time};
use snap_backup::model::id::{ChunkId, PackId, SnapshotId};
use snap_backup::model::manifest::{Counts, Manifest, SnapshotKind};
use snap_backup::model::records::GcRecord;

/// Elements of at least 16 bytes: each of these lengths would take a gigabyte, or more memory than exists.
const LENGTHS: [u64; 4] = [1 << 26, u32::MAX as u64, 1 << 60, u64::MAX];

/// The peak address space of this process, in KiB. It grows even if memory is allocated and not used.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Returns the bytes with a length inserted at each position in turn.
fn claiming(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len()).flat_map(move |at| {
        let claim = |length| [&bytes[..at], &wire::encode(&length).unwrap(), &bytes[at + 1..]].concat();
        LENGTHS.map(claim)
    })
}

#[test]
fn decoders_allocate_nothing_for_missing_data() {
    let before = peak();
    for piece in claiming(&leaf()) {
        let _ = DirPiece::decode(&piece);
        let _ = ListPiece::decode(&[&[3], &piece[1..]].concat());
        let _ = ListPiece::decode(&[&[4], &piece[1..]].concat());
        let _ = DirPiece::decode(&[&[2], &piece[1..]].concat());
    }
    for body in claiming(&wire::encode(&manifest()).unwrap()) {
        let _ = wire::decode::<Manifest>(&body);
    }
    for body in claiming(&wire::encode(&gc_run()).unwrap()) {
        let _ = wire::decode::<GcRecord>(&body);
    }
    let row = (100u32, 5u32, 0u8, vec![(ChunkId::new([4; 32]), 5u32)]);
    for body in claiming(&wire::encode(&(1u8, SnapshotId::new([1; 16]), 0u32, 64u32, vec![row])).unwrap()) {
        let _ = Table::from_cached(&body);
    }
    assert!(key_slot::open(&greedy_slot(), b"password").is_err());
    let taken = peak() - before;
    assert!(taken < 256 << 10, "{taken} KiB were taken");
}

fn leaf() -> Vec<u8> {
    let hasher = ChunkHasher::new(&Key::new([1; 32]));
    let content = Content::Parts(vec![ContentPart::Chunk { id: ChunkId::new([4; 32]), len: 5 }]);
    let meta = Meta { user: Some("ada".into()), extra: vec![(2, b"x".to_vec())], ..Meta::default() };
    let entry = Entry { name: b"a".to_vec(), kind: Kind::File { size: 5, content }, meta };
    let mut piece = Vec::new();
    let mut put = |bytes: &[u8]| {
        piece = bytes.to_vec();
        Ok(ChunkId::new([0; 32]))
    };
    let mut builder = DirBuilder::default();
    builder.push(&entry, &hasher, &mut put).unwrap();
    builder.finish(&mut put).unwrap();
    piece
}

fn manifest() -> Manifest {
    Manifest {
        kind: SnapshotKind::Full,
        parent: None,
        based_on: None,
        started: Time::default(),
        ended: Time::default(),
        host: "attic".into(),
        user: "ada".into(),
        sources: vec![ByteBuf::from("/etc")],
        tags: vec!["nightly".into()],
        root: ChunkId::new([4; 32]),
        counts: Counts::default(),
        partial: false,
        program: "snap".into(),
        extra: vec![(2, ByteBuf::from("later"))],
    }
}

fn gc_run() -> GcRecord {
    let by = SnapshotId::new([1; 16]);
    let condemned = vec![PackId::new([5; 32])];
    GcRecord { by, at: Time::default(), condemned, roots: vec![by], purged: vec![(by, by)] }
}

/// Requests slightly more than 2 GiB, which is more than is ever granted.
fn greedy_slot() -> Vec<u8> {
    let mut slot = b"SNAPKY\x01\0\x01\0\0\0".to_vec();
    slot.extend([(2u32 << 20) + 8, 1, 1].map(u32::to_le_bytes).concat());
    slot.resize(400, 0);
    slot
}
