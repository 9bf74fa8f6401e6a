//! Pieces of directories and lists: their bytes, and where long ones are split.

use std::collections::HashMap;

use serde_bytes::ByteBuf;
use snap_backup::Result;
use snap_backup::codec::crypto::hash::ChunkType;
use snap_backup::codec::tree::dir::{DirBuilder, DirChild, DirPiece};
use snap_backup::codec::tree::part_list::{ListBuilder, ListChild, ListPiece};
use snap_backup::model::entry::{
    Content, ContentPart, Entry, Kind, Meta, Time, Xattr, XattrValue, attrs, flags,
};
use snap_backup::model::id::{ChunkId, hex, unhex};

use super::hasher;

/// Stored pieces by id.
#[derive(Default)]
struct Pieces(HashMap<ChunkId, Vec<u8>>);

impl Pieces {
    fn put(&mut self, bytes: &[u8]) -> Result<ChunkId> {
        let id = hasher().id_of(ChunkType::Tree, bytes);
        self.0.insert(id, bytes.to_vec());
        Ok(id)
    }

    fn directory(&mut self, entries: impl IntoIterator<Item = Entry>) -> ChunkId {
        let mut builder = DirBuilder::default();
        let hasher = hasher();
        for entry in entries {
            builder.push(&entry, &hasher, &mut |bytes| self.put(bytes)).unwrap();
        }
        builder.finish(&mut |bytes| self.put(bytes)).unwrap()
    }

    fn list(&mut self, parts: impl IntoIterator<Item = ContentPart>) -> Content {
        let mut builder = ListBuilder::default();
        for part in parts {
            builder.push(part, &mut |bytes| self.put(bytes)).unwrap();
        }
        builder.finish(&mut |bytes| self.put(bytes)).unwrap()
    }
}

fn entry(name: &str, kind: Kind) -> Entry {
    let meta = Meta {
        mode: 0o4755,
        uid: 1000,
        gid: 100,
        user: Some("ada".into()),
        group: Some("users".into()),
        mtime: Time { sec: 1_795_000_000, nanos: 123_456_789 },
        ctime: Time { sec: -1, nanos: 0 },
        ..Meta::default()
    };
    Entry { name: name.into(), kind, meta }
}

fn one_of_each_kind() -> Vec<Entry> {
    let parts =
        vec![ContentPart::Chunk { id: ChunkId::new([0xd4; 32]), len: 200 }, ContentPart::Hole { len: 100 }];
    let mut all = vec![
        entry("a", Kind::File { size: 300, content: Content::Parts(parts) }),
        entry("b", Kind::File { size: 1 << 40, content: Content::List(ChunkId::new([0xe5; 32])) }),
        entry("c", Kind::Dir { tree: ChunkId::new([0xf6; 32]) }),
        entry("d", Kind::Symlink { target: b"to/\xff".to_vec() }),
        entry("e", Kind::Fifo),
        entry("f", Kind::Socket),
        entry("g", Kind::CharDevice { major: 1, minor: 300 }),
        entry("h", Kind::BlockDevice { major: 8, minor: 0 }),
    ];
    all[0].meta = Meta { link: 1 << 63, flags: flags::CHANGED_WHILE_READ, ..all[0].meta.clone() };
    all[1].meta = Meta { user: Some("users".into()), group: None, ..all[1].meta.clone() };
    all[2].meta = Meta {
        flags: flags::ANCESTOR_ONLY,
        mtime: Time::default(),
        ctime: Time::default(),
        ..Meta::default()
    };
    all[3].meta.extra = vec![(2, b"later".to_vec())];
    all
}

#[test]
fn a_leaf_with_an_entry_of_every_kind() {
    let mut pieces = Pieces::default();
    let root = pieces.directory(one_of_each_kind());
    assert_eq!(pieces.0.len(), 1);
    assert_eq!(hex(&pieces.0[&root]), LEAF);
    assert_eq!(root.hex(), "e87d65b435185ed7d07e026cfb9895e83f97f516058ee59f49565375cc67fe05");
    assert_eq!(DirPiece::decode(&unhex(LEAF).unwrap()).unwrap(), DirPiece::Leaf(one_of_each_kind()));
}

