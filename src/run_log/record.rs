//! One run of a verb, as a line of JSON. Readers ignore unknown fields; absent fields are unknown.

use serde::{Deserialize, Serialize};

use crate::codec::crypto::{cipher, hash};
use crate::model::entry::Time;
use crate::model::id::hex;
use crate::run_log::timestamp;
use crate::sys::process::started;
use crate::util::host;

/// Maximum sources that a record names; beyond it only their number is recorded.
const MAX_SOURCES: usize = 32;
/// Maximum bytes of an error text.
const MAX_ERROR: usize = 2048;

/// The exit code of a run that was not permitted to forget snapshots.
const REFUSED: u8 = 22;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Successfully.
    Done,
    /// Completed, but something could not be read.
    Problems,
    /// Damage was found.
    Damage,
    /// It failed.
    Failed,
    /// It was interrupted.
    Interrupted,
    /// A condition did not hold, and it did nothing.
    Skipped,
    /// It reached its time limit.
    TimeUp,
}

impl Ending {
    /// Returns whether the user or a condition ended the run, or kept it from beginning: it neither succeeded
    /// nor failed.
    pub fn is_wished(self) -> bool {
        matches!(self, Self::Interrupted | Self::Skipped | Self::TimeUp)
    }
}

/// A path: text if it is UTF-8, else bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Name {
    /// UTF-8.
    Text(String),
    /// Any other bytes.
    Bytes(Vec<u8>),
}

impl Name {
    /// Creates the representation of a path.
    pub fn of(bytes: &[u8]) -> Self {
        std::str::from_utf8(bytes)
            .map_or_else(|_| Self::Bytes(bytes.to_vec()), |text| Self::Text(text.to_owned()))
    }

    /// Returns the path.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// The process of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Process {
    /// The process id.
    pub pid: u32,
    /// The kernel's id of the boot in which the process id is valid.
    pub boot: String,
    /// When it started, in a unit of the system (Linux: the kernel's clock ticks): process ids are reused.
    pub ticks: u64,
}

impl Process {
    /// Returns the current process.
    pub fn this() -> Self {
        let pid = std::process::id();
        Self { pid, boot: host::boot_id(), ticks: started(pid).unwrap_or_default() }
    }

    /// Returns whether it still runs, as far as this machine can tell.
    pub fn lives(&self) -> bool {
        !self.boot.is_empty() && self.boot == host::boot_id() && started(self.pid) == Some(self.ticks)
    }
}

/// Counts of a run; those that do not apply to its verb are absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Numbers {
    /// Files examined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// Their bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Bytes read: of sources by a backup, of packs by a check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_read: Option<u64>,
    /// New plain bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_added: Option<u64>,
    /// Bytes written to the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_stored: Option<u64>,
    /// Bytes of deleted packs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_deleted: Option<u64>,
    /// Number of forgotten snapshots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forgotten: Option<u64>,
    /// Number of snapshots that lost paths by rules per path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewritten: Option<u64>,
    /// Items that could not be read, or errors found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problems: Option<u64>,
    /// Bytes of all packs when the run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository_bytes: Option<u64>,
    /// Files of a drill that were compared with the live source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared: Option<u64>,
}

