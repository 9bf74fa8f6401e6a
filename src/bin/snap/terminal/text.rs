//! Text for a terminal. Names, tags, hosts and descriptions can contain anything. Characters that would
//! move the cursor, change the title, hide text or change its direction are shown as escapes. Pipes get the
//! bytes unchanged.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use console::Term;
use snap_backup::sys::fs::{file_type, fstat};
use snap_backup::sys::stdio;

/// Returns whether a character may affect more than its own position: C0, DEL, C1, line and paragraph
/// separators, and characters that change the direction of the following text (so that `exe.txt` looks like
/// `txt.exe`).
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Escapes characters that would control a terminal or break a line.
pub(crate) fn printable(text: &str) -> String {
    escaped(text, |_| false)
}

/// Like [`printable`] for text of several lines.
pub(crate) fn printable_lines(text: &str) -> String {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

fn escaped(text: &str, is_kept: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful(c) && !is_kept(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Like [`printable_lines`], but keeps the program's own colours.
pub(crate) fn painted_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\x1b') {
        let (before, after) = rest.split_at(at);
        out += &printable_lines(before);
        let taken = own_colour(after);
        out += &taken.map_or_else(|| printable("\x1b"), str::to_owned);
        rest = after.get(taken.map_or(1, str::len)..).unwrap_or_default();
    }
    out + &printable_lines(rest)
}

/// Returns a name for standard output: unchanged in a pipe, escaped on a terminal.
pub(crate) fn name(bytes: &[u8]) -> Cow<'_, [u8]> {
    if stdout_is_terminal() { Cow::Owned(escape_bytes(bytes).into_bytes()) } else { Cow::Borrowed(bytes) }
}

/// Escapes bytes that are not UTF-8 individually, so that different names stay different.
fn escape_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out += &printable(chunk.valid());
        chunk.invalid().iter().for_each(|byte| out += &format!("\\x{byte:02x}"));
    }
    out
}

/// Returns whether standard output is a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| io::stdout().is_terminal())
}

/// Returns whether standard error is a terminal.
pub(crate) fn stderr_is_terminal() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| io::stderr().is_terminal())
}

/// Returns whether standard output is a pipe to another program, which may use the screen.
pub(crate) fn stdout_is_pipe() -> bool {
    let mode = fstat(stdio::stdout()).map(|found| found.st_mode);
    mode.is_ok_and(|mode| file_type(mode).is_fifo())
}

/// Returns whether a line on standard error can be redrawn.
pub(crate) fn can_draw() -> bool {
    stderr_is_terminal() && !is_dumb()
}

/// Returns whether a pager can be used.
pub(crate) fn can_page() -> bool {
    stdout_is_terminal() && !is_dumb()
}

/// Returns whether the terminal cannot move its cursor.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

/// Returns the width of standard error; 80 if it is unknown.
pub(crate) fn width_of_stderr() -> usize {
    Term::stderr().size_checked().map_or(80, |(_, columns)| usize::from(columns))
}

/// Returns rows and columns of standard output, if it is a terminal of known size.
pub(crate) fn size_of_stdout() -> Option<(usize, usize)> {
    static STDOUT: OnceLock<Term> = OnceLock::new();
    let size = STDOUT.get_or_init(Term::stdout).size_checked();
    size.filter(|_| stdout_is_terminal()).map(|(rows, columns)| (usize::from(rows), usize::from(columns)))
}

/// How a word is highlighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Table headers.
    Bold,
    /// Less important text.
    Faint,
    /// Failures and removed items.
    Red,
    /// Successes and new items.
    Green,
    /// Warnings and changed items.
    Yellow,
    /// Directories.
    Blue,
    /// Links and hints.
    Cyan,
}

impl Paint {
    const ALL: [Self; 7] =
        [Self::Bold, Self::Faint, Self::Red, Self::Green, Self::Yellow, Self::Blue, Self::Cyan];

