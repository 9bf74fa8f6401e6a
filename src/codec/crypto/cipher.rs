//! Sealing: XAES-256-GCM (C2SP, <https://c2sp.org/XAES-256-GCM>) on ring's AES-256-GCM, or a plain checksum
//! if the repository is not encrypted. The only user of aes.

use std::sync::Arc;

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use ring::aead;
use zeroize::Zeroizing;

use crate::codec::crypto::hash::{ChunkType, Key, SubKeys};
use crate::codec::crypto::signature::{SIGNATURE, VERIFYING};
use crate::codec::crypto::{hash, signature};
use crate::model::config::CipherKind;
use crate::model::decode_error::DecodeError;
use crate::model::id::{RepoId, SnapshotId};

/// Length in bytes of the random nonce before a sealed body.
pub const NONCE: usize = 24;
/// Length in bytes of the tag after it.
pub const TAG: usize = 16;
/// Bytes that sealing adds.
pub const OVERHEAD: usize = NONCE + TAG;

/// Fills a buffer from the system's random generator.
///
/// # Errors
/// The system's generator fails.
pub fn random(out: &mut [u8]) -> Result<(), DecodeError> {
    getrandom::fill(out).map_err(|err| DecodeError::with(format!("no random bytes: {err}")))
}

/// Returns a new random id.
///
/// # Errors
/// The system's random generator fails.
pub fn new_id() -> crate::error::Result<SnapshotId> {
    let mut bytes = [0u8; 16];
    random(&mut bytes).map_err(crate::error::Error::making("a new session"))?;
    Ok(SnapshotId::new(bytes))
}

/// Seals and opens with one key.
#[derive(Debug, Clone)]
pub struct Cipher {
    kind: CipherKind,
    key: Key,
}

impl Cipher {
    /// Creates a cipher with a key.
    pub fn new(kind: CipherKind, key: Key) -> Self {
        Self { kind, key }
    }

    /// Appends nonce, sealed `plain` and tag to `out`. `aad` is authenticated but not stored.
    ///
    /// # Errors
    /// No random bytes for the nonce.
    pub fn seal(&self, aad: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let mut nonce = [0u8; NONCE];
        if self.kind == CipherKind::Xaes256Gcm {
            random(&mut nonce)?;
        }
        self.seal_with(&nonce, aad, plain, out)
    }

    fn seal_with(
        &self,
        nonce: &[u8; NONCE],
        aad: &[u8],
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        out.reserve(plain.len() + OVERHEAD);
        out.extend_from_slice(nonce);
        let start = out.len();
        out.extend_from_slice(plain);
        match self.kind {
            CipherKind::None => {
                let tag = checksum(aad, plain);
                out.extend_from_slice(&tag);
            }
            CipherKind::Xaes256Gcm => {
                let (key, nonce) = self.message_key(nonce)?;
                let lost = DecodeError::because("plain bytes that are not where they were put");
                let body = out.get_mut(start..).ok_or(lost)?;
                let tag = key
                    .seal_in_place_separate_tag(nonce, aead::Aad::from(aad), body)
                    .map_err(|_| DecodeError::because("too long to seal"))?;
                out.extend_from_slice(tag.as_ref());
            }
        }
        Ok(())
    }

