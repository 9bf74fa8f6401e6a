//! Maps of sparse files: in old GNU headers and the blocks after them, or before the data.

use std::io::Read;

use crate::codec::tar::read::extended::SparseWords;
use crate::codec::tar::read::{Found, Reader, field_number};
use crate::codec::tar::sparse::Segments;
use crate::codec::tar::{BLOCK, number, sparse};
use crate::error::Result;
use crate::model::decode_error::DecodeError;

impl<R: Read> Reader<R> {
    /// Reads the map in the header of a member of type `S` and in the blocks that follow it.
    pub(super) fn old_sparse(&mut self, head: &[u8; BLOCK], found: &mut Found) -> Result<()> {
        let mut segments = Segments::new();
        let real = self.checked(field_number(head, (483, 12)))?;
        self.checked(old_map(&mut segments, head, 386, 4))?;
        let mut more = head.get(482).is_some_and(|byte| *byte != 0);
        while more {
            let block = self.block()?.ok_or_else(|| self.truncated())?;
            self.checked(old_map(&mut segments, &block, 0, 21))?;
            more = block.get(504).is_some_and(|byte| *byte != 0);
        }
        let too_large = |_| DecodeError::because("its size is too large");
        found.size = self.checked(u64::try_from(real).map_err(too_large))?;
        found.segments = Some(segments);
        Ok(())
    }

    pub(super) fn new_sparse(&mut self, words: SparseWords, found: &mut Found) -> Result<()> {
        let Some(real) = words.real else { return self.fail("it is sparse, but its size is missing") };
        let mut segments = words.segments;
        if words.in_data {
            let mut text = MapReader { reader: self, block: [0; BLOCK], at: BLOCK };
            let count = text.number()?;
            for _ in 0..count {
                let (offset, len) = (text.number()?, text.number()?);
                let pushed = sparse::push(&mut segments, offset, len);
                text.reader.checked(pushed)?;
            }
        }
        found.size = real;
        found.segments = Some(segments);
        Ok(())
    }
}

/// Reads the map before the data of a sparse member: lines of digits, padded to a whole block.
struct MapReader<'a, R> {
    reader: &'a mut Reader<R>,
    block: [u8; BLOCK],
    at: usize,
}

impl<R: Read> MapReader<'_, R> {
    fn number(&mut self) -> Result<u64> {
        let mut value: Option<u64> = None;
        loop {
            if self.at == BLOCK {
                self.fill()?;
            }
            let byte = *self.block.get(self.at).unwrap_or(&0);
            self.at += 1;
            let digit = u64::from(byte.wrapping_sub(b'0'));
            let grown = || value.unwrap_or(0).checked_mul(10)?.checked_add(digit);
            match (byte, value) {
                (b'\n', Some(value)) => return Ok(value),
                (b'0'..=b'9', _) if grown().is_some() => value = grown(),
                _ => return self.reader.fail("its sparse map is invalid"),
            }
        }
    }

    fn fill(&mut self) -> Result<()> {
        let mut filled = 0;
        while let Some(rest) = self.block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.reader.read(rest)? {
                0 => return self.reader.fail("its sparse map has no end"),
                count => filled += count,
            }
        }
        self.at = 0;
        Ok(())
    }
}

fn old_map(segments: &mut Segments, block: &[u8], start: usize, count: usize) -> Result<(), DecodeError> {
    for at in (0..count).map(|nth| start + 24 * nth) {
        let cut = DecodeError::because("its sparse map is longer than its header says");
        let field = |at: usize| block.get(at..at + 12).ok_or(cut.clone());
        if field(at)?.first().is_none_or(|byte| *byte == 0) {
            break;
        }
        let wrong = |_| DecodeError::because("its sparse map has negative numbers");
        let offset = u64::try_from(number::parse(field(at)?)?).map_err(wrong)?;
        let len = u64::try_from(number::parse(field(at + 12)?)?).map_err(wrong)?;
        sparse::push(segments, offset, len)?;
    }
    Ok(())
}
