//! The small records by which writers, readers and collectors see each other. Frozen: format version 1.

use serde::{Deserialize, Serialize};

use crate::model::entry::Time;
use crate::model::id::{ChunkId, PackId, SnapshotId};

/// What a session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionKind {
    /// Writes chunks and a manifest.
    Writer,
    /// Reads.
    Reader,
    /// Collects.
    Collector,
}

/// `sessions/<id>`: somebody is at work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// What it does.
    pub kind: SessionKind,
    /// Machine.
    pub host: String,
    /// The kernel's boot id: a process id means something only within it.
    pub boot: String,
    /// Process id.
    pub pid: u32,
    /// When it began, by its own clock.
    pub started: Time,
}

/// `sessions/<id>.beat`: it is still at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Grows with each beat.
    pub count: u64,
    /// The highest collection the session has seen.
    pub gc_seen: u64,
}

/// `sessions/<id>.seen`: what a collector saw of a beat, and when by its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The beat's count.
    pub count: u64,
    /// When the looker saw it first.
    pub at: Time,
}

/// A fence in `snapshots/<id>`: the session was taken for dead and can no longer commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// The session that put it there.
    pub by: SnapshotId,
    /// The collection it was needed for.
    pub gc: u64,
    /// When.
    pub at: Time,
}

/// `gc/<n>`: what collection n condemned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcRecord {
    /// The collector.
    pub by: SnapshotId,
    /// When.
    pub at: Time,
    /// Packs to delete.
    pub condemned: Vec<PackId>,
    /// Manifests it marked from.
    pub roots: Vec<SnapshotId>,
    /// Trash entries to remove: (snapshot, session that forgot it).
    pub purged: Vec<(SnapshotId, SnapshotId)>,
}

/// `damage/<name>`: something is not what it should be. While it stands nobody trusts what a parent reuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamageRecord {
    /// What is damaged.
    pub what: Damaged,
    /// Who found it.
    pub by: SnapshotId,
    /// When.
    pub at: Time,
    /// What was wrong, for people.
    pub why: String,
}

/// What a damage record is about; its id is the record's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Damaged {
    /// A pack that fails its own checks.
    Pack(PackId),
    /// A chunk that something needs and no listed pack holds.
    Chunk(ChunkId),
}
