//! Reasons to keep snapshots unchanged regardless of rules.

use crate::model::entry::Time;
use crate::model::id::SnapshotId;
use crate::repo::snapshots::Snapshot;

/// Returns the alarm that protects a snapshot: rules change neither the snapshot that raised an alarm nor
/// older ones of its set.
pub fn alarm_above(snapshot: &Snapshot, alarms: &[&Snapshot]) -> Option<SnapshotId> {
    let holds =
        |alarm: &&&Snapshot| place(alarm) >= place(snapshot) && alarm.manifest.is_of_set(&snapshot.manifest);
    alarms.iter().find(holds).map(|alarm| alarm.id)
}

/// Returns the sort key of a snapshot within its set: its time, then its id.
pub fn place(snapshot: &Snapshot) -> (Time, SnapshotId) {
    (snapshot.manifest.started, snapshot.id)
}
