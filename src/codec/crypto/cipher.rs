//! Authenticated encryption: XAES-256-GCM (C2SP, <https://c2sp.org/XAES-256-GCM>) on ring's AES-256-GCM, or a
//! plain checksum if the repository is not encrypted. The only user of aes.

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use ring::aead;
use zeroize::Zeroizing;

use crate::codec::crypto::hash::{self, Key};
use crate::model::config::CipherKind;
use crate::model::decode_error::DecodeError;
use crate::model::id::SnapshotId;

/// Length in bytes of the random nonce before a sealed body.
pub const NONCE: usize = 24;
/// Length in bytes of the tag after it.
pub const TAG: usize = 16;
/// Number of bytes that sealing adds.
pub const OVERHEAD: usize = NONCE + TAG;

const TOO_SHORT: DecodeError = DecodeError::because("it is too short for a nonce and a tag");

/// Fills a buffer from the system's random generator.
///
/// # Errors
/// The system's generator fails.
pub fn random(out: &mut [u8]) -> Result<(), DecodeError> {
    getrandom::fill(out).map_err(|err| DecodeError::with(format!("the system gave no random bytes: {err}")))
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
    /// The system's random generator fails.
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
                let out_of_bounds = DecodeError::because("the plaintext is out of bounds");
                let body = out.get_mut(start..).ok_or(out_of_bounds)?;
                let tag = key
                    .seal_in_place_separate_tag(nonce, aead::Aad::from(aad), body)
                    .map_err(|_| DecodeError::because("it is too long to encrypt"))?;
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
        let (nonce, body) = sealed.split_first_chunk_mut::<NONCE>().ok_or(TOO_SHORT)?;
        match self.kind {
            CipherKind::None => {
                let (plain, tag) = body.split_last_chunk_mut::<TAG>().ok_or(TOO_SHORT)?;
                if *nonce != [0; NONCE] || !hash::equal(tag, &checksum(aad, plain)) {
                    return Err(DecodeError::because("its checksum does not match"));
                }
                Ok(plain)
            }
            CipherKind::Xaes256Gcm => {
                let (key, nonce) = self.message_key(nonce)?;
                key.open_in_place(nonce, aead::Aad::from(aad), body).map_err(|_| {
                    DecodeError::because(
                        "authentication failed: its bytes were changed, or it was encrypted with another key",
                    )
                })
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
            .map_err(|_| DecodeError::because("a key has the wrong length"))?;
        let nonce = aead::Nonce::try_assume_unique_for_key(&nonce[12..])
            .map_err(|_| DecodeError::because("a nonce has the wrong length"))?;
        Ok((aead::LessSafeKey::new(key), nonce))
    }
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
        fn cipher_agrees_with_another_implementation(
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
    fn any_flipped_bit_or_other_context_is_detected() {
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
