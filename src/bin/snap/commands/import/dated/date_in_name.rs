//! Finds the date and time in the name of a directory, as backup programs write them.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::strtime;
use jiff::tz::{Offset, TimeZone};

/// Why a name has no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoTime {
    /// The name contains no date.
    None,
    /// The name contains several dates.
    Several,
    /// The date is followed by something that is neither a time nor a suffix.
    Unclear,
}

/// A date, the text after it, and its end.
struct Found {
    at: DateTime,
    offset: Option<Offset>,
    end: usize,
}

/// Returns the time in a name: a date (`2026-03-01`, `2026.03.01`, `2026_03_01`, `20260301`), optionally
/// followed by a time of day (`T03:00:00Z`, `-030000`, `_03-00-01`, ` 0300`). Without an offset it is in
/// `zone`; without a time of day it is midnight. Other text before and after is ignored.
pub(super) fn find(name: &str, zone: &TimeZone) -> Result<Timestamp, NoTime> {
    let bytes = name.as_bytes();
    let mut found: Option<Found> = None;
    let mut at = 0;
    while at < bytes.len() {
        let run = digits(bytes, at);
        let Some(date) = (run > 0).then(|| date(bytes, at)).flatten() else {
            at += run.max(1);
            continue;
        };
        if found.is_some() {
            return Err(NoTime::Several);
        }
        let one = time_of_day(bytes, date)?;
        at = one.end;
        found = Some(one);
    }
    let Found { at, offset, .. } = found.ok_or(NoTime::None)?;
    let zone = offset.map_or_else(|| zone.clone(), TimeZone::fixed);
    zone.to_timestamp(at).map_err(|_| NoTime::Unclear)
}

/// Returns the time of a name that matches a strptime pattern completely.
///
/// # Errors
/// It does not match, or the pattern has no date.
pub(super) fn by_pattern(name: &str, pattern: &str, zone: &TimeZone) -> Result<Timestamp, jiff::Error> {
    let parsed = strtime::parse(pattern, name)?;
    match parsed.to_timestamp() {
        Ok(at) => Ok(at),
        Err(_) => zone.to_timestamp(parsed.to_datetime()?),
    }
}

/// Length of the run of digits that begins at `at`.
fn digits(bytes: &[u8], at: usize) -> usize {
    bytes.iter().skip(at).take_while(|byte| byte.is_ascii_digit()).count()
}

fn number(bytes: &[u8], at: usize, len: usize) -> Option<i16> {
    std::str::from_utf8(bytes.get(at..at + len)?).ok()?.parse().ok()
}

