//! Ends the process of a test that hangs, and names the test; without it a run would wait forever.

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

#[allow(clippy::print_stderr, reason = "nobody will print what the test has captured")]
fn give_up(name: &str) {
    let processes = Command::new("ps").args(["axo", "pid,ppid,stat,wchan:24,etimes,args"]).output();
    let processes = processes.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    eprintln!("\n*** {name} did not end in {} s ***\n{}", LIMIT.as_secs(), processes.unwrap_or_default());
    std::process::abort();
}
