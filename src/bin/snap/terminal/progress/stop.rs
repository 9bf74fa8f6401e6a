//! Ctrl-C: the first one is acknowledged at once and ends the work cleanly, the second one ends the
//! process.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::ProgressBar;
use parking_lot::Mutex;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use snap_backup::sys::process::is_ignored;
use snap_backup::{Error, Result};

use crate::exit;
use crate::schedule::job_process;
use crate::terminal::{output, text};

/// What is on the screen; used by code that must clear it or announce the end.
static SHOWN: Mutex<Shown> = Mutex::new(Shown { verb: "", bar: None, is_quiet: false });

struct Shown {
    /// The verb that was started last.
    verb: &'static str,
    bar: Option<ProgressBar>,
    is_quiet: bool,
}

/// Whether drawing is disabled.
static IS_HIDDEN: AtomicBool = AtomicBool::new(false);

/// Registers a verb that displays its progress.
pub(super) fn show(verb: &'static str, bar: Option<&ProgressBar>, is_quiet: bool) {
    let mut shown = SHOWN.lock();
    *shown = Shown { verb, bar: bar.cloned(), is_quiet };
}

/// Removes its progress line.
pub(super) fn end() {
    SHOWN.lock().bar = None;
}

/// Returns whether drawing is disabled.
pub(super) fn is_hidden() -> bool {
    IS_HIDDEN.load(Ordering::Relaxed)
}

/// Draws unless that is disabled. Code that removes the line waits until drawing ends.
pub(super) fn draw(work: impl FnOnce()) {
    let _shown = SHOWN.lock();
    if !is_hidden() {
        work();
    }
}

/// Removes the line for good, because something else uses the screen now.
pub(crate) fn hide() {
    let mut shown = SHOWN.lock();
    // Set under the lock, so that no other thread draws again.
    IS_HIDDEN.store(true, Ordering::Relaxed);
    if let Some(bar) = shown.bar.take() {
        bar.finish_and_clear();
    }
}

/// Returns a flag that the first SIGINT, SIGTERM or SIGHUP sets; the second one ends the process at once.
/// It is only used where work can stop cleanly; elsewhere a signal ends the process. There is one flag per
/// process, so that no further work begins after it is set.
pub(crate) fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    static STOP: Mutex<Option<Arc<AtomicBool>>> = Mutex::new(None);
    let mut known = STOP.lock();
    if let Some(stop) = &*known {
        return Ok(Arc::clone(stop));
    }
    // Under nohup, SIGHUP must not end the work.
    let watched: Vec<i32> = [SIGINT, SIGTERM, SIGHUP]
        .into_iter()
        .filter(|signal| *signal != SIGHUP || !is_ignored(*signal))
        .collect();
    let stop = watch(&watched)?;
    if job_process::follows() {
        signal_hook::flag::register(job_process::ORPHANED, Arc::clone(&stop))
            .map_err(Error::io("watch for", "signals"))?;
    }
    if text::stderr_is_terminal() {
        acknowledge(&watched);
    }
    *known = Some(Arc::clone(&stop));
    Ok(stop)
}

/// Returns a flag that the first of these signals sets; the second one ends the process.
///
/// The work may set the flag itself, for instance when Ctrl-C ended the command that it reads from before
/// it reached this process. Signals are therefore counted by a separate flag.
fn watch(signals: &[i32]) -> Result<Arc<AtomicBool>> {
    let (stop, was_signalled) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    for signal in signals {
        let was = || Arc::clone(&was_signalled);
        // The order matters: the first signal must find the flag unset.
        signal_hook::flag::register_conditional_shutdown(*signal, i32::from(exit::INTERRUPTED), was())
            .and_then(|_| signal_hook::flag::register(*signal, was()))
            .and_then(|_| signal_hook::flag::register(*signal, Arc::clone(&stop)))
            .map_err(Error::io("watch for", "signals"))?;
    }
    Ok(stop)
}

/// Acknowledges the first signal in a separate thread, because the work may be blocked on a file or server.
/// Without the thread, the work still stops.
fn acknowledge(watched: &[i32]) {
    let Ok(mut signals) = Signals::new(watched) else { return };
    let wait = move || {
        if signals.forever().next().is_some() {
            let (doing, is_quiet) = {
                let shown = SHOWN.lock();
                (stop_message(shown.verb), shown.is_quiet)
            };
            hide();
            if !is_quiet {
                // The terminal's echo of Ctrl-C is at the beginning of the line.
                let clean = if text::can_draw() { "\r\x1b[J" } else { "\n" };
                let _ = io::stderr().lock().write_all(clean.as_bytes());
                output::eprint(&format!("snap: {doing}; press Ctrl-C again to stop now"));
            }
        }
    };
    let _ = std::thread::Builder::new().name("signals".to_owned()).spawn(wait);
}

/// Describes what a verb does when it is asked to stop.
fn stop_message(verb: &str) -> &'static str {
    match verb {
        "backup" => "saving what was read so far",
        "stream" => "stopping: an incomplete stream is not saved",
        "restore" => "stopping after the files that are being written",
        "gc" => "stopping at a safe point",
        "drill" => "removing what was restored for the drill",
        _ => "stopping",
    }
}

/// Returns what to run next after a verb was interrupted.
pub(crate) fn how_to_continue() -> Option<&'static str> {
    match SHOWN.lock().verb {
        "backup" => Some("nothing was saved yet: run the command again"),
        "stream" => Some(
            "nothing was saved, because an incomplete stream cannot be told from a complete one: run the \
             command again",
        ),
        "restore" => {
            Some("run the command again to continue: files that were restored already are not written again")
        }
        "copy" | "sync" => {
            Some("run the command again to continue: data that was copied already is not copied again")
        }
        "gc" => Some("no data that snapshots need was deleted; the next `snap gc` continues"),
        "import" => Some("run the command again to continue: snapshots that were imported already are kept"),
        "check" | "drill" => Some("nothing was changed; run the command again"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use signal_hook::consts::SIGURG;

    use super::*;

    #[test]
    fn the_first_signal_ends_no_process_that_is_stopping_already() {
        // This signal has no meaning to other tests. A second one would end them all.
        let stop = watch(&[SIGURG]).unwrap();
        stop.store(true, Ordering::Relaxed);
        signal_hook::low_level::raise(SIGURG).unwrap();
        assert!(stop.load(Ordering::Relaxed));
    }
}