fn byte(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

fn ymd(bytes: &[u8], [year, month, day]: [usize; 3]) -> Option<Date> {
    let year = number(bytes, year, 4).filter(|year| (1970..2200).contains(year))?;
    let two = |at| i8::try_from(number(bytes, at, 2)?).ok();
    Date::new(year, two(month)?, two(day)?).ok()
}

/// Parses the date that begins at `at`, and the time in the same run of digits. Returns where they end.
fn date(bytes: &[u8], at: usize) -> Option<(Date, Option<Time>, usize)> {
    match digits(bytes, at) {
        4 => {
            let sep = byte(bytes, at + 4).filter(|sep| b"-_.".contains(sep))?;
            let is_pair = |at: usize| digits(bytes, at) == 2;
            let fits = is_pair(at + 5) && byte(bytes, at + 7) == Some(sep) && is_pair(at + 8);
            let date = fits.then(|| ymd(bytes, [at, at + 5, at + 8])).flatten()?;
            Some((date, None, at + 10))
        }
        8 => Some((ymd(bytes, [at, at + 4, at + 6])?, None, at + 8)),
        len @ (12 | 14) => {
            let date = ymd(bytes, [at, at + 4, at + 6])?;
            Some((date, Some(hms(bytes, at + 8, len - 8)?), at + len))
        }
        _ => None,
    }
}

/// Parses `HHMM` or `HHMMSS`.
fn hms(bytes: &[u8], at: usize, len: usize) -> Option<Time> {
    let two = |at| i8::try_from(number(bytes, at, 2)?).ok();
    let second = if len == 6 { two(at + 4)? } else { 0 };
    Time::new(two(at)?, two(at + 2)?, second, 0).ok()
}

/// Parses the rest of a name after a date: a time of day with an offset, or anything that is not a number of
/// two, four or six digits.
fn time_of_day(bytes: &[u8], (date, time, end): (Date, Option<Time>, usize)) -> Result<Found, NoTime> {
    if let Some(time) = time {
        return Ok(with_offset(bytes, date.to_datetime(time), false, end));
    }
    let plain = Found { at: date.at(0, 0, 0, 0), offset: None, end };
    let sep = byte(bytes, end);
    let at = end + 1;
    let is_iso = matches!(sep, Some(b'T' | b't'));
    let is_sep = is_iso || sep.is_some_and(|sep| b"-_. @".contains(&sep));
    // The year of a second date looks like a time of day.
    if !is_sep || self::date(bytes, at).is_some() {
        return Ok(plain);
    }
    let (time, end) = match digits(bytes, at) {
        len @ (4 | 6) => (hms(bytes, at, len), at + len),
        2 => match parted(bytes, at) {
            Some((time, end)) => (Some(time), end),
            None => (None, at),
        },
        _ if is_iso => (None, at),
        _ => return Ok(plain),
    };
    let time = time.ok_or(NoTime::Unclear)?;
    Ok(with_offset(bytes, date.to_datetime(time), is_iso, end))
}

/// Parses `HH:MM` or `HH:MM:SS` with any separator, and skips a fraction.
fn parted(bytes: &[u8], at: usize) -> Option<(Time, usize)> {
    let is_sep = |at: usize| byte(bytes, at).is_some_and(|sep| b":-_.h".contains(&sep));
    let two =
        |at: usize| (digits(bytes, at) == 2).then(|| i8::try_from(number(bytes, at, 2)?).ok()).flatten();
    let (hour, minute) = (two(at)?, is_sep(at + 2).then(|| two(at + 3)).flatten()?);
    let second = is_sep(at + 5).then(|| two(at + 6)).flatten();
    let mut end = if second.is_some() { at + 8 } else { at + 5 };
    if second.is_some() && byte(bytes, end) == Some(b'.') {
        end += 1 + digits(bytes, end + 1);
    }
    Some((Time::new(hour, minute, second.unwrap_or(0), 0).ok()?, end))
}

/// Parses `Z`, `+HHMM` or `+HH:MM`; after a `T` also `-HHMM`, which is a suffix elsewhere.
fn with_offset(bytes: &[u8], at: DateTime, is_iso: bool, end: usize) -> Found {
    let local = Found { at, offset: None, end };
    let next_is_letter = byte(bytes, end + 1).is_some_and(|next| next.is_ascii_alphanumeric());
    let sign = match byte(bytes, end) {
        Some(b'Z' | b'z') if !next_is_letter => return Found { at, offset: Some(Offset::UTC), end: end + 1 },
        Some(b'+') => 1,
        Some(b'-') if is_iso => -1,
        _ => return local,
    };
    let pair = |at: usize| number(bytes, at, 2).map(i32::from);
    let (hours, minutes, end) = match (digits(bytes, end + 1), byte(bytes, end + 3)) {
        (4, _) => (pair(end + 1), pair(end + 3), end + 5),
        (2, Some(b':')) if digits(bytes, end + 4) == 2 => (pair(end + 1), pair(end + 4), end + 6),
        _ => return local,
    };
    let (Some(hours @ 0..=14), Some(minutes @ 0..=59)) = (hours, minutes) else { return local };
    match Offset::from_seconds(sign * (hours * 3600 + minutes * 60)) {
        Ok(offset) => Found { at, offset: Some(offset), end },
        Err(_) => local,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(name: &str) -> Result<String, NoTime> {
        find(name, &TimeZone::UTC).map(|at| at.to_string())
    }

    #[test]
    fn names_of_backup_programs_contain_their_time() {
        for (name, time) in [
            ("2026-03-01", "2026-03-01T00:00:00Z"),
            ("20260301", "2026-03-01T00:00:00Z"),
            ("backup-2026-03-01T0300", "2026-03-01T03:00:00Z"),
            ("20260301-030000", "2026-03-01T03:00:00Z"),
            ("202603010300", "2026-03-01T03:00:00Z"),
            ("2026-03-01-030000", "2026-03-01T03:00:00Z"),
            ("2026-03-01-030000.backup", "2026-03-01T03:00:00Z"),
            ("2026-03-01_03-00-01", "2026-03-01T03:00:01Z"),
            ("2026-03-01T03:00:00Z", "2026-03-01T03:00:00Z"),
            ("2026-03-01T03:00:00+02:00", "2026-03-01T01:00:00Z"),
            ("2026-03-01T03:00:00-05:00", "2026-03-01T08:00:00Z"),
            ("home.20260301T030000+0200", "2026-03-01T01:00:00Z"),
            ("20260301-030001-123", "2026-03-01T03:00:01Z"),
            ("autosnap_2026-03-01_03:00:01_daily", "2026-03-01T03:00:01Z"),
            ("zfs-auto-snap_daily-2026-03-01-0625", "2026-03-01T06:25:00Z"),
            ("web1-2026-03-01T03:00:00.123456", "2026-03-01T03:00:00Z"),
            ("2026-03-01 03.00", "2026-03-01T03:00:00Z"),
            ("host7.2026_03_01", "2026-03-01T00:00:00Z"),
            ("2026-03-01-1", "2026-03-01T00:00:00Z"),
            ("2026-03-01.full", "2026-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(name).as_deref(), Ok(time), "{name}");
        }
    }

    #[test]
    fn names_without_exactly_one_date_are_not_guessed() {
        for name in [
            "",
            "daily.0",
            "monday",
            "2026",
            "01.03.2026",
            "2026-13-01",
            "120260301",
            "2026-03",
            "1772330400",
        ] {
            assert_eq!(utc(name), Err(NoTime::None), "{name}");
        }
        assert_eq!(utc("2026-03-01_2026-03-08"), Err(NoTime::Several));
        for name in ["2026-03-01T", "2026-03-01-9999", "2026-03-01-03", "2026-03-01_25-00-00"] {
            assert_eq!(utc(name), Err(NoTime::Unclear), "{name}");
        }
    }

    #[test]
    fn name_without_an_offset_uses_the_given_zone() {
        let zone = TimeZone::fixed(Offset::constant(2));
        assert_eq!(find("2026-03-01T0300", &zone).unwrap().to_string(), "2026-03-01T01:00:00Z");
        assert_eq!(find("2026-03-01T0300Z", &zone).unwrap().to_string(), "2026-03-01T03:00:00Z");
    }

    #[test]
    fn pattern_matches_the_whole_name() {
        let at = |name: &str, pattern: &str| {
            by_pattern(name, pattern, &TimeZone::UTC).map(|at| at.to_string()).map_err(|_| ())
        };
        assert_eq!(at("state 1.3.2026", "state %d.%m.%Y").as_deref(), Ok("2026-03-01T00:00:00Z"));
        assert_eq!(at("at-1772330400", "at-%s").as_deref(), Ok("2026-03-01T02:00:00Z"));
        assert_eq!(at("1.3.26 04:05 +0100", "%d.%m.%y %H:%M %z").as_deref(), Ok("2026-03-01T03:05:00Z"));
        for (name, pattern) in
            [("2026-03-01x", "%Y-%m-%d"), ("03:00", "%H:%M"), ("x", "%"), ("2026-03-01", "x")]
        {
            assert_eq!(at(name, pattern), Err(()), "{name} {pattern}");
        }
    }
}
