//! The log of this machine's runs: one line of JSON for the start and the end of each run. Unlike a cache it
//! is not disposable, because failures and runs without changes are recorded nowhere else. But losing it
//! costs only history, and no backup fails because of it.
//!
//! - A line is one `write` to a file opened for appending, under a lock that is released when its process
//!   dies. A process that does not get the lock within a second appends without it.
//! - A torn line ends where the next one begins; a reader skips lines that it cannot parse.
//! - Beyond [`LIMIT`] the file is rewritten under the lock and renamed over the old one. The newest half is
//!   kept, and for each kind of work the last good run and the last bad one. A process that waited for the
//!   lock reopens the name.
//! - Nothing is synced except the rewritten file: after a power cut the last seconds may be missing, and jobs
//!   that look overdue then are reported as overdue.

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

use crate::error::{Error, Result};
use crate::sys::fs::{FlockOperation, flock, sync};
use crate::util::new_file;
use crate::util::user_dirs::{self, UserDir};

pub use record::{Ending, Name, Numbers, Process, RunRecord, RunState, set_id};

/// Bytes above which the file is shortened.
pub const LIMIT: u64 = 4 << 20;
/// Bytes of the newest lines that are kept then.
const KEPT_BYTES: usize = 2 << 20;
/// Bytes kept in total: far enough below [`LIMIT`] that not every line triggers a rewrite.
const MAX_KEPT_BYTES: usize = 3 << 20;
/// Maximum bytes that are read, so that a file filled by another program takes no more memory than this.
const MAX_READ_BYTES: u64 = 4 * LIMIT;
/// Maximum bytes of a line; snap's own are shorter.
const MAX_LINE_BYTES: usize = 64 << 10;
/// Attempts to get the lock, [`LOCK_PAUSE`] apart, before going on without it.
const LOCK_ATTEMPTS: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The log file.
#[derive(Debug, Clone)]
pub struct RunLog {
    dir: PathBuf,
}

/// The content of the log.
#[derive(Debug, Default)]
pub struct History {
    /// Runs in the order of their start, each in its latest state.
    pub runs: Vec<RunRecord>,
    /// Lines that could not be parsed.
    pub unreadable: u64,
}

/// Returns the user's state directory for snap.
pub fn default_dir() -> Option<PathBuf> {
    user_dirs::user_dir(UserDir::State)
}

impl RunLog {
    /// Creates a handle for the log in a directory, which is created on the first write.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Returns the directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the path of the file.
    pub fn file(&self) -> PathBuf {
        self.dir.join("runs.jsonl")
    }

    /// Appends a line for the start or the end of a run.
    ///
    /// # Errors
    /// When it could not be written; earlier lines are untouched.
    pub fn append(&self, record: &RunRecord) -> Result<()> {
        let line = serde_json::to_vec(record).map_err(|err| self.error("describe", err.into()))?;
        self.append_line(&line).map_err(|err| self.error("write to", err))
    }

    /// Reads all runs. A missing file is empty.
    ///
    /// # Errors
    /// When it exists and cannot be read.
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

    fn append_line(&self, line: &[u8]) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let (mut file, locked) = self.open()?;
        let len = file.metadata()?.len();
        let mut text = Vec::with_capacity(line.len() + 2);
        if len > 0 && !ends_a_line(&file, len) {
            text.push(b'\n');
        }
        text.extend_from_slice(line);
        text.push(b'\n');
        // One call, so that lines of other processes cannot interleave.
        let written = file.write(&text)?;
        if written < text.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        if locked && len + text.len() as u64 > LIMIT {
            self.shorten(&file)?;
        }
        Ok(())
    }

    /// Opens the file that currently has the name. Returns it and whether it is locked.
    fn open(&self) -> io::Result<(File, bool)> {
        for attempt in 0.. {
            let path = self.file();
            let file = File::options().read(true).append(true).create(true).mode(0o600).open(&path)?;
            let locked = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
            let (ours, named) = (file.metadata()?, fs::metadata(&path));
            let is_current = named.is_ok_and(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino()));
            if locked && is_current || attempt >= LOCK_ATTEMPTS {
                return Ok((file, locked && is_current));
            }
            if !locked {
                std::thread::sleep(LOCK_PAUSE);
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Rewrites the file with the newest lines and the latest results of each kind of work.
    fn shorten(&self, file: &File) -> io::Result<()> {
        let bytes = tail(file.try_clone()?)?;
        let temp = self.dir.join("runs.jsonl.new");
        let mut new = new_file::create(&temp)?;
        for line in lines_to_keep(&bytes) {
            new.write_all(line)?;
            new.write_all(b"\n")?;
        }
        sync(&new)?;
        fs::rename(&temp, self.file())
    }
}

/// Returns the lines that are kept, in order.
fn lines_to_keep(bytes: &[u8]) -> Vec<&[u8]> {
    let all: Vec<(&[u8], RunRecord)> =
        lines(bytes).filter_map(|line| parse(line).map(|record| (line, record))).collect();
    let ended: HashSet<&str> =
        all.iter().filter(|(_, run)| run.end.is_some()).map(|(_, run)| run.run.as_str()).collect();
    let mut seen = HashSet::new();
    let mut size = 0;
    let mut kept: Vec<&[u8]> = Vec::new();
    for (line, run) in all.iter().rev() {
        // A start line adds nothing to the end line of the same run.
        if run.end.is_none() && ended.contains(run.run.as_str()) {
            continue;
        }
        let work =
            (&run.repository, &run.set, &run.set_id, &run.verb, &run.made, run.read_data, run.is_good());
        let limit = if seen.insert(work) { MAX_KEPT_BYTES } else { KEPT_BYTES };
        if size + line.len() < limit {
            size += line.len() + 1;
            kept.push(line);
        }
    }
    kept.reverse();
    kept
}

/// Reads the newest bytes of a file.
fn tail(mut file: File) -> io::Result<Vec<u8>> {
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(MAX_READ_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(MAX_READ_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

fn parse(line: &[u8]) -> Option<RunRecord> {
    (line.len() <= MAX_LINE_BYTES).then(|| serde_json::from_slice(line).ok()).flatten()
}

fn ends_a_line(file: &File, len: u64) -> bool {
    let mut last = [0];
    file.read_exact_at(&mut last, len - 1).is_ok() && last == *b"\n"
}
