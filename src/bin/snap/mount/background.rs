//! A mount in the background is this program once more, in a session of its own. It gets the password through its
//! standard input, says through its standard output that the mount is there, and tells of failures on standard error
//! until then; afterwards that is a file.

use std::fs::{File, OpenOptions};
use std::io;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use snap_backup::util::programs;
use snap_backup::{Error, Result};
use zeroize::Zeroizing;

use crate::exit::Outcome;

/// Set where this process is one of these.
const CHILD: &str = "SNAP_MOUNT_CHILD";
const READY: &str = "ready";
/// What mounts in the background tell of, in the directory of this machine's records.
const LOG: &str = "mount.log";

/// Whether this process was started by [`start`].
pub(crate) fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// What [`start`] wrote.
pub(crate) fn password() -> Result<Option<Zeroizing<String>>> {
    let mut text = Zeroizing::new(String::new());
    io::stdin().read_to_string(&mut text).map_err(Error::io("read", "the password"))?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// Where a mount in the background tells of failures.
pub(crate) fn log(state: Option<PathBuf>) -> Option<PathBuf> {
    let dir = std::path::absolute(state?).ok()?;
    Some(dir.join(LOG))
}

/// Runs this program once more with the same arguments, and waits until it has mounted. Its id, or else how it ended,
/// which it has told of.
pub(crate) fn start(password: Option<&str>) -> Result<std::result::Result<u32, Outcome>> {
    let mut command = programs::own().map_err(Error::io("find", "this program"))?;
    command.args(std::env::args_os().skip(1)).env(CHILD, "1").env_remove("SNAP_PASSWORD");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let cannot = || Error::io("start", "a process for the mount");
    let mut child = command.spawn().map_err(cannot())?;
    if let Some(mut input) = child.stdin.take() {
        // One that does not wait for it has failed, and says why.
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

/// In the process that [`start`] began: says that the mount is there. From here on nobody waits for this process, and
/// what it tells goes to `log`.
pub(crate) fn ready(log: Option<&Path>) -> Result<()> {
    // Already its own where a service manager has started it so.
    let _ = rustix::process::setsid();
    let nowhere = open("/dev/null".as_ref())?;
    let told = match log {
        Some(path) => open(path)?,
        None => open("/dev/null".as_ref())?,
    };
    let mut out = io::stdout();
    let said = writeln!(out, "{READY}").and_then(|()| out.flush());
    said.map_err(Error::io("say", "that the mount is there"))?;
    let replaced = rustix::stdio::dup2_stdin(&nowhere)
        .and_then(|()| rustix::stdio::dup2_stdout(&nowhere))
        .and_then(|()| rustix::stdio::dup2_stderr(&told));
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
