//! The terminal on which the line is drawn. The cursor rests at the beginning of the line: a terminal that
//! rewraps the line when its window becomes narrower moves the cursor along, so that clearing from there
//! removes all of it. The line is slightly narrower than the window, so that the echo of Ctrl-C does not
//! start a new line.

use std::fmt::Debug;
use std::io::{self, Write};

use console::{Term, truncate_str};
use indicatif::{ProgressDrawTarget, TermLike};
use parking_lot::Mutex;

use crate::terminal::text;

/// Columns for `^C` and the cursor.
const MARGIN: usize = 3;
/// Redraws per second.
const RATE: u8 = 20;
/// Moves to the beginning of the line and clears everything after it.
const CLEAR: &str = "\r\x1b[J";

/// Returns the maximum width of a line.
pub(super) fn width() -> usize {
    within(text::width_of_stderr())
}

/// Returns the maximum width of a line in a window with this many columns.
pub(super) fn within(columns: usize) -> usize {
    columns.saturating_sub(MARGIN).max(1)
}

/// Returns the draw target for the progress bar.
pub(super) fn target() -> ProgressDrawTarget {
    let screen = Screen { out: Mutex::new(Term::buffered_stderr()), width };
    ProgressDrawTarget::term_like_with_hz(Box::new(screen), RATE)
}

/// A terminal with one line.
pub(super) struct Screen<W, F> {
    pub(super) out: Mutex<W>,
    /// Returns the current maximum width of the line.
    pub(super) width: F,
}

impl<W, F> Debug for Screen<W, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen").finish_non_exhaustive()
    }
}

impl<W: Write, F> Screen<W, F> {
    fn put(&self, text: &str) -> io::Result<()> {
        self.out.lock().write_all(text.as_bytes())
    }
}

impl<W: Write + Send, F: Fn() -> usize + Send + Sync> TermLike for Screen<W, F> {
    fn width(&self) -> u16 {
        u16::try_from((self.width)()).unwrap_or(u16::MAX)
    }

    // There is only one line, and the cursor is at its beginning.
    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.put(line)?;
        self.put("\r\n")
    }

    /// Writes the line without trailing spaces, which would wrap too. The window may have become narrower
    /// since the line was formatted.
    fn write_str(&self, text: &str) -> io::Result<()> {
        self.put(&truncate_str(text.trim_end_matches(' '), (self.width)(), ""))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.put(CLEAR)
    }

    fn flush(&self) -> io::Result<()> {
        self.put("\r")?;
        self.out.lock().flush()
    }
}
