//! Draws what a verb does: one line on a terminal, a status object per second in JSON, nothing when piped.
//! Events only add to atomics; one thread draws, so that watching costs the work nothing.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use snap_backup::observe::{Event, Observer};
use snap_backup::{Error, Result};

use crate::args::Global;
use crate::schedule::child;
use crate::{output, report, signals};

/// What has happened so far.
#[derive(Debug, Default)]
struct Counters {
    files: AtomicU64,
    bytes: AtomicU64,
    expected_files: AtomicU64,
    expected_bytes: AtomicU64,
    /// More may be found.
    at_least: AtomicBool,
    current: Mutex<Vec<u8>>,
}

impl Counters {
    fn expect(&self, files: u64, bytes: u64, complete: bool) {
        self.expected_files.store(files, Ordering::Relaxed);
        self.expected_bytes.store(bytes, Ordering::Relaxed);
        self.at_least.store(!complete, Ordering::Relaxed);
    }

    /// What is known of the end: the share that is done, from 0 to 1, by bytes or, where there are none, by files.
    fn share(&self) -> Option<f64> {
        let get = |number: &AtomicU64| number.load(Ordering::Relaxed);
        if self.at_least.load(Ordering::Relaxed) {
            return None;
        }
        let by_bytes = (get(&self.bytes), get(&self.expected_bytes));
        let by_files = (get(&self.files), get(&self.expected_files));
        let (done, all) = if by_bytes.1 > 0 { by_bytes } else { by_files };
        (all > 0).then(|| (done as f64 / all as f64).min(1.0))
    }
}

/// Watches one verb. Dropped before the summary is printed: the line is gone then.
#[derive(Debug)]
pub(crate) struct Progress {
    verb: &'static str,
    json: bool,
    quiet: bool,
    verbose: u8,
    /// What is done is the answer, not a message.
    lists: bool,
    counters: Arc<Counters>,
    bar: Option<ProgressBar>,
    ticker: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Whether anybody sees how far work is.
    pub(crate) fn is_watched(global: &Global) -> bool {
        !global.quiet && (global.json || io::stderr().is_terminal())
    }

    /// Begins to watch; `status` says whether the verb tells its progress in JSON.
    pub(crate) fn start(global: &Global, verb: &'static str, status: bool) -> Self {
        let counters = Arc::<Counters>::default();
        let draw = !global.json && !global.quiet && io::stderr().is_terminal();
        let bar = draw.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.with_style(
                ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar()),
            )
        });
        let ticker = if let Some(bar) = bar.clone() {
            let mut rate = Rate::default();
            spawn(&counters, Duration::from_millis(100), move |counters, seconds| {
                bar.set_message(line(verb, counters, seconds, &mut rate));
                bar.tick();
            })
        } else if global.json && status && !global.quiet {
            spawn(&counters, Duration::from_secs(1), move |counters, seconds| {
                // A reader that left is found out when the summary is printed.
                let _ = writeln!(io::stdout().lock(), "{}", status_object(verb, counters, seconds));
            })
        } else {
            None
        };
        let (json, quiet, verbose) = (global.json, global.quiet, global.verbose);
        Self { verb, json, quiet, verbose, lists: false, counters, bar, ticker }
    }

    /// With `on`, every item is part of the answer: what would be done is what was asked for.
    pub(crate) fn listing(mut self, on: bool) -> Self {
        self.lists = on;
        self.verbose += u8::from(on && !self.quiet);
        self
    }

    /// Prints something on standard error without tearing the line.
    fn aside(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    fn item(&self, action: &str, path: &[u8], size: u64) {
        let needed = if action == "unchanged" { 2 } else { 1 };
        if self.verbose < needed {
            return;
        }
        if self.json {
            let item = String::from_utf8_lossy(path);
            let value =
                json!({"message_type": "verbose_status", "action": action, "item": item, "data_size": size});
            let _ = writeln!(io::stdout().lock(), "{value}");
        } else {
            let text = format!("{action:<9} {} ({})", output::path(path), output::size(size));
            self.aside(|| match self.lists {
                // A reader that left is found out when the summary is printed.
                true => drop(writeln!(io::stdout().lock(), "{text}")),
                false => output::complain(&text),
            });
        }
    }

    fn problem(&self, path: &[u8], why: &str) {
        if self.json {
            let item = String::from_utf8_lossy(path);
            let error = json!({"message": why});
            let value = json!({"message_type": "error", "error": error, "during": self.verb, "item": item});
            output::complain(&value.to_string());
        } else {
            self.aside(|| output::warn(false, &format!("{}: {why}", String::from_utf8_lossy(path))));
        }
    }

    fn note(&self, text: &str) {
        if !self.json && !self.quiet {
            self.aside(|| output::complain(&format!("snap: {}", output::printable(text))));
        }
    }
}

