//! Computes the progress line over time: counters, rate and remaining time of successive stages.

use std::sync::atomic::Ordering;

use crate::terminal::progress::counters::{Counters, get};
use crate::terminal::progress::estimate::{Left, Rate};
use crate::terminal::progress::line::{self, View};

/// The state of one verb's progress line.
pub(super) struct Drawing {
    verb: &'static str,
    rate: Rate,
    left: Left,
    /// The stage to which rate and remaining time belong, and when it began.
    stage: u64,
    began: f64,
}

impl Drawing {
    pub(super) fn new(verb: &'static str) -> Self {
        Self { verb, rate: Rate::default(), left: Left::default(), stage: 0, began: 0.0 }
    }

    /// Returns the line after so many seconds, at most `width` columns wide.
    pub(super) fn line(&mut self, counters: &Counters, seconds: f64, width: usize) -> String {
        let stage = counters.stage();
        if stage.number != self.stage {
            *self = Self { stage: stage.number, began: seconds, ..Self::new(self.verb) };
        }
        let (share, bytes) = (counters.share(), get(&counters.bytes));
        let at = seconds - self.began;
        let path = counters.current.lock().clone();
        let (all, is_guess) = counters.all_bytes();
        let view = View {
            verb: self.verb,
            stage: stage.name,
            share: share.map(|share| share.done),
            is_guess,
            at_least: counters.at_least.load(Ordering::Relaxed),
            bytes: (bytes, all),
            files: (get(&counters.files), get(&counters.expected_files)),
            unit: stage.unit,
            rate: self.rate.update(bytes, at) as u64,
            left: self.left.update(share.map(|share| share.done), at),
            seconds,
            path: &path,
        };
        line::line(&view, width)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::num::NonZeroU16;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
    use parking_lot::Mutex;

    use super::{Counters, Drawing};
    use crate::terminal::progress::screen::{self, Screen};

    const MIB: u64 = 1 << 20;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A terminal window with 24 rows in which the line is drawn.
    struct Window {
        screen: vt100::Parser,
        written: Written,
        columns: Arc<AtomicUsize>,
        bar: ProgressBar,
        drawing: Drawing,
        shown: String,
    }

    impl Window {
        fn new(columns: usize) -> Self {
            let (written, width) = (Written::default(), Arc::new(AtomicUsize::new(columns)));
            let now = Arc::clone(&width);
            let within = move || screen::within(now.load(Ordering::Relaxed));
            let out = Screen { out: Mutex::new(written.clone()), width: within };
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::term_like(Box::new(out)));
            bar.set_style(ProgressStyle::with_template("{msg}").unwrap());
            let mut screen = parser(columns);
            screen.process(b"$ snap backup ~\r\n");
            let drawing = Drawing::new("backup");
            Self { screen, written, columns: width, bar, drawing, shown: String::new() }
        }

        /// Draws, and records the window's content if `noted` contains this time.
        fn at(&mut self, seconds: f64, counters: &Counters, noted: &[f64]) -> &mut Self {
            let width = screen::within(self.columns.load(Ordering::Relaxed));
            self.bar.set_message(self.drawing.line(counters, seconds, width));
            self.bar.tick();
            if noted.contains(&seconds) { self.take(&format!("after {seconds} s")) } else { self }
        }

        fn take(&mut self, when: &str) -> &mut Self {
            let bytes = std::mem::take(&mut *self.written.0.lock());
            self.screen.process(&bytes);
            let columns = self.screen.screen().size().1.get();
            let rows: Vec<String> =
                self.screen.screen().rows(0, columns).map(|row| row.trim_end().to_owned()).collect();
            self.shown += &format!("--- {when}\n{}\n", rows.join("\n").trim_end());
            self
        }

        /// Resizes like terminals that rewrap long lines: the cursor stays at its character.
        fn resize(&mut self, columns: usize) -> &mut Self {
            let (old, mut new) = (self.screen.screen(), parser(columns));
            let (_, wide) = old.size();
            let (row, column) = old.cursor_position();
            let (mut above, mut text) = (0, Vec::new());
            for (number, line) in old.rows(0, wide.get()).take(usize::from(row) + 1).enumerate() {
                let rows = line.trim_end().chars().count().div_ceil(columns).max(1);
                above += if number < usize::from(row) { rows } else { 0 };
                text.push(line.trim_end().to_owned());
            }
            new.process(text.join("\r\n").as_bytes());
            let (row, column) = (above + usize::from(column) / columns, usize::from(column) % columns);
            new.process(format!("\x1b[{};{}H", row + 1, column + 1).as_bytes());
            self.screen = new;
            self.columns.store(columns, Ordering::Relaxed);
            self.take(&format!("{columns} columns"))
        }

        fn end(mut self) -> String {
            self.bar.finish_and_clear();
            self.take("at the end");
            self.shown
        }
    }

    fn parser(columns: usize) -> vt100::Parser {
        let size = |cells: usize| NonZeroU16::new(cells.try_into().unwrap()).unwrap();
        vt100::Parser::new(size(24), size(columns), 0)
    }

    /// A backup of 3 GiB at 20 MiB per second; the previous one had 2 GiB.
    fn backup(mut step: impl FnMut(f64, &Counters)) {
        let counters = Counters::default();
        counters.guessed_bytes.store(2048 * MIB, Ordering::Relaxed);
        counters.expect(900, 600 * MIB, false);
        let mut done = 0;
        for second in 1..150 {
            counters.add(u64::from(second % 3 == 0) * 100, 20 * MIB);
            done += 20;
            *counters.current.lock() = format!("home/me/pictures/2026/november/{done:04}.jpeg").into_bytes();
            if second == 3 {
                counters.expect(15_000, 3072 * MIB, true);
            }
            step(f64::from(second), &counters);
        }
    }

    /// Compares with `tests/golden/screens/NAME.snap`; `INSTA_UPDATE=always` rewrites it.
    fn golden(name: &str, text: &str) {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/screens"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name, text));
    }

    #[test]
    fn the_line_of_a_backup_fits_windows_of_every_width() {
        for columns in [50, 80, 200] {
            let mut window = Window::new(columns);
            backup(|second, counters| {
                window.at(second, counters, &[1.0, 4.0, 8.0, 90.0, 149.0]);
            });
            golden(&format!("bar-{columns}"), &window.end());
        }
    }

    #[test]
    fn a_window_that_becomes_narrower_and_wider_keeps_one_line() {
        let mut window = Window::new(200);
        backup(|second, counters| {
            window.at(second, counters, &[10.0, 11.0, 12.0, 13.0]);
            let sizes = [(10.0, 80), (11.0, 50), (12.0, 200)];
            if let Some((_, columns)) = sizes.iter().find(|(at, _)| *at == second) {
                window.resize(*columns);
            }
        });
        let shown = window.end();
        for frame in shown.split("--- ").filter(|frame| frame.starts_with("after")) {
            assert_eq!(frame.trim_end().lines().count(), 3, "{frame}");
        }
        golden("bar-resized", &shown);
    }
}
