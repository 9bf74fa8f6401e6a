//! Hashes, keys and sealed objects.

pub mod cipher;
pub mod envelope;
mod epoch;
pub mod hash;
pub mod kdf;
pub mod key_slot;
pub mod keyring;
pub mod sealed_object;
pub mod session_keys;
pub mod signature;
pub mod suite;
