//! Runs a job as a separate process, so that memory problems or a crash affect only that job. Secrets are
//! passed in the environment, never as arguments, which every user of the machine can read.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use jiff::Timestamp;
use snap_backup::ops::schedule::scheduler::End;
use snap_backup::sys::process::{Pid, Signal, getpid, getppid, kill_process, signal_when_parent_ends};
use snap_backup::util::programs;
use snap_backup::{Error, Result};

use super::Planned;
use crate::args::global::Global;
use crate::exit;

/// Events for the daemon: jobs that start or end, and signals.
#[derive(Debug)]
pub(crate) enum Event {
    /// The process of a job was started, with its process id.
    Started(String, u32),
    /// The process has ended; `None` means that it could not be started.
    Ended(String, Option<ExitStatus>),
    Signal(i32),
}

/// Environment variable: the id of the parent process. The job stops when the parent ends.
const PARENT: &str = "SNAP_JOB_PARENT";
/// Environment variable: the time that the run was planned for.
const DUE: &str = "SNAP_JOB_DUE";
const ATTEMPT: &str = "SNAP_JOB_ATTEMPT";
const ATTEMPTS: &str = "SNAP_JOB_ATTEMPTS";
/// All of these variables. They are removed from the environment of a job's own child processes.
pub(crate) const JOB_VARIABLES: [&str; 4] = [PARENT, DUE, ATTEMPT, ATTEMPTS];

/// What a process that the schedule started reads about its run from the environment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JobEnvironment {
    pub(crate) due: Option<Timestamp>,
    pub(crate) attempt: u32,
    pub(crate) attempts: u32,
}

impl JobEnvironment {
    /// Reads the variables.
    pub(crate) fn of_environment() -> Self {
        let of = |name: &str| std::env::var(name).ok();
        let number = |name: &str| of(name).and_then(|text| text.parse().ok()).unwrap_or(1);
        let due = of(DUE).and_then(|text| text.parse().ok());
        Self { due, attempt: number(ATTEMPT), attempts: number(ATTEMPTS) }
    }

    /// Returns whether a run with this exit code will be retried, so that no notification is needed yet.
    pub(crate) fn will_retry(self, code: u8) -> bool {
        self.attempt < self.attempts && is_retried(code)
    }
}

/// Returns whether another attempt may succeed: not after a wrong password, invalid arguments, damage or a
/// refusal.
fn is_retried(code: u8) -> bool {
    matches!(code, 1 | 21 | exit::INTERRUPTED)
}

/// Exit codes of runs that did not fail. With 3, the job itself has reported the entries that it could not
/// read. Skipped runs and runs that reached their time limit are not retried ([`is_retried`]): they run
/// again at the next planned time.
const NOT_FAILED: [u8; 5] = [0, 3, exit::ALARM, exit::SKIPPED, exit::TIME_UP];

fn exit_code(status: Option<ExitStatus>) -> Option<u8> {
    u8::try_from(status?.code()?).ok()
}

/// Converts an exit status for the scheduler. A run that was stopped, but not by the scheduler, is retried
/// like a failed one.
pub(crate) fn end_of(status: Option<ExitStatus>, stopping: bool) -> End {
    match exit_code(status) {
        Some(exit::INTERRUPTED) | None if stopping => End::Interrupted,
        None => End::Failed,
        Some(code) if is_retried(code) => End::Failed,
        Some(_) => End::Done,
    }
}

/// Describes how the process failed; `None` if it succeeded.
pub(crate) fn failure(status: Option<ExitStatus>) -> Option<String> {
    if exit_code(status).is_some_and(|code| NOT_FAILED.contains(&code)) {
        return None;
    }
    let Some(status) = status else { return Some("it could not be started".to_owned()) };
    Some(match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("it was killed by signal {signal}"),
        (None, None) => "its exit status is unknown".to_owned(),
    })
}

/// Describes how a job that did not fail ended.
pub(crate) fn describe_end(status: Option<ExitStatus>) -> &'static str {
    match exit_code(status) {
        Some(exit::SKIPPED) => "skipped",
        Some(exit::TIME_UP) => "its time limit was reached: the next run continues",
        _ => "done",
    }
}

