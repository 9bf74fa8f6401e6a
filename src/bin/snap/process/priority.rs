//! Priorities of this process for CPU and I/O.
//!
//! On Linux both are attributes of a thread and are inherited by the threads that it starts. They are set in
//! the main thread before any work begins.

use std::process::Stdio;

use snap_backup::sys::process::{getpriority_process, setpriority_process};
use snap_backup::util::{programs, threads};

use crate::args::global::Global;
use crate::terminal::output;

/// Priorities that were changed for a set. They are restored at its end if the system allows it.
#[must_use]
pub(crate) struct Lowered {
    nice: Option<i32>,
    idle: bool,
}

/// Applies the options. If the system refuses, a warning is printed and the work continues.
pub(crate) fn apply(global: &Global) -> Lowered {
    threads::limit(global.threads.unwrap_or(0));
    let nice = global.nice.and_then(|nice| lower(global, nice));
    let idle = global.io_idle && set_io_class(global, "3");
    Lowered { nice, idle }
}

impl Lowered {
    /// Restores the priorities for the next set. Only root may lower its niceness.
    pub(crate) fn undo(self, global: &Global) {
        if let Some(before) = self.nice {
            let _ = setpriority_process(None, before);
        }
        if self.idle {
            set_io_class(global, "0");
        }
    }
}

/// Raises the niceness of this thread. Returns the previous one if it changed. Never lowers it, because the
/// caller of this program may have raised it.
fn lower(global: &Global, nice: i32) -> Option<i32> {
    let before = getpriority_process(None).unwrap_or(0);
    if nice <= before {
        return None;
    }
    match setpriority_process(None, nice) {
        Ok(()) => Some(before),
        Err(err) => {
            let why = std::io::Error::from(err);
            output::warn(global.json, &format!("the CPU priority was not changed (--nice {nice}): {why}"));
            None
        }
    }
}

/// Sets the I/O class of this thread: 3 is idle, 0 none. Runs `ionice` of util-linux, because there is no
/// safe system call wrapper.
fn set_io_class(global: &Global, class: &str) -> bool {
    let mut command = programs::foreign("ionice");
    command.args(["-c", class, "-p", &std::process::id().to_string()]);
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let why = match ended {
        Ok(status) if status.success() => return true,
        Ok(status) => format!("`ionice` ended with {status}"),
        Err(err) => format!("cannot run `ionice`: {err}"),
    };
    output::warn(global.json, &format!("the I/O priority was not changed (--io-idle): {why}"));
    false
}
