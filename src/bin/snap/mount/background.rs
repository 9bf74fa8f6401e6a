//! Background mounts: the program starts itself again in a new session. The child receives the password
//! through standard input, and reports through standard output that the mount is ready. Until then it
//! prints errors to standard error; afterwards to a log file.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use snap_backup::sys::process::setsid;
use snap_backup::sys::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use snap_backup::util::programs;
use snap_backup::{Error, Result};
use zeroize::Zeroizing;

use crate::exit::Outcome;

/// Environment variable that marks the child process.
const CHILD: &str = "SNAP_MOUNT_CHILD";
const READY: &str = "ready";
/// Log file of background mounts, in the state directory.
const LOG: &str = "mount.log";

/// Returns whether this process was started by [`start`].
pub(crate) fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Reads the password that [`start`] wrote.
pub(crate) fn password() -> Result<Option<Zeroizing<String>>> {
    let mut text = Zeroizing::new(String::new());
    io::stdin().read_to_string(&mut text).map_err(Error::io("read", "the password"))?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// Returns the path of the log file for background mounts.
pub(crate) fn log(state: Option<PathBuf>) -> Option<PathBuf> {
    Some(std::path::absolute(state?).ok()?.join(LOG))
}

/// Starts the program again with the same arguments and waits until it has mounted. Returns its process id
/// or, if it failed, its outcome; the child has printed the error.
pub(crate) fn start(password: Option<&str>) -> Result<std::result::Result<u32, Outcome>> {
    let mut command = programs::own().map_err(Error::io("find", "this program"))?;
    command.args(std::env::args_os().skip(1)).env(CHILD, "1").env_remove("SNAP_PASSWORD");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let cannot = || Error::io("start", "a process for the mount");
    let mut child = command.spawn().map_err(cannot())?;
    if let Some(mut input) = child.stdin.take() {
        // A child that does not read it has failed and prints the reason.
        let _ = input.write_all(password.unwrap_or_default().as_bytes());
    }
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).read_line(&mut line).map_err(cannot())?;
    }
    if line.trim_end() == READY {
        return Ok(Ok(child.id()));
    }
    let status = child.wait().map_err(cannot())?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(Err(Outcome::Failed(code.max(1))))
}

/// In the child process: reports that the mount is ready. Afterwards the parent no longer waits, and all
/// output goes to `log`.
pub(crate) fn ready(log: Option<&Path>) -> Result<()> {
    // Fails if the process already leads a session, for instance under a service manager.
    let _ = setsid();
    let null = open("/dev/null".as_ref())?;
    let log = open(log.unwrap_or("/dev/null".as_ref()))?;
    let mut out = io::stdout();
    let reported = writeln!(out, "{READY}").and_then(|()| out.flush());
    reported.map_err(Error::io("report", "that the mount is ready"))?;
    let replaced = dup2_stdin(&null).and_then(|()| dup2_stdout(&null)).and_then(|()| dup2_stderr(&log));
    replaced.map_err(|err| Error::io("leave", "the terminal")(err.into()))
}

fn open(path: &Path) -> Result<File> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(Error::io("make", dir))?;
    }
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    options.open(path).map_err(Error::io("open", path))
}