    fn code(self) -> &'static str {
        match self {
            Self::Bold => "\x1b[1m",
            Self::Faint => "\x1b[2m",
            Self::Red => "\x1b[31m",
            Self::Green => "\x1b[32m",
            Self::Yellow => "\x1b[33m",
            Self::Blue => "\x1b[34m",
            Self::Cyan => "\x1b[36m",
        }
    }

    /// Returns whether [`Self::on`] colours text.
    pub(crate) fn shows(self) -> bool {
        has_colours(stdout_is_terminal())
    }

    /// Colours a text for standard output, if that shows colours. The text must be printable already.
    pub(crate) fn on(self, text: &str) -> String {
        if self.shows() { self.wrap(text) } else { text.to_owned() }
    }

    /// Like [`Self::on`] for standard error.
    pub(crate) fn on_stderr(self, text: &str) -> String {
        if has_colours(stderr_is_terminal()) { self.wrap(text) } else { text.to_owned() }
    }

    fn wrap(self, text: &str) -> String {
        format!("{}{text}{RESET}", self.code())
    }
}

const RESET: &str = "\x1b[0m";

/// Implements <https://no-color.org>.
fn has_colours(is_terminal: bool) -> bool {
    is_terminal && !is_dumb() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Returns the program's own colour sequence at the beginning of the text. No other control sequence is
/// accepted.
fn own_colour(text: &str) -> Option<&'static str> {
    let mut all = Paint::ALL.iter().map(|paint| paint.code()).chain([RESET]);
    all.find(|code| text.starts_with(code))
}

/// Writes to a terminal. Escapes whatever a caller forgot to escape, except line ends.
pub(crate) struct Guarded<W>(pub(crate) W);

impl<W: Write> Write for Guarded<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for chunk in bytes.utf8_chunks() {
            self.0.write_all(painted_lines(chunk.valid()).as_bytes())?;
            for byte in chunk.invalid() {
                write!(self.0, "\\x{byte:02x}")?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop, prop_oneof, proptest};

    use super::*;

    #[test]
    fn control_sequences_are_removed() {
        for (text, wanted) in [
            ("a\x1b[2Jb", "a\\u{1b}[2Jb"),
            ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
            ("\u{9b}31m\x7f", "\\u{9b}31m\\u{7f}"),
            ("invoice\u{202e}fdp.exe", "invoice\\u{202e}fdp.exe"),
            ("\u{2066}a\u{2069}\u{200f}\u{61c}", "\\u{2066}a\\u{2069}\\u{200f}\\u{61c}"),
            ("a\u{2028}b", "a\\u{2028}b"),
            ("ä 日本 👩\u{200d}👩", "ä 日本 👩\u{200d}👩"),
        ] {
            assert_eq!(printable(text), wanted);
        }
        assert_eq!(escape_bytes(b"a\xff\x9b\x1bz"), "a\\xff\\x9b\\u{1b}z");
    }

    #[test]
    fn output_filter_lets_only_own_colours_through() {
        let mut out = Guarded(Vec::new());
        let text = format!("{} \x1b[8mhidden\x1b[2J", Paint::Red.wrap("bad"));
        out.write_all(text.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(out.0).unwrap(), "\x1b[31mbad\x1b[0m \\u{1b}[8mhidden\\u{1b}[2J");
        assert_eq!(printable("\x1b[31mred"), "\\u{1b}[31mred", "no name has colours");
    }

    #[test]
    fn output_filter_keeps_only_line_breaks() {
        let mut out = Guarded(Vec::new());
        out.write_all(b"one\n\x1b]0;x\x07\ttwo\x80\n").unwrap();
        assert_eq!(out.0, b"one\n\\u{1b}]0;x\\u{7}\ttwo\\x80\n");
    }

    proptest! {
        /// Unescaped bytes from any caller cannot control the terminal.
        #[test]
        fn output_filter_lets_no_control_bytes_through(
            parts in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..20),
                    ".{0,10}".prop_map(String::into_bytes),
                    prop::sample::select(vec!["\x1b", "\x1b[31", "\x1b[0m", "\u{9b}", "\u{202e}", "\x07", "\r", "\u{2028}"])
                        .prop_map(|text| text.as_bytes().to_vec()),
                ],
                0..20,
            )
        ) {
            let mut out = Guarded(Vec::new());
            out.write_all(&parts.concat()).unwrap();
            let mut text = String::from_utf8(out.0).unwrap();
            for code in Paint::ALL.iter().map(|paint| paint.code()).chain([RESET]) {
                text = text.replace(code, "");
            }
            let bad = text.chars().find(|c| is_harmful(*c) && !matches!(c, '\n' | '\t'));
            assert_eq!(bad, None, "{text:?}");
            let name = escape_bytes(&parts.concat());
            assert!(!name.chars().any(is_harmful), "{name:?}");
        }
    }
}
