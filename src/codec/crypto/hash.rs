//! Chunk ids and derived keys. The only user of sha2, hmac and hkdf.

use std::fmt;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::model::id::{ChunkId, RepoId};

/// The type of a chunk. It is part of the hash input, so that the content of a file never has the id of a
/// tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChunkType {
    /// A chunk of a file.
    Data,
    /// A chunk of a directory or of a part list.
    Tree,
}

impl ChunkType {
    /// Returns the type's byte in the format.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Data => 1,
            Self::Tree => 2,
        }
    }

    /// Returns the type for a byte of the format.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Data),
            2 => Some(Self::Tree),
            _ => None,
        }
    }
}

/// A 256-bit key. It is not printed, and zeroed when dropped.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; 32]>);

impl Key {
    /// Wraps key material.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Returns the key material.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Computes SHA-256 incrementally.
#[derive(Debug, Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Appends bytes to the input.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the hash.
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// Returns the SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Computes chunk ids: HMAC-SHA-256 (RFC 2104) with the key's state prepared once.
#[derive(Clone)]
pub struct ChunkHasher(Hmac<Sha256>);

impl fmt::Debug for ChunkHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChunkHasher(..)")
    }
}

impl ChunkHasher {
    /// Creates a hasher with the repository's id key.
    pub fn new(key: &Key) -> Self {
        Self(keyed(key.bytes()))
    }

    /// Returns the id of a chunk.
    pub fn id_of(&self, kind: ChunkType, plain: &[u8]) -> ChunkId {
        let mut mac = self.0.clone();
        mac.update(&[kind.byte()]);
        mac.update(plain);
        ChunkId::new(mac.finalize().into_bytes().into())
    }

    /// Returns eight bytes of a keyed hash. `label` separates its purposes from each other and from chunk
    /// ids.
    pub fn tag(&self, label: &[u8], bytes: &[u8]) -> u64 {
        (self.long_tag(label, bytes) >> 64) as u64
    }

    /// Like [`Self::tag`] with 128 bits.
    pub fn long_tag(&self, label: &[u8], bytes: &[u8]) -> u128 {
        let mut mac = self.0.clone();
        mac.update(label);
        mac.update(bytes);
        let full: [u8; 32] = mac.finalize().into_bytes().into();
        full.first_chunk().map_or(0, |first| u128::from_be_bytes(*first))
    }
}

/// Returns the HMAC-SHA-256 of some bytes.
pub fn mac(key: &Key, bytes: &[u8]) -> [u8; 32] {
    let mut mac = keyed(key.bytes());
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

/// Compares two byte strings in constant time.
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0u8, |sum, (x, y)| sum | (x ^ y)) == 0
}

fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    // HMAC itself pads a short key with zeros to the hash's block size of 64 bytes.
    let mut padded = Zeroizing::new([0u8; 64]);
    for (to, from) in padded.iter_mut().zip(key) {
        *to = *from;
    }
    Hmac::<Sha256>::new(&(*padded).into())
}

/// Keys derived by HKDF-SHA-256 (RFC 5869) from those of a keyring, one for each purpose.
#[derive(Debug, Clone)]
pub struct SubKeys {
    /// Key for chunk ids.
    pub id: Key,
    /// Seals blocks of file data.
    pub data: Key,
    /// Seals blocks of trees, manifests and audit records.
    pub meta: Key,
    /// Seals what every role must be able to read: pack tables, sessions, gc and damage records.
    pub shared: Key,
    /// Seed of the Ed25519 key that signs the configuration, and objects that only a full key may write.
    pub config: Key,
    /// X25519 private key of the epoch.
    pub session: Key,
    /// The chunker's Gear table.
    pub gear: Box<[u64; 256]>,
}

impl SubKeys {
    /// Derives all keys from a single master key.
    pub fn derive(master: &Key, repo: &RepoId) -> Self {
        Self::of(master, master, repo, repo)
    }

