//! Formats values for display and JSON. The only module that writes to standard output and standard error.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use regex::Regex;
use serde_json::{Map, Value, json};
use snap_backup::model::entry::{Entry, Kind, Time};
use snap_backup::model::manifest::Counts;
use snap_backup::model::manifest_ext::MoreCounts;
use snap_backup::model::tripwire::AlarmState;
use snap_backup::repo::snapshots::Snapshot;
use snap_backup::repo::write::pack_writer::Deltas;
use snap_backup::storage::names::FOREIGN;
use snap_backup::{Error, Result};

use crate::process::called;
pub(crate) use crate::terminal::table::{padded, table};
use crate::terminal::text::{Guarded, Paint};
pub(crate) use crate::terminal::text::{name, printable};
use crate::terminal::{json, text, wording};

/// Runs `write` on buffered standard output and flushes it, so that no error is lost at exit and nothing
/// panics. On a terminal, control characters are escaped.
pub(crate) fn emit(write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    if !text::is_stdout() {
        return emit_raw(write);
    }
    let mut out = Guarded(BufWriter::new(io::stdout().lock()));
    write(&mut out)?;
    out.flush().map_err(failed)
}

/// Like `emit` for the content of files, which is written unchanged.
pub(crate) fn emit_raw(write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    write(&mut out)?;
    out.flush().map_err(failed)
}

/// Prints text after work is done. A closed output is ignored, so that the exit code reports the work's
/// result.
pub(crate) fn print(text: &str) -> Result<()> {
    match emit(|out| writeln!(out, "{}", called::message(&wording::of_program(text))).map_err(failed)) {
        Err(error) if error.is_broken_pipe() => Ok(()),
        result => result,
    }
}

/// Returns the terminator of a line with a name.
///
/// # Errors
/// JSON was requested too, in which NUL is useless.
pub(crate) fn line_end(null: bool, json: bool) -> Result<&'static [u8]> {
    match (null, json) {
        (true, true) => {
            Err(Error::Usage("--json and --null exclude each other: JSON escapes names".to_owned()))
        }
        (true, false) => Ok(b"\0"),
        (false, _) => Ok(b"\n"),
    }
}

/// For `map_err` on a write to standard output.
pub(crate) fn failed(source: io::Error) -> Error {
    Error::io("write", "standard output")(source)
}

/// Prints one line to standard error. Errors are ignored, because there is nowhere else to report them.
pub(crate) fn eprint(line: &str) {
    let line = wording::of_program(line);
    let line = &*called::message(&line);
    let mut err = io::stderr().lock();
    let _ = if text::is_stderr() {
        writeln!(err, "{}", text::painted_lines(line))
    } else {
        writeln!(err, "{line}")
    };
}

static NAMES_OBJECTS: AtomicBool = AtomicBool::new(false);

/// From now on, messages contain the ids of objects. By default they do not: few users know what to do with
/// a pack's id.
pub(crate) fn name_objects() {
    NAMES_OBJECTS.store(true, Ordering::Relaxed);
}

/// Makes an error message readable; ids of objects are replaced unless [`name_objects`] was called.
pub(crate) fn without_names(message: &str) -> String {
    static NAMES: OnceLock<Option<[(Regex, &str); 5]>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let name = |pattern: &str| Regex::new(pattern).ok();
        Some([
            (name(r"\bchunk [0-9a-f]{8} is missing\b")?, "some of its data is missing from the repository"),
            (name(r"\bchunk [0-9a-f]{8}\b")?, "some of its data"),
            (name(r"\btree [0-9a-f]{8}\b")?, "a directory"),
            // Not within a longer path, which shows where a storage failed.
            (name(r"(^|[\s(])packs/[0-9a-f]{2}/[0-9a-f]{64}\b")?, "${1}a pack of the repository"),
            (name(r"\bpack [0-9a-f]{8}\b")?, "a pack of the repository"),
        ])
    });
    let mut text = printable(message);
    // Names of foreign objects are never replaced, because users need them.
    let is_named = NAMES_OBJECTS.load(Ordering::Relaxed) || text.contains(FOREIGN);
    if let (Some(names), false) = (names, is_named) {
        for (name, instead) in names {
            if let Cow::Owned(changed) = name.replace_all(&text, *instead) {
                text = changed;
            }
        }
    }
    text
}

/// Prints a warning as text or JSON.
pub(crate) fn warn(json: bool, message: &str) {
    if json {
        let message = printable(message);
        eprint(&json!({"message_type": "warning", "message": message}).to_string());
    } else {
        let message = without_names(message);
        eprint(&format!("snap: {} {message}", Paint::Yellow.on_stderr("warning:")));
    }
}

/// Prints an error that was found and explains the exit code.
pub(crate) fn error(message: &str) {
    eprint(&format!("snap: {} {}", Paint::Red.on_stderr("error:"), without_names(message)));
}

/// Prints a hint.
pub(crate) fn hint(message: &str) {
    eprint(&format!("snap: {} {}", Paint::Cyan.on_stderr("hint:"), printable(message)));
}

