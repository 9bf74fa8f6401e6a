//! Directories and lists: values roundtrip in pieces of bounded size, and only valid values are decoded.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any};
use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assert_eq, proptest};
use snap_backup::codec::crypto::hash::ChunkType;
use snap_backup::codec::tree::dir::{DirBuilder, DirPiece};
use snap_backup::codec::tree::part_list::{ListBuilder, ListPiece, MAX_INLINE};
use snap_backup::model::entry::{
    Content, ContentPart, Entry, Kind, Meta, Xattr, XattrValue, check_name, check_xattrs, flags,
};
use snap_backup::model::id::ChunkId;

use super::{flipped, hasher, values};

type Pieces = HashMap<ChunkId, Vec<u8>>;

fn put(pieces: &mut Pieces, bytes: &[u8]) -> ChunkId {
    let id = hasher().id_of(ChunkType::Tree, bytes);
    pieces.insert(id, bytes.to_vec());
    id
}

fn directory(entries: &[Entry]) -> (ChunkId, Pieces) {
    let mut pieces = Pieces::new();
    let mut builder = DirBuilder::default();
    for entry in entries {
        builder.push(entry, &hasher(), &mut |bytes| Ok(put(&mut pieces, bytes))).unwrap();
    }
    let root = builder.finish(&mut |bytes| Ok(put(&mut pieces, bytes))).unwrap();
    (root, pieces)
}

/// Returns all entries below a piece; an index must describe its children correctly.
fn entries(root: &ChunkId, pieces: &Pieces) -> Result<Vec<Entry>, TestCaseError> {
    match DirPiece::decode(&pieces[root]).unwrap() {
        DirPiece::Leaf(entries) => Ok(entries),
        DirPiece::Index(kids) => {
            let mut all = Vec::new();
            for kid in kids {
                let below = entries(&kid.id, pieces)?;
                prop_assert_eq!(&below[0].name[..], &kid.first[..]);
                prop_assert_eq!(below.len() as u64, kid.entries);
                all.extend(below);
            }
            Ok(all)
        }
    }
}

fn list(parts: &[ContentPart]) -> (Content, Pieces) {
    let mut pieces = Pieces::new();
    let mut builder = ListBuilder::default();
    for part in parts {
        builder.push(*part, &mut |bytes| Ok(put(&mut pieces, bytes))).unwrap();
    }
    let content = builder.finish(&mut |bytes| Ok(put(&mut pieces, bytes))).unwrap();
    (content, pieces)
}

fn parts_below(root: &ChunkId, pieces: &Pieces) -> Result<Vec<ContentPart>, TestCaseError> {
    match ListPiece::decode(&pieces[root]).unwrap() {
        ListPiece::Leaf(parts) => Ok(parts),
        ListPiece::Index(kids) => {
            let mut all = Vec::new();
            for kid in kids {
                let below = parts_below(&kid.id, pieces)?;
                prop_assert_eq!(below.iter().map(ContentPart::len).sum::<u64>(), kid.len);
                all.extend(below);
            }
            Ok(all)
        }
    }
}

/// A leaf depends only on its own entries, not on those before it.
fn leaves_stand_alone(pieces: &Pieces) -> bool {
    pieces.iter().all(|(id, piece)| match DirPiece::decode(piece).unwrap() {
        DirPiece::Leaf(entries) => directory(&entries).0 == *id,
        DirPiece::Index(_) => true,
    })
}

/// What a caller may rely on, wherever the piece came from.
fn is_sound(entries: &[Entry]) -> bool {
    let each = entries.iter().all(|entry| {
        let content = match &entry.kind {
            Kind::File { size, content: Content::Parts(parts) } => {
                let lens = parts.iter().map(|part| u128::from(part.len()));
                lens.clone().all(|len| len > 0) && lens.sum::<u128>() == u128::from(*size)
            }
            _ => true,
        };
        let meta = &entry.meta;
        let times = [meta.mtime, meta.ctime].iter().all(|time| time.nanos < 1_000_000_000);
        let known = meta.flags & !flags::KNOWN == 0 && meta.extra.iter().all(|(tag, _)| tag % 2 == 0);
        let born = meta.born.is_none_or(|born| born.nanos < 1_000_000_000);
        let late = born && check_xattrs(&meta.xattrs).is_ok();
        content && times && late && known && meta.mode <= 0o7777 && check_name(&entry.name).is_ok()
    });
    each && entries.is_sorted_by(|a, b| a.name < b.name)
}

