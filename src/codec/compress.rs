//! zstd (RFC 8878) with reused contexts. The only user of zstd.

use std::fmt;

use zstd::bulk::Compressor;
use zstd::bulk::Decompressor;

use crate::model::malformed::Malformed;

/// How a block's bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// As they are.
    Raw,
    /// One zstd frame.
    Zstd,
}

impl Codec {
    /// The byte that stands for it in the format.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Zstd => 1,
        }
    }

    /// The codec of a byte of the format.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// The level that stores everything as it is.
pub const NO_COMPRESSION: i32 = i32::MIN;

/// Compresses block after block with one context.
pub struct Packer {
    inner: Option<Compressor<'static>>,
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Packer")
    }
}

impl Packer {
    /// At a zstd level, or [`NO_COMPRESSION`].
    ///
    /// # Errors
    /// When zstd cannot be set up.
    pub fn new(level: i32) -> Result<Self, Malformed> {
        if level == NO_COMPRESSION {
            return Ok(Self { inner: None });
        }
        let inner = Compressor::new(level).map_err(|err| Malformed::with(err.to_string()))?;
        Ok(Self { inner: Some(inner) })
    }

    /// Replaces `out` by the packed form. Raw unless zstd saves at least 3 %: decoding costs time, too.
    ///
    /// # Errors
    /// When zstd fails.
    pub fn pack(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<Codec, Malformed> {
        out.clear();
        if let Some(inner) = &mut self.inner {
            out.reserve(zstd::zstd_safe::compress_bound(plain.len()));
            inner.compress_to_buffer(plain, out).map_err(|err| Malformed::with(err.to_string()))?;
            if out.len() + plain.len() / 32 < plain.len() {
                return Ok(Codec::Zstd);
            }
            out.clear();
        }
        out.extend_from_slice(plain);
        Ok(Codec::Raw)
    }
}

/// Decompresses block after block with one context.
pub struct Unpacker {
    inner: Decompressor<'static>,
}

impl fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unpacker")
    }
}

impl Unpacker {
    /// Sets up a context.
    ///
    /// # Errors
    /// When zstd cannot be set up.
    pub fn new() -> Result<Self, Malformed> {
        let inner = Decompressor::new().map_err(|err| Malformed::with(err.to_string()))?;
        Ok(Self { inner })
    }

    /// Replaces `out` by the plain form, which must have exactly `len` bytes (the caller has bounded it).
    ///
    /// # Errors
    /// When the bytes do not unpack to that length.
    pub fn unpack(
        &mut self,
        codec: Codec,
        packed: &[u8],
        len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        out.clear();
        match codec {
            Codec::Raw => out.extend_from_slice(packed),
            Codec::Zstd => {
                out.reserve_exact(len);
                self.inner
                    .decompress_to_buffer(packed, out)
                    .map_err(|err| Malformed::with(err.to_string()))?;
            }
        }
        if out.len() == len { Ok(()) } else { Err(Malformed::because("unpacks to another length")) }
    }
}
