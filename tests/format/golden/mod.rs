//! Bytes that must mean the same forever. Every file under `fixtures/format-1/records/` was made with the
//! keys below; what contains no random bytes is also given as hex next to its value.
//!
//! To create a new file, name it in a test and run with `SNAP_MAKE_GOLDEN=1`. An existing file is never
//! overwritten.
#![allow(clippy::unwrap_used)]

mod clients;
mod deltas;
mod ids;
mod locks;
mod packs;
mod parity;
mod records;
mod segments;
mod trees;

use std::fs;
use std::io::Write;
use std::path::Path;

use snap_backup::codec::crypto::hash::{ChunkHasher, Key, SubKeys};
use snap_backup::codec::crypto::suite::CipherSuite;
use snap_backup::model::config::CipherKind;
use snap_backup::model::id::RepoId;

const MASTER: [u8; 32] = [1; 32];
const REPO: RepoId = RepoId::new([2; 16]);
/// Each golden file exists once per cipher, in a folder for each.
const CIPHERS: [(&str, CipherKind); 2] = [("open", CipherKind::None), ("sealed", CipherKind::Xaes256Gcm)];

fn keys() -> SubKeys {
    SubKeys::derive(&Key::new(MASTER), &REPO)
}

fn suite(kind: CipherKind) -> CipherSuite {
    CipherSuite::new(kind, REPO, &keys())
}

fn hasher() -> ChunkHasher {
    ChunkHasher::new(&keys().id)
}

/// A file under `fixtures/format-1/records/`.
fn golden(folder: &str, file: &str, make: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/format-1/records").join(folder).join(file);
    if std::env::var_os("SNAP_MAKE_GOLDEN").is_some() && !path.exists() {
        let bytes = make();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::File::create_new(&path).unwrap().write_all(&bytes).unwrap();
    }
    fs::read(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

/// All copies with one bit flipped, each with the bit's number.
fn flips(bytes: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    (0..bytes.len() * 8).map(|bit| {
        let mut bad = bytes.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        (bit, bad)
    })
}
