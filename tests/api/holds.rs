//! Whether a file on disk equals a stored one: its content, its holes, and its end.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use snap_backup::Error;
use snap_backup::codec::crypto::hash::ChunkType;
use snap_backup::model::entry::{Content, ContentPart};
use snap_backup::repo::index::Index;
use snap_backup::repo::options::InitOptions;
use snap_backup::repo::read::chunk_reader::ChunkReader;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::walk::compare_file::matches;
use snap_backup::storage::memory::MemoryStorage;

#[test]
fn a_file_is_what_is_stored_to_its_last_byte_and_in_its_holes() {
    let repo = Repository::init(Arc::new(MemoryStorage::default()), &InitOptions::default()).unwrap();
    let chunk = |bytes: &[u8]| ContentPart::Chunk {
        id: repo.hasher().id_of(ChunkType::Data, bytes),
        len: u32::try_from(bytes.len()).unwrap(),
    };
    // A hole that is longer than one read, between two chunks.
    let hole = 300 << 10;
    let content = Content::Parts(vec![chunk(b"front"), ContentPart::Hole { len: hole }, chunk(b"back")]);
    let zeros = vec![0u8; usize::try_from(hole).unwrap()];
    let right = [b"front".as_slice(), &zeros, b"back"].concat();
    let with = |at: usize, byte: u8| {
        let mut bytes = right.clone();
        bytes[at] = byte;
        bytes
    };
    let last_of_hole = right.len() - 5;
    let cases = [
        ("the same", right.clone(), true),
        ("another byte in a chunk", with(2, b'!'), false),
        ("a byte at the beginning of the hole", with(5, 1), false),
        ("a byte at the end of the hole", with(last_of_hole, 1), false),
        ("another last byte", with(right.len() - 1, b'!'), false),
        ("one byte less", right[..right.len() - 1].to_vec(), false),
        ("one byte more", [right.as_slice(), b"!"].concat(), false),
        ("one zero more", [right.as_slice(), &[0]].concat(), false),
        ("an end in the hole", right[..1000].to_vec(), false),
        ("nothing", Vec::new(), false),
    ];
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("f");
    for (what, bytes, is) in cases {
        std::fs::write(&path, bytes).unwrap();
        let mut reader = ChunkReader::new(&repo, Arc::new(Index::default())).unwrap();
        let mut file = File::open(&path).unwrap();
        let size = right.len() as u64;
        let stop = AtomicBool::new(false);
        let found = matches(repo.hasher(), &mut reader, (&mut file, &path), size, &content, &|| {
            stop.load(Ordering::Relaxed)
        });
        assert_eq!(found.unwrap(), is, "{what}");
    }
}

#[test]
fn a_comparison_of_one_large_file_ends_when_it_is_asked_to() {
    let repo = Repository::init(Arc::new(MemoryStorage::default()), &InitOptions::default()).unwrap();
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("f");
    let size = 1 << 40;
    File::create(&path).unwrap().set_len(size).unwrap();
    let content = Content::Parts(vec![ContentPart::Hole { len: size }]);
    let mut reader = ChunkReader::new(&repo, Arc::new(Index::default())).unwrap();
    let mut file = File::open(&path).unwrap();
    // The flag is checked before the part, and then within it.
    let looks = Cell::new(0);
    let stop = || {
        looks.set(looks.get() + 1);
        looks.get() > 2
    };
    let found = matches(repo.hasher(), &mut reader, (&mut file, &path), size, &content, &stop);
    assert!(matches!(found, Err(Error::Interrupted)), "{found:?}");
    assert!(looks.get() < 10, "{} looks", looks.get());
}
