//! Sealing to a public key: HPKE (RFC 9180) in base mode, with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and
//! ChaCha20-Poly1305. The only user of hpke.

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use zeroize::Zeroizing;

use crate::codec::crypto::cipher;
use crate::codec::crypto::hash::Key;
use crate::model::decode_error::DecodeError;

/// Bytes of a public key, of a private key and of the encapsulated key before a sealed text.
pub const KEY: usize = 32;

/// A private key with its public key.
#[derive(Debug, Clone)]
pub struct KeyPair {
    /// Opens what was sealed to the public key.
    pub private: Key,
    /// What others seal to.
    pub public: [u8; KEY],
}

/// Returns a new random pair.
///
/// # Errors
/// The system's random generator fails.
pub fn new_pair() -> Result<KeyPair, DecodeError> {
    let mut seed = Zeroizing::new([0u8; KEY]);
    cipher::random(seed.as_mut())?;
    let (private, public) = X25519HkdfSha256::derive_keypair(seed.as_ref());
    let mut bytes = Zeroizing::new([0u8; KEY]);
    bytes.copy_from_slice(&private.to_bytes());
    Ok(KeyPair { private: Key::new(*bytes), public: public.to_bytes().into() })
}

/// Seals `plain` to a public key. Only the holder of the private key can open it; anybody can make one, so it
/// proves nothing about who did. `info` is authenticated but not stored.
///
/// # Errors
/// The public key is invalid.
pub fn seal(public: &[u8; KEY], info: &[u8], plain: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let public = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(public).map_err(|_| INVALID)?;
    let (encapsulated, sealed) = hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Base,
        &public,
        info,
        plain,
        b"",
    )
    .map_err(|_| INVALID)?;
    Ok([encapsulated.to_bytes().as_slice(), &sealed].concat())
}

/// Opens what [`seal`] returned.
///
/// # Errors
/// It was sealed to another key or with other `info`, or was changed.
pub fn open(private: &Key, info: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, DecodeError> {
    open_with(private, info, b"", sealed)
}

fn open_with(
    private: &Key,
    info: &[u8],
    aad: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, DecodeError> {
    let (encapsulated, body) = sealed.split_at_checked(KEY).ok_or(DecodeError::because("too short"))?;
    let private = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(private.bytes()).map_err(|_| INVALID)?;
    let encapsulated =
        <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(encapsulated).map_err(|_| INVALID)?;
    hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &private,
        &encapsulated,
        info,
        body,
        aad,
    )
    .map(Zeroizing::new)
    .map_err(|_| DecodeError::because("it was not sealed to this key"))
}

const INVALID: DecodeError = DecodeError::because("not a usable X25519 key");

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// RFC 9180, A.2.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305, base mode, sequence 0.
    #[test]
    fn the_vector_of_rfc_9180_opens() {
        let private = bytes("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb");
        let encapsulated = bytes("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a");
        let sealed = bytes(
            "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28",
        );
        let info = bytes("4f6465206f6e2061204772656369616e2055726e");
        let key = Key::new(private.try_into().unwrap());
        let opened = open_with(&key, &info, b"Count-0", &[encapsulated, sealed].concat()).unwrap();
        assert_eq!(*opened, b"Beauty is truth, truth beauty");
    }

    #[test]
    fn only_the_private_key_opens_what_was_sealed_to_its_public_key() {
        let (one, other) = (new_pair().unwrap(), new_pair().unwrap());
        let sealed = seal(&one.public, b"info", b"plain").unwrap();
        assert_eq!(*open(&one.private, b"info", &sealed).unwrap(), b"plain");
        assert!(open(&other.private, b"info", &sealed).is_err());
        assert!(open(&one.private, b"other", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(open(&one.private, b"info", &bad).is_err(), "byte {at}");
            assert!(open(&one.private, b"info", &sealed[..at]).is_err(), "length {at}");
        }
        assert!(seal(&[0; KEY], b"info", b"plain").is_err(), "a key of which everybody knows the result");
    }
}
