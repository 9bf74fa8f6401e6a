//! Key derivation from a password: Argon2id (RFC 9106). The only user of argon2.

use std::ops::RangeInclusive;

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use crate::model::decode_error::DecodeError;

/// Cost of a derivation. Each key slot stores its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfParams {
    /// Memory in KiB.
    pub memory: u32,
    /// Number of passes over the memory.
    pub passes: u32,
    /// Number of lanes: the degree of parallelism.
    pub lanes: u32,
}

impl Default for KdfParams {
    fn default() -> Self {
        DEFAULT
    }
}

/// The second recommended option of RFC 9106: 64 MiB, 3 passes, 4 lanes. About 0.15 s.
pub const DEFAULT: KdfParams = KdfParams { memory: 64 << 10, passes: 3, lanes: 4 };

/// Bounds of a slot's memory in KiB: 8 MiB to 2 GiB.
pub const MEMORY: RangeInclusive<u32> = 8 << 10..=2 << 20;
/// Bounds of a slot's number of passes.
pub const PASSES: RangeInclusive<u32> = 1..=16;

impl KdfParams {
    /// Returns the cost of a derivation in KiB times passes, to compare slots. Lanes only divide the work.
    pub const fn cost(self) -> u64 {
        self.memory as u64 * self.passes as u64
    }

    /// Checks the bounds before memory is allocated, because a slot may come from a hostile repository.
    pub(in crate::codec) fn check(&self) -> Result<(), DecodeError> {
        let is_affordable =
            MEMORY.contains(&self.memory) && PASSES.contains(&self.passes) && (1..=16).contains(&self.lanes);
        is_affordable
            .then_some(())
            .ok_or(DecodeError::because("the costs of key derivation are out of bounds"))
    }
}

/// The message if this machine has too little memory, which does not mean that the slot is invalid.
pub const NO_MEMORY: &str = "not enough memory to derive a key";

/// Derives 64 bytes from a password: a key and a check value.
///
/// # Errors
/// The costs are out of bounds, or there is not enough memory.
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
