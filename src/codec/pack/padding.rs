//! Padding of packs, so that their sizes do not reveal exactly how many bytes were added.

use crate::codec::crypto::cipher;
use crate::model::config::CipherKind;
use crate::model::decode_error::DecodeError;

/// Whether a pack is padded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// The pack ends with its last block.
    None,
    /// The pack is padded to a [`padded_len`], if the repository is encrypted.
    Padded,
}

impl Padding {
    /// Returns the bytes that follow the last block of a pack, which without them has `len` bytes.
    /// They are random, so that nobody can tell them from a block.
    ///
    /// # Errors
    /// The system's random generator fails.
    pub(super) fn bytes(self, kind: CipherKind, len: u64) -> Result<Vec<u8>, DecodeError> {
        let more = if self == Self::None || kind == CipherKind::None { 0 } else { padded_len(len) - len };
        let mut bytes = vec![0; more as usize];
        cipher::random(&mut bytes)?;
        Ok(bytes)
    }
}

/// Returns the smallest length that is not below `len` and has few significant bits: one more than in the
/// Padmé scheme, which halves the padding. Lengths up to L reveal O(log log L) bits. Padding adds at most 6
/// %, and less than 1.6 % from 64 KiB on.
///
/// After Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs",
/// PETS 2019.
pub fn padded_len(len: u64) -> u64 {
    let Some(exponent) = len.checked_ilog2().filter(|exponent| *exponent > 0) else { return len };
    let kept = exponent.ilog2() + 2;
    let mask = (1u64 << exponent.saturating_sub(kept)) - 1;
    len.checked_add(mask).map_or(len, |len| len & !mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_one_bit_more_than_those_of_the_paper() {
        let padded =
            [(0, 0), (1, 1), (9, 9), (1000, 1008), (1025, 1056), (1 << 20, 1 << 20), (u64::MAX, u64::MAX)];
        for (len, wanted) in padded {
            assert_eq!(padded_len(len), wanted, "{len}");
        }
    }

    #[test]
    fn padding_is_bounded_and_padded_lengths_are_few() {
        let mut lengths = std::collections::BTreeSet::new();
        for len in 1..200_000u64 {
            let padded = padded_len(len);
            assert!(padded >= len && (padded - len) * 100 <= len * 6, "{len} {padded}");
            assert!(len < 1 << 16 || (padded - len) * 1000 <= len * 16, "{len} {padded}");
            assert_eq!(padded_len(padded), padded);
            lengths.insert(padded);
        }
        assert!(lengths.len() < 450, "{}", lengths.len());
    }
}
