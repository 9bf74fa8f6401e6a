//! serde values as postcard bytes. The only user of postcard.
//!
//! postcard is not self-describing: a struct that was ever written never changes; enums grow at the end only.

use serde::{Deserialize, Serialize};

use crate::model::decode_error::DecodeError;

/// Bytes of a value.
///
/// # Errors
/// When a value has a part that cannot be written, which no type of this crate has.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, DecodeError> {
    postcard::to_stdvec(value).map_err(|err| DecodeError::with(err.to_string()))
}

/// Appends the bytes of a value.
///
/// # Errors
/// As [`encode`].
pub fn append<T: Serialize>(value: &T, out: Vec<u8>) -> Result<Vec<u8>, DecodeError> {
    postcard::to_extend(value, out).map_err(|err| DecodeError::with(err.to_string()))
}

/// The value of exactly these bytes.
///
/// # Errors
/// When they do not parse or something is left over.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    match take(bytes)? {
        (value, []) => Ok(value),
        _ => Err(DecodeError::because("bytes left over")),
    }
}

/// The value at the front, and the rest.
///
/// # Errors
/// When the front does not parse.
pub fn take<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<(T, &'a [u8]), DecodeError> {
    // What the decoder says helps nobody: that it read a length where a text stood.
    postcard::take_from_bytes(bytes).map_err(|_| DecodeError::because("its bytes cannot be decoded"))
}
