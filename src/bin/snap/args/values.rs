//! Parses option values that several verbs use.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use snap_backup::codec::chunk::compress::NO_COMPRESSION;
use snap_backup::codec::pack::parity::MAX_SHARE;
use snap_backup::ops::check::Subset;
use snap_backup::ops::forget::age::Age;
use snap_backup::ops::forget::policy::Count;
use snap_backup::repo::write::delta_writer::Delta;

/// Parses a compression level, by name or number.
pub(crate) fn level(text: &str) -> Result<i32, String> {
    match text {
        "none" => Ok(NO_COMPRESSION),
        "fast" => Ok(1),
        "default" => Ok(3),
        "best" => Ok(19),
        number => match number.parse() {
            Ok(level) if (1..=22).contains(&level) => Ok(level),
            _ => Err("one of fast, default, best, none and the numbers 1 to 22".to_owned()),
        },
    }
}

/// Checks a host name. An empty one, for instance from a quoted unset variable, would begin a separate set.
pub(crate) fn host_name(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("it is empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// Parses a number of bytes, with an optional unit that is a power of 1024.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wrong = || "a number of bytes, with K, M, G or T for powers of 1024".to_owned();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.trim().to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        _ => return Err(wrong()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift).ok_or_else(wrong);
    }
    let number: f64 = number.parse().map_err(|_| wrong())?;
    // A fraction need not be exact, and the cast saturates.
    Ok((number * (1_u64 << shift) as f64) as u64)
}

/// Parses a rate: a number of KiB per second, or a size per second. Empty and 0 mean no limit.
pub(crate) fn rate(text: &str) -> Result<u64, String> {
    let wrong = |_| "a number of KiB per second, or one followed by K, M or G".to_owned();
    let kib = text.ends_with(|c: char| c.is_ascii_digit());
    match text {
        "" => Ok(0),
        text if kib => size(&format!("{text}K")).map_err(wrong),
        text => size(text).map_err(wrong),
    }
}

/// Parses a number of snapshots.
pub(crate) fn snapshot_count(text: &str) -> Result<Count, String> {
    match text {
        "unlimited" => Ok(Count::All),
        "-1" => Err("write unlimited instead".to_owned()),
        _ => text.parse().map(Count::UpTo).map_err(|_| "a number, or unlimited".to_owned()),
    }
}

/// Maximum size of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SizeLimit {
    /// A number of bytes.
    Bytes(u64),
    /// Millionths of its file system, including other files.
    Share(u64),
}

/// Parses a size, or a percentage of the file system.
pub(crate) fn size_limit(text: &str) -> Result<SizeLimit, String> {
    let wrong = |_| "a size, like 500G, or a percentage of the file system, like 80%".to_owned();
    if text.ends_with('%') {
        share(text).map_err(wrong).and_then(|share| match share {
            0..=1_000_000 => Ok(SizeLimit::Share(share)),
            _ => Err(wrong(String::new())),
        })
    } else {
        size(text).map_err(wrong).map(SizeLimit::Bytes)
    }
}

/// Parses a percentage; returns millionths.
pub(crate) fn share(text: &str) -> Result<u64, String> {
    let wrong = || "a percentage, like 5%, or off".to_owned();
    let number = text.strip_suffix('%').ok_or_else(wrong)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let tenths = if part.len() == 1 { part.parse::<u64>().ok() } else { None };
    let whole = whole.parse::<u64>().ok().filter(|whole| *whole <= 1_000_000);
    match (whole, tenths) {
        (Some(whole), Some(tenths)) if whole + tenths > 0 => Ok(whole * 10_000 + tenths * 1000),
        _ => Err(wrong()),
    }
}

/// Parses the share of unchanged files to read again; returns millionths, 0 for `off`.
pub(crate) fn reread(text: &str) -> Result<u64, String> {
    let wrong = "a percentage up to 100%, like 1%, or off".to_owned();
    match share(text) {
        _ if matches!(text, "off" | "0%" | "0") => Ok(0),
        Ok(share @ ..=1_000_000) => Ok(share),
        _ => Err(wrong),
    }
}

