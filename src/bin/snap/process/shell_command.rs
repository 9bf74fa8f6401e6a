//! Runs commands of the user with a timeout. A command that takes too long is killed with all its child
//! processes.

use std::io;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use snap_backup::util::programs;

use crate::schedule::job_process::ORDERS;

/// How long a command may take to end after SIGTERM.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// A message. It does not contain the command, which may contain a secret.
    Failed(String),
    /// This process was told to stop.
    Stopped,
}

/// Returns a command that runs a line in the shell.
pub(crate) fn shell(line: &str) -> Command {
    let mut command = programs::foreign("sh");
    command.arg("-c").arg(line);
    command
}

/// Runs a command until it ends or the timeout expires. Its output goes to standard error, because standard
/// output is for the answer.
pub(crate) fn run(
    mut command: Command,
    input: &[u8],
    timeout: Duration,
    stop: Option<&AtomicBool>,
) -> Result<(), Trouble> {
    let failed = |err: io::Error| Trouble::Failed(err.to_string());
    let out = io::stderr().as_fd().try_clone_to_owned().map_err(failed)?;
    for name in ORDERS {
        command.env_remove(name);
    }
    command.process_group(0).stdout(out).stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut pipe) = child.stdin.take() {
        // The input is shorter than a pipe's buffer. A command that does not read it is accepted.
        let _ = pipe.write_all(input);
    }
    let begun = Instant::now();
    let ended = wait(&mut child, || {
        begun.elapsed() >= timeout || stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    });
    match ended.map_err(failed)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(Trouble::Failed(status.to_string())),
        None => {
            end(&mut child);
            if stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
                return Err(Trouble::Stopped);
            }
            Err(Trouble::Failed(format!("it took longer than {} s and was stopped", timeout.as_secs())))
        }
    }
}

/// Waits until the child ends, or until `over` returns true.
fn wait(child: &mut Child, over: impl Fn() -> bool) -> io::Result<Option<ExitStatus>> {
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if over() {
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Sends SIGTERM, and later SIGKILL, to the process group.
fn end(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let send = |signal| group.map(|group| rustix::process::kill_process_group(group, signal));
    let _ = send(Signal::TERM);
    let asked = Instant::now();
    let _ = wait(child, || asked.elapsed() >= TIMEOUT);
    let _ = send(Signal::KILL);
    let _ = child.wait();
}
