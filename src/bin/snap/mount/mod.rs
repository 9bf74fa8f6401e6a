//! `snap mount`: serves a FUSE file system in the foreground or in a background process.

mod background;
mod fuse;
mod mount_point;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use fuser::{Config, INodeNo, MountOption, Session, SessionACL};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use snap_backup::ops::mount::{Mount, Options};
use snap_backup::progress::{Event, Observer};
use snap_backup::repo::repository::Repository;
use snap_backup::sys::process::is_ignored;
use snap_backup::sys::volume::FUSE_DEVICE;
use snap_backup::{Control, Error, Problem, Result};

pub(crate) use background::{is_child, log, password, ready, start};
pub(crate) use mount_point::{check, how_to_unmount};

use crate::terminal::{output, repository_messages};

/// How often to check for new and forgotten snapshots while there are no requests.
const TICK_INTERVAL: Duration = Duration::from_secs(10);
/// How long processes with open files may continue to read after the mount is asked to end.
const OPEN_FILES_GRACE: Duration = Duration::from_secs(10);

/// Number of inodes that the kernel may know before it is asked to forget some. Each uses memory in this
/// process.
const MAX_INODES: usize = 500_000;

/// What the main thread waits for.
enum Wakeup {
    Signal,
    /// The file system was unmounted.
    End(io::Result<()>),
}

/// Mounts, calls `ready`, and serves until unmounted or until a signal arrives.
pub(crate) fn serve(
    repo: &Repository,
    target: &Path,
    options: Options,
    allow_other: bool,
    ready: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let (wake, wakeups) = channel();
    watch_signals(&wake)?;
    let mount = Arc::new(Mount::open(repo, options, &Control::shared(log_of(target)))?);
    let kernel = fuse::Kernel { mount: Arc::clone(&mount), permissions: allow_other };
    let session = match Session::new(kernel, target, &config(repo, allow_other)) {
        Ok(session) => session,
        Err(err) => {
            mount.leave()?;
            return Err(mount_point::mount_error(target, err));
        }
    };
    let notifier = session.notifier();
    let tick = || {
        mount.tick();
        for text in repository_messages::take_warnings(repo) {
            log_of(target).notice(Event::Warning(&text));
        }
        for (parent, name) in mount.surplus(MAX_INODES) {
            // Fails if the kernel has forgotten the entry in the meantime, which has the same effect.
            let _ = notifier.inval_entry(INodeNo(parent), OsStr::from_bytes(&name));
        }
    };
    let run = move || {
        // The receiver is gone only if the process is ending.
        let _ = wake.send(Wakeup::End(end_of(session.run())));
    };
    std::thread::Builder::new().name("fuse".into()).spawn(run).map_err(Error::io("start", "a thread"))?;
    let served = ready().and_then(|()| wait(&tick, &wakeups));
    let ended = match served {
        Ok(Some(end)) => end.map_err(Error::io("serve", target)),
        // The session ends with the last reader, or with this process.
        Ok(None) => unmount(target, &mount, &wakeups),
        Err(err) => unmount(target, &mount, &wakeups).and(Err(err)),
    };
    mount.leave().and(ended)
}

/// Returns how a session ended. If a file is being read while the mount is detached, the kernel reports
/// `ECONNABORTED` instead of `ENODEV`, with which the session ends without an error.
fn end_of(end: io::Result<()>) -> io::Result<()> {
    end.or_else(|err| if err.kind() == io::ErrorKind::ConnectionAborted { Ok(()) } else { Err(err) })
}

fn config(repo: &Repository, allow_other: bool) -> Config {
    // Commas and backslashes would end the name in the mount options.
    let name: String =
        repo.location().chars().filter(|letter| !matches!(letter, ',' | '\\' | '\0')).collect();
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::FSName(name),
        MountOption::Subtype("snap".to_owned()),
        MountOption::NoAtime,
    ];
    if allow_other {
        config.acl = SessionACL::All;
        config.mount_options.push(MountOption::DefaultPermissions);
    }
    let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    config.n_threads = Some((2 * processors).clamp(4, 16));
    config.clone_fd = FUSE_DEVICE.is_some();
    config
}

fn watch_signals(wake: &Sender<Wakeup>) -> Result<()> {
    let cannot = |err| Error::io("watch for", "signals")(err);
    // Under nohup, SIGHUP must not end the process.
    let hangs_up = (!is_ignored(SIGHUP)).then_some(SIGHUP);
    let mut signals = Signals::new([SIGINT, SIGTERM].into_iter().chain(hangs_up)).map_err(cannot)?;
    let wake = wake.clone();
    let forward = move || {
        for _ in signals.forever() {
            if wake.send(Wakeup::Signal).is_err() {
                break;
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(forward).map(drop).map_err(cannot)
}

/// Waits for the end: returns the result if unmounted, `None` after a signal.
fn wait(tick: &dyn Fn(), wakeups: &Receiver<Wakeup>) -> Result<Option<io::Result<()>>> {
    loop {
        match wakeups.recv_timeout(TICK_INTERVAL) {
            Ok(Wakeup::End(end)) => return Ok(Some(end)),
            Ok(Wakeup::Signal) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => tick(),
            Err(RecvTimeoutError::Disconnected) => return Err(Error::Stopped),
        }
    }
}

/// Unmounts lazily. Processes with open files may continue for a while, or until the next signal.
fn unmount(target: &Path, mount: &Mount, wakeups: &Receiver<Wakeup>) -> Result<()> {
    mount_point::unmount(target).map_err(Error::io("unmount", target))?;
    match wakeups.recv_timeout(OPEN_FILES_GRACE) {
        Ok(Wakeup::End(end)) => end.map_err(Error::io("serve", target)),
        Ok(Wakeup::Signal) | Err(RecvTimeoutError::Disconnected) => Ok(()),
        Err(RecvTimeoutError::Timeout) => {
            let files = output::count(mount.open_count(), "file", "files");
            let text = format!("{files} or directories are still open: reading from them fails from now on");
            log_of(target).notice(Event::Warning(&text));
            Ok(())
        }
    }
}

/// Prints problems to standard error. In the background, adds time and mount point, because several mounts
/// write to one file.
struct Log(Option<PathBuf>);

fn log_of(target: &Path) -> Log {
    Log(is_child().then(|| target.to_path_buf()))
}

impl Observer for Log {
    fn notice(&self, event: Event<'_>) {
        let text = match event {
            Event::Problem(Problem { path, message, .. }) => {
                format!("{}: {}", output::path(path), output::printable(message))
            }
            Event::Warning(text) => format!("warning: {}", output::printable(text)),
            _ => return,
        };
        match &self.0 {
            None => output::eprint(&format!("snap: {text}")),
            Some(target) => {
                let now = output::local(snap_backup::model::entry::Time::now());
                output::eprint(&format!("{now} {}: {text}", target.display()));
            }
        }
    }
}
