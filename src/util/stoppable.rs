//! Reads what a command prints until the run stops: a command may run forever, even after Ctrl-C.

use std::io::{self, Read};
use std::process::{Child, ChildStdout};
use std::time::{Duration, Instant};

use crate::sys::event::{PollFd, PollFlags, Timespec, poll};
use crate::sys::process::{Pid, Signal, kill_process};

/// Interval at which `is_stopping` is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long a command may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);

/// The output of a command, which need not be read to its end.
pub(crate) struct StoppableOutput<'a> {
    output: ChildStdout,
    is_stopping: &'a dyn Fn() -> bool,
}

impl<'a> StoppableOutput<'a> {
    /// Reads from `output` until `is_stopping` returns true.
    pub(crate) fn new(output: ChildStdout, is_stopping: &'a dyn Fn() -> bool) -> Self {
        Self { output, is_stopping }
    }
}

impl Read for StoppableOutput<'_> {
    /// # Errors
    /// When `is_stopping` returns true, or reading fails.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let interval = Timespec { tv_sec: 0, tv_nsec: i64::from(POLL_INTERVAL.subsec_nanos()) };
        loop {
            let ready = poll(&mut [PollFd::new(&self.output, PollFlags::IN)], Some(&interval));
            match ready.map_err(io::Error::from) {
                Ok(0) if (self.is_stopping)() => return Err(io::Error::other("interrupted")),
                Ok(0) => {}
                Ok(_) => return self.output.read(buffer),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
    }
}

/// Ends a command: by SIGTERM, and by SIGKILL if it still runs after [`GRACE`].
pub(crate) fn terminate(child: &mut Child) {
    let end = Instant::now() + GRACE;
    // The command may have ended already; other errors cannot be handled.
    let _ = kill_process(Pid::from_child(child), Signal::TERM);
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < end {
        std::thread::sleep(POLL_INTERVAL / 10);
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn shell(script: &str) -> (Child, ChildStdout) {
        let mut command = Command::new("/bin/sh");
        let mut child = command.args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        (child, output)
    }

    #[test]
    fn endless_command_is_stopped_with_its_children() {
        let (mut child, output) = shell("trap : INT; echo half; sleep 5; echo more");
        let asked = AtomicUsize::new(0);
        let is_stopping = || asked.fetch_add(1, Ordering::Relaxed) >= 1;
        let mut text = Vec::new();
        let ended = StoppableOutput::new(output, &is_stopping).read_to_end(&mut text);
        assert!(ended.is_err() && text == b"half\n" && asked.load(Ordering::Relaxed) == 2);
        terminate(&mut child);
        assert!(child.try_wait().unwrap().is_some());
    }

    #[test]
    fn what_a_command_prints_is_read_to_its_end() {
        let (mut child, output) = shell("echo one; echo two");
        let mut text = Vec::new();
        StoppableOutput::new(output, &|| false).read_to_end(&mut text).unwrap();
        assert_eq!((text.as_slice(), child.wait().unwrap().success()), (&b"one\ntwo\n"[..], true));
    }
}