    /// Opens in place what [`Self::seal`] wrote and returns the plain bytes.
    ///
    /// # Errors
    /// Anything, including `aad`, differs from what was sealed.
    pub fn open<'a>(&self, aad: &[u8], sealed: &'a mut [u8]) -> Result<&'a mut [u8], DecodeError> {
        let (nonce, body) =
            sealed.split_first_chunk_mut::<NONCE>().ok_or(DecodeError::because("too short to be sealed"))?;
        match self.kind {
            CipherKind::None => {
                let (plain, tag) = body
                    .split_last_chunk_mut::<TAG>()
                    .ok_or(DecodeError::because("too short to be sealed"))?;
                if *nonce != [0; NONCE] || !hash::equal(tag, &checksum(aad, plain)) {
                    return Err(DecodeError::because("the checksum does not fit"));
                }
                Ok(plain)
            }
            CipherKind::Xaes256Gcm => {
                let (key, nonce) = self.message_key(nonce)?;
                key.open_in_place(nonce, aead::Aad::from(aad), body)
                    .map_err(|_| DecodeError::because("its bytes are not what was written with this key"))
            }
        }
    }

    /// Derives the key and nonce of one message: the CMAC-based derivation of NIST SP 800-108, as XAES
    /// prescribes.
    fn message_key(&self, nonce: &[u8; NONCE]) -> Result<(aead::LessSafeKey, aead::Nonce), DecodeError> {
        let outer = Aes256::new(&(*self.key.bytes()).into());
        let mut zero = aes::Block::default();
        outer.encrypt_block(&mut zero);
        let first: [u8; 16] = zero.into();
        let doubled = u128::from_be_bytes(first) << 1 ^ if first[0] & 0x80 == 0 { 0 } else { 0x87 };
        let mut derived = Zeroizing::new([0u8; 32]);
        for (counter, half) in [1u8, 2].into_iter().zip(derived.as_chunks_mut::<16>().0) {
            let mut block = [0u8; 16];
            let (head, tail) = block.split_at_mut(4);
            head.copy_from_slice(&[0, counter, b'X', 0]);
            tail.copy_from_slice(&nonce[..12]);
            let mut block = aes::Block::from((u128::from_be_bytes(block) ^ doubled).to_be_bytes());
            outer.encrypt_block(&mut block);
            *half = block.into();
        }
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, derived.as_ref())
            .map_err(|_| DecodeError::because("a key of the wrong length"))?;
        let nonce = aead::Nonce::try_assume_unique_for_key(&nonce[12..])
            .map_err(|_| DecodeError::because("a nonce of the wrong length"))?;
        Ok((aead::LessSafeKey::new(key), nonce))
    }
}

/// The keys of one epoch that objects are sealed, signed and verified with.
#[derive(Debug, Clone)]
pub struct EpochKeys {
    /// Number of the epoch.
    pub epoch: u32,
    /// Seals blocks of file data.
    pub data: Key,
    /// Seals trees, and what names hosts, users or paths.
    pub meta: Key,
    /// Seals what keys of every role read.
    pub shared: Key,
    /// Verifies what only a full key may write.
    pub verifying: [u8; VERIFYING],
    /// Seed of the key that signs it. Only a full key has it.
    pub signing: Option<Key>,
}

impl EpochKeys {
    /// Returns the keys of an epoch for a full key.
    ///
    /// # Errors
    /// Never.
    pub fn full(epoch: u32, keys: &SubKeys) -> Result<Self, DecodeError> {
        let SubKeys { data, meta, shared, config, .. } = keys.clone();
        Ok(Self {
            epoch,
            data,
            meta,
            shared,
            verifying: signature::verifying_key(&config)?,
            signing: Some(config),
        })
    }
}

#[derive(Debug)]
struct EpochCiphers {
    epoch: u32,
    data: Cipher,
    meta: Cipher,
    shared: Cipher,
    verifying: [u8; VERIFYING],
    signing: Option<Key>,
}

/// The ciphers of one open repository, of all epochs of its keys.
#[derive(Debug, Clone)]
pub struct CipherSuite {
    /// Part of all associated data, so that no object of another repository can be substituted.
    pub repo: RepoId,
    /// The kind of all ciphers.
    pub kind: CipherKind,
    /// The newest epoch: what is sealed now.
    pub epoch: u32,
    newest: Arc<EpochCiphers>,
    /// Older epochs, whose keys open what was sealed before.
    older: Arc<[EpochCiphers]>,
}

impl CipherSuite {
    /// Creates the ciphers of a repository with the keys of its first epoch.
    pub fn new(kind: CipherKind, repo: RepoId, keys: &SubKeys) -> Self {
        let SubKeys { data, meta, shared, config, .. } = keys.clone();
        // It never fails; these bytes are no key, and verify nothing.
        let verifying = signature::verifying_key(&config).unwrap_or([0xff; VERIFYING]);
        let keys = EpochKeys { epoch: 0, data, meta, shared, verifying, signing: Some(config) };
        Self::of_epochs(kind, repo, std::iter::empty(), keys)
    }

