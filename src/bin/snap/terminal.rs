//! Text on its way to a terminal. Names, tags, hosts and descriptions come from anywhere: what would move the cursor, change
//! the title, hide text or turn its direction is shown as an escape instead. Pipes get bytes as they are.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

/// Whether a character may do more than stand there: C0, DEL, C1, line and paragraph separators, and what turns the
/// direction of the text behind it (so that `exe.txt` can be `txt.exe`).
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text for a person, with escapes for characters that would steer a terminal, or break a line in two.
pub(crate) fn printable(text: &str) -> String {
    escaped(text, |_| false)
}

/// The same for text of several lines.
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

/// A name on standard output: as it is in a pipe, printable on a terminal.
pub(crate) fn name(bytes: &[u8]) -> Cow<'_, [u8]> {
    if is_stdout() { Cow::Owned(shown(bytes).into_bytes()) } else { Cow::Borrowed(bytes) }
}

/// Bytes that are not UTF-8 stay distinct.
fn shown(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out += &printable(chunk.valid());
        chunk.invalid().iter().for_each(|byte| out += &format!("\\x{byte:02x}"));
    }
    out
}

/// Whether standard output is a terminal.
pub(crate) fn is_stdout() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| io::stdout().is_terminal())
}

/// Whether standard error is a terminal.
pub(crate) fn is_stderr() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| io::stderr().is_terminal())
}

/// Writes to a terminal. Whatever a caller forgot to make printable is made so here, but for the ends of lines.
pub(crate) struct Guarded<W>(pub(crate) W);

impl<W: Write> Write for Guarded<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for chunk in bytes.utf8_chunks() {
            self.0.write_all(printable_lines(chunk.valid()).as_bytes())?;
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
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
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
        assert_eq!(shown(b"a\xff\x9b\x1bz"), "a\\xff\\x9b\\u{1b}z");
    }

    #[test]
    fn the_last_door_keeps_lines_and_nothing_else() {
        let mut out = Guarded(Vec::new());
        out.write_all(b"one\n\x1b]0;x\x07\ttwo\x80\n").unwrap();
        assert_eq!(out.0, b"one\n\\u{1b}]0;x\\u{7}\ttwo\\x80\n");
    }
}