const LEAF: &str = "01020361646105757365727308016100ac020200d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4\
    d4d4d4d4c8010164ed13e807640102809becaf0d959aef3a0100808080808080808080010200016201808080808020e5\
    e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5ed13e807640200809becaf0d959aef3a01\
    00000000016302f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6000000000000000000\
    00010001640304746f2fffed13e807640102809becaf0d959aef3a010000000102056c61746572016504ed13e8076401\
    02809becaf0d959aef3a0100000000016605ed13e807640102809becaf0d959aef3a010000000001670601ac02ed13e8\
    07640102809becaf0d959aef3a01000000000168070800ed13e807640102809becaf0d959aef3a0100000000";

/// Extended attributes inline and in chunks, a birth time and inode flags.
#[test]
fn a_leaf_with_an_entry_that_has_everything() {
    let named = |name: &str, value| Xattr { name: name.into(), value };
    let parts = Content::Parts(vec![ContentPart::Chunk { id: ChunkId::new([0xd4; 32]), len: 4000 }]);
    let list = Content::List(ChunkId::new([0xe5; 32]));
    let mut all = entry("a", Kind::Fifo);
    all.meta.xattrs = vec![
        named("user.a", XattrValue::Inline(b"\0value".to_vec())),
        named("user.b", XattrValue::Content { size: 4000, content: parts }),
        named("user.c", XattrValue::Content { size: 65536, content: list }),
    ];
    all.meta.born = Some(Time { sec: -2, nanos: 7 });
    all.meta.attrs = attrs::IMMUTABLE | attrs::NODUMP;
    all.meta.extra = vec![(8, b"later".to_vec())];
    let mut pieces = Pieces::default();
    let root = pieces.directory([all.clone()]);
    assert_eq!(hex(&pieces.0[&root]), RICH);
    assert_eq!(DirPiece::decode(&unhex(RICH).unwrap()).unwrap(), DirPiece::Leaf(vec![all]));
}

const RICH: &str = "01020361646105757365727301016104ed13e807640102809becaf0d959aef3a010000000401690306757365722e\
    6100060076616c756506757365722e6201a01f0100d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d\
    4d4d4d4d4d4a01f06757365722e6302808004e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5\
    e5e5e50402030706015008056c61746572";

/// A bit rot mark is a row of its own. Its tag is even: a program that does not know it sees an ordinary
/// file.
#[test]
fn a_leaf_with_a_file_that_has_rotted() {
    let mut rotten = entry("a", Kind::Fifo);
    rotten.meta.corrupt_since = Some(Time { sec: 1_795_000_000, nanos: 5 });
    let mut pieces = Pieces::default();
    let root = pieces.directory([rotten.clone()]);
    let bytes = hex(&pieces.0[&root]);
    assert!(bytes.ends_with("01120680b8e7cd0c05") || bytes.ends_with("011206809becaf0d05"), "{bytes}");
    assert_eq!(DirPiece::decode(&pieces.0[&root]).unwrap(), DirPiece::Leaf(vec![rotten]));
}

#[test]
fn an_empty_directory_is_a_leaf_without_entries() {
    let mut pieces = Pieces::default();
    let root = pieces.directory(Vec::new());
    assert_eq!(hex(&pieces.0[&root]), "010000");
    assert_eq!(root.hex(), "6b3fbb340efe09885b548ea85e57516a4c247c27ba45b572b9abebaee91669f5");
}

