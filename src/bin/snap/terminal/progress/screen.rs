//! The terminal that the line is drawn on. The cursor waits at the beginning of the line: a terminal that wraps the line anew when
//! its window becomes narrower takes the cursor along, so that clearing from there leaves nothing of it. The line is a little
//! narrower than the window: what is echoed for Ctrl-C must not begin a new one.

use std::fmt::Debug;
use std::io;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use console::{Term, truncate_str};
use indicatif::{ProgressDrawTarget, TermLike};

use crate::terminal::text;

/// `^C`, and the cursor.
const MARGIN: usize = 3;
/// Draws a second.
const RATE: u8 = 20;
/// To the beginning of the line, and nothing from there on.
const CLEAR: &str = "\r\x1b[J";

/// Columns that a line may have.
pub(super) fn width() -> usize {
    within(text::width_of_stderr())
}

/// Columns of a window that a line may have.
pub(super) fn within(columns: usize) -> usize {
    columns.saturating_sub(MARGIN).max(1)
}

/// Where to draw.
pub(super) fn target() -> ProgressDrawTarget {
    let screen = Screen { out: Mutex::new(Term::buffered_stderr()), width };
    ProgressDrawTarget::term_like_with_hz(Box::new(screen), RATE)
}

/// Draws one line.
pub(super) struct Screen<W, F> {
    pub(super) out: Mutex<W>,
    /// Columns that the line may have now.
    pub(super) width: F,
}

impl<W, F> Debug for Screen<W, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen").finish_non_exhaustive()
    }
}

impl<W: Write, F> Screen<W, F> {
    fn put(&self, text: &str) -> io::Result<()> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner).write_all(text.as_bytes())
    }
}

impl<W: Write + Send, F: Fn() -> usize + Send + Sync> TermLike for Screen<W, F> {
    fn width(&self) -> u16 {
        u16::try_from((self.width)()).unwrap_or(u16::MAX)
    }

    // There is one line, and the cursor is at its beginning.
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

    /// Without blanks at the end: they would wrap, too. The window may have become narrower since the line was made.
    fn write_str(&self, text: &str) -> io::Result<()> {
        self.put(&truncate_str(text.trim_end_matches(' '), (self.width)(), ""))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.put(CLEAR)
    }

    fn flush(&self) -> io::Result<()> {
        self.put("\r")?;
        self.out.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}
