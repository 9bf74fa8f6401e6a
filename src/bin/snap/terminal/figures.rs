//! Formats sizes, counts, times and other figures for display.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use snap_backup::model::entry::{Entry, Kind, Time};
use snap_backup::model::manifest::Counts;

use crate::terminal::text::printable;

/// Formats a path for display.
pub(crate) fn path(bytes: &[u8]) -> String {
    printable(&String::from_utf8_lossy(bytes))
}

/// Formats a size: `12.3 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        // 1023.95 would be rounded to 1024.0.
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// Formats a count: `1 file`, `2 files`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Formats counts: `2 files, 1 directory and 3 others`. Zero counts are left out.
pub(crate) fn entries(files: u64, dirs: u64, others: u64) -> String {
    let parts = [(files, "file", "files"), (dirs, "directory", "directories"), (others, "other", "others")];
    let parts = parts.into_iter().filter(|(number, ..)| *number > 0);
    let parts: Vec<String> = parts.map(|(number, one, many)| count(number, one, many)).collect();
    match parts.as_slice() {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}

/// Formats a duration: `0.42 s`, `1:02:03`.
pub(crate) fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.2} s");
    }
    let whole = seconds as u64;
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

fn timestamp(time: Time) -> Option<Timestamp> {
    Timestamp::new(time.sec, i32::try_from(time.nanos).ok()?).ok()
}

/// Converts a timestamp to the library's type.
pub(crate) fn time(at: Timestamp) -> Time {
    Time { sec: at.as_second(), nanos: u32::try_from(at.subsec_nanosecond()).unwrap_or_default() }
}

/// Formats a time in the local zone, for display.
pub(crate) fn local(time: Time) -> String {
    match timestamp(time) {
        Some(stamp) => stamp.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => format!("@{}", time.sec),
    }
}

/// Formats a time as RFC 3339 in UTC, for programs.
pub(crate) fn rfc3339(time: Time) -> String {
    timestamp(time).map_or_else(|| format!("@{}", time.sec), |stamp| stamp.to_string())
}

/// Formats type and mode like `ls -l`: `drwxr-xr-x`.
pub(crate) fn permissions(entry: &Entry) -> String {
    let mode = entry.meta.mode;
    let kind = match entry.kind {
        Kind::File { .. } => '-',
        Kind::Dir { .. } => 'd',
        Kind::Symlink { .. } => 'l',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
        Kind::CharDevice { .. } => 'c',
        Kind::BlockDevice { .. } => 'b',
    };
    let mut text = String::from(kind);
    for (shift, special, mark) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => mark,
            (true, false) => mark.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// Returns the number of files in a snapshot.
pub(crate) fn files(counts: &Counts) -> u64 {
    counts.files_new.saturating_add(counts.files_changed).saturating_add(counts.files_unchanged)
}

/// Formats a number of days; large ones are rounded more: `about 5 weeks`.
pub(crate) fn days(days: f64) -> String {
    let about = |one: f64, name: &str| format!("about {:.0} {name}", days / one);
    match days {
        _ if days < 14.0 => format!("about {}", count(days as u64, "day", "days")),
        _ if days < 70.0 => about(7.0, "weeks"),
        _ if days < 730.0 => about(30.4, "months"),
        _ if days < 36_500.0 => about(365.25, "years"),
        _ => "more than 100 years".to_owned(),
    }
}

/// Hides user and password in a URL, between `//` and `@`.
pub(crate) fn redacted(text: &str) -> String {
    let Some((before, after)) = text.split_once("://") else { return text.to_owned() };
    let end = after.find('/').unwrap_or(after.len());
    let (authority, path) = after.split_at(end);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{before}://(hidden)@{host}{path}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, any, prop, prop_oneof, proptest};
    use snap_backup::model::entry::Time;

    use super::{count, days, duration, entries, local, path, rfc3339, size};
    use crate::terminal::chart;
    use crate::terminal::table::columns;
    use crate::terminal::text::printable;

    proptest! {
        /// No content of snapshots or names causes a panic or a line break in a row.
        #[test]
        fn tables_charts_times_and_sizes_never_panic(
            rows in prop::collection::vec([cell(), cell(), cell()], 0..6),
            numbers in any::<[bool; 3]>(),
            sec in any::<i64>(),
            nanos in any::<u32>(),
            bytes in any::<u64>(),
            raw in prop::collection::vec(any::<u8>(), 0..300),
            points in prop::collection::vec((any::<i64>(), any::<u64>()), 0..20),
            seconds in prop::num::f64::ANY,
            label in cell(),
        ) {
            let lines = columns(&rows, |column| numbers.get(column).copied().unwrap_or(false));
            assert_eq!(lines.len(), rows.len());
            let at = Time { sec, nanos };
            for text in [local(at), rfc3339(at), size(bytes), count(bytes, "a", "b"), duration(seconds)] {
                assert!(!text.is_empty());
            }
            printable(&path(&raw));
            let mut points: Vec<_> = points.iter().map(|(sec, value)| (Time { sec: *sec, nanos }, *value)).collect();
            points.sort();
            chart::lines(&points, |_| label.clone());
            chart::axis(label.chars().count(), &label, &label);
        }
    }

    /// Short texts, wide characters, and more than the formatter accepts.
    fn cell() -> impl proptest::strategy::Strategy<Value = String> {
        prop_oneof![".{0,20}", Just("x".repeat(70_000)), Just("\u{202e}\u{1f600}e\u{301}".repeat(30_000))]
    }

    #[test]
    fn zero_counts_are_not_printed() {
        for (of, text) in [
            ((0, 0, 0), "nothing"),
            ((1, 0, 0), "1 file"),
            ((0, 2, 1), "2 directories and 1 other"),
            ((3, 1, 2), "3 files, 1 directory and 2 others"),
        ] {
            assert_eq!(entries(of.0, of.1, of.2), text);
        }
    }

    #[test]
    fn sizes_never_round_up_to_1024() {
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1024), "1.0 KiB");
        assert_eq!(size(1024 * 1024 - 1), "1.0 MiB");
        assert_eq!(size(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn longer_times_are_rounded_more() {
        for (number, text) in [
            (0.5, "about 0 days"),
            (1.0, "about 1 day"),
            (13.0, "about 13 days"),
            (35.0, "about 5 weeks"),
            (100.0, "about 3 months"),
            (1000.0, "about 3 years"),
            (1e9, "more than 100 years"),
        ] {
            assert_eq!(days(number), text);
        }
    }
}
