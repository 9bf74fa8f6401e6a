//! A repository on another machine, through the system's ssh, which handles keys, agents and configuration.
//! An object is written under a temporary name, synced, and renamed to a name that must be free. Then it is
//! synced once more, which makes the new name durable on journaling file systems.
//!
//! A lost connection is reopened and its requests are repeated: every request may be carried out twice.

mod connection;
pub mod protocol;
mod storage;
mod transfer;
pub mod url;

use std::collections::HashSet;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use std::{fmt, io};

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::storage::rate_limit::RateLimits;
use crate::storage::sftp::connection::{Channel, RequestError, unexpected};
use crate::storage::sftp::protocol::{Reply, Request};
use crate::storage::sftp::transfer::File;
use crate::storage::sftp::url::SftpUrl;
use crate::storage::{Capacity, CreateOutcome, ObjectKind, check_name};
use crate::util::programs;

const TEMP: &str = ".tmp-";
/// Age after which a temporary file is considered abandoned, by the server's clock.
const ABANDONED: Duration = Duration::from_secs(48 * 3600);
/// How long to try to reopen a lost connection.
const TIMEOUT: Duration = Duration::from_secs(300);
const FIRST_WAIT: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_secs(30);
/// Free bytes below which a failed write is reported as a full disk.
const FULL_BELOW: u64 = 1 << 20;
/// Number of uploads that may fail at the same time for lack of space.
const UPLOADS: u64 = 4;

/// A directory on an SFTP server.
pub struct SftpStorage {
    place: SftpUrl,
    /// The command that is run instead of ssh.
    ssh: String,
    connection: Mutex<Connection>,
    /// Folders that are known to exist.
    folders: Mutex<HashSet<String>>,
    /// Whether rename fails if the new name exists, once tested.
    exclusive: OnceLock<bool>,
    limits: Arc<RateLimits>,
}

#[derive(Default)]
struct Connection {
    open: Option<Arc<Channel>>,
    /// Whether there was a connection before; then a lost one is reopened.
    reached_once: bool,
}

impl fmt::Debug for SftpStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SftpStorage({})", self.place)
    }
}

/// Why one attempt failed.
enum AttemptError {
    Request(RequestError),
    Permanent(Error),
}

impl From<RequestError> for AttemptError {
    fn from(fail: RequestError) -> Self {
        Self::Request(fail)
    }
}

impl From<Error> for AttemptError {
    fn from(err: Error) -> Self {
        Self::Permanent(err)
    }
}

impl SftpStorage {
    /// Creates a storage at `place` without connecting. `ssh` is a shell command that takes ssh's arguments;
    /// by default `ssh`.
    pub fn new(place: SftpUrl, ssh: impl Into<String>) -> Self {
        Self {
            place,
            ssh: ssh.into(),
            connection: Mutex::default(),
            folders: Mutex::default(),
            exclusive: OnceLock::new(),
            limits: Arc::default(),
        }
    }

    /// Sets rate limits.
    #[must_use]
    pub fn limited(self, limits: Arc<RateLimits>) -> Self {
        Self { limits, ..self }
    }

    /// Builds the ssh command. It ignores SIGINT, SIGHUP and SIGTERM: interrupted, snap saves what it has,
    /// and needs the connection for that. An ignored signal stays ignored across exec.
    fn command(&self) -> Command {
        let mut command = programs::foreign("/bin/sh");
        command.args(["-c", &format!("trap '' INT HUP TERM; exec {} \"$@\"", self.ssh), "ssh"]);
        command.args(self.place.arguments());
        command
    }

    fn channel(&self) -> Result<Arc<Channel>, RequestError> {
        let mut connection = self.connection.lock();
        if let Some(channel) = &connection.open {
            return Ok(Arc::clone(channel));
        }
        let channel = Channel::open(self.command(), Arc::clone(&self.limits))?;
        if !channel.has_extension("posix-rename@openssh.com") {
            return Err(RequestError::Status {
                code: protocol::FAILURE,
                message: "the server cannot replace files atomically (it lacks posix-rename@openssh.com)"
                    .into(),
            });
        }
        let channel = Arc::new(channel);
        *connection = Connection { open: Some(Arc::clone(&channel)), reached_once: true };
        Ok(channel)
    }

