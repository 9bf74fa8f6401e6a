//! zstd (RFC 8878) with reused contexts. The only user of zstd.

pub mod delta;
mod frame;

use std::io::Read;
use std::{fmt, io};

use zstd::zstd_safe::{CCtx, CParameter, DCtx, get_error_name};

use crate::model::decode_error::DecodeError;

/// How the bytes of a block are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Not compressed.
    Raw,
    /// One zstd frame.
    Zstd,
    /// One zstd frame that refers to a prefix: the bytes of other chunks.
    Delta,
}

impl Codec {
    /// Returns the codec's byte in the format.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Zstd => 1,
            Self::Delta => 2,
        }
    }

    /// Returns the codec for a byte of the format.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            2 => Some(Self::Delta),
            _ => None,
        }
    }
}

/// The level that stores everything uncompressed.
pub const NO_COMPRESSION: i32 = i32::MIN;

/// Tuning of the default level: the second table has a quarter of its usual size, so that it fits into a
/// faster CPU cache, and there are no matches of five bytes. This is 5 % faster and 2 % larger, which blocks
/// of 2 MiB compensate for (docs/performance.md).
const TUNED: i32 = 3;
const TUNING: [CParameter; 2] = [CParameter::ChainLog(14), CParameter::MinMatch(6)];

/// The level for small amounts of data. Its table has a quarter of its usual size of 20 MiB, which is a tenth
/// faster and 0.1 % larger for blocks of 2 MiB (docs/decisions/0049).
pub(crate) const HARDER: i32 = 9;
const HARDER_TUNING: [CParameter; 1] = [CParameter::HashLog(20)];

/// Compresses blocks with one reused context.
pub struct Compressor {
    inner: Option<CCtx<'static>>,
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compressor")
    }
}

impl Compressor {
    /// Creates a compressor for a zstd level or [`NO_COMPRESSION`].
    ///
    /// # Errors
    /// zstd cannot be initialized.
    pub fn new(level: i32) -> Result<Self, DecodeError> {
        if level == NO_COMPRESSION {
            return Ok(Self { inner: None });
        }
        let tuning: &[CParameter] = match level {
            TUNED => &TUNING,
            HARDER => &HARDER_TUNING,
            _ => &[],
        };
        Ok(Self { inner: Some(compressor(level, tuning)?) })
    }

    /// Returns the compressed bytes (in `out`) or the plain ones. The codec is raw unless zstd saves at least
    /// 3 %, because decompression costs time too.
    ///
    /// # Errors
    /// zstd fails.
    pub fn compress<'a>(
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

    /// Compresses into `out` and returns whether this saves enough.
    fn shrinks(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<bool, DecodeError> {
        let Some(inner) = &mut self.inner else { return Ok(false) };
        out.clear();
        out.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        inner.compress2(out, plain).map_err(failed)?;
        Ok(out.len() + plain.len() / 32 < plain.len())
    }
}

/// Bytes of a random-looking block that are compressed as a trial. If they do not shrink, the rest is not
/// compressed.
const TRIAL: usize = 64 << 10;
/// The sample that is examined: this many pieces of this many bytes.
const PIECES: usize = 16;
const PIECE: usize = 1 << 10;

/// Returns whether all byte values are about equally frequent in a sample, as in compressed or encrypted
/// data. Text, programs and uncompressed images are far from it.
pub(crate) fn looks_random(plain: &[u8]) -> bool {
    let mut counts = [0u32; 256];
    let step = plain.len() / PIECES;
    if step < PIECE {
        return false;
    }
    for piece in plain.chunks(step).take(PIECES) {
        for byte in piece.iter().take(PIECE) {
            if let Some(count) = counts.get_mut(usize::from(*byte)) {
                *count += 1;
            }
        }
    }
    // Pearson's chi-squared test: random bytes give 255 ± 23, and more than 400 once in a billion blocks.
    let expected = (PIECES * PIECE / 256) as f64;
    let distance: f64 = counts.iter().map(|count| (f64::from(*count) - expected).powi(2)).sum();
    distance / expected < 400.0
}

/// Decompresses blocks with one reused context.
pub struct Decompressor {
    inner: DCtx<'static>,
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decompressor")
    }
}

impl Decompressor {
    /// Creates a decompressor.
    ///
    /// # Errors
    /// zstd cannot be initialized.
    pub fn new() -> Result<Self, DecodeError> {
        Ok(Self { inner: DCtx::try_create().ok_or(NO_MEMORY)? })
    }

    /// Replaces `out` by the plain bytes, which must be exactly `len` bytes (bounded by the caller).
    ///
    /// # Errors
    /// The bytes do not decompress to that length.
    pub fn decompress(
        &mut self,
        codec: Codec,
        compressed: &[u8],
        len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        out.clear();
        match codec {
            Codec::Raw => out.extend_from_slice(compressed),
            Codec::Zstd => {
                frame::check(compressed, len)?;
                out.reserve_exact(len);
                self.inner
                    .decompress(out, compressed)
                    .map_err(|_| DecodeError::because("it cannot be decompressed"))?;
            }
            Codec::Delta => return Err(DecodeError::because("the bases of a delta are missing")),
        }
        if out.len() == len { Ok(()) } else { Err(DecodeError::because("its decompressed length is wrong")) }
    }
}