impl Observer for Progress {
    fn notice(&self, event: Event<'_>) {
        match event {
            Event::Expect { files, bytes } => self.counters.expect(files, bytes, true),
            Event::Found { files, bytes, complete } => self.counters.expect(files, bytes, complete),
            Event::Done { files, bytes } => {
                self.counters.files.fetch_add(files, Ordering::Relaxed);
                self.counters.bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            Event::Working { path } => {
                // Never waits: whoever holds the lock shows a path that is as good.
                if self.ticker.is_some()
                    && let Ok(mut current) = self.counters.current.try_lock()
                {
                    current.clear();
                    current.extend_from_slice(path);
                }
            }
            Event::Item { action, path, size } => self.item(action, path, size),
            Event::Problem { path, why } => self.problem(path, why),
            Event::Warning(text) => self.aside(|| output::warn(self.json, text)),
            Event::Note(text) => self.note(text),
            _ => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.ticker.take() {
            drop(stop);
            // A ticker that panicked has only spoilt its line.
            let _ = thread.join();
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Calls `draw` every `period` until the sender is dropped. Without a thread there is no progress, only work.
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

/// Bytes per second, smoothed over a few seconds.
#[derive(Debug, Default)]
struct Rate {
    bytes: u64,
    at: f64,
    value: f64,
}

impl Rate {
    fn update(&mut self, bytes: u64, at: f64) -> f64 {
        let span = at - self.at;
        if span > 0.0 {
            let now = bytes.saturating_sub(self.bytes) as f64 / span;
            let weight = if self.at == 0.0 { 1.0 } else { 1.0 - (-span / 3.0).exp() };
            self.value += (now - self.value) * weight;
            (self.bytes, self.at) = (bytes, at);
        }
        self.value
    }
}

fn line(verb: &str, counters: &Counters, seconds: f64, rate: &mut Rate) -> String {
    let get = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let (files, bytes) = (get(&counters.files), get(&counters.bytes));
    let (all_files, all_bytes) = (get(&counters.expected_files), get(&counters.expected_bytes));
    let rate = rate.update(bytes, seconds);
    let at_least = if counters.at_least.load(Ordering::Relaxed) { "at least " } else { "" };
    let mut text = format!("{verb} {} ", output::duration(seconds.floor()).replace(".00", ""));
    if all_files > files {
        text += &format!(" {files} of {at_least}{all_files} files");
    } else {
        text += &format!(" {files} files");
    }
    text += &format!("  {}", output::size(bytes));
    if all_bytes > bytes {
        text += &format!(" of {at_least}{}", output::size(all_bytes));
    }
    let share = counters.share().filter(|share| *share < 1.0);
    if let Some(share) = share {
        text += &format!(" ({:.0}%)", (share * 100.0).floor());
    }
    text += &format!("  {}/s", output::size(rate as u64));
    if share.is_some() && all_bytes > bytes && rate >= 1.0 {
        let left = (all_bytes - bytes) as f64 / rate;
        text += &format!("  ETA {}", output::duration(left.ceil()).replace(".00", ""));
    }
    if let Ok(current) = counters.current.lock() {
        text += &format!("  {}", output::path(&current));
    }
    text
}

fn status_object(verb: &str, counters: &Counters, seconds: f64) -> serde_json::Value {
    let get = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let share = counters.share();
    let (files_name, bytes_name) =
        if verb == "restore" { ("files_restored", "bytes_restored") } else { ("files_done", "bytes_done") };
    let mut value = json!({
        "message_type": "status",
        "seconds_elapsed": seconds as u64,
        // Of a total that is not known yet, nobody knows the share.
        "percent_done": share.unwrap_or(0.0),
        "total_files": get(&counters.expected_files),
        "total_bytes": get(&counters.expected_bytes),
        "totals_are_final": !counters.at_least.load(Ordering::Relaxed),
        files_name: get(&counters.files),
        bytes_name: get(&counters.bytes),
    });
    if let (Some(map), Ok(current)) = (value.as_object_mut(), counters.current.lock()) {
        if let Some(share) = share.filter(|share| *share > 0.0) {
            map.insert("seconds_remaining".to_owned(), ((seconds / share - seconds).ceil() as u64).into());
        }
        if !current.is_empty() {
            map.insert("current_files".to_owned(), json!([String::from_utf8_lossy(&current)]));
        }
    }
    value
}

/// A flag that the first SIGINT, SIGTERM or SIGHUP raises; the second ends the process at once. Set up only where
/// work can stop in good order: elsewhere the system's way is the right one. It is one for the whole process: what
/// comes after the work that was stopped does not begin.
pub(crate) fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    static STOP: Mutex<Option<Arc<AtomicBool>>> = Mutex::new(None);
    let mut known = STOP.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(stop) = &*known {
        return Ok(Arc::clone(stop));
    }
    let stop = Arc::new(AtomicBool::new(false));
    // Under nohup, whoever hangs up ends nothing.
    for signal in [SIGINT, SIGTERM, SIGHUP]
        .into_iter()
        .filter(|signal| *signal != SIGHUP || !signals::is_ignored(*signal))
    {
        // In this order: the first signal must find the flag down.
        signal_hook::flag::register_conditional_shutdown(
            signal,
            i32::from(report::INTERRUPTED),
            Arc::clone(&stop),
        )
        .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
        .map_err(Error::io("watch for", "signals"))?;
    }
    if child::follows() {
        signal_hook::flag::register(child::ORPHANED, Arc::clone(&stop))
            .map_err(Error::io("watch for", "signals"))?;
    }
    *known = Some(Arc::clone(&stop));
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::{Counters, Rate, line, status_object};

    fn counters(done: (u64, u64), expected: (u64, u64), complete: bool) -> Counters {
        let counters = Counters::default();
        counters.files.store(done.0, Ordering::Relaxed);
        counters.bytes.store(done.1, Ordering::Relaxed);
        counters.expect(expected.0, expected.1, complete);
        counters
    }

    #[test]
    fn a_total_that_may_grow_is_said_to_be_the_least() {
        let counted = counters((5, 512), (10, 2048), false);
        let text = line("backup", &counted, 2.0, &mut Rate::default());
        assert_eq!(text.trim(), "backup 2 s  5 of at least 10 files  512 B of at least 2.0 KiB  256 B/s");
        let status = status_object("backup", &counted, 2.0);
        assert_eq!((&status["total_files"], &status["total_bytes"]), (&10.into(), &2048.into()));
        assert_eq!((&status["percent_done"], &status["totals_are_final"]), (&0.0.into(), &false.into()));
        assert!(status.get("seconds_remaining").is_none(), "{status}");
    }

    #[test]
    fn a_total_that_is_known_gives_a_share_and_an_end() {
        let counted = counters((5, 512), (10, 2048), true);
        let text = line("backup", &counted, 2.0, &mut Rate::default());
        assert_eq!(text.trim(), "backup 2 s  5 of 10 files  512 B of 2.0 KiB (25%)  256 B/s  ETA 6 s");
        let status = status_object("backup", &counted, 2.0);
        assert_eq!((&status["percent_done"], &status["seconds_remaining"]), (&0.25.into(), &6.into()));
    }

    #[test]
    fn files_without_bytes_and_more_bytes_than_expected_have_a_share_too() {
        assert_eq!(status_object("backup", &counters((1, 0), (4, 0), true), 1.0)["percent_done"], 0.25);
        assert_eq!(status_object("backup", &counters((4, 999), (4, 10), true), 1.0)["percent_done"], 1.0);
        assert_eq!(status_object("backup", &Counters::default(), 1.0)["percent_done"], 0.0);
    }
}
