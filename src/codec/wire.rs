//! serde values as postcard bytes. The only user of postcard.
//!
//! postcard is not self-describing: a struct that was ever written must never change, and enums may only
//! grow at their end.

use serde::{Deserialize, Serialize};

use crate::model::decode_error::DecodeError;

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
        _ => Err(DecodeError::because("bytes left over")),
    }
}

/// Decodes a value from the front and returns it with the remaining bytes.
///
/// # Errors
/// The front does not parse.
pub fn take<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<(T, &'a [u8]), DecodeError> {
    // The decoder's own message is of no use to anybody, such as that it read a length instead of text.
    postcard::take_from_bytes(bytes).map_err(|_| DecodeError::because("its bytes cannot be decoded"))
}
