//! Hashes, keys and sealed objects.

pub mod cipher;
pub mod hash;
pub mod kdf;
pub mod key_slot;
pub mod sealed_object;