    /// Drops a lost connection; returns whether there ever was one.
    fn drop_lost(&self, lost: Option<&Arc<Channel>>) -> bool {
        let mut connection = self.connection.lock();
        if let (Some(open), Some(lost)) = (&connection.open, lost)
            && Arc::ptr_eq(open, lost)
        {
            connection.open = None;
        }
        connection.reached_once
    }

    /// Calls `work`, and repeats it on a new connection for a limited time. Its argument is `true` for
    /// repetitions: then the request may have been carried out before.
    fn retry<T>(
        &self,
        doing: &'static str,
        what: &str,
        mut work: impl FnMut(&Channel, bool) -> Result<T, AttemptError>,
    ) -> Result<T> {
        let (begun, mut wait, mut again) = (Instant::now(), FIRST_WAIT, false);
        loop {
            let channel = self.channel();
            let outcome = match &channel {
                Ok(channel) => work(channel, again),
                Err(_) => Err(AttemptError::Request(RequestError::Lost(String::new()))),
            };
            let why = match (outcome, &channel) {
                (Ok(done), _) => return Ok(done),
                (Err(AttemptError::Permanent(err)), _) => return Err(err),
                (_, Err(RequestError::Status { code, message })) => {
                    return Err(self.refused(doing, what, *code, message));
                }
                (_, Err(RequestError::Lost(why))) => why.clone(),
                (Err(AttemptError::Request(RequestError::Lost(why))), _) => why,
                (Err(AttemptError::Request(RequestError::Status { code, message })), _) => {
                    return Err(self.refused(doing, what, code, &message));
                }
            };
            let reached_once = self.drop_lost(channel.as_ref().ok());
            if !reached_once || begun.elapsed() + wait > TIMEOUT {
                let gone = io::Error::new(io::ErrorKind::ConnectionAborted, why);
                return Err(if reached_once {
                    Error::io(doing, self.full_path(what))(gone)
                } else {
                    Error::io("reach", self.place.to_string())(gone)
                });
            }
            std::thread::sleep(wait);
            (wait, again) = ((wait * 2).min(MAX_WAIT), true);
        }
    }

    /// Returns an object's path including the server, for messages.
    fn full_path(&self, what: &str) -> String {
        format!("{}/{what}", self.place)
    }

    fn refused(&self, doing: &'static str, what: &str, code: u32, message: &str) -> Error {
        let kind = match code {
            protocol::PERMISSION_DENIED => io::ErrorKind::PermissionDenied,
            protocol::NO_SUCH_FILE => io::ErrorKind::NotFound,
            _ => io::ErrorKind::Other,
        };
        let why = if message.is_empty() { "the server gave no reason" } else { message };
        Error::io(doing, self.full_path(what))(io::Error::new(kind, why.to_owned()))
    }

    /// Returns whether a write of this many bytes failed for lack of space. Other uploads that failed at the
    /// same time may have freed their space already.
    fn is_full(&self, channel: &Channel, wanted: u64) -> bool {
        let needed = FULL_BELOW.max(wanted.saturating_mul(UPLOADS));
        self.capacity_by(channel).is_some_and(|capacity| capacity.free < needed)
    }

    fn capacity_by(&self, channel: &Channel) -> Option<Capacity> {
        if !channel.has_extension("statvfs@openssh.com") {
            return None;
        }
        let reply = channel.request(&Request::StatVfs { path: self.place.directory() }).ok()?;
        let Reply::Extended(bytes) = reply else { return None };
        let (free, total) = protocol::capacity(&bytes).ok()?;
        Some(Capacity { free, total })
    }

    fn path(&self, area: ObjectKind, name: &str) -> Result<String> {
        check_name(area, name)?;
        Ok(format!("{}/{}", self.place.directory(), area.path(name)))
    }

    fn folder(&self, area: ObjectKind) -> String {
        format!("{}/{}", self.place.directory(), area.folder())
    }

    /// Creates a folder and its ancestors, unless it is known to exist.
    fn ensure_folder(&self, channel: &Channel, folder: &str) -> Result<(), AttemptError> {
        if self.folders.lock().contains(folder) {
            return Ok(());
        }
        if !self.exists(channel, folder)? {
            if let Some((above, _)) = folder.rsplit_once('/').filter(|(above, _)| !above.is_empty()) {
                self.ensure_folder(channel, above)?;
            }
            let made = channel.run(&Request::MakeFolder { path: folder });
            // Another process was faster; or it cannot be created, and then writing into it will report the
            // error.
            if let Err(fail @ RequestError::Lost(_)) = made {
                return Err(fail.into());
            }
        }
        self.folders.lock().insert(folder.to_owned());
        Ok(())
    }

