//! Small records through which writers, readers and garbage collectors see each other. Frozen: format
//! version 1.

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
    /// Manifests that were marked from.
    pub roots: Vec<SnapshotId>,
    /// Trash entries to remove: (snapshot, session that forgot it).
    pub purged: Vec<(SnapshotId, SnapshotId)>,
}

/// `damage/<name>`: an object is damaged. While the record exists, no backup trusts what a parent would
/// reuse.
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
    /// A chunk that is needed and that no listed pack has.
    Chunk(ChunkId),
}

/// `audit/<id>`: somebody began to do something that destroys, or that changes who or what may. Written
/// before it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// The code of an [`AuditAct`]; a newer program may know more.
    pub act: u32,
    /// When, by the clock of the machine that did it.
    pub at: Time,
    /// Host name of that machine.
    pub host: String,
    /// The user that ran the program.
    pub user: String,
    /// The program and its version.
    pub program: String,
    /// The command line without secrets; empty if a program used the library.
    pub command: String,
    /// The snapshots that it was about.
    pub snapshots: Vec<SnapshotId>,
    /// More about it, for display: a key slot, a setting.
    pub detail: String,
    /// Fields of later versions. Unknown ones are ignored.
    pub extra: Vec<(u16, ByteBuf)>,
}

/// What an audit record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditAct {
    /// Snapshots went to the trash.
    Forget,
    /// Snapshots were replaced by changed ones.
    Rewrite,
    /// Forgotten snapshots were deleted for good.
    Purge,
    /// Forgotten snapshots were brought back.
    Undelete,
    /// A password was added.
    KeyAdd,
    /// A password was removed.
    KeyRemove,
    /// A password was replaced by another.
    KeyChange,
    /// An alarm was accepted as a change that was meant.
    AlarmAccept,
    /// An alarm was cleared: its cause is repaired.
    AlarmClear,
    /// A setting of the repository was changed.
    Config,
    /// Damaged snapshots were replaced by what is left of them, damaged packs were moved to quarantine, or
    /// unreadable records of collections were given up: the detail says which.
    Repair,
    /// A new epoch of the repository's key was begun.
    KeyRotate,
}

impl AuditAct {
    /// All of them, in the order of their codes.
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

    /// Returns the code that stands for it in a record.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// Returns what a code stands for; `None` for those of newer programs.
    pub fn of_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.code() == code)
    }

    /// Returns its name in output.
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
