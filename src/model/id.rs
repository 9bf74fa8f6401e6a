//! Ids of objects in a repository: byte strings of fixed length, written as lower-case hex.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::decode_error::DecodeError;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// Creates an id from raw bytes.
            pub const fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Returns the raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Returns the first eight bytes as a number. Ids are uniformly distributed, so this serves as a
            /// hash.
            pub fn prefix(&self) -> u64 {
                self.0.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
            }

            /// Returns lower-case hex, the form used in file names.
            pub fn hex(&self) -> String {
                hex(&self.0)
            }

            /// Returns the first eight hex digits, for display.
            pub fn short(&self) -> String {
                hex(&self.0).chars().take(8).collect()
            }

            /// Parses exactly the form that [`Self::hex`] writes.
            ///
            /// # Errors
            /// The text has another length or contains anything but lower-case hex digits.
            pub fn parse(text: &str) -> Result<Self, DecodeError> {
                let bytes = unhex(text).ok_or(DecodeError::because("not lower-case hex"))?;
                let array = <[u8; $len]>::try_from(bytes).map_err(|_| DecodeError::because("wrong length of an id"))?;
                Ok(Self(array))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.hex())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.hex())
            }
        }
    };
}

id_type!(
    /// Id of a chunk: HMAC-SHA-256 of its type and its plain bytes.
    ChunkId,
    32
);
id_type!(
    /// Id of a pack: SHA-256 of the whole file.
    PackId,
    32
);
id_type!(
    /// Id of a key slot: SHA-256 of the whole file.
    KeyId,
    32
);
id_type!(
    /// Id of a session and of the snapshot that it commits; random.
    SnapshotId,
    16
);
id_type!(
    /// Id of a repository; random.
    RepoId,
    16
);

/// Encodes bytes as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// Decodes lower-case hex; `None` if the text is anything else.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}
