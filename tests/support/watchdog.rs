//! Ends the process of a test that hangs, and names the test; without it a run would wait forever.

use std::io::Write;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// No test takes this long unless something is broken.
const LIMIT: Duration = Duration::from_secs(600);

/// Watches the test that holds it.
#[derive(Debug)]
pub struct Watchdog {
    /// Closed when it is dropped.
    _over: mpsc::Sender<()>,
}

impl Watchdog {
    /// Begins to watch the test of this thread.
    pub fn start() -> Self {
        let (over, is_over) = mpsc::channel::<()>();
        let name = thread::current().name().unwrap_or("a test").to_owned();
        thread::spawn(move || {
            if is_over.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) && !super::is_long() {
                give_up(&name);
            }
        });
        Self { _over: over }
    }
}

fn give_up(name: &str) {
    let processes = Command::new("ps").args(["axo", "pid,ppid,stat,wchan:24,etimes,args"]).output();
    let processes = processes.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    // The macros that print are captured in a test, and nobody will print that any more.
    let (limit, processes) = (LIMIT.as_secs(), processes.unwrap_or_default());
    let _ = writeln!(std::io::stderr(), "\n*** {name} did not end in {limit} s ***\n{processes}");
    std::process::abort();
}
