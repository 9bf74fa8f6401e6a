//! serde values as postcard bytes. The only user of postcard.
//!
//! postcard is not self-describing: a struct that was ever written must never change, and enums may only
//! grow at their end.

use serde::{Deserialize, Serialize};

use crate::model::config::FORMAT;
use crate::model::decode_error::DecodeError;

/// Checks the version field that follows every magic.
///
/// # Errors
/// It is 0, or that of a newer format, which is not damage.
pub fn check_version(field: [u8; 2]) -> Result<(), DecodeError> {
    match u16::from_le_bytes(field) {
        FORMAT => Ok(()),
        0 => Err(DecodeError::because("format 0")),
        found => Err(DecodeError::newer(format!("it has format {found}"))),
    }
}

/// Checks that the tags of a record are ascending and none is repeated.
///
/// # Errors
/// They are not.
pub fn check_ascending(tags: impl IntoIterator<Item = u16>) -> Result<(), DecodeError> {
    if tags.into_iter().is_sorted_by(|a, b| a < b) {
        Ok(())
    } else {
        Err(DecodeError::because("tags are repeated or out of order"))
    }
}

/// Encodes a value.
///
/// # Errors
/// The value contains something that cannot be encoded; no type of this crate does.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, DecodeError> {
    postcard::to_stdvec(value).map_err(|err| DecodeError::with(err.to_string()))
}

/// Appends an encoded value to `out`.
///
/// # Errors
/// Like [`encode`].
pub fn append<T: Serialize>(value: &T, out: Vec<u8>) -> Result<Vec<u8>, DecodeError> {
    postcard::to_extend(value, out).map_err(|err| DecodeError::with(err.to_string()))
}

/// Decodes a value from exactly these bytes.
///
/// # Errors
/// The bytes do not parse, or some are left over.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    match take(bytes)? {
        (value, []) => Ok(value),
        _ => Err(DecodeError::because("it has trailing bytes")),
    }
}

/// Decodes a value from the front and returns it with the remaining bytes.
///
/// # Errors
/// The front does not parse.
pub fn take<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<(T, &'a [u8]), DecodeError> {
    // The decoder's own message does not help users.
    postcard::take_from_bytes(bytes).map_err(|_| DecodeError::because("its bytes cannot be decoded"))
}
