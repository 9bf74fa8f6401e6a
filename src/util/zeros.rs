//! Zeros, which stand for the holes of files.

use std::sync::LazyLock;

use crate::error::Result;

/// Allocated at the first use: a constant would take 64 KiB in the binary.
static ZEROS: LazyLock<Vec<u8>> = LazyLock::new(|| vec![0; 64 << 10]);

/// Passes `len` zeros on, in pieces of at most 64 KiB.
pub(crate) fn pass_on(len: u64, out: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut left = len;
    while left > 0 {
        let piece = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
        out(ZEROS.split_at(piece).0)?;
        left -= piece as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_zeros_as_wanted_are_passed_on() {
        for len in [0, 1, 64 << 10, (64 << 10) + 1, 200_000] {
            let mut sum = 0;
            let counted = pass_on(len, &mut |piece| {
                assert!(piece.iter().all(|byte| *byte == 0) && !piece.is_empty());
                sum += piece.len() as u64;
                Ok(())
            });
            assert!(counted.is_ok());
            assert_eq!(sum, len);
        }
    }
}
