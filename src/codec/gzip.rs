//! gzip (RFC 1952): writes whole members, reads streams of members. The only user of libdeflate and flate2.

use std::io::{BufRead, Read};
use std::{fmt, io};

use flate2::bufread::GzDecoder;
use libdeflater::{CompressionLvl, Compressor};
use parking_lot::Mutex;

use crate::model::decode_error::DecodeError;

/// Memory of a compressor of the highest level in bytes; others need less.
const MAX_MEMORY: usize = 12 << 20;

/// Compresses pieces, each as a separate member. Concatenated, the members form one gzip file.
pub struct GzipCompressor {
    inner: Compressor,
}

impl fmt::Debug for GzipCompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GzipCompressor")
    }
}

impl GzipCompressor {
    /// Creates a compressor for a level from 1 to 12.
    ///
    /// # Errors
    /// There is no such level, or not enough memory.
    pub fn new(level: i32) -> Result<Self, DecodeError> {
        let level = CompressionLvl::new(level)
            .map_err(|_| DecodeError::because("gzip has no such compression level"))?;
        // The library panics without memory, so the memory is allocated and freed first. Only one thread at a
        // time does this, so that none takes the memory that another has just probed.
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock();
        let mut room = Vec::<u8>::new();
        room.try_reserve_exact(MAX_MEMORY)
            .map_err(|_| DecodeError::because("not enough memory for a gzip compressor"))?;
        drop(room);
        Ok(Self { inner: Compressor::new(level) })
    }

    /// Replaces `out` by a member that contains `plain`, without name and time.
    ///
    /// # Errors
    /// The compressor fails.
    pub fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
        out.resize(self.inner.gzip_compress_bound(plain.len()), 0);
        let compressed = self.inner.gzip_compress(plain, out);
        out.truncate(compressed.map_err(|err| DecodeError::with(err.to_string()))?);
        Ok(())
    }
}

/// Returns a reader of the plain bytes of one or more members. Zeros after a member, as tapes and disks add
/// them, are ignored.
pub fn decompressing<'a, R: BufRead + Send + 'a>(input: R) -> Box<dyn Read + Send + 'a> {
    Box::new(Members { current: Some(GzDecoder::new(input)) })
}

struct Members<R> {
    /// The current member; `None` at the end.
    current: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(member) = &mut self.current else { return Ok(0) };
            let count = member.read(out)?;
            if count > 0 || out.is_empty() {
                return Ok(count);
            }
            let Some(mut input) = self.current.take().map(GzDecoder::into_inner) else { return Ok(0) };
            loop {
                let ahead = input.fill_buf()?;
                if ahead.is_empty() {
                    return Ok(0);
                }
                match ahead.iter().take_while(|byte| **byte == 0).count() {
                    0 => break,
                    zeros => input.consume(zeros),
                }
            }
            self.current = Some(GzDecoder::new(input));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decompress(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        // A small buffer, so that members end in its middle and zeros fill it more than once.
        decompressing(io::BufReader::with_capacity(7, bytes)).read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn members_follow_each_other_with_zeros_between_and_after() {
        let mut compressor = GzipCompressor::new(6).unwrap();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        compressor.compress(b"one ", &mut first).unwrap();
        compressor.compress(b"two", &mut second).unwrap();
        for zeros in [0, 1, 6, 7, 8, 1000] {
            let gap = vec![0; zeros];
            let bytes = [&first, &gap[..], &second, &gap[..]].concat();
            assert_eq!(decompress(&bytes).unwrap(), b"one two", "{zeros}");
        }
        assert!(decompress(&[&first[..], b"garbage"].concat()).is_err());
        assert!(decompress(&first[..first.len() - 1]).is_err(), "cut");
        let mut wrong = first.clone();
        let at = wrong.len() - 7;
        wrong[at] ^= 1;
        assert!(decompress(&wrong).is_err(), "a wrong check value");
    }
}
