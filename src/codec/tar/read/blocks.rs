//! Blocks of the input: verified headers, texts of bounded length, and errors for truncated or damaged ones.

use std::io::{self, Read};

use crate::codec::tar::read::{MAX_NAME, Reader, field_number};
use crate::codec::tar::{BLOCK, field, padding};
use crate::error::{Error, Result};
use crate::model::decode_error::DecodeError;

impl<R: Read> Reader<R> {
    /// Reads and verifies a header; `None` at the end of the archive.
    pub(super) fn header(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let Some(head) = self.block()? else {
            return self.fail(match self.members {
                0 => "it is not a tar archive, or it is empty",
                _ => {
                    "the archive ends after this member without an end-of-archive marker, so it may be \
                     truncated; if it never had one, append 1024 zero bytes to the uncompressed tar archive \
                     and import that"
                }
            });
        };
        if head.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let (start, len) = field::SUM;
        let sum = |value: &dyn Fn(u8) -> i64| -> i64 {
            let plain = |(at, byte): (usize, &u8)| {
                value(if (start..start + len).contains(&at) { b' ' } else { *byte })
            };
            head.iter().enumerate().map(plain).sum()
        };
        let wanted = field_number(&head, field::SUM).unwrap_or(-1);
        let (unsigned, signed) = (sum(&|byte| i64::from(byte)), sum(&|byte| i64::from(byte as i8)));
        if wanted == unsigned || wanted == signed {
            return Ok(Some(head));
        }
        if self.members == 0 {
            return self.fail("it is not a tar archive, or its first header is damaged");
        }
        self.fail("the header after this member is damaged")
    }

    /// Reads the next block; `None` if the input ends before it.
    pub(super) fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0u8; BLOCK];
        let mut filled = 0;
        while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(self.truncated()),
                Ok(count) => filled += count,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(input_error(&self.path, err)),
            }
        }
        Ok(Some(block))
    }

    /// Reads the content of a header that describes the next member, at most `most` bytes.
    pub(super) fn text(&mut self, size: u64, most: u64) -> Result<Vec<u8>> {
        if size > most {
            return self.fail("an extended header is too long");
        }
        self.left = size;
        self.padding = padding(size);
        let mut bytes = Vec::new();
        let mut piece = [0u8; BLOCK];
        loop {
            match self.read(&mut piece)? {
                0 => break,
                count => bytes.extend(piece.iter().take(count)),
            }
        }
        self.skip_rest()?;
        Ok(bytes)
    }

    pub(super) fn long_name(&mut self, size: u64) -> Result<Vec<u8>> {
        let mut name = self.text(size, MAX_NAME)?;
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        name.truncate(end);
        Ok(name)
    }

    /// Skips the unread content of the current member, and the padding after it.
    pub(super) fn skip_rest(&mut self) -> Result<()> {
        // Missing padding at the very end of the input is accepted.
        let mut buffer = [0u8; 16 << 10];
        while self.left > 0 {
            self.read(&mut buffer)?;
        }
        while self.padding > 0 {
            let (padding, _) = buffer.split_at_mut((self.padding as usize).min(BLOCK));
            match self.input.read(padding) {
                Ok(0) => self.padding = 0,
                Ok(count) => self.padding -= count as u64,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(input_error(&self.path, err)),
            }
        }
        Ok(())
    }

    pub(super) fn truncated(&self) -> Error {
        archive_error(&self.path, TRUNCATED)
    }

    pub(super) fn fail<T>(&self, why: &'static str) -> Result<T> {
        Err(archive_error(&self.path, DecodeError::because(why)))
    }

    pub(super) fn checked<T>(&self, result: Result<T, DecodeError>) -> Result<T> {
        result.map_err(|why| archive_error(&self.path, why))
    }
}

const TRUNCATED: DecodeError = DecodeError::because("the archive is truncated in the middle of this member");

fn archive_error(path: &[u8], source: DecodeError) -> Error {
    let what = match path {
        b"" => "the archive".to_owned(),
        path => String::from_utf8_lossy(path).into_owned(),
    };
    Error::Archive { what, source }
}

/// Converts an input error to an archive error, so that an import of several archives continues with the
/// next one. An [`Error`] that the input wraps is returned unchanged.
pub(super) fn input_error(path: &[u8], err: io::Error) -> Error {
    let err = match err.downcast::<Error>() {
        Ok(error) => return error,
        Err(err) => err,
    };
    match err.kind() {
        io::ErrorKind::UnexpectedEof => archive_error(path, TRUNCATED),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other => archive_error(
            path,
            DecodeError::because("the archive is damaged here: it cannot be decompressed"),
        ),
        _ => archive_error(path, DecodeError::with(format!("the rest of the archive cannot be read: {err}"))),
    }
}
