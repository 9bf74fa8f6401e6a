//! Writes to standard output and standard error. The only module that does.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use regex::Regex;
use serde_json::json;
use snap_backup::storage::names::FOREIGN;
use snap_backup::{Error, Result};

use crate::process::program_name;
pub(crate) use crate::terminal::figures::{
    count, days, duration, entries, files, local, path, permissions, redacted, rfc3339, size, time,
};
pub(crate) use crate::terminal::snapshot_json::{
    alarm_state, base64, counts, deltas, more_counts, put_bytes, restic_counts, snapshot,
};
pub(crate) use crate::terminal::table::{padded, table};
use crate::terminal::text::{Guarded, Paint};
pub(crate) use crate::terminal::text::{name, printable};
use crate::terminal::{text, wording};

/// Runs `write` on buffered standard output and flushes it, so that no error is lost at exit and nothing
/// panics. On a terminal, control characters are escaped.
pub(crate) fn emit(write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    if !text::stdout_is_terminal() {
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
    match emit(|out| writeln!(out, "{}", program_name::message(&wording::translate(text))).map_err(failed)) {
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
    let line = wording::translate(line);
    let line = &*program_name::message(&line);
    let mut err = io::stderr().lock();
    let _ = if text::stderr_is_terminal() {
        writeln!(err, "{}", text::painted_lines(line))
    } else {
        writeln!(err, "{line}")
    };
}

static SHOWS_OBJECT_IDS: AtomicBool = AtomicBool::new(false);

/// From now on, messages contain the ids of objects. By default they do not, because few users know what to
/// do with a pack's id.
pub(crate) fn show_object_ids() {
    SHOWS_OBJECT_IDS.store(true, Ordering::Relaxed);
}

/// Escapes an error message, and replaces the ids of objects unless [`show_object_ids`] was called.
pub(crate) fn without_object_ids(message: &str) -> String {
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
    let is_named = SHOWS_OBJECT_IDS.load(Ordering::Relaxed) || text.contains(FOREIGN);
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
        let message = without_object_ids(message);
        eprint(&format!("snap: {} {message}", Paint::Yellow.on_stderr("warning:")));
    }
}

/// Prints a finding that explains the exit code.
pub(crate) fn error(message: &str) {
    eprint(&format!("snap: {} {}", Paint::Red.on_stderr("error:"), without_object_ids(message)));
}

/// Prints a hint.
pub(crate) fn hint(message: &str) {
    eprint(&format!("snap: {} {}", Paint::Cyan.on_stderr("hint:"), printable(message)));
}

/// Prints information that is neither a result nor a warning.
pub(crate) fn note(json: bool, message: &str) {
    let message = printable(message);
    if json {
        eprint(&json!({"message_type": "note", "message": message}).to_string());
    } else {
        eprint(&format!("snap: note: {message}"));
    }
}
