//! Small records through which writers, readers and garbage collectors see each other. Frozen: format
//! version 1.

use serde::{Deserialize, Serialize};

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