/// Starts a job and waits for it in a separate thread. The kernel signals the job when this thread ends.
pub(crate) fn start(
    global: &Global,
    planned: &Planned,
    due: Timestamp,
    attempt: u32,
    events: &Sender<Event>,
) -> Result<()> {
    let mut command = programs::own().map_err(Error::io("find", "this program"))?;
    #[cfg(feature = "serve")]
    crate::process::heaps::reset_heaps(&mut command);
    command.args(planned.arguments()).stdin(Stdio::null()).process_group(0);
    if global.json {
        command.arg("--json");
    }
    if global.quiet {
        command.arg("--quiet");
    }
    if global.insecure_no_password {
        command.arg("--insecure-no-password");
    }
    // The job must use the same source of the password: a variable that a flag overrides here would take
    // precedence there.
    if global.password_file().is_some() || global.password_command().is_some() {
        for name in [crate::args::global::PASSWORD_VARIABLE, "SNAP_PASSWORD_FILE", "SNAP_PASSWORD_COMMAND"] {
            command.env_remove(name);
        }
    }
    for (name, value) in [
        ("SNAP_CONFIG", &global.config),
        ("SNAP_PROFILE", &global.profile.clone().map(Into::into)),
        ("SNAP_REPO", &global.repo),
        ("SNAP_PASSWORD_FILE", &global.password_file),
        ("SNAP_PASSWORD_COMMAND", &global.password_command),
        ("SNAP_KEY_FILE", &global.key_file),
        ("SNAP_CACERT", &global.cacert),
        ("SNAP_TLS_CLIENT_CERT", &global.tls_client_cert),
        ("SNAP_SSH_COMMAND", &global.ssh_command.clone().map(Into::into)),
        ("SNAP_LIMIT_UPLOAD", &global.limit_upload.map(|rate| format!("{rate}B").into())),
        ("SNAP_LIMIT_DOWNLOAD", &global.limit_download.map(|rate| format!("{rate}B").into())),
        ("SNAP_THREADS", &global.threads.map(|number| number.to_string().into())),
        ("SNAP_CACHE_DIR", &global.cache_dir),
        ("SNAP_STATE_DIR", &global.state_dir),
    ] {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command.env(PARENT, std::process::id().to_string()).env(DUE, due.to_string());
    command
        .env(ATTEMPT, attempt.to_string())
        .env(ATTEMPTS, planned.job.retries.saturating_add(1).to_string());
    let (events, name) = (events.clone(), planned.job.name.clone());
    let wait = move || {
        let status = match command.spawn() {
            Ok(mut child) => {
                // The receiver is gone only if the schedule has ended.
                let _ = events.send(Event::Started(name.clone(), child.id()));
                child.wait().ok()
            }
            Err(_) => None,
        };
        let _ = events.send(Event::Ended(name, status));
    };
    std::thread::Builder::new()
        .name("job".to_owned())
        .spawn(wait)
        .map(drop)
        .map_err(Error::io("start", "a thread"))
}

/// Sends a signal, if the process still exists.
pub(crate) fn signal(id: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // Fails if the process has ended in the meantime.
        let _ = kill_process(pid, signal);
    }
}

/// The signal for a job whose schedule is gone. The kernel may send it once for each thread that ends, so
/// it is not one of the signals whose second occurrence ends the process at once.
pub(crate) const ORPHANED: i32 = signal_hook::consts::SIGUSR2;
static FOLLOWS: AtomicBool = AtomicBool::new(false);

/// Returns whether this process must stop when it gets [`ORPHANED`].
pub(crate) fn follows() -> bool {
    FOLLOWS.load(Ordering::Relaxed)
}

/// In a process that the schedule started: makes it stop cleanly if the schedule is killed.
pub(crate) fn follow_parent() {
    let Some(parent) = std::env::var(PARENT).ok().and_then(|text| text.parse::<i32>().ok()) else { return };
    let is_parent = || getppid().is_some_and(|pid| pid.as_raw_nonzero().get() == parent);
    if is_parent() {
        // On a kernel without this feature an orphaned job simply finishes its work.
        signal_when_parent_ends(Signal::USR2);
        FOLLOWS.store(true, Ordering::Relaxed);
        if !is_parent() {
            let _ = kill_process(getpid(), Signal::USR2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_and_timed_out_runs_have_not_failed() {
        let status = |code: i32| Some(ExitStatus::from_raw(code << 8));
        for (code, end, fails) in [
            (0, End::Done, false),
            (1, End::Failed, true),
            (2, End::Done, true),
            (3, End::Done, false),
            (24, End::Done, false),
            (26, End::Done, false),
            (75, End::Done, false),
        ] {
            assert_eq!(
                (end_of(status(code), false), failure(status(code)).is_some()),
                (end, fails),
                "{code}"
            );
        }
    }
}
