//! The terminal that lines are drawn on, a little narrower than it is: what it echoes for Ctrl-C must not begin a new line.

use std::io;

use console::Term;
use indicatif::{ProgressDrawTarget, TermLike};

use crate::terminal;

/// `^C`, and the cursor.
const MARGIN: usize = 3;
/// Draws a second.
const RATE: u8 = 20;

/// Columns that a line may have.
pub(super) fn width() -> usize {
    terminal::width_of_stderr().saturating_sub(MARGIN).max(1)
}

/// Where to draw.
pub(super) fn target() -> ProgressDrawTarget {
    ProgressDrawTarget::term_like_with_hz(Box::new(Screen(Term::buffered_stderr())), RATE)
}

#[derive(Debug)]
struct Screen(Term);

impl TermLike for Screen {
    fn width(&self) -> u16 {
        u16::try_from(width()).unwrap_or(u16::MAX)
    }

    fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
        self.0.move_cursor_up(lines)
    }

    fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
        self.0.move_cursor_down(lines)
    }

    fn move_cursor_right(&self, columns: usize) -> io::Result<()> {
        self.0.move_cursor_right(columns)
    }

    fn move_cursor_left(&self, columns: usize) -> io::Result<()> {
        self.0.move_cursor_left(columns)
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.0.write_line(line)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
}
