//! Displays the progress of a verb: one line on a terminal, a status object per second in JSON, nothing in
//! a pipe. Events only update atomic counters and one thread draws, so that observing costs the work
//! nothing.

mod counters;
mod drawing;
mod estimate;
mod line;
mod screen;
mod stop;

use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, Sender};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use snap_backup::Result;
use snap_backup::progress::{Action, Event, Observer};

use crate::args::global::Global;
use crate::terminal::{output, text};

use counters::{Counters, status_object};
use drawing::Drawing;
pub(crate) use stop::{hide, how_to_continue, stop_on_signals};

/// Observes one verb. It must be dropped before the summary is printed, so that the line is removed.
#[derive(Debug)]
pub(crate) struct Progress {
    verb: &'static str,
    json: bool,
    quiet: bool,
    verbose: u8,
    /// Whether items are results on standard output, and not messages.
    lists: bool,
    counters: Arc<Counters>,
    bar: Option<ProgressBar>,
    ticker: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Returns whether progress is displayed at all.
    pub(crate) fn is_watched(global: &Global) -> bool {
        !global.quiet && (global.json || text::stderr_is_terminal())
    }

    /// Starts to observe. `status` says whether JSON output contains status objects.
    pub(crate) fn start(global: &Global, verb: &'static str, status: bool) -> Self {
        let counters = Arc::<Counters>::default();
        // For instance `snap find x | less`: the other program uses the screen.
        let is_elsewhere = matches!(verb, "find" | "diff" | "history" | "du") && text::stdout_is_pipe();
        let draw = !global.json && !global.quiet && text::can_draw();
        let draw = draw && !is_elsewhere && !stop::is_hidden();
        let bar = draw.then(|| {
            let bar = ProgressBar::with_draw_target(None, screen::target());
            bar.with_style(
                ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()),
            )
        });
        stop::show(verb, bar.as_ref(), global.quiet || global.json);
        let ticker = if let Some(bar) = bar.clone() {
            let mut drawing = Drawing::new(verb);
            spawn(&counters, Duration::from_millis(100), move |counters, seconds| {
                let line = drawing.line(counters, seconds, screen::width());
                stop::draw(|| {
                    bar.set_message(line);
                    bar.tick();
                });
            })
        } else if global.json && status && !global.quiet {
            spawn(&counters, Duration::from_secs(1), move |counters, seconds| {
                // A closed output is noticed when the summary is printed.
                let _ = writeln!(io::stdout().lock(), "{}", status_object(verb, counters, seconds));
            })
        } else {
            None
        };
        let (json, quiet, verbose) = (global.json, global.quiet, global.verbose);
        Self { verb, json, quiet, verbose, lists: false, counters, bar, ticker }
    }

    /// Adapts the messages after Ctrl-C if the source is a stream, of which no part is saved.
    pub(crate) fn for_stream(self, is_stream: bool) -> Self {
        if is_stream {
            stop::show("stream", self.bar.as_ref(), self.quiet || self.json);
        }
        self
    }

    /// With `on`, every item is a result on standard output, as in a dry run.
    pub(crate) fn listing(mut self, on: bool) -> Self {
        self.lists = on;
        self.verbose += u8::from(on && !self.quiet);
        self
    }

    /// Prints a result to standard output.
    ///
    /// # Errors
    /// The output is closed or full.
    pub(crate) fn print(&self, text: &str) -> Result<()> {
        match &self.bar {
            Some(bar) => bar.suspend(|| output::print(text)),
            None => output::print(text),
        }
    }

    /// Calls `print` while the progress line is hidden.
    fn without_line(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Reports an entry; `word` names what was done with it.
    pub(crate) fn item(&self, (action, word): (Action, &str), path: &[u8], size: u64) {
        let needed = if action == Action::Unchanged { 2 } else { 1 };
        if self.verbose < needed {
            return;
        }
        if self.json {
            let item = String::from_utf8_lossy(path);
            let value =
                json!({"message_type": "verbose_status", "action": word, "item": item, "data_size": size});
            let _ = writeln!(io::stdout().lock(), "{value}");
        } else {
            let text = format!("{word:<9} {} ({})", output::path(path), output::size(size));
            self.without_line(|| {
                if self.lists { drop(writeln!(io::stdout().lock(), "{text}")) } else { output::eprint(&text) }
            });
        }
    }

    fn problem(&self, path: &[u8], why: &str) {
        if self.json {
            let item = String::from_utf8_lossy(path);
            let error = json!({"message": why});
            let value = json!({"message_type": "error", "error": error, "during": self.verb, "item": item});
            output::eprint(&value.to_string());
        } else {
            let path = if path.is_empty() { "/".into() } else { String::from_utf8_lossy(path) };
            self.without_line(|| output::warn(false, &format!("{path}: {why}")));
        }
    }

    fn note(&self, text: &str) {
        if !self.json && !self.quiet {
            self.without_line(|| output::eprint(&format!("snap: {}", output::printable(text))));
        }
    }
}

impl Observer for Progress {
    fn notice(&self, event: Event<'_>) {
        match event {
            Event::Expect { files, bytes } => self.counters.expect(files, bytes, true),
            Event::Found { files, bytes, complete } => self.counters.expect(files, bytes, complete),
            Event::Done { files, bytes } => self.counters.add(files, bytes),
            Event::Stage { name, unit } => self.counters.begin(name, unit),
            Event::Estimate { bytes, .. } => self.counters.guessed_bytes.store(bytes, Ordering::Relaxed),
            Event::Part { bytes } => self.counters.begin_part(bytes),
            Event::ExpectInput { bytes } => self.counters.expected_input.store(bytes, Ordering::Relaxed),
            Event::Input { bytes } => drop(self.counters.input.fetch_add(bytes, Ordering::Relaxed)),
            Event::Working { path } => {
                // Never blocks: if the lock is taken, another path is being set, which is as good.
                if self.ticker.is_some()
                    && let Some(mut current) = self.counters.current.try_lock()
                {
                    current.clear();
                    current.extend_from_slice(path);
                }
            }
            Event::Item { action, path, size } => self.item((action, action.as_str()), path, size),
            Event::Problem(problem) => self.problem(&problem.path, &problem.message),
            Event::Warning(text) => self.without_line(|| output::warn(self.json, text)),
            Event::Note(text) => self.note(text),
            _ => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.ticker.take() {
            drop(stop);
            // If the ticker panicked, only the display was affected.
            let _ = thread.join();
        }
        stop::end();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Calls `draw` every `period` until the sender is dropped. If no thread can be started, there is just no
/// display.
fn spawn(
    counters: &Arc<Counters>,
    period: Duration,
    mut draw: impl FnMut(&Counters, f64) + Send + 'static,
) -> Option<(Sender<()>, JoinHandle<()>)> {
    let (stop, stopped) = mpsc::channel::<()>();
    let counters = Arc::clone(counters);
    let began = Instant::now();
    let work = move || {
        while stopped.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
            draw(&counters, began.elapsed().as_secs_f64());
        }
    };
    std::thread::Builder::new().name("progress".to_owned()).spawn(work).ok().map(|thread| (stop, thread))
}
