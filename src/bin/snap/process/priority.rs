//! The share of the machine that this process asks for: processors, input and output, threads.
//!
//! On Linux both priorities are those of a thread and go over to the threads that it starts. They are set in
//! the main thread before any work begins.

use std::process::Stdio;

use snap_backup::util::{programs, threads};

use crate::args::global::Global;
use crate::terminal::output;

/// Priorities that were changed for a set, and are put back at the end of it if the system allows.
#[must_use]
pub(crate) struct Lowered {
    nice: Option<i32>,
    idle: bool,
}

/// Applies what the options say. What the system refuses is a warning: the work is done all the same.
pub(crate) fn apply(global: &Global) -> Lowered {
    threads::limit(global.threads.unwrap_or(0));
    let nice = global.nice.and_then(|nice| lower(global, nice));
    let idle = global.io_idle && set_io_class(global, "3");
    Lowered { nice, idle }
}

impl Lowered {
    /// Puts the priorities back for the next set. Only root may become less nice.
    pub(crate) fn undo(self, global: &Global) {
        if let Some(before) = self.nice {
            let _ = rustix::process::setpriority_process(None, before);
        }
        if self.idle {
            set_io_class(global, "0");
        }
    }
}

/// Makes this thread nicer. Returns how nice it was, if that changed. It never becomes less nice: whoever
/// called this program may have lowered it already.
fn lower(global: &Global, nice: i32) -> Option<i32> {
    let before = rustix::process::getpriority_process(None).unwrap_or(0);
    if nice <= before {
        return None;
    }
    match rustix::process::setpriority_process(None, nice) {
        Ok(()) => Some(before),
        Err(err) => {
            let why = std::io::Error::from(err);
            output::warn(global.json, &format!("the priority stays as it is (--nice {nice}): {why}"));
            None
        }
    }
}

/// Sets the class of this thread's input and output: 3 is idle, 0 none. There is no safe call for it, and
/// util-linux is everywhere.
fn set_io_class(global: &Global, class: &str) -> bool {
    let mut command = programs::foreign("ionice");
    command.args(["-c", class, "-p", &std::process::id().to_string()]);
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let why = match ended {
        Ok(status) if status.success() => return true,
        Ok(status) => format!("`ionice` ended with {status}"),
        Err(err) => format!("`ionice` cannot be run: {err}"),
    };
    output::warn(global.json, &format!("input and output keep their priority (--io-idle): {why}"));
    false
}
