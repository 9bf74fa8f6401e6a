//! pax records: `LENGTH KEY=VALUE\n`, where LENGTH includes itself.

use crate::model::decode_error::DecodeError;
use crate::model::entry::Time;

/// A record: (key, value).
pub type PaxRecord<'a> = (&'a [u8], &'a [u8]);

/// Appends a record.
pub fn put(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let bare = key.len() + value.len() + 3;
    let mut len = bare + 1;
    while bare + len.to_string().len() != len {
        len = bare + len.to_string().len();
    }
    out.extend_from_slice(len.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Escapes a name for use in a key, which ends at the first `=`. This is GNU tar's encoding.
pub fn keyword(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'%' => out.extend_from_slice(b"%25"),
            b'=' => out.extend_from_slice(b"%3D"),
            byte => out.push(*byte),
        }
    }
    out
}

/// Decodes [`keyword`]. Other sequences after a `%` are kept, as they come from a writer that does not
/// escape.
pub fn name_of(keyword: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(keyword.len());
    let mut rest = keyword;
    while let [first, others @ ..] = rest {
        let (byte, after) = match rest {
            [b'%', b'2', b'5', after @ ..] => (b'%', after),
            [b'%', b'3', b'D' | b'd', after @ ..] => (b'=', after),
            _ => (*first, others),
        };
        out.push(byte);
        rest = after;
    }
    out
}

/// Splits the content of an extended header into (key, value), in order.
///
/// # Errors
/// The content does not consist of complete records.
pub fn records(mut bytes: &[u8]) -> Result<Vec<PaxRecord<'_>>, DecodeError> {
    let wrong = || DecodeError::because("an extended header has an invalid record");
    let mut all = Vec::new();
    // Some writers pad with NULs.
    while bytes.first().is_some_and(|byte| *byte != 0) {
        let space = bytes.iter().take(24).position(|byte| *byte == b' ').ok_or_else(wrong)?;
        let (digits, _) = bytes.split_at(space);
        let len: usize =
            std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
        let record = bytes.get(space + 1..len).ok_or_else(wrong)?;
        let record = record.strip_suffix(b"\n").ok_or_else(wrong)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
        let (key, [_, value @ ..]) = record.split_at(equals) else { return Err(wrong()) };
        all.push((key, value));
        bytes = bytes.get(len..).ok_or_else(wrong)?;
    }
    Ok(all)
}

/// Formats a time as seconds with as many fractional digits as needed.
pub fn time_text(time: Time) -> String {
    let (sign, sec, nanos) = match time.sec {
        sec if sec < 0 && time.nanos > 0 => ("-", (sec + 1).unsigned_abs(), 1_000_000_000 - time.nanos),
        sec if sec < 0 => ("-", sec.unsigned_abs(), 0),
        sec => ("", sec.unsigned_abs(), time.nanos),
    };
    if nanos == 0 {
        return format!("{sign}{sec}");
    }
    format!("{sign}{sec}.{nanos:09}").trim_end_matches('0').to_owned()
}

/// Parses a time; digits beyond nanoseconds are dropped.
///
/// # Errors
/// The text is not a time.
pub fn parse_time(text: &[u8]) -> Result<Time, DecodeError> {
    let wrong = || DecodeError::because("a time is invalid");
    let text = std::str::from_utf8(text).map_err(|_| wrong())?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return Err(wrong());
    }
    let sec: i64 = whole.parse().map_err(|_| wrong())?;
    let nanos = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanos = nanos.fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Ok(match (negative, nanos) {
        (false, _) => Time { sec, nanos },
        (true, 0) => Time { sec: -sec, nanos },
        (true, _) => Time { sec: -sec - 1, nanos: 1_000_000_000 - nanos },
    })
}

#[cfg(test)]
mod tests {
    use super::{keyword, name_of, parse_time, put, records, time_text};
    use crate::model::entry::Time;

    #[test]
    fn records_of_every_length_roundtrip() {
        for len in [0, 1, 80, 90, 91, 92, 93, 94, 95, 96, 97, 980, 990, 991, 992, 993, 994, 995, 9990, 9995] {
            let value = vec![b'v'; len];
            let mut out = Vec::new();
            put(&mut out, b"key", &value);
            put(&mut out, b"other", b"a=b\n");
            let all = records(&out).unwrap();
            assert_eq!(all, [(b"key".as_slice(), value.as_slice()), (b"other", b"a=b\n")], "{len}");
        }
    }

    #[test]
    fn names_with_an_equals_sign_and_a_percent_sign_come_back() {
        for (name, coded) in [
            (&b"user.a=b"[..], &b"user.a%3Db"[..]),
            (b"user.p%25", b"user.p%2525"),
            (b"user.%3D=%", b"user.%253D%3D%25"),
            (b"user.plain", b"user.plain"),
        ] {
            assert_eq!(keyword(name), coded);
            assert_eq!(name_of(coded), name);
        }
        assert_eq!(name_of(b"user.%41%2%"), b"user.%41%2%");
    }

    #[test]
    fn malformed_records_are_an_error() {
        for bad in
            ["7 a=b", "x a=b\n", "99 a=b\n", "6 ab\n\n", "0 a=b\n", "18446744073709551616 a=b\n", "5 a=b\n"]
        {
            assert!(records(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert_eq!(records(b"6 a=b\n\0\0\0").unwrap().len(), 1);
    }

    #[test]
    fn times_before_and_after_1970_come_back() {
        for (sec, nanos, text) in [
            (0, 0, "0"),
            (1, 500_000_000, "1.5"),
            (-1, 500_000_000, "-0.5"),
            (-2, 1, "-1.999999999"),
            (-7, 0, "-7"),
            (99_999_999_999, 123_456_789, "99999999999.123456789"),
        ] {
            let time = Time { sec, nanos };
            assert_eq!(time_text(time), text);
            assert_eq!(parse_time(text.as_bytes()).unwrap(), time);
        }
        assert!(
            ["", "-", "1.x", "1e9", ".5", "99999999999999999999"]
                .iter()
                .all(|bad| parse_time(bad.as_bytes()).is_err())
        );
    }
}