    /// Derives the keys of an epoch from its master key. The keys for chunk ids and chunk boundaries are
    /// derived from `naming`: they are the same in all epochs, and in all repositories of one `family`.
    pub fn of(naming: &Key, master: &Key, repo: &RepoId, family: &RepoId) -> Self {
        let own = Hkdf::<Sha256>::new(Some(repo.as_bytes()), master.bytes());
        let NamingKeys { id, gear } = NamingKeys::of(naming, family);
        Self {
            id,
            data: key(&own, b"snap/1 data"),
            meta: key(&own, b"snap/1 meta"),
            shared: key(&own, b"snap/1 shared"),
            config: key(&own, b"snap/1 config"),
            session: key(&own, b"snap/1 session"),
            gear,
        }
    }
}

/// The keys for chunk ids and chunk boundaries. They are the same in all epochs, and in all repositories of
/// one family.
#[derive(Debug, Clone)]
pub struct NamingKeys {
    /// Key for chunk ids.
    pub id: Key,
    /// The chunker's Gear table.
    pub gear: Box<[u64; 256]>,
}

impl NamingKeys {
    /// Derives the keys.
    pub fn of(naming: &Key, family: &RepoId) -> Self {
        let hkdf = Hkdf::<Sha256>::new(Some(family.as_bytes()), naming.bytes());
        let mut stream = Zeroizing::new([0u8; 2048]);
        // 64 hashes: below the limit of HKDF.
        let _ = hkdf.expand(b"snap/1 gear", stream.as_mut());
        let mut gear = Box::new([0u64; 256]);
        for (slot, bytes) in gear.iter_mut().zip(stream.as_chunks::<8>().0) {
            *slot = u64::from_le_bytes(*bytes);
        }
        Self { id: key(&hkdf, b"snap/1 id"), gear }
    }
}

fn key(hkdf: &Hkdf<Sha256>, label: &[u8]) -> Key {
    let mut out = Zeroizing::new([0u8; 32]);
    // HKDF fails only for outputs longer than 255 hashes.
    let _ = hkdf.expand(label, out.as_mut());
    Key(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_the_bytes_of_a_tree_has_another_name() {
        let hasher = ChunkHasher::new(&Key::new([7; 32]));
        assert_ne!(hasher.id_of(ChunkType::Data, b"x"), hasher.id_of(ChunkType::Tree, b"x"));
    }

    #[test]
    fn sibling_shares_chunk_keys_and_has_its_own_sealing_keys() {
        let (master, one, two) = (Key::new([1; 32]), RepoId::new([2; 16]), RepoId::new([3; 16]));
        let (a, b) = (SubKeys::derive(&master, &one), SubKeys::of(&master, &Key::new([4; 32]), &two, &one));
        assert_eq!((a.id.bytes(), &a.gear), (b.id.bytes(), &b.gear));
        assert!(a.data.bytes() != b.data.bytes() && a.meta.bytes() != b.meta.bytes());
        assert_ne!(a.config.bytes(), b.config.bytes());
    }

    #[test]
    fn the_mac_is_that_of_rfc_4231() {
        let mut key = [0u8; 32];
        key[..4].copy_from_slice(b"Jefe"); // A shorter key is padded with zeros by HMAC itself.
        let tag = mac(&Key::new(key), b"what do ya want for nothing?");
        assert_eq!(
            crate::model::id::hex(&tag),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn every_subkey_differs() {
        let keys = SubKeys::derive(&Key::new([1; 32]), &RepoId::new([2; 16]));
        let SubKeys { id, data, meta, shared, config, session, .. } = &keys;
        let all = [id, data, meta, shared, config, session].map(Key::bytes);
        for (i, a) in all.iter().enumerate() {
            assert!(all.iter().skip(i + 1).all(|b| a != b));
        }
        assert_ne!(keys.gear[0], keys.gear[1]);
    }
}
