//! Ctrl-C: the first one is answered at once and ends the work in good order, the second ends the process.

use std::io;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::ProgressBar;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use snap_backup::{Error, Result};

use crate::exit;
use crate::process::signals;
use crate::schedule::job_process;
use crate::terminal::{output, text};

/// What is on the screen, for who has to make room on it or to say that it ends.
static SHOWN: Mutex<Shown> = Mutex::new(Shown { verb: "", bar: None, is_quiet: false });

struct Shown {
    /// That was last begun.
    verb: &'static str,
    bar: Option<ProgressBar>,
    is_quiet: bool,
}

/// Nothing is drawn any more.
static IS_HIDDEN: AtomicBool = AtomicBool::new(false);

/// A verb begins to show how far it is.
pub(super) fn show(verb: &'static str, bar: Option<&ProgressBar>, is_quiet: bool) {
    let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    *shown = Shown { verb, bar: bar.cloned(), is_quiet };
}

/// It has ended.
pub(super) fn end() {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner).bar = None;
}

/// Whether nothing may be drawn.
pub(super) fn is_hidden() -> bool {
    IS_HIDDEN.load(Ordering::Relaxed)
}

/// Draws, unless nothing may be drawn. What takes the line away waits for the end of it.
pub(super) fn draw(work: impl FnOnce()) {
    let _shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if !is_hidden() {
        work();
    }
}

/// Takes the line away for good: something else has the screen now.
pub(crate) fn hide() {
    let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    // Under the lock: what draws must not begin again.
    IS_HIDDEN.store(true, Ordering::Relaxed);
    if let Some(bar) = shown.bar.take() {
        bar.finish_and_clear();
    }
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
    let watched: Vec<i32> = [SIGINT, SIGTERM, SIGHUP]
        .into_iter()
        .filter(|signal| *signal != SIGHUP || !signals::is_ignored(*signal))
        .collect();
    for signal in &watched {
        // In this order: the first signal must find the flag down.
        signal_hook::flag::register_conditional_shutdown(
            *signal,
            i32::from(exit::INTERRUPTED),
            Arc::clone(&stop),
        )
        .and_then(|_| signal_hook::flag::register(*signal, Arc::clone(&stop)))
        .map_err(Error::io("watch for", "signals"))?;
    }
    if job_process::follows() {
        signal_hook::flag::register(job_process::ORPHANED, Arc::clone(&stop))
            .map_err(Error::io("watch for", "signals"))?;
    }
    if text::is_stderr() {
        answer(&watched);
    }
    *known = Some(Arc::clone(&stop));
    Ok(stop)
}

/// Answers the first signal, on a thread of its own: the work may be at a file or a server that takes its time. Without
/// the thread the work ends all the same.
fn answer(watched: &[i32]) {
    let Ok(mut signals) = Signals::new(watched) else { return };
    let wait = move || {
        if signals.forever().next().is_some() {
            let (doing, is_quiet) = {
                let shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
                (doing(shown.verb), shown.is_quiet)
            };
            hide();
            if !is_quiet {
                // What the terminal echoed for Ctrl-C stands at the beginning of the line.
                let clean = if text::can_draw() { "\r\x1b[J" } else { "\n" };
                let _ = io::stderr().lock().write_all(clean.as_bytes());
                output::complain(&format!("snap: {doing}; press Ctrl-C again to stop now"));
            }
        }
    };
    let _ = std::thread::Builder::new().name("signals".to_owned()).spawn(wait);
}

/// What a verb does when it is to stop.
fn doing(verb: &str) -> &'static str {
    match verb {
        "backup" => "saving what there is",
        "stream" => "stopping: half of a stream is not saved",
        "restore" => "stopping after the files that are being written",
        "gc" => "stopping where nothing that is needed is touched",
        "drill" => "removing what was restored for the drill",
        _ => "stopping",
    }
}

/// What to run next when a verb was interrupted.
pub(crate) fn how_to_go_on() -> Option<&'static str> {
    match SHOWN.lock().unwrap_or_else(PoisonError::into_inner).verb {
        "backup" => Some("nothing was saved yet: run the same command again"),
        "stream" => {
            Some("nothing was saved, since half of a stream looks like the whole: run the same command again")
        }
        "restore" => {
            Some("run the same command again to go on: what is restored already is not written again")
        }
        "copy" | "sync" => {
            Some("run the same command again to go on: what is copied already is not copied again")
        }
        "gc" => Some("nothing that is needed was deleted; the next `snap gc` does the rest"),
        "import" => Some("run the same command again: snapshots that were imported already are kept"),
        "check" | "drill" => Some("nothing was changed; run the same command again"),
        _ => None,
    }
}
