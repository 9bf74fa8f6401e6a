//! Numbers in headers: octal digits, or base 256 for numbers that do not fit.

use crate::model::decode_error::DecodeError;

/// Writes octal digits and a NUL. If the number is too large for the field, writes zeros and returns false.
pub(super) fn put_octal(field: &mut [u8], value: u64) -> bool {
    let digits = field.len().saturating_sub(1);
    let fits = digits >= 22 || value < 1 << (3 * digits);
    let mut rest = if fits { value } else { 0 };
    if let Some((last, digits)) = field.split_last_mut() {
        *last = 0;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest & 7) as u8;
            rest >>= 3;
        }
    }
    fits
}

/// Parses a number; a blank field is zero. Negative numbers exist only in base 256.
pub(super) fn parse(field: &[u8]) -> Result<i64, DecodeError> {
    let wrong = || DecodeError::because("a header field is not a number");
    match field.first() {
        Some(first) if first & 0x80 != 0 => {
            let negative = first & 0x40 != 0;
            let mut value: i64 = if negative { -1 } else { 0 };
            for (at, byte) in field.iter().enumerate() {
                // The most significant bit of the first byte marks base 256, the next one is the sign.
                let byte = match (at, negative) {
                    (0, false) => byte & 0x3f,
                    (0, true) => byte | 0x80,
                    _ => *byte,
                };
                value = value.checked_mul(256).ok_or_else(wrong)? | i64::from(byte);
            }
            Ok(value)
        }
        _ => {
            let text = field.split(|byte| *byte == 0).next().unwrap_or_default().trim_ascii();
            if text.is_empty() {
                return Ok(0);
            }
            let text = std::str::from_utf8(text).map_err(|_| wrong())?;
            if text.starts_with('+') {
                return Err(wrong());
            }
            i64::from_str_radix(text, 8).map_err(|_| wrong())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{parse, put_octal};

    #[test]
    fn octal_numbers_roundtrip_and_too_large_ones_are_refused() {
        for value in [0, 1, 0o755, 0o7777777] {
            let mut field = [0; 8];
            assert!(put_octal(&mut field, value));
            assert_eq!(parse(&field), Ok(value as i64));
        }
        assert!(!put_octal(&mut [0; 8], 0o10000000));
    }

    #[test]
    fn base_256_is_read_with_its_sign() {
        assert_eq!(parse(&[0x80, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 1]), Ok((0x20 << 40) + 1));
        assert_eq!(parse(&[0xff; 12]), Ok(-1));
        assert_eq!(
            parse(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x38]),
            Ok(-200)
        );
        assert!(parse(&[0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).is_err());
    }

    #[test]
    fn spaces_and_nuls_around_digits_are_ignored_not_letters() {
        assert_eq!(parse(b"   644 \0"), Ok(0o644));
        assert_eq!(parse(b"\0\0\0\0\0\0\0\0"), Ok(0));
        for bad in [b"0x1f\0\0\0\0", b"9\0\0\0\0\0\0\0", b"+7\0\0\0\0\0\0"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