#[test]
fn index_pieces_and_pieces_of_a_list() {
    let id = ChunkId::new([0xd4; 32]);
    let d4 = id.hex();
    let kids = vec![
        DirChild { first: ByteBuf::from("a"), id, entries: 300 },
        DirChild { first: ByteBuf::from("b"), id, entries: 1 },
    ];
    let index = unhex(&format!("02020161{d4}ac020162{d4}01")).unwrap();
    assert_eq!(DirPiece::decode(&index).unwrap(), DirPiece::Index(kids));
    let leaf = unhex(&format!("030200{d4}c80101ac02")).unwrap();
    let parts = vec![ContentPart::Chunk { id, len: 200 }, ContentPart::Hole { len: 300 }];
    assert_eq!(ListPiece::decode(&leaf).unwrap(), ListPiece::Leaf(parts));
    let index = unhex(&format!("0401{d4}ac02")).unwrap();
    assert_eq!(ListPiece::decode(&index).unwrap(), ListPiece::Index(vec![ListChild { id, len: 300 }]));
}

/// The root and the number of pieces: the root's id covers every split position and every index.
#[test]
fn where_a_long_directory_is_split() {
    let mut pieces = Pieces::default();
    let root = pieces.directory((0..4000).map(|number| entry(&format!("{number:04}"), Kind::Fifo)));
    let DirPiece::Index(kids) = DirPiece::decode(&pieces.0[&root]).unwrap() else { panic!("one piece") };
    let found: Vec<(&str, u64)> =
        kids.iter().map(|kid| (std::str::from_utf8(&kid.first).unwrap(), kid.entries)).collect();
    assert_eq!(found, [("0000", 1_280), ("1280", 2_720)]);
    assert_eq!(root.hex(), "95bce4339a2f52b7a28b80c05ff42c7613cd34696cf0f1c4902bcf2f40d6446f");
}

#[test]
fn where_a_directory_so_long_that_its_index_is_split_is_split() {
    let mut pieces = Pieces::default();
    let root = pieces.directory((0..60_000).map(|number| entry(&format!("{number:0255}"), Kind::Fifo)));
    let DirPiece::Index(kids) = DirPiece::decode(&pieces.0[&root]).unwrap() else { panic!("one piece") };
    assert_eq!(kids.iter().map(|kid| kid.entries).collect::<Vec<_>>(), [45_722, 14_278]);
    assert_eq!(root.hex(), "b6d68e11133e42bd66b114922fbd3a3afb6dc81f1ba7f5b223eec8379fd3fbda");
}

fn parts(count: u64) -> impl Iterator<Item = ContentPart> {
    let id = |number: u64| hasher().id_of(ChunkType::Data, &number.to_le_bytes());
    (0..count).map(move |number| match number % 8 {
        7 => ContentPart::Hole { len: number << 12 },
        _ => ContentPart::Chunk { id: id(number), len: 70_000 },
    })
}

#[test]
fn parts_are_in_the_entry_up_to_1024_then_in_a_list() {
    let mut pieces = Pieces::default();
    assert_eq!(pieces.list(parts(1024)), Content::Parts(parts(1024).collect()));
    assert!(pieces.0.is_empty());
    let Content::List(root) = pieces.list(parts(1025)) else { panic!("1025 parts in an entry") };
    assert_eq!(root.hex(), "4d492d9f730696c4f8a0e56a36ef0226d5fe7ad160f2538c657fe8273b20b034");
}

#[test]
fn where_a_long_list_is_split() {
    let mut pieces = Pieces::default();
    let Content::List(root) = pieces.list(parts(12_000)) else { panic!("12000 parts in an entry") };
    let ListPiece::Index(kids) = ListPiece::decode(&pieces.0[&root]).unwrap() else { panic!("one piece") };
    assert_eq!(
        kids.iter().map(|kid| kid.len).collect::<Vec<_>>(),
        [2_243_175_840, 2_413_439_760, 8_210_801_392, 11_768_543_840, 5_768_178_160, 7_213_293_008]
    );
    assert_eq!(root.hex(), "abb856e518dcba233ba6a20028364fe2540641a278fabeb6b730769ac4979d88");
}
