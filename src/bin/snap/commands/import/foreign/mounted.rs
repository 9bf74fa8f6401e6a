//! A repository that the other program has mounted. It is always unmounted when snap ends, even if it is
//! killed.

use std::fs::DirBuilder;
use std::io::{self, IsTerminal, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use snap_backup::model::entry::Time;
use snap_backup::ops::backup::states::Check;
use snap_backup::sys::process::{Pid, Signal, kill_process};
use snap_backup::util::programs;
use snap_backup::{Error, Result};

use super::program::Program;

/// Unmounts when its standard input ends. This also happens when snap is killed.
const GUARD: &str = r#"cat >/dev/null
fusermount3 -u -q -z -- "$1" 2>/dev/null || fusermount -u -q -z -- "$1" 2>/dev/null || umount -l -- "$1" 2>/dev/null
rmdir -- "$1" 2>/dev/null"#;
/// Interval at which a mount that is not ready, or a process that is still running, is checked.
const PAUSE: Duration = Duration::from_millis(20);
/// How long the program may take to exit after unmounting.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A directory to mount on, empty until then.
#[derive(Debug)]
pub(super) struct MountDir(PathBuf);

impl MountDir {
    pub(super) fn new() -> Result<Self> {
        let now = Time::now();
        let name = format!("snap-import-{}-{}", std::process::id(), now.nanos);
        let path = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&path).map_err(Error::io("create the directory", &path))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for MountDir {
    fn drop(&mut self) {
        // Does not delete recursively: that would delete the other program's files.
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// A mounted repository.
#[derive(Debug)]
pub(super) struct Mounted<'a> {
    program: &'a Program,
    dir: &'a MountDir,
    /// The process that serves the mount.
    server: Arc<Mutex<Child>>,
    guard: Option<Child>,
}

impl<'a> Mounted<'a> {
    /// Starts the program, and waits until the mount is ready.
    ///
    /// # Errors
    /// The program ended before that, or `stop` became true.
    pub(super) fn start(
        program: &'a Program,
        mut command: Command,
        dir: &'a MountDir,
        stop: &AtomicBool,
    ) -> Result<Self> {
        let cannot = |source: io::Error| Error::Io { doing: "mount", what: program.shown(), source };
        let guard = guard(dir.path()).map_err(cannot)?;
        let asks = io::stdin().is_terminal();
        command.stdout(Stdio::null()).stderr(if asks { Stdio::inherit() } else { Stdio::piped() });
        let server = command.spawn().map_err(cannot)?;
        let mounted = Self { program, dir, server: Arc::new(Mutex::new(server)), guard: Some(guard) };
        let outside = device(dir.path().parent().unwrap_or(dir.path())).map_err(cannot)?;
        loop {
            if let Some(why) = mounted.ended().map_err(cannot)? {
                return Err(cannot(why));
            }
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            if device(dir.path()).is_ok_and(|inside| inside != outside)
                && std::fs::read_dir(dir.path()).is_ok()
            {
                return Ok(mounted);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Returns why the program ended, if it has.
    fn ended(&self) -> io::Result<Option<io::Error>> {
        let mut server = self.server.lock();
        let Some(status) = server.try_wait()? else { return Ok(None) };
        let mut said = Vec::new();
        if let Some(mut stderr) = server.stderr.take() {
            let _ = (&mut stderr).take(1 << 20).read_to_end(&mut said);
        }
        Ok(Some(self.program.failure(status, &said)))
    }

    /// Returns a check that the mount still responds. What a dead mount shows must not become a snapshot.
    pub(super) fn check(&self) -> Check {
        let (server, dir, shown) =
            (Arc::clone(&self.server), self.dir.path().to_owned(), self.program.shown());
        Check::new(move || {
            let has_ended = server.lock().try_wait();
            let source = match (has_ended, std::fs::read_dir(&dir)) {
                (Ok(None), Ok(_)) => return Ok(()),
                (Err(err), _) | (Ok(None), Err(err)) => err,
                (Ok(Some(status)), _) => io::Error::other(format!(
                    "the program that mounted it has ended ({status}). Imported snapshots are kept: run the \
                     command again to continue"
                )),
            };
            Err(Error::Io { doing: "read", what: shown.clone(), source })
        })
    }
}

impl Drop for Mounted<'_> {
    /// Ends the guard, which unmounts; the server then exits.
    fn drop(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            drop(guard.stdin.take());
            let _ = guard.wait();
        }
        let mut server = self.server.lock();
        let begun = Instant::now();
        while begun.elapsed() < TIMEOUT {
            match server.try_wait() {
                Ok(None) => std::thread::sleep(PAUSE),
                Ok(Some(_)) | Err(_) => return,
            }
            // A server that has not mounted yet does not exit by unmounting.
            if let Some(pid) = i32::try_from(server.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        let _ = server.kill();
        let _ = server.wait();
    }
}

/// Starts the guard in its own process group, so that Ctrl-C does not end it.
fn guard(dir: &Path) -> io::Result<Child> {
    let mut command = programs::foreign("sh");
    command.arg("-c").arg(GUARD).arg("sh").arg(dir).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

fn device(path: &Path) -> io::Result<u64> {
    path.metadata().map(|meta| meta.dev())
}

/// Returns why mounting is impossible on this system; `None` if nothing is known to prevent it.
pub(super) fn impossible() -> Option<String> {
    let opened = std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse");
    if let Err(err) = opened {
        return Some(format!("/dev/fuse cannot be opened ({err})"));
    }
    let dirs: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let is_there = |name: &str| dirs.iter().any(|dir| dir.join(name).is_file());
    if is_there("fusermount3") || is_there("fusermount") {
        None
    } else {
        Some("fusermount3 is not installed (package fuse3)".to_owned())
    }
}
