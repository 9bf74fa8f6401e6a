//! Ed25519 signatures (RFC 8032), on ring.

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::codec::crypto::hash::Key;
use crate::model::decode_error::DecodeError;

/// Bytes of a signature.
pub const SIGNATURE: usize = 64;
/// Bytes of the key that verifies signatures.
pub const VERIFYING: usize = 32;

/// Returns the verifying key of a seed.
///
/// # Errors
/// Never, for a seed of 32 bytes.
pub fn verifying_key(seed: &Key) -> Result<[u8; VERIFYING], DecodeError> {
    let pair = pair(seed)?;
    pair.public_key().as_ref().try_into().map_err(|_| WRONG)
}

/// Signs some bytes.
///
/// # Errors
/// Never, for a seed of 32 bytes.
pub fn sign(seed: &Key, bytes: &[u8]) -> Result<[u8; SIGNATURE], DecodeError> {
    pair(seed)?.sign(bytes).as_ref().try_into().map_err(|_| WRONG)
}

/// Returns whether this is a valid signature of these bytes by the key's owner.
pub fn verifies(key: &[u8; VERIFYING], bytes: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, key).verify(bytes, signature).is_ok()
}

fn pair(seed: &Key) -> Result<Ed25519KeyPair, DecodeError> {
    Ed25519KeyPair::from_seed_unchecked(seed.bytes()).map_err(|_| WRONG)
}

const WRONG: DecodeError = DecodeError::because("a signing key has the wrong length");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::hex;

    /// RFC 8032, 7.1, test 2.
    #[test]
    fn the_vector_of_rfc_8032_comes_out() {
        let seed = [
            0x4c, 0xcd, 0x08, 0x9b, 0x28, 0xff, 0x96, 0xda, 0x9d, 0xb6, 0xc3, 0x46, 0xec, 0x11, 0x4e, 0x0f,
            0x5b, 0x8a, 0x31, 0x9f, 0x35, 0xab, 0xa6, 0x24, 0xda, 0x8c, 0xf6, 0xed, 0x4f, 0xb8, 0xa6, 0xfb,
        ];
        let key = verifying_key(&Key::new(seed)).unwrap();
        assert_eq!(hex(&key), "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let signature = sign(&Key::new(seed), &[0x72]).unwrap();
        assert_eq!(
            hex(&signature),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
        assert!(verifies(&key, &[0x72], &signature));
        assert!(!verifies(&key, &[0x73], &signature) && !verifies(&[3; 32], &[0x72], &signature));
    }
}
