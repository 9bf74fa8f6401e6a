//! Runs commands of the user with a timeout. A command that takes too long is killed with all its child
//! processes.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use snap_backup::sys::process::{Pid, Signal, kill_process_group};
use snap_backup::util::{programs, threads};

use crate::schedule::job_process::JOB_VARIABLES;

/// How long a command may take to end after SIGTERM.
const TERM_GRACE: Duration = Duration::from_secs(5);
/// How long output may stay open after a command has ended.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// A message. It does not contain the command, which may contain a secret.
    Failed(String),
    /// This process was asked to stop.
    Stopped,
}

/// Returns a command that runs a line in the shell.
pub(crate) fn shell(line: &str) -> Command {
    let mut command = programs::foreign("sh");
    command.arg("-c").arg(line);
    command
}

/// Runs a command until it ends or the timeout expires. Its output goes to standard error, because standard
/// output is for the results of this program.
pub(crate) fn run(
    mut command: Command,
    input: &[u8],
    timeout: Duration,
    stop: Option<&AtomicBool>,
) -> Result<(), CommandError> {
    let failed = |err: io::Error| CommandError::Failed(err.to_string());
    let out = io::stderr().as_fd().try_clone_to_owned().map_err(failed)?;
    for name in JOB_VARIABLES {
        command.env_remove(name);
    }
    command.process_group(0).stdout(out).stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut pipe) = child.stdin.take() {
        // The input is shorter than a pipe's buffer. A command that does not read it is accepted.
        let _ = pipe.write_all(input);
    }
    wait_or_end(&mut child, timeout, stop)
}

/// Size of the end of a command's output that is kept.
const TAIL_BYTES: usize = 4096;

/// Like [`run`], and also returns the last line that the command printed. Processes that it has left running
/// with its output are stopped when it has ended.
pub(crate) fn run_with_output(
    mut command: Command,
    timeout: Duration,
    stop: &AtomicBool,
) -> (Result<(), CommandError>, String) {
    let failed = |err: io::Error| (Err(CommandError::Failed(err.to_string())), String::new());
    for name in JOB_VARIABLES {
        command.env_remove(name);
    }
    let pipe = io::pipe().and_then(|(output, out)| Ok((output, out.try_clone()?, out)));
    let (output, out, err) = match pipe {
        Ok(pipe) => pipe,
        Err(err) => return failed(err),
    };
    let child = command.process_group(0).stdin(Stdio::null()).stdout(out).stderr(err).spawn();
    // The pipe ends when the last process that can write to it does.
    drop(command);
    let mut child = match child {
        Ok(child) => child,
        Err(err) => return failed(err),
    };
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (done, is_done) = mpsc::channel();
    let kept = Arc::clone(&heard);
    let passing = threads::detached("output", move || {
        pass_on(output, &kept);
        // The receiver is gone if nobody is waiting.
        let _ = done.send(());
    });
    if passing.is_err() {
        end(&mut child);
        return (Err(CommandError::Failed("cannot start a thread for its output".to_owned())), String::new());
    }
    let result = wait_or_end(&mut child, timeout, Some(stop));
    if is_done.recv_timeout(OUTPUT_GRACE).is_err() {
        signal(&child, Signal::TERM);
        if is_done.recv_timeout(TERM_GRACE).is_err() {
            signal(&child, Signal::KILL);
        }
    }
    let heard = heard.lock();
    let text = String::from_utf8_lossy(&heard);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    (result, last.unwrap_or_default().trim().to_owned())
}

/// Copies output to standard error, and keeps the end of it.
fn pass_on(mut output: io::PipeReader, kept: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = output.read(&mut buffer) {
        let read = buffer.get(..count).unwrap_or_default();
        // The command continues even if standard error is closed.
        let _ = io::stderr().write_all(read);
        let mut kept = kept.lock();
        kept.extend_from_slice(read);
        let surplus = kept.len().saturating_sub(TAIL_BYTES);
        kept.drain(..surplus);
    }
}

/// Waits for the child, and returns why it did not succeed. If it is still running then, it is ended; what
/// happens while it ends does not change the reason.
fn wait_or_end(child: &mut Child, timeout: Duration, stop: Option<&AtomicBool>) -> Result<(), CommandError> {
    let begun = Instant::now();
    let is_stopped = || stop.is_some_and(|stop| stop.load(Ordering::Relaxed));
    let error = match wait(child, || begun.elapsed() >= timeout || is_stopped()) {
        Ok(Some(status)) if status.success() => return Ok(()),
        Ok(Some(status)) => return Err(CommandError::Failed(status.to_string())),
        Ok(None) if is_stopped() => CommandError::Stopped,
        Ok(None) => {
            CommandError::Failed(format!("it took longer than {} s and was stopped", timeout.as_secs()))
        }
        Err(err) => CommandError::Failed(err.to_string()),
    };
    end(child);
    Err(error)
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
    signal(child, Signal::TERM);
    let asked = Instant::now();
    let _ = wait(child, || asked.elapsed() >= TERM_GRACE);
    signal(child, Signal::KILL);
    let _ = child.wait();
}

/// Sends a signal to the process group of a child, if there is still one.
fn signal(child: &Child, signal: Signal) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, signal);
    }
}
