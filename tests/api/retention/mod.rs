//! Retention: what is kept and why, as a pure decision and on a repository.
#![allow(clippy::unwrap_used)]

mod laws;
mod rules;
mod store;

use serde_bytes::ByteBuf;
use snap_backup::model::entry::Time;
use snap_backup::model::id::{ChunkId, SnapshotId};
use snap_backup::model::manifest::{Counts, Manifest, SnapshotKind};
use snap_backup::repo::snapshots::Snapshot;

/// Parses `2026-11-24T02:00:00Z`.
fn time(text: &str) -> Time {
    Time { sec: text.parse::<jiff::Timestamp>().unwrap().as_second(), nanos: 0 }
}

/// A complete snapshot of `/src` on `host`, named by the number.
fn snapshot(number: u8, started: Time, kind: SnapshotKind) -> Snapshot {
    let manifest = Manifest {
        kind,
        parent: None,
        based_on: None,
        started,
        ended: started,
        host: "host".to_owned(),
        user: "user".to_owned(),
        sources: vec![ByteBuf::from(b"/src".to_vec())],
        tags: Vec::new(),
        root: ChunkId::new([0; 32]),
        counts: Counts::default(),
        partial: false,
        program: String::new(),
        extra: Vec::new(),
    };
    Snapshot { id: SnapshotId::new([number; 16]), manifest }
}