/// 256 KiB, the tag, the names of owners, and the longest record here.
const LARGEST: usize = (256 << 10) + (16 << 10);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_directory_comes_back_from_its_pieces(original in values::directories(300, 4000)) {
        let (root, pieces) = directory(&original);
        prop_assert!(entries(&root, &pieces)? == original);
        prop_assert!(pieces.values().all(|piece| piece.len() < LARGEST));
        prop_assert_eq!(directory(&original).0, root);
        prop_assert!(leaves_stand_alone(&pieces));
    }

    #[test]
    fn a_list_comes_back_from_its_pieces(original in vec(values::parts(), 0..4000)) {
        let (content, pieces) = list(&original);
        match &content {
            Content::Parts(parts) => prop_assert!(*parts == original && original.len() <= MAX_INLINE),
            Content::List(root) => {
                prop_assert!(original.len() > MAX_INLINE);
                prop_assert!(parts_below(root, &pieces)? == original);
            }
        }
        prop_assert!(pieces.values().all(|piece| piece.len() < LARGEST));
        prop_assert_eq!(list(&original).0, content);
    }

    #[test]
    fn a_cut_piece_is_refused_and_a_flipped_one_is_refused_or_sound(original in values::directories(12, 20)) {
        let (root, pieces) = directory(&original);
        let piece = &pieces[&root];
        for len in 0..piece.len() {
            prop_assert!(DirPiece::decode(&piece[..len]).is_err(), "cut to {} bytes", len);
        }
        for bit in 0..piece.len() * 8 {
            if let Ok(DirPiece::Leaf(found)) = DirPiece::decode(&flipped(piece, bit)) {
                prop_assert!(is_sound(&found), "bit {} gives {:?}", bit, found);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_piece_or_a_sound_one(tag in 0..6u8, rest in vec(any::<u8>(), 0..300)) {
        let piece = [&[tag], &rest[..]].concat();
        match DirPiece::decode(&piece) {
            Ok(DirPiece::Leaf(found)) => prop_assert!(is_sound(&found), "{:?}", found),
            Ok(DirPiece::Index(kids)) => prop_assert!(kids.is_sorted_by(|a, b| a.first < b.first)),
            Err(_) => {}
        }
        prop_assert!(DirPiece::decode(&piece).is_err() || ListPiece::decode(&piece).is_err());
    }
}

/// The bytes of an entry without owners, times or anything else.
fn entry(name: &[u8], kind: &[u8], mode: &[u8], flags: u8) -> Vec<u8> {
    let name = [&[u8::try_from(name.len()).unwrap()], name].concat();
    [&name, kind, mode, &[0, 0, 0, 0, 0, 0, 0, 0, 0, flags, 0]].concat()
}

fn accepts(entries: &[Vec<u8>]) -> bool {
    let piece = [&[1, 0, u8::try_from(entries.len()).unwrap()], &entries.concat()[..]].concat();
    DirPiece::decode(&piece).is_ok()
}

#[test]
fn entries_that_no_directory_has_are_refused() {
    assert!(accepts(&[entry(b"a", &[4], &[0], 0)]));
    for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0"] {
        assert!(!accepts(&[entry(name, &[4], &[0], 0)]), "{name:?}");
    }
    // Names may have 1024 bytes; here the length takes two.
    let long = |len: usize| {
        let len_bytes = [0x80 | (len & 0x7f) as u8, (len >> 7) as u8];
        accepts(&[[&len_bytes[..], &vec![b'n'; len], &entry(b"", &[4], &[0], 0)[1..]].concat()])
    };
    assert!(long(765) && long(1024) && !long(1025));
    assert!(!accepts(&[entry(b"a", &[8], &[0], 0)]), "an unknown kind");
    assert!(!accepts(&[entry(b"a", &[4], &[0x80, 0x20], 0)]), "mode 010000");
    assert!(!accepts(&[entry(b"a", &[4], &[0], 4)]), "an unknown flag");
}

/// An entry with one row of extras.
fn with_extra(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut all = entry(b"a", &[4], &[0], 0);
    *all.last_mut().unwrap() = 1;
    [&all[..], &[tag], &[u8::try_from(body.len()).unwrap()], body].concat()
}

#[test]
fn attributes_that_no_file_has_are_refused() {
    let one = |name: &[u8], value: &[u8]| {
        [&[1, u8::try_from(name.len()).unwrap()], name, &[0, u8::try_from(value.len()).unwrap()], value]
            .concat()
    };
    assert!(accepts(&[with_extra(1, &one(b"user.a", b"v"))]));
    assert!(!accepts(&[with_extra(1, &one(b"", b"v"))]), "no name");
    assert!(!accepts(&[with_extra(1, &one(b"a\0", b"v"))]), "a NUL");
    assert!(!accepts(&[with_extra(1, &[&one(b"a", b"v")[..], &[0]].concat())]), "bytes left over");
    assert!(!accepts(&[with_extra(1, &[2, 1, b'b', 0, 0, 1, b'a', 0, 0])]), "out of order");
    assert!(!accepts(&[with_extra(1, &[2, 1, b'a', 0, 0, 1, b'a', 0, 0])]), "twice");
    assert!(accepts(&[with_extra(1, &[1, 1, b'a', 1, 5, 1, 1, 5])]), "5 bytes in one hole");
    assert!(!accepts(&[with_extra(1, &[1, 1, b'a', 1, 5, 1, 1, 4])]), "parts that are not the size");
    let large = [&[1, 1, b'a', 2, 0x81, 0x80, 4][..], &[7; 32]].concat();
    assert!(accepts(&[with_extra(1, &large)]), "a list of more than 64 KiB");
    let inline = |len: usize| {
        let meta = Meta {
            xattrs: vec![Xattr { name: b"a".to_vec(), value: XattrValue::Inline(vec![0; len]) }],
            ..Meta::default()
        };
        check_xattrs(&meta.xattrs).is_ok()
    };
    assert!(inline(64 << 10) && !inline((64 << 10) + 1), "64 KiB and 1 in the entry");
    assert!(accepts(&[with_extra(4, &[1, 5])]));
    assert!(!accepts(&[with_extra(4, &[1, 0x80, 0x94, 0xeb, 0xdc, 3])]), "a second of nanoseconds");
    assert!(accepts(&[with_extra(6, &[0x10])]));
    assert!(!accepts(&[with_extra(3, &[])]), "an odd tag that nobody knows");
    assert!(accepts(&[with_extra(8, &[1, 2, 3])]), "an even one");
    let twice = [&with_extra(6, &[0x10])[..], &[6, 1, 0x10]].concat();
    let at = twice.len() - 7;
    assert_eq!(twice[at], 1);
    let twice = [&twice[..at], &[2], &twice[at + 1..]].concat();
    assert!(!accepts(&[twice]), "flags twice");
    let swapped = [&with_extra(8, &[1])[..], &[6, 1, 0x10]].concat();
    let at = swapped.len() - 7;
    assert_eq!(swapped[at], 1);
    let swapped = [&swapped[..at], &[2], &swapped[at + 1..]].concat();
    assert!(!accepts(&[swapped]), "tags that descend");
}

#[test]
fn entries_out_of_order_are_refused() {
    let named = |name| entry(name, &[4], &[0], 0);
    assert!(accepts(&[named(b"a"), named(b"ab"), named(b"b")]));
    assert!(!accepts(&[named(b"b"), named(b"a")]));
    assert!(!accepts(&[named(b"a"), named(b"a")]));
    let index = |first: u8, second: u8| {
        let kid = |name| [&[1, name][..], &[7; 32], &[1]].concat();
        DirPiece::decode(&[&[2, 2], &kid(first)[..], &kid(second)].concat())
    };
    assert!(index(b'a', b'b').is_ok());
    assert!(index(b'b', b'a').is_err());
    assert!(index(b'a', b'a').is_err());
    assert!(DirPiece::decode(&[2, 0]).is_err(), "an index of nothing");
}

#[test]
fn files_whose_parts_do_not_add_up_to_their_size_are_refused() {
    // Kind 0, a size, and holes (1, length).
    assert!(accepts(&[entry(b"a", &[0, 5, 2, 1, 4, 1, 1], &[0], 0)]));
    assert!(!accepts(&[entry(b"a", &[0, 5, 1, 1, 4], &[0], 0)]), "4 bytes in a file of 5");
    let far = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    let wrapping = [&[0, 1, 2, 1][..], &far, &[1, 2]].concat();
    assert!(!accepts(&[entry(b"a", &wrapping, &[0], 0)]), "lengths beyond 2^64");
    assert!(accepts(&[entry(b"a", &[0, 0, 0], &[0], 0)]), "an empty file");
    assert!(!accepts(&[entry(b"a", &[0, 0, 1, 1, 0], &[0], 0)]), "a hole of no bytes");
    // Kind 0, and chunks (0, id, length): 16 MiB is the maximum.
    let chunk = |len: &[u8]| [&[0][..], len, &[1, 0], &[7; 32], len].concat();
    assert!(accepts(&[entry(b"a", &chunk(&[0x80, 0x80, 0x80, 8]), &[0], 0)]));
    assert!(!accepts(&[entry(b"a", &chunk(&[0x81, 0x80, 0x80, 8]), &[0], 0)]), "a chunk too long");
    assert!(!accepts(&[entry(b"a", &chunk(&[0]), &[0], 0)]), "a chunk of no bytes");
}

#[test]
fn list_pieces_without_records_or_valid_parts_are_refused() {
    let leaf = |part: &[u8]| ListPiece::decode(&[&[3, 1], part].concat());
    assert!(leaf(&[1, 5]).is_ok());
    assert!(ListPiece::decode(&[3, 0]).is_err(), "a leaf without parts");
    assert!(ListPiece::decode(&[4, 0]).is_err(), "an index of nothing");
    assert!(leaf(&[1, 0]).is_err(), "a hole of no bytes");
    let chunk = |len: &[u8]| leaf(&[&[0][..], &[7; 32], len].concat());
    assert!(chunk(&[0x80, 0x80, 0x80, 8]).is_ok() && chunk(&[0x81, 0x80, 0x80, 8]).is_err());
    assert!(chunk(&[0]).is_err(), "a chunk of no bytes");
}

#[test]
fn unknown_entry_fields_are_not_damage() {
    let why = |entry: Vec<u8>| DirPiece::decode(&[&[1, 0, 1], &entry[..]].concat()).unwrap_err();
    assert!(why(entry(b"a", &[4], &[0], 4)).is_newer(), "a flag");
    assert!(why(with_extra(5, &[1])).is_newer(), "an odd tag");
    assert!(!why(with_extra(3, &[])).is_newer(), "a value that is not what its tag says");
    assert!(!why(entry(b"a", &[4], &[0xff, 0x7f], 0)).is_newer(), "a mode");
}