/// A run: one line when it starts, and another with all fields when it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The run's id.
    pub run: String,
    /// `backup`, `cleanup`, `forget`, `gc`, `check`, `drill`.
    pub verb: String,
    /// The repository's location.
    pub repository: String,
    /// When it started.
    #[serde(with = "timestamp")]
    pub start: Time,
    /// When it ended; absent in the start line.
    #[serde(default, with = "timestamp::maybe", skip_serializing_if = "Option::is_none")]
    pub end: Option<Time>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// Its exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<u8>,
    /// Why it failed, or the first problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The set's name in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
    /// [`set_id`] of host and sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_id: Option<String>,
    /// The host whose files were backed up.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The sources: the first of them, if there are many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Name>,
    /// Number of further sources.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_sources: u64,
    /// The requested kind of backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The actual kind of backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<String>,
    /// The time at which a schedule planned it.
    #[serde(default, with = "timestamp::maybe", skip_serializing_if = "Option::is_none")]
    pub due: Option<Time>,
    /// The snapshot that was made, or the one that an unchanged run equals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// Nothing had changed, so no snapshot was made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unchanged: bool,
    /// A check that read data, not only the structure.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_data: bool,
    /// The last line that the command of a drill printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// Position where the next drill continues, or the next backup that rereads unchanged files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<u64>,
    /// The counts.
    #[serde(flatten)]
    pub numbers: Numbers,
    /// The process.
    #[serde(default)]
    pub process: Process,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The state of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// Still running.
    Running,
    /// Ended with this result.
    Ended(Ending),
    /// The process is gone without an end line: killed, or the machine stopped.
    Lost,
}

impl RunRecord {
    /// Creates the record of a run that starts now.
    pub fn new(verb: &str, repository: &str) -> Self {
        let run = cipher::new_id().map_or_else(
            |_| format!("{}-{}", std::process::id(), Time::now().sec),
            |id| id.hex().chars().take(16).collect(),
        );
        Self {
            run,
            verb: verb.to_owned(),
            repository: repository.to_owned(),
            start: Time::now(),
            end: None,
            ending: None,
            exit: None,
            error: None,
            set: None,
            set_id: None,
            host: host::host_name(),
            sources: Vec::new(),
            more_sources: 0,
            kind: None,
            made: None,
            due: None,
            snapshot: None,
            unchanged: false,
            read_data: false,
            said: None,
            cursor: None,
            numbers: Numbers::default(),
            process: Process::this(),
        }
    }

    /// Sets host and sources.
    pub fn set_sources(&mut self, host: &str, sources: &[Vec<u8>]) {
        host.clone_into(&mut self.host);
        self.set_id = Some(set_id(host, sources));
        self.sources = sources.iter().take(MAX_SOURCES).map(|path| Name::of(path)).collect();
        self.more_sources = sources.len().saturating_sub(MAX_SOURCES) as u64;
    }

    /// Sets the error; a long text is truncated.
    pub fn set_error(&mut self, text: &str) {
        let end = (0..=MAX_ERROR.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let (kept, rest) = text.split_at(end);
        self.error = Some(if rest.is_empty() { kept.to_owned() } else { format!("{kept} ...") });
    }

    /// Returns the state of the run.
    pub fn state(&self) -> RunState {
        match self.ending {
            Some(ending) => RunState::Ended(ending),
            None if self.process.lives() => RunState::Running,
            None => RunState::Lost,
        }
    }

    /// Returns whether the run did what was asked, possibly without some items. For a check or a drill: no
    /// problem was found.
    pub fn is_good(&self) -> bool {
        match self.state() {
            RunState::Ended(Ending::Done) => true,
            RunState::Ended(Ending::Problems) => self.verb == "backup",
            _ => false,
        }
    }

    /// Returns whether it failed, or ended without an end line. An interruption is not a failure, nor is a
    /// run that was skipped or ran out of time, nor a refusal to forget.
    pub fn is_bad(&self) -> bool {
        let was_stopped = matches!(self.state(), RunState::Ended(ending) if ending.is_wished());
        !self.is_good() && !was_stopped && self.exit != Some(REFUSED) && self.state() != RunState::Running
    }
}

/// Returns the id of a set. It depends only on host and sources, not on the name in the configuration.
pub fn set_id<S: AsRef<[u8]>>(host: &str, sources: &[S]) -> String {
    let mut bytes = host.as_bytes().to_vec();
    for source in sources {
        bytes.push(0);
        bytes.extend_from_slice(source.as_ref());
    }
    hex(&hash::sha256(&bytes)).chars().take(16).collect()
}
