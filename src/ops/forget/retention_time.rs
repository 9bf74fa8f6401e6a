//! The current time for retention rules, and the arrival times of snapshots by the storage's clock.

use std::collections::HashMap;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

use crate::model::entry::Time;
use crate::model::id::SnapshotId;
use crate::ops::forget::age::Age;
use crate::repo::sessions::clock::DAY;
use crate::repo::snapshots::Snapshot;

/// The current time, the time zone for calendar periods, and arrival times of snapshots.
#[derive(Debug, Clone)]
pub struct Now {
    pub(super) time: Time,
    pub(super) zoned: ZonedDateTime,
    arrivals: HashMap<SnapshotId, Time>,
    min_age: Option<Age>,
}

impl Now {
    /// Creates it from an instant and a time zone.
    pub fn new(time: Time, zone: TimeZone) -> Self {
        Self { time, zoned: zoned(time, &zone), arrivals: HashMap::new(), min_age: None }
    }

    /// Adds the arrival times of snapshots by the storage's clock.
    #[must_use]
    pub fn with_arrivals(self, arrivals: HashMap<SnapshotId, Time>) -> Self {
        Self { arrivals, ..self }
    }

    /// Adds the age below which snapshots are always kept.
    #[must_use]
    pub fn with_min_age(self, min_age: Option<Age>) -> Self {
        Self { min_age, ..self }
    }

    /// Returns the minimum age if the snapshot is younger. Its arrival at the storage counts as well, because
    /// the date in the manifest can be wrong.
    pub(super) fn too_young(&self, snapshot: &Snapshot) -> Option<Age> {
        let begun = snapshot.manifest.started;
        let at = self.arrivals.get(&snapshot.id).map_or(begun, |arrived| begun.max(*arrived));
        self.min_age.filter(|age| at > age.before(&self.zoned))
    }

    /// Returns whether the snapshot arrived more than a day after its date: it was copied, rewritten or
    /// brought back, or its date is forged.
    pub(super) fn is_late(&self, snapshot: &Snapshot) -> bool {
        let arrived = self.arrivals.get(&snapshot.id);
        arrived.is_some_and(|at| at.sec.saturating_sub(snapshot.manifest.started.sec) > DAY)
    }

    pub(super) fn zone(&self) -> &TimeZone {
        self.zoned.time_zone()
    }
}

/// Converts an instant to calendar time. Instants outside of the calendar become its nearest end.
pub(super) fn zoned(time: Time, zone: &TimeZone) -> ZonedDateTime {
    let nanos = i32::try_from(time.nanos).unwrap_or(0);
    let end = if time.sec < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::new(time.sec, nanos).unwrap_or(end).to_zoned_datetime(zone.clone())
}
