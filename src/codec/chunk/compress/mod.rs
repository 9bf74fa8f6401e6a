//! zstd (RFC 8878) with reused contexts. The only user of zstd.

pub mod delta;

use std::io::Read;
use std::{fmt, io};

use zstd::zstd_safe::{CCtx, CParameter, DCtx, get_error_name};

use crate::model::decode_error::DecodeError;

/// How a block's bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// As they are.
    Raw,
    /// One zstd frame.
    Zstd,
    /// One zstd frame that refers to other chunks' bytes, its prefix.
    Delta,
}

impl Codec {
    /// The byte that stands for it in the format.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Zstd => 1,
            Self::Delta => 2,
        }
    }

    /// The codec of a byte of the format.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            2 => Some(Self::Delta),
            _ => None,
        }
    }
}

/// The level that stores everything as it is.
pub const NO_COMPRESSION: i32 = i32::MIN;

/// The default level, with a second table of a quarter of its usual size, which stays nearer to the core, and no matches
/// of five bytes: a twentieth faster, and 2 % larger, which blocks of 2 MiB make good (docs/performance.md).
const TUNED: i32 = 3;
const TUNING: [CParameter; 2] = [CParameter::ChainLog(14), CParameter::MinMatch(6)];

/// Compresses block after block with one context.
pub struct Compressor {
    inner: Option<CCtx<'static>>,
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Packer")
    }
}

impl Compressor {
    /// At a zstd level, or [`NO_COMPRESSION`].
    ///
    /// # Errors
    /// When zstd cannot be set up.
    pub fn new(level: i32) -> Result<Self, DecodeError> {
        if level == NO_COMPRESSION {
            return Ok(Self { inner: None });
        }
        Ok(Self { inner: Some(compressor(level, if level == TUNED { &TUNING } else { &[] })?) })
    }

    /// The packed form, in `out` or as it is. Raw unless zstd saves at least 3 %: decoding costs time, too.
    ///
    /// # Errors
    /// When zstd fails.
    pub fn pack<'a>(
        &mut self,
        plain: &'a [u8],
        out: &'a mut Vec<u8>,
    ) -> Result<(Codec, &'a [u8]), DecodeError> {
        let trial = plain.get(plain.len() / 2..plain.len() / 2 + TRIAL).filter(|_| looks_random(plain));
        if trial.map_or(Ok(true), |trial| self.shrinks(trial, out))? && self.shrinks(plain, out)? {
            return Ok((Codec::Zstd, out));
        }
        Ok((Codec::Raw, plain))
    }

    /// Whether packing into `out` saves enough.
    fn shrinks(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<bool, DecodeError> {
        let Some(inner) = &mut self.inner else { return Ok(false) };
        out.clear();
        out.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        inner.compress2(out, plain).map_err(failed)?;
        Ok(out.len() + plain.len() / 32 < plain.len())
    }
}

/// Of a block that looks random so much is packed first: mostly it is random, and the rest need not be tried.
const TRIAL: usize = 64 << 10;
/// What is looked at: so many places of so many bytes.
const PLACES: usize = 16;
const PLACE: usize = 1 << 10;

/// Whether all bytes are about as frequent as one another in a sample, as in what is compressed or encrypted. Text,
/// programs and pictures are far from it.
pub(crate) fn looks_random(plain: &[u8]) -> bool {
    let mut counts = [0u32; 256];
    let step = plain.len() / PLACES;
    if step < PLACE {
        return false;
    }
    for place in plain.chunks(step).take(PLACES) {
        for byte in place.iter().take(PLACE) {
            if let Some(count) = counts.get_mut(usize::from(*byte)) {
                *count += 1;
            }
        }
    }
    // Pearson's chi-squared: for random bytes 255, give or take 23; more than 400 once in a billion blocks.
    let expected = (PLACES * PLACE / 256) as f64;
    let distance: f64 = counts.iter().map(|count| (f64::from(*count) - expected).powi(2)).sum();
    distance / expected < 400.0
}

/// Decompresses block after block with one context.
pub struct Decompressor {
    inner: DCtx<'static>,
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unpacker")
    }
}

