//! From a password to a key: Argon2id (RFC 9106). The only user of argon2.

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use crate::model::decode_error::DecodeError;

/// Costs of one derivation, stored in each key slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfParams {
    /// Memory in KiB.
    pub memory: u32,
    /// Passes.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

/// RFC 9106's second choice: 64 MiB, 3 passes, 4 lanes. About 0.15 s.
pub const DEFAULT: KdfParams = KdfParams { memory: 64 << 10, passes: 3, lanes: 4 };

impl KdfParams {
    /// What a derivation takes, to compare slots by: KiB times passes. Lanes only share the work out.
    pub const fn cost(self) -> u64 {
        self.memory as u64 * self.passes as u64
    }

    /// A slot is read from a repository that may be hostile: its costs are bounded before memory is taken.
    pub(in crate::codec) fn check(&self) -> Result<(), DecodeError> {
        let is_bearable = (8 << 10..=2 << 20).contains(&self.memory)
            && (1..=16).contains(&self.passes)
            && (1..=16).contains(&self.lanes);
        is_bearable.then_some(()).ok_or(DecodeError::because("key derivation costs out of bounds"))
    }
}

/// What is said where this machine has too little memory: that is no fault of the slot.
pub const NO_MEMORY: &str = "not enough memory to derive a key";

/// 64 bytes from a password: a key and a check value.
///
/// # Errors
/// When the costs are out of bounds or there is not enough memory.
pub fn derive(
    password: &[u8],
    salt: &[u8; 32],
    params: KdfParams,
) -> Result<Zeroizing<[u8; 64]>, DecodeError> {
    params.check()?;
    let mut out = Zeroizing::new([0u8; 64]);
    Params::new(params.memory, params.passes, params.lanes, Some(64))
        .and_then(|params| {
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(
                password,
                salt,
                out.as_mut(),
            )
        })
        .map_err(|err| match err {
            argon2::Error::OutOfMemory => DecodeError::because(NO_MEMORY),
            err => DecodeError::with(format!("key derivation failed: {err}")),
        })?;
    Ok(out)
}
