//! What keeps snapshots as they are, whatever rules say.

use crate::model::entry::Time;
use crate::model::id::SnapshotId;
use crate::repo::snapshots::Snapshot;

/// Returns the alarm that holds a snapshot: no rule touches what gave an alarm, nor what is older in its set.
pub fn alarm_above(snapshot: &Snapshot, alarms: &[&Snapshot]) -> Option<SnapshotId> {
    let holds =
        |alarm: &&&Snapshot| place(alarm) >= place(snapshot) && alarm.manifest.is_of_set(&snapshot.manifest);
    alarms.iter().find(holds).map(|alarm| alarm.id)
}

/// Returns where a snapshot stands in its set: by its time, and by its id where times are equal.
pub fn place(snapshot: &Snapshot) -> (Time, SnapshotId) {
    (snapshot.manifest.started, snapshot.id)
}