/// Prints additional information besides the answer.
pub(crate) fn note(json: bool, message: &str) {
    let message = printable(message);
    if json {
        eprint(&json!({"message_type": "note", "message": message}).to_string());
    } else {
        eprint(&format!("snap: note: {message}"));
    }
}

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
    let told = parts.into_iter().filter(|(number, ..)| *number > 0);
    let told: Vec<String> = told.map(|(number, one, many)| count(number, one, many)).collect();
    match told.as_slice() {
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

/// Formats the statistics of delta blocks as JSON.
pub(crate) fn deltas(deltas: &Deltas) -> Value {
    json!({"blocks": deltas.blocks, "bytes": deltas.plain, "bytes_stored": deltas.stored})
}

/// Returns the statistics of a run with restic's names.
pub(crate) fn counts(counts: &Counts) -> Map<String, Value> {
    let pairs = [
        ("files_new", counts.files_new),
        ("files_changed", counts.files_changed),
        ("files_unmodified", counts.files_unchanged),
        ("files_removed", counts.files_removed),
        ("dirs_total", counts.dirs),
        ("others_total", counts.others),
        ("data_added", counts.bytes_added),
        ("data_added_packed", counts.bytes_stored),
        ("total_files_processed", files(counts)),
        ("total_bytes_processed", counts.bytes_total),
        ("bytes_read", counts.bytes_read),
        ("errors", counts.errors),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

/// Returns the further numbers of a run with restic's names, if they are known.
pub(crate) fn more_counts(counts: Option<MoreCounts>) -> Map<String, Value> {
    let Some(counts) = counts else { return Map::new() };
    let pairs = [
        ("dirs_new", counts.dirs_new),
        ("dirs_changed", counts.dirs_changed),
        ("dirs_unmodified", counts.dirs_unchanged),
        ("data_blobs", counts.data_chunks),
        ("tree_blobs", counts.tree_chunks),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

/// Returns the numbers of a run that restic reports, with its names and in its order.
pub(crate) fn restic_counts(counts: &Counts, more: Option<MoreCounts>) -> Map<String, Value> {
    // If new directories were not counted, all directories of the snapshot are reported as new.
    let more = more.unwrap_or(MoreCounts { dirs_new: counts.dirs, ..MoreCounts::default() });
    let pairs = [
        ("files_new", counts.files_new),
        ("files_changed", counts.files_changed),
        ("files_unmodified", counts.files_unchanged),
        ("dirs_new", more.dirs_new),
        ("dirs_changed", more.dirs_changed),
        ("dirs_unmodified", more.dirs_unchanged),
        ("data_blobs", more.data_chunks),
        ("tree_blobs", more.tree_chunks),
        ("data_added", counts.bytes_added),
        ("data_added_packed", counts.bytes_stored),
        ("total_files_processed", files(counts)),
        ("total_bytes_processed", counts.bytes_total),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

/// Returns a snapshot with restic's names. Fields without a value are left out.
pub(crate) fn snapshot(snapshot: &Snapshot) -> Map<String, Value> {
    let manifest = &snapshot.manifest;
    let mut summary = counts(&manifest.counts);
    summary.extend(more_counts(manifest.more_counts()));
    summary.insert("backup_start".to_owned(), rfc3339(manifest.started).into());
    summary.insert("backup_end".to_owned(), rfc3339(manifest.ended).into());
    let paths: Vec<_> =
        manifest.sources.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
    let value = json!({
        "id": snapshot.id.hex(),
        "short_id": snapshot.id.short(),
        "time": rfc3339(manifest.started),
        "parent": manifest.parent.map(|id| id.hex()),
        "tree": manifest.root.hex(),
        "paths": paths,
        "hostname": manifest.host,
        "username": manifest.user,
        "tags": manifest.tags,
        "kind": manifest.kind.to_string(),
        "based_on": manifest.based_on.map(|id| id.hex()),
        "partial": manifest.partial,
        "description": manifest.description(),
        "pinned": manifest.is_pinned(),
        "alarm": manifest.alarm().map(|(state, why)| json!({"state": alarm_state(state), "reason": why})),
        "expires": manifest.expires().map(rfc3339),
        "original": manifest.original().map(|id| id.hex()),
        "writer": manifest.writer().map(|slot| slot.hex()),
        "program_version": manifest.program,
        "summary": summary,
    });
    match value {
        Value::Object(map) => json::object(map),
        _ => Map::new(),
    }
}

/// Returns the name of an alarm's state.
pub(crate) const fn alarm_state(state: AlarmState) -> &'static str {
    match state {
        AlarmState::Open => "open",
        AlarmState::Accepted => "accepted",
        AlarmState::Cleared => "cleared",
    }
}

/// Inserts bytes under `name`. If they are not UTF-8, the text is lossy, and the exact bytes are under
/// `name_b64`.
pub(crate) fn put_bytes(map: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    map.insert(name.to_owned(), String::from_utf8_lossy(bytes).into());
    if std::str::from_utf8(bytes).is_err() {
        map.insert(format!("{name}_b64"), base64(bytes).into());
    }
}

/// Formats a number of days, the rounder the larger it is: `about 5 weeks`.
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

/// Encodes base64 (RFC 4648) with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits =
            (0..3).fold(0_usize, |bits, i| bits << 8 | usize::from(group.get(i).copied().unwrap_or(0)));
        for (i, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            text.push(if i <= group.len() { char::from(DIGITS[bits >> shift & 63]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, any, prop, prop_oneof, proptest};
    use snap_backup::model::entry::Time;

    use super::{base64, count, days, duration, entries, local, path, rfc3339, size};
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
    fn base64_is_that_of_rfc_4648() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
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