impl Decompressor {
    /// Sets up a context.
    ///
    /// # Errors
    /// When zstd cannot be set up.
    pub fn new() -> Result<Self, DecodeError> {
        Ok(Self { inner: DCtx::try_create().ok_or(NO_MEMORY)? })
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
    ) -> Result<(), DecodeError> {
        out.clear();
        match codec {
            Codec::Raw => out.extend_from_slice(packed),
            Codec::Zstd => {
                out.reserve_exact(len);
                self.inner
                    .decompress(out, packed)
                    .map_err(|_| DecodeError::because("its bytes cannot be decompressed"))?;
            }
            Codec::Delta => return Err(DecodeError::because("a delta without the chunks it is made from")),
        }
        if out.len() == len { Ok(()) } else { Err(DecodeError::because("unpacks to another length")) }
    }
}

/// Compresses piece after piece, each as a frame of its own with a check value: one after the other they are one
/// zstd file.
pub struct FrameCompressor {
    inner: CCtx<'static>,
}

impl fmt::Debug for FrameCompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FramePacker")
    }
}

impl FrameCompressor {
    /// At a zstd level.
    ///
    /// # Errors
    /// When zstd cannot be set up.
    pub fn new(level: i32) -> Result<Self, DecodeError> {
        Ok(Self { inner: compressor(level, &[CParameter::ChecksumFlag(true)])? })
    }

    /// Replaces `out` by a frame that holds `plain`.
    ///
    /// # Errors
    /// When zstd fails.
    pub fn pack(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
        out.clear();
        out.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        self.inner.compress2(out, plain).map(|_| ()).map_err(failed)
    }
}

/// zstd's own constructors panic instead.
const NO_MEMORY: DecodeError = DecodeError::because("no memory for zstd");

fn compressor(level: i32, parameters: &[CParameter]) -> Result<CCtx<'static>, DecodeError> {
    let mut context = CCtx::try_create().ok_or(NO_MEMORY)?;
    for parameter in [CParameter::CompressionLevel(level)].iter().chain(parameters) {
        context.set_parameter(*parameter).map_err(failed)?;
    }
    Ok(context)
}

fn failed(code: usize) -> DecodeError {
    DecodeError::with(get_error_name(code).to_owned())
}

/// Largest window that a foreign frame may ask for, as a power of two: 128 MiB, what zstd itself takes unasked.
const MAX_WINDOW: u32 = 27;

/// The plain bytes of one or more frames of anybody's.
///
/// # Errors
/// When zstd cannot be set up.
pub fn plain<'a, R: Read + Send + 'a>(input: R) -> io::Result<Box<dyn Read + Send + 'a>> {
    drop(DCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?);
    let mut decoder = zstd::stream::read::Decoder::new(input)?;
    decoder.window_log_max(MAX_WINDOW)?;
    Ok(Box::new(decoder))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that no compressor shrinks.
    fn noise(len: usize) -> Vec<u8> {
        let mut plain = vec![0; len];
        getrandom::fill(&mut plain).unwrap();
        plain
    }

    #[test]
    fn noise_stays_as_it_is_and_is_not_tried_whole() {
        let plain = noise(1 << 20);
        let mut out = Vec::new();
        let (codec, packed) = Compressor::new(3).unwrap().pack(&plain, &mut out).unwrap();
        assert_eq!((codec, packed), (Codec::Raw, plain.as_slice()));
        assert!(out.len() < 2 * TRIAL, "{} bytes were packed for nothing", out.len());
    }

    #[test]
    fn what_is_only_partly_noise_is_packed() {
        let text: Vec<u8> = b"one line like many others\n".iter().copied().cycle().take(512 << 10).collect();
        for plain in [[noise(512 << 10), text.clone()].concat(), [text, noise(512 << 10)].concat()] {
            let mut out = Vec::new();
            let (codec, packed) = Compressor::new(3).unwrap().pack(&plain, &mut out).unwrap();
            assert_eq!(codec, Codec::Zstd);
            assert!(packed.len() < 600 << 10);
        }
    }

    #[test]
    fn noise_that_repeats_is_packed() {
        let plain = noise(40 << 10).repeat(25);
        let mut out = Vec::new();
        let (codec, packed) = Compressor::new(3).unwrap().pack(&plain, &mut out).unwrap();
        assert_eq!(codec, Codec::Zstd);
        assert!(packed.len() < 80 << 10);
    }
}