    /// Creates the ciphers of several epochs.
    pub fn of_epochs(
        kind: CipherKind,
        repo: RepoId,
        older: impl Iterator<Item = EpochKeys>,
        newest: EpochKeys,
    ) -> Self {
        let ciphers = |keys: EpochKeys| EpochCiphers {
            epoch: keys.epoch,
            data: Cipher::new(kind, keys.data),
            meta: Cipher::new(kind, keys.meta),
            shared: Cipher::new(kind, keys.shared),
            verifying: keys.verifying,
            signing: keys.signing,
        };
        let (epoch, older) = (newest.epoch, older.map(ciphers).collect());
        Self { repo, kind, epoch, newest: Arc::new(ciphers(newest)), older }
    }

    /// Returns the cipher for blocks of a type that are sealed now.
    pub fn block(&self, kind: ChunkType) -> &Cipher {
        match kind {
            ChunkType::Data => &self.newest.data,
            ChunkType::Tree => &self.newest.meta,
        }
    }

    /// Returns the cipher for what keys of every role read, as it is sealed now.
    pub fn shared(&self) -> &Cipher {
        &self.newest.shared
    }

    /// Returns the cipher that opens blocks of a type that were sealed in an epoch.
    ///
    /// # Errors
    /// There are no keys of this epoch.
    pub fn block_of(&self, epoch: u32, kind: ChunkType) -> Result<&Cipher, DecodeError> {
        let ciphers = self.of(epoch)?;
        Ok(if kind == ChunkType::Data { &ciphers.data } else { &ciphers.meta })
    }

    /// Returns the cipher that opens what names hosts, users or paths and was sealed in an epoch.
    ///
    /// # Errors
    /// There are no keys of this epoch.
    pub fn meta_of(&self, epoch: u32) -> Result<&Cipher, DecodeError> {
        self.block_of(epoch, ChunkType::Tree)
    }

    /// Returns the cipher that opens what keys of every role read and was sealed in an epoch.
    ///
    /// # Errors
    /// There are no keys of this epoch.
    pub fn shared_of(&self, epoch: u32) -> Result<&Cipher, DecodeError> {
        Ok(&self.of(epoch)?.shared)
    }

    /// Returns `body` with the signature of the newest epoch, to be sealed with `aad`. Without encryption there
    /// is none: everybody has the key.
    ///
    /// # Errors
    /// The key at hand is none that may sign.
    pub fn signed(&self, aad: &[u8], body: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let mut out = body.to_vec();
        if self.kind != CipherKind::None {
            let seed = self.newest.signing.as_ref();
            let seed = seed.ok_or(DecodeError::because("only a full key signs what this is"))?;
            out.extend_from_slice(&signature::sign(seed, &statement(aad, body))?);
        }
        Ok(out)
    }

    /// Returns the body of what [`Self::signed`] returned in an epoch, after verifying the signature.
    ///
    /// # Errors
    /// It was not signed by a full key.
    pub fn verified<'a>(&self, epoch: u32, aad: &[u8], plain: &'a [u8]) -> Result<&'a [u8], DecodeError> {
        if self.kind == CipherKind::None {
            return Ok(plain);
        }
        let (body, by) =
            plain.split_last_chunk::<SIGNATURE>().ok_or(DecodeError::because("too short to be signed"))?;
        if signature::verifies(&self.of(epoch)?.verifying, &statement(aad, body), by) {
            Ok(body)
        } else {
            Err(DecodeError::because("its signature is not that of a full key"))
        }
    }

    /// Bytes that [`Self::signed`] adds.
    pub fn signature_len(&self) -> usize {
        if self.kind == CipherKind::None { 0 } else { SIGNATURE }
    }

    fn of(&self, epoch: u32) -> Result<&EpochCiphers, DecodeError> {
        if epoch == self.epoch {
            return Ok(&self.newest);
        }
        self.older.iter().find(|ciphers| ciphers.epoch == epoch).ok_or_else(|| self.no_epoch(epoch))
    }

    fn no_epoch(&self, epoch: u32) -> DecodeError {
        let hint =
            if epoch > self.epoch { "; if the key was rotated just now, run the command again" } else { "" };
        DecodeError::with(format!(
            "it says that it was sealed in epoch {epoch} of the key, and this key has epochs up to {}{hint}",
            self.epoch
        ))
    }
}

