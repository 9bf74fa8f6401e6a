//! Laws of the codecs, tested with random values and bytes.
#![allow(clippy::unwrap_used)]

mod chunks;
mod hostile;
mod packs;
mod parity;
mod slots;
mod trees;
mod values;
mod wires;

use snap_backup::codec::crypto::hash::{ChunkHasher, Key, SubKeys};
use snap_backup::codec::crypto::suite::CipherSuite;
use snap_backup::model::config::CipherKind;
use snap_backup::model::id::RepoId;

fn keys() -> SubKeys {
    SubKeys::derive(&Key::new([1; 32]), &RepoId::new([2; 16]))
}

fn suite(kind: CipherKind) -> CipherSuite {
    CipherSuite::new(kind, RepoId::new([2; 16]), &keys())
}

fn hasher() -> ChunkHasher {
    ChunkHasher::new(&keys().id)
}

/// Returns a copy with one bit flipped; any number selects a bit.
fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bad = bytes.to_vec();
    let bit = bit % (bytes.len() * 8);
    bad[bit / 8] ^= 1 << (bit % 8);
    bad
}