/// Checks a path in a snapshot.
pub(crate) fn stored_path(path: OsString) -> Result<OsString, String> {
    if path.is_empty() {
        return Err("it is empty: the root of a snapshot is /".to_owned());
    }
    let mut parts = path.as_bytes().split(|byte| *byte == b'/');
    if parts.any(|part| part == b"..") {
        return Err("a path in a snapshot has no ..: give it as it should be stored, like home/me".to_owned());
    }
    Ok(path)
}

/// Parses when new chunks become deltas.
pub(crate) fn delta(text: &str) -> Result<Delta, String> {
    match text {
        "auto" => Ok(Delta::Auto),
        "on" => Ok(Delta::On),
        "off" => Ok(Delta::Off),
        _ => Err("one of auto, on and off".to_owned()),
    }
}

/// Parses `on` or `off`.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("one of on and off".to_owned()),
    }
}

/// Parses the size of parity in percent.
pub(crate) fn parity(text: &str) -> Result<u8, String> {
    match text.strip_suffix('%').unwrap_or(text).trim().parse() {
        Ok(share) if share <= MAX_SHARE => Ok(share),
        _ => Err(format!("a whole percentage from 0% to {MAX_SHARE}%")),
    }
}

/// Parses which part of the data to read.
pub(crate) fn subset(text: &str) -> Result<Subset, String> {
    let wrong = || "N/T with N from 1 to T, a percentage up to 100%, or a size".to_owned();
    if let Some(percent) = text.strip_suffix('%') {
        let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
        return if percent > 0.0 && percent <= 100.0 { Ok(Subset::Percent(percent)) } else { Err(wrong()) };
    }
    if let Some((index, of)) = text.split_once('/') {
        let (index, of) = (index.parse().map_err(|_| wrong())?, of.parse().map_err(|_| wrong())?);
        return if 1 <= index && index <= of { Ok(Subset::Part { index, of }) } else { Err(wrong()) };
    }
    match size(text) {
        Ok(bytes) if bytes > 0 => Ok(Subset::Bytes(bytes)),
        _ => Err(wrong()),
    }
}

/// Parses a calendar duration.
pub(crate) fn age(text: &str) -> Result<Age, String> {
    Age::parse(text)
        .ok_or_else(|| "years, months, weeks, days and hours in this order: 2y5m1w7d3h".to_owned())
}

/// Parses a duration: `90s`, `10m`, `26h`, `2d`, `1w`, or several of these, the largest first.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "numbers followed by s, m, h, d or w: 90s, 10m, 1d12h".to_owned();
    let mut units = [('w', 604_800), ('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)].into_iter();
    let (mut seconds, mut rest) = (0_u64, text);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, from) = rest.split_at(end);
        let unit = from.chars().next().ok_or_else(wrong)?;
        let (_, length) = units.find(|(known, _)| *known == unit).ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        // More than a century is a typing error.
        let part = number.checked_mul(length).filter(|part| *part <= 3_153_600_000).ok_or_else(wrong)?;
        seconds += part;
        rest = from.get(1..).unwrap_or_default();
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_secs(seconds)) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{duration, rate, size};

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(size("10"), Ok(10));
        assert_eq!(size("1.5K"), Ok(1536));
        assert_eq!(size("2MiB"), Ok(2 << 20));
        assert!(["", "K", "1X", "-1", "1..2", "99999999T"].iter().all(|text| size(text).is_err()));
    }

    #[test]
    fn rates_are_kib_unless_they_have_a_unit() {
        for (text, bytes) in
            [("", 0), ("0", 0), ("100", 102_400), ("1.5", 1536), ("2M", 2 << 20), ("500B", 500)]
        {
            assert_eq!(rate(text), Ok(bytes), "{text}");
        }
        assert!(["fast", "-1", "1X"].iter().all(|text| rate(text).is_err()));
    }

    #[test]
    fn durations_are_summed() {
        for (text, seconds) in
            [("0s", 0), ("90s", 90), ("10m", 600), ("26h", 93_600), ("1w2d3h4m5s", 788_645)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in
            ["", "10", "m", "1m1h", "1h1h", "-1s", "1.5h", "1y", "99999999999999999999s", "9999999999w"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
