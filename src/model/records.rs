//! Small records by which writers, readers and garbage collections coordinate. Frozen: format version 1.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::model::entry::Time;
use crate::model::id::{ChunkId, PackId, SnapshotId};

/// What a session does in the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionKind {
    /// Writes chunks and commits a manifest.
    Writer,
    /// Reads snapshots.
    Reader,
    /// Runs a garbage collection.
    Collector,
}

/// `sessions/<id>`: a session is active.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// What the session does.
    pub kind: SessionKind,
    /// Host name of its machine.
    pub host: String,
    /// The kernel's boot id. The process id is meaningful only within the same boot.
    pub boot: String,
    /// Process id.
    pub pid: u32,
    /// When the session started, by its own clock.
    pub started: Time,
}

/// `sessions/<id>.beat`: the session is still alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Counter that grows with every heartbeat.
    pub count: u64,
    /// The highest gc run that the session has seen.
    pub gc_seen: u64,
}

/// `sessions/<id>.seen`: the heartbeat counter that a gc run observed, and when by its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The observed counter.
    pub count: u64,
    /// When the observer first saw this counter.
    pub at: Time,
}

/// A fence in `snapshots/<id>`: the session was considered dead and can no longer commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// The session that created the fence.
    pub by: SnapshotId,
    /// Number of the gc run that needed it.
    pub gc: u64,
    /// When the fence was created.
    pub at: Time,
}

/// `gc/<n>`: what gc run n condemned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcRecord {
    /// The session of the gc run.
    pub by: SnapshotId,
    /// When the record was written.
    pub at: Time,
    /// Packs to delete.
    pub condemned: Vec<PackId>,
    /// Manifests that were used as roots for marking.
    pub roots: Vec<SnapshotId>,
    /// Trash entries to remove: (snapshot, session that forgot it).
    pub purged: Vec<(SnapshotId, SnapshotId)>,
}

/// `damage/<name>`: an object is damaged. While the record exists, no backup reuses the parent's entries
/// without checking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamageRecord {
    /// What is damaged.
    pub what: Damaged,
    /// The session that found the damage.
    pub by: SnapshotId,
    /// When it was found.
    pub at: Time,
    /// What is wrong, for display.
    pub why: String,
}

/// The subject of a damage record; its id is also the record's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Damaged {
    /// A pack that fails its own checks.
    Pack(PackId),
    /// A needed chunk that is in no listed pack.
    Chunk(ChunkId),
}

/// `audit/<id>`: a destructive act, or one that changes permissions, was started. Written before the act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// The code of an [`AuditAct`]; newer versions may define more.
    pub act: u32,
    /// Time of the act by the clock of its machine.
    pub at: Time,
    /// Host name of that machine.
    pub host: String,
    /// The user who ran the program.
    pub user: String,
    /// The program and its version.
    pub program: String,
    /// The command line without secrets; empty if another program used the library.
    pub command: String,
    /// The affected snapshots.
    pub snapshots: Vec<SnapshotId>,
    /// Details for display, such as a key slot or a setting.
    pub detail: String,
    /// Fields of later versions; unknown ones are ignored.
    pub extra: Vec<(u16, ByteBuf)>,
}

/// The kind of act in an audit record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditAct {
    /// Snapshots were moved to the trash.
    Forget,
    /// Snapshots were replaced by changed ones.
    Rewrite,
    /// Forgotten snapshots were deleted for good.
    Purge,
    /// Forgotten snapshots were restored from the trash.
    Undelete,
    /// A password was added.
    KeyAdd,
    /// A password was removed.
    KeyRemove,
    /// A password was replaced by another.
    KeyChange,
    /// An alarm was accepted as an intended change.
    AlarmAccept,
    /// An alarm was cleared after its cause was repaired.
    AlarmClear,
    /// A setting of the repository was changed.
    Config,
    /// Damaged snapshots were replaced by what is left of them, damaged packs were moved to quarantine, or
    /// unreadable gc records were abandoned; the detail says which.
    Repair,
    /// A new epoch of the repository's key began.
    KeyRotate,
}

impl AuditAct {
    /// All acts, in the order of their codes.
    pub const ALL: [Self; 12] = [
        Self::Forget,
        Self::Rewrite,
        Self::Purge,
        Self::Undelete,
        Self::KeyAdd,
        Self::KeyRemove,
        Self::KeyChange,
        Self::AlarmAccept,
        Self::AlarmClear,
        Self::Config,
        Self::Repair,
        Self::KeyRotate,
    ];

    /// Returns the code of the act in a record.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// Returns the act with this code; `None` for codes of newer versions.
    pub fn of_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.code() == code)
    }

    /// Returns the name of the act in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forget => "forget",
            Self::Rewrite => "rewrite",
            Self::Purge => "purge",
            Self::Undelete => "undelete",
            Self::KeyAdd => "key-add",
            Self::KeyRemove => "key-remove",
            Self::KeyChange => "key-change",
            Self::AlarmAccept => "alarm-accept",
            Self::AlarmClear => "alarm-clear",
            Self::Config => "config",
            Self::Repair => "repair",
            Self::KeyRotate => "key-rotate",
        }
    }
}
