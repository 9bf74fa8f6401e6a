//! What this machine has done: one line of JSON for each beginning and each end of a run. Unlike the cache it is not
//! disposable, since nothing else knows of failures and of runs that found nothing changed; but it costs history only,
//! and no backup fails for it.
//!
//! - A line is one `write` to a file opened for appending, under a lock that a dead process cannot keep. Whoever does
//!   not get the lock in a second appends without it.
//! - A line that was torn ends at the next one's beginning; a reader passes over what it cannot read.
//! - Past [`LIMIT`] the file is written anew, under the lock, and takes the old one's name: the newest half stays, and
//!   of each line of work the last good run and the last bad one. Who waits for the lock looks at the name again.
//! - Nothing is synced but that new file: after a power cut the last seconds may be unknown, and what is then overdue is
//!   said to be overdue.

pub mod known;
mod record;
mod timestamp;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use rustix::fs::FlockOperation;

use crate::error::{Error, Result};
use crate::util::user_dirs;

pub use record::{Ending, Name, Numbers, Process, Record, State, set_id};

/// Bytes past which the file is made shorter.
pub const LIMIT: u64 = 4 << 20;
/// Bytes of the newest lines that stay then.
const KEPT: usize = 2 << 20;
/// Bytes that stay with what else stays: enough below [`LIMIT`] that not every line makes the file anew.
const MOST: usize = 3 << 20;
/// Bytes that are read at most: a file that somebody else filled takes no more memory than this.
const READ: u64 = 4 * LIMIT;
/// Bytes of a line; none of ours is that long.
const LINE: usize = 64 << 10;
/// Looks for the lock before going on without it, [`PAUSE`] apart.
const LOOKS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// The file of runs.
#[derive(Debug, Clone)]
pub struct RunLog {
    dir: PathBuf,
}

/// What the file says.
#[derive(Debug, Default)]
pub struct History {
    /// Runs in the order of their beginning, each as it stands.
    pub runs: Vec<Record>,
    /// Lines that could not be read.
    pub unreadable: u64,
}

/// `$XDG_STATE_HOME/snap`, else `~/.local/state/snap`. Services often have no HOME: the password database knows it, too.
pub fn default_dir() -> Option<PathBuf> {
    user_dirs::user_dir("XDG_STATE_HOME", ".local/state")
}

impl RunLog {
    /// In a folder, which is made when something is written.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file.
    pub fn file(&self) -> PathBuf {
        self.dir.join("runs.jsonl")
    }

    /// Writes a line: of a run that begins, or of one that has ended.
    ///
    /// # Errors
    /// When it could not be written; what was there before is untouched.
    pub fn append(&self, record: &Record) -> Result<()> {
        let line = serde_json::to_vec(record).map_err(|err| self.error("describe", err.into()))?;
        self.add(&line).map_err(|err| self.error("write to", err))
    }

    /// All runs that the file knows of. A file that is not there knows of none.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(&self) -> Result<History> {
        let bytes = match File::open(self.file()).and_then(tail) {
            Ok(bytes) => bytes,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(History::default()),
            Err(err) => return Err(self.error("read", err)),
        };
        let mut history = History::default();
        let mut known: HashMap<String, usize> = HashMap::new();
        for line in lines(&bytes) {
            match parse(line) {
                None => history.unreadable += 1,
                Some(record) => match known.get(&record.run).and_then(|at| history.runs.get_mut(*at)) {
                    Some(run) => *run = record,
                    None => {
                        known.insert(record.run.clone(), history.runs.len());
                        history.runs.push(record);
                    }
                },
            }
        }
        history.runs.sort_by_key(|run| run.start);
        Ok(history)
    }

    fn error(&self, doing: &'static str, source: io::Error) -> Error {
        Error::Io { doing, what: format!("the run records in {}", self.file().display()), source }
    }

    fn add(&self, line: &[u8]) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let (mut file, locked) = self.open()?;
        let len = file.metadata()?.len();
        let mut text = Vec::with_capacity(line.len() + 2);
        if len > 0 && !ends_a_line(&file, len) {
            text.push(b'\n');
        }
        text.extend_from_slice(line);
        text.push(b'\n');
        // One call, so that lines of others cannot come between.
        let written = file.write(&text)?;
        if written < text.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        if locked && len + text.len() as u64 > LIMIT {
            self.shorten(&file)?;
        }
        Ok(())
    }

    /// The file that has the name, and whether it is locked.
    fn open(&self) -> io::Result<(File, bool)> {
        for look in 0.. {
            let path = self.file();
            let file = File::options().read(true).append(true).create(true).mode(0o600).open(&path)?;
            let locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
            let (ours, named) = (file.metadata()?, fs::metadata(&path));
            let is_it = named.is_ok_and(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino()));
            if locked && is_it || look >= LOOKS {
                return Ok((file, locked && is_it));
            }
            if !locked {
                std::thread::sleep(PAUSE);
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Keeps the newest lines and what each line of work last came to.
    fn shorten(&self, file: &File) -> io::Result<()> {
        let bytes = tail(file.try_clone()?)?;
        let temp = self.dir.join("runs.jsonl.new");
        let mut new = File::options().write(true).create(true).truncate(true).mode(0o600).open(&temp)?;
        for line in kept(&bytes) {
            new.write_all(line)?;
            new.write_all(b"\n")?;
        }
        new.sync_all()?;
        fs::rename(&temp, self.file())
    }
}

/// The lines that stay, in their order.
fn kept(bytes: &[u8]) -> Vec<&[u8]> {
    let all: Vec<(&[u8], Record)> =
        lines(bytes).filter_map(|line| parse(line).map(|record| (line, record))).collect();
    let ended: HashSet<&str> =
        all.iter().filter(|(_, run)| run.end.is_some()).map(|(_, run)| run.run.as_str()).collect();
    let mut seen = HashSet::new();
    let mut size = 0;
    let mut keep: Vec<&[u8]> = Vec::new();
    for (line, run) in all.iter().rev() {
        // A beginning says nothing that the end does not say again.
        if run.end.is_none() && ended.contains(run.run.as_str()) {
            continue;
        }
        let work =
            (&run.repository, &run.set, &run.set_id, &run.verb, &run.made, run.read_data, run.is_good());
        let room = if seen.insert(work) { MOST } else { KEPT };
        if size + line.len() < room {
            size += line.len() + 1;
            keep.push(line);
        }
    }
    keep.reverse();
    keep
}

/// The newest bytes of a file.
fn tail(mut file: File) -> io::Result<Vec<u8>> {
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(READ)))?;
    let mut bytes = Vec::new();
    file.take(READ).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

fn parse(line: &[u8]) -> Option<Record> {
    (line.len() <= LINE).then(|| serde_json::from_slice(line).ok()).flatten()
}

fn ends_a_line(file: &File, len: u64) -> bool {
    let mut last = [0];
    file.read_exact_at(&mut last, len - 1).is_ok() && last == *b"\n"
}
