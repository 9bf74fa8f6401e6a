//! Sealing to a public key: HPKE (RFC 9180) in base and auth mode, with DHKEM(X25519, HKDF-SHA256),
//! HKDF-SHA256 and ChaCha20-Poly1305. The only user of hpke.

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use zeroize::Zeroizing;

use crate::codec::crypto::cipher;
use crate::codec::crypto::hash::Key;
use crate::model::decode_error::DecodeError;

/// Length in bytes of a public key, of a private key and of the encapsulated key before a sealed text.
pub const KEY: usize = 32;

/// A private key with its public key.
#[derive(Debug, Clone)]
pub struct KeyPair {
    /// The private key, which opens what is sealed to the public one.
    pub private: Key,
    /// The public key, to which others seal.
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

/// Seals `plain` to a public key. Only the holder of the private key can open it. Anybody can seal, so the
/// result does not authenticate the sender. `info` is authenticated but not stored.
///
/// # Errors
/// The public key is invalid.
pub fn seal(public: &[u8; KEY], info: &[u8], plain: &[u8]) -> Result<Vec<u8>, DecodeError> {
    seal_with(&OpModeS::Base, public, info, plain)
}

/// Like [`seal`], in auth mode, which proves that the holder of the sender's private key sealed it.
///
/// # Errors
/// A key is invalid.
pub fn seal_as(
    sender: &KeyPair,
    public: &[u8; KEY],
    info: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, DecodeError> {
    let pair = (private_of(&sender.private)?, public_key(&sender.public)?);
    seal_with(&OpModeS::Auth(pair), public, info, plain)
}

/// Returns the key pair of a private key.
///
/// # Errors
/// Never, for 32 bytes.
pub fn pair_of(private: &Key) -> Result<KeyPair, DecodeError> {
    let public = X25519HkdfSha256::sk_to_pk(&private_of(private)?);
    Ok(KeyPair { private: private.clone(), public: public.to_bytes().into() })
}

fn private_of(key: &Key) -> Result<<X25519HkdfSha256 as Kem>::PrivateKey, DecodeError> {
    <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(key.bytes()).map_err(|_| INVALID)
}

fn public_key(key: &[u8; KEY]) -> Result<<X25519HkdfSha256 as Kem>::PublicKey, DecodeError> {
    <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(key).map_err(|_| INVALID)
}

fn seal_with(
    mode: &OpModeS<'_, X25519HkdfSha256>,
    public: &[u8; KEY],
    info: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, DecodeError> {
    let public = public_key(public)?;
    let (encapsulated, sealed) = hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        mode, &public, info, plain, b"",
    )
    .map_err(|_| INVALID)?;
    Ok([encapsulated.to_bytes().as_slice(), &sealed].concat())
}

/// Opens what [`seal`] returned.
///
/// # Errors
/// It was sealed to another key or with other `info`, or was changed.
pub fn open(private: &Key, info: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, DecodeError> {
    open_with(&OpModeR::Base, private, (info, b""), sealed)
}

/// Opens what [`seal_as`] returned for this sender.
///
/// # Errors
/// It was sealed to another key, by another sender or with other `info`, or was changed.
pub fn open_from(
    private: &Key,
    sender: &[u8; KEY],
    info: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, DecodeError> {
    open_with(&OpModeR::Auth(public_key(sender)?), private, (info, b""), sealed)
}

fn open_with(
    mode: &OpModeR<'_, X25519HkdfSha256>,
    private: &Key,
    (info, aad): (&[u8], &[u8]),
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, DecodeError> {
    let (encapsulated, body) = sealed.split_at_checked(KEY).ok_or(DecodeError::because("too short"))?;
    let private = private_of(private)?;
    let encapsulated =
        <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(encapsulated).map_err(|_| INVALID)?;
    hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        mode,
        &private,
        &encapsulated,
        info,
        body,
        aad,
    )
    .map(Zeroizing::new)
    .map_err(|_| DecodeError::because("it was encrypted for another key"))
}

const INVALID: DecodeError = DecodeError::because("it is not a usable X25519 key");

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
        let sealed = [encapsulated, sealed].concat();
        let opened = open_with(&OpModeR::Base, &key, (&info, b"Count-0"), &sealed).unwrap();
        assert_eq!(*opened, b"Beauty is truth, truth beauty");
    }

    /// RFC 9180, A.2.3: the same in auth mode, sequence 0.
    #[test]
    fn the_vector_of_rfc_9180_in_auth_mode_opens() {
        let private = bytes("3ca22a6d1cda1bb9480949ec5329d3bf0b080ca4c45879c95eddb55c70b80b82");
        let sender = bytes("2def0cb58ffcf83d1062dd085c8aceca7f4c0c3fd05912d847b61f3e54121f05");
        let sealed = bytes(
            "f7674cc8cd7baa5872d1f33dbaffe3314239f6197ddf5ded1746760bfc847e0e\
             ab1a13c9d4f01a87ec3440dbd756e2677bd2ecf9df0ce7ed73869b98e00c09be111cb9fdf077347aeb88e61bdf",
        );
        let info = bytes("4f6465206f6e2061204772656369616e2055726e");
        let key = Key::new(private.try_into().unwrap());
        let sender = pair_of(&Key::new(sender.try_into().unwrap())).unwrap();
        assert_eq!(
            sender.public.to_vec(),
            bytes("f0f4f9e96c54aeed3f323de8534fffd7e0577e4ce269896716bcb95643c8712b")
        );
        let mode = OpModeR::Auth(public_key(&sender.public).unwrap());
        let opened = open_with(&mode, &key, (&info, b"Count-0"), &sealed).unwrap();
        assert_eq!(*opened, b"Beauty is truth, truth beauty");
    }

    #[test]
    fn only_the_senders_key_seals_what_opens_as_the_senders() {
        let [writer, other, recipient] = [(); 3].map(|()| new_pair().unwrap());
        let sealed = seal_as(&writer, &recipient.public, b"info", b"plain").unwrap();
        let open = |sender: &KeyPair, sealed: &[u8]| {
            open_from(&recipient.private, &sender.public, b"info", sealed).ok()
        };
        assert_eq!(open(&writer, &sealed).as_deref(), Some(&b"plain".to_vec()));
        assert!(open(&other, &sealed).is_none(), "sealed by another sender");
        let forged = KeyPair { public: writer.public, ..other };
        let forged = seal_as(&forged, &recipient.public, b"info", b"plain").unwrap();
        assert!(open(&writer, &forged).is_none(), "sealed with the public key of the sender alone");
        let unsigned = seal(&recipient.public, b"info", b"plain").unwrap();
        assert!(open(&writer, &unsigned).is_none(), "sealed by nobody");
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