    /// Creates an open temporary file next to `path` with `parts` as its content.
    fn create_temp<'a>(
        &self,
        channel: &'a Channel,
        path: &str,
        parts: &[&[u8]],
    ) -> Result<(File<'a>, String), AttemptError> {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        self.ensure_folder(channel, folder)?;
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|_| RequestError::Lost("no random bytes are available".into()))?;
        let temp = format!("{folder}/{TEMP}{:016x}", u64::from_le_bytes(random));
        let file = File::open(channel, &temp, protocol::CREATE).inspect_err(|_| {
            // The folder may have been removed since.
            self.folders.lock().remove(folder);
        })?;
        match file.write(parts) {
            Ok(()) => Ok((file, temp)),
            Err(fail) => {
                // Check before the temporary file is removed and frees its space: the protocol has no status
                // for a full disk.
                let full = matches!(fail, RequestError::Status { .. })
                    && self.is_full(channel, parts.iter().map(|part| part.len() as u64).sum());
                drop(channel.send(&Request::Remove { path: &temp }));
                if full {
                    let place = format!("{}: {path}", self.place);
                    Err(Error::io("write", place)(io::ErrorKind::StorageFull.into()).into())
                } else {
                    Err(fail.into())
                }
            }
        }
    }

    /// Returns whether a rename onto an existing name fails, as the protocol requires.
    fn is_exclusive(&self) -> Result<bool> {
        if let Some(known) = self.exclusive.get() {
            return Ok(*known);
        }
        let folder = self.folder(ObjectKind::Sessions);
        let found = self.retry("test a rename in", ObjectKind::Sessions.folder(), |channel, _| {
            let path = format!("{folder}/probe");
            let (_one, first) = self.create_temp(channel, &path, &[b"1"])?;
            let (_two, second) = self.create_temp(channel, &path, &[b"2"])?;
            let renamed = channel.run(&Request::Rename { from: &first, to: &second });
            for path in [&first, &second] {
                drop(channel.send(&Request::Remove { path }));
            }
            match renamed {
                Ok(()) => Ok(false),
                Err(RequestError::Status { .. }) => Ok(true),
                Err(fail) => Err(fail.into()),
            }
        })?;
        Ok(*self.exclusive.get_or_init(|| found))
    }

    fn exists(&self, channel: &Channel, path: &str) -> Result<bool, AttemptError> {
        match channel.request(&Request::Stat { path }) {
            Ok(Reply::Attributes(_)) => Ok(true),
            Ok(other) => Err(unexpected(&other).into()),
            Err(RequestError::Status { code: protocol::NO_SUCH_FILE, .. }) => Ok(false),
            Err(fail) => Err(fail.into()),
        }
    }

    /// Opens an object and runs `work` on it.
    fn read_with<T>(
        &self,
        area: ObjectKind,
        name: &str,
        mut work: impl FnMut(&File<'_>) -> Result<T, AttemptError>,
    ) -> Result<T> {
        let (path, what) = (self.path(area, name)?, area.path(name));
        self.retry("read", &what, |channel, _| {
            let file = match File::open(channel, &path, protocol::READ) {
                Err(RequestError::Status { code: protocol::NO_SUCH_FILE, .. }) => {
                    return Err(Error::Missing { what: what.clone() }.into());
                }
                opened => opened?,
            };
            work(&file)
        })
    }

    /// Renames to a free name; [`CreateOutcome::Exists`] if it is taken.
    fn rename(&self, channel: &Channel, from: &str, to: &str) -> Result<CreateOutcome, AttemptError> {
        match channel.run(&Request::Rename { from, to }) {
            Ok(()) => Ok(CreateOutcome::New),
            Err(fail @ RequestError::Lost(_)) => Err(fail.into()),
            // The protocol has no status for a taken name.
            Err(fail) => {
                if self.exists(channel, to)? {
                    Ok(CreateOutcome::Exists)
                } else {
                    Err(fail.into())
                }
            }
        }
    }
}