/// Compresses pieces, each as a separate frame with a checksum. Concatenated, the frames form one zstd
/// file.
pub struct FrameCompressor {
    inner: CCtx<'static>,
}

impl fmt::Debug for FrameCompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FrameCompressor")
    }
}

impl FrameCompressor {
    /// Creates a compressor for a zstd level.
    ///
    /// # Errors
    /// zstd cannot be initialized.
    pub fn new(level: i32) -> Result<Self, DecodeError> {
        Ok(Self { inner: compressor(level, &[CParameter::ChecksumFlag(true)])? })
    }

    /// Replaces `out` by a frame that contains `plain`.
    ///
    /// # Errors
    /// zstd fails.
    pub fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
        out.clear();
        out.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        self.inner.compress2(out, plain).map(|_| ()).map_err(failed)
    }
}

/// Out of memory. zstd's own constructors would panic instead.
const NO_MEMORY: DecodeError = DecodeError::because("not enough memory for zstd");

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

/// Largest window of a frame that snap did not write, as a power of two: 128 MiB, zstd's own default limit.
const MAX_WINDOW: u32 = 27;

/// Returns a reader of the plain bytes of one or more frames, written by any program.
///
/// # Errors
/// zstd cannot be initialized.
pub fn decompressing<'a, R: Read + Send + 'a>(input: R) -> io::Result<Box<dyn Read + Send + 'a>> {
    drop(DCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?);
    let mut decoder = zstd::stream::read::Decoder::new(input)?;
    decoder.window_log_max(MAX_WINDOW)?;
    Ok(Box::new(decoder))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns incompressible bytes.
    fn noise(len: usize) -> Vec<u8> {
        let mut plain = vec![0; len];
        getrandom::fill(&mut plain).unwrap();
        plain
    }

    #[test]
    fn incompressible_data_is_stored_after_a_sample() {
        let plain = noise(1 << 20);
        let mut out = Vec::new();
        let (codec, compressed) = Compressor::new(3).unwrap().compress(&plain, &mut out).unwrap();
        assert_eq!((codec, compressed), (Codec::Raw, plain.as_slice()));
        assert!(out.len() < 2 * TRIAL, "{} bytes were compressed for nothing", out.len());
    }

    #[test]
    fn partly_compressible_data_is_compressed() {
        let text: Vec<u8> = b"one line like many others\n".iter().copied().cycle().take(512 << 10).collect();
        for plain in [[noise(512 << 10), text.clone()].concat(), [text, noise(512 << 10)].concat()] {
            let mut out = Vec::new();
            let (codec, compressed) = Compressor::new(3).unwrap().compress(&plain, &mut out).unwrap();
            assert_eq!(codec, Codec::Zstd);
            assert!(compressed.len() < 600 << 10);
        }
    }

    #[test]
    fn only_one_frame_with_a_fitting_window_is_read() {
        let plain = b"one line like many others\n".repeat(2000);
        let mut compressed = Vec::new();
        assert_eq!(Compressor::new(3).unwrap().compress(&plain, &mut compressed).unwrap().0, Codec::Zstd);
        let decompress = |compressed: &[u8], len| {
            let mut out = Vec::new();
            Decompressor::new().unwrap().decompress(Codec::Zstd, compressed, len, &mut out).map(|()| out)
        };
        assert_eq!(decompress(&compressed, plain.len()).unwrap(), plain);
        let refused = |compressed: &[u8], len| decompress(compressed, len).unwrap_err().to_string();
        let half = zstd::bulk::compress(&plain[..26_000], 3).unwrap();
        let halves = [half.as_slice(), &half].concat();
        assert!(refused(&halves, 52_000).contains("trailing bytes"), "two frames");
        assert!(refused(&[compressed.as_slice(), b"x"].concat(), plain.len()).contains("trailing bytes"));
        let skipped = [0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9];
        assert!(refused(&[compressed.as_slice(), &skipped].concat(), plain.len()).contains("trailing bytes"));
        assert!(
            refused(&[skipped.as_slice(), &compressed].concat(), plain.len()).contains("not a zstd frame")
        );
        // One raw block of one byte, first with a window of 1 KiB, then of 2 KiB.
        assert_eq!(decompress(&[0x28, 0xb5, 0x2f, 0xfd, 0, 0, 9, 0, 0, b'x'], 1).unwrap(), b"x");
        assert!(refused(&[0x28, 0xb5, 0x2f, 0xfd, 0, 8, 9, 0, 0, b'x'], 1).contains("more memory"));
    }

    #[test]
    fn repeating_noise_is_compressed() {
        let plain = noise(40 << 10).repeat(25);
        let mut out = Vec::new();
        let (codec, compressed) = Compressor::new(3).unwrap().compress(&plain, &mut out).unwrap();
        assert_eq!(codec, Codec::Zstd);
        assert!(compressed.len() < 80 << 10);
    }
}