/// What is signed of an object with these associated data.
fn statement(aad: &[u8], body: &[u8]) -> Vec<u8> {
    [b"snap/1 signed".as_slice(), &(aad.len() as u64).to_le_bytes(), aad, body].concat()
}

/// Returns the byte of a cipher in the format.
pub const fn cipher_byte(kind: CipherKind) -> u8 {
    match kind {
        CipherKind::None => 0,
        CipherKind::Xaes256Gcm => 1,
    }
}

/// Returns the first 16 bytes of SHA-256 over the length of `aad`, `aad` and the plain bytes.
fn checksum(aad: &[u8], plain: &[u8]) -> [u8; TAG] {
    let mut hasher = hash::Hasher::default();
    hasher.update(&(aad.len() as u64).to_le_bytes());
    hasher.update(aad);
    hasher.update(plain);
    let full = hasher.finish();
    let mut tag = [0u8; TAG];
    tag.copy_from_slice(&full[..TAG]);
    tag
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::any;
    use proptest::{prop_assert_eq, proptest};
    use xaes_256_gcm::Xaes256Gcm;
    use xaes_256_gcm::aead::{Aead, Payload};

    use super::*;
    use crate::model::id::hex;

    proptest! {
        #[test]
        fn another_implementation_opens_what_is_sealed_and_seals_what_opens(
            key in any::<[u8; 32]>(),
            nonce in any::<[u8; NONCE]>(),
            aad in vec(any::<u8>(), 0..80),
            plain in vec(any::<u8>(), 0..600),
        ) {
            let ours = Cipher::new(CipherKind::Xaes256Gcm, Key::new(key));
            let theirs = Xaes256Gcm::new(&key.into());
            let mut sealed = Vec::new();
            ours.seal_with(&nonce, &aad, &plain, &mut sealed).unwrap();
            let body = theirs.encrypt(&nonce.into(), Payload { msg: &plain, aad: &aad }).unwrap();
            prop_assert_eq!(&sealed, &[&nonce[..], &body].concat());
            let opened = theirs.decrypt(&nonce.into(), Payload { msg: &sealed[NONCE..], aad: &aad }).unwrap();
            prop_assert_eq!(&opened, &plain);
            prop_assert_eq!(ours.open(&aad, &mut sealed).unwrap(), plain);
        }
    }

    fn sealed(key: u8, aad: &[u8]) -> String {
        let cipher = Cipher::new(CipherKind::Xaes256Gcm, Key::new([key; 32]));
        let mut out = Vec::new();
        cipher.seal_with(b"ABCDEFGHIJKLMNOPQRSTUVWX", aad, b"XAES-256-GCM", &mut out).unwrap();
        hex(&out[NONCE..])
    }

    #[test]
    fn the_vectors_of_the_specification_come_out() {
        assert_eq!(sealed(1, b""), "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271");
        assert_eq!(
            sealed(3, b"c2sp.org/XAES-256-GCM"),
            "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"
        );
    }

    #[test]
    fn any_flipped_bit_or_other_context_is_noticed_with_and_without_encryption() {
        for kind in [CipherKind::None, CipherKind::Xaes256Gcm] {
            let cipher = Cipher::new(kind, Key::new([9; 32]));
            let mut good = Vec::new();
            cipher.seal(b"aad", b"some plain bytes", &mut good).unwrap();
            assert_eq!(cipher.open(b"aad", &mut good.clone()).unwrap(), b"some plain bytes");
            assert!(cipher.open(b"bad", &mut good.clone()).is_err());
            for bit in 0..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(cipher.open(b"aad", &mut bad).is_err(), "{kind:?} bit {bit}");
            }
            for len in 0..good.len() {
                assert!(cipher.open(b"aad", &mut good[..len].to_vec()).is_err(), "{kind:?} length {len}");
            }
        }
    }
}
