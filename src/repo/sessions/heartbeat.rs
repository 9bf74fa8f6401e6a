//! The heartbeats of a session, and the thread that writes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::codec::crypto::sealed_object;
use crate::codec::crypto::suite::CipherSuite;
use crate::error::Result;
use crate::model::id::SnapshotId;
use crate::model::records::Heartbeat;
use crate::repo::objects;
use crate::repo::sessions::gc_record::GcRun;
use crate::repo::sessions::heartbeat_lapse::Silence;
use crate::repo::sessions::{gc_record, trash_entries};
use crate::storage::names::END_MARKER;
use crate::storage::{ObjectKind, Storage};
use crate::util::threads;

/// Heartbeats per `stale_after`, the time after which a gc run may consider a silent session dead.
pub(super) const BEATS_PER_STALE_AFTER: u32 = 12;

/// The content of the heartbeats, shared with the heartbeat thread.
#[derive(Debug)]
pub(super) struct HeartbeatState {
    storage: Arc<dyn Storage>,
    suite: CipherSuite,
    id: SnapshotId,
    /// The heartbeat written last.
    pub(super) last: Mutex<Heartbeat>,
    /// The snapshots that a reader reads, once it has declared them.
    pub(super) reading: Mutex<Option<Vec<SnapshotId>>>,
    pub(super) newest_gc_noticed: AtomicU64,
    pub(super) silence: Silence,
}

#[derive(Debug)]
pub(super) struct HeartbeatThread {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: JoinHandle<()>,
}

impl HeartbeatState {
    /// Creates the state of a session that has written no heartbeat.
    pub(super) fn new(
        storage: &Arc<dyn Storage>,
        suite: &CipherSuite,
        id: SnapshotId,
        stale_after: Duration,
    ) -> Self {
        Self {
            storage: Arc::clone(storage),
            suite: suite.clone(),
            id,
            last: Mutex::new(Heartbeat { count: 0, gc_seen: 0 }),
            reading: Mutex::default(),
            newest_gc_noticed: AtomicU64::new(0),
            silence: Silence::new(stale_after),
        }
    }

    /// R1: writes a heartbeat. A reader checks the gc runs first, and acknowledges those that leave all it
    /// needs.
    pub(super) fn tick(&self) -> Result<()> {
        // Locked until the heartbeat is written, so that `reading` does not change in between.
        let reading = self.reading.lock();
        let seen = reading.as_ref().map_or(0, |ids| self.gc_to_acknowledge(ids).unwrap_or(0));
        self.write_heartbeat(seen)
    }

    /// Returns the highest gc number if no unfinished gc run deletes data of these snapshots: it marked from
    /// them, or they are roots that it does not purge, and its sweep checks the roots again. Otherwise 0.
    fn gc_to_acknowledge(&self, reading: &[SnapshotId]) -> Result<u64> {
        let storage = self.storage.as_ref();
        let highest = gc_record::highest(storage)?;
        self.newest_gc_noticed.fetch_max(highest, Ordering::Relaxed);
        if highest <= self.last.lock().gc_seen {
            return Ok(0);
        }
        let Some(GcRun { record, .. }) = gc_record::unfinished(storage, &self.suite)? else {
            return Ok(highest);
        };
        for id in reading.iter().filter(|id| !record.roots.contains(id)) {
            if !trash_entries::is_protected_from(storage, id, &record)? {
                return Ok(0);
            }
        }
        Ok(highest)
    }

    /// Writes the next heartbeat. An acknowledged gc run stays acknowledged.
    pub(super) fn write_heartbeat(&self, gc_seen: u64) -> Result<()> {
        let mut last = self.last.lock();
        let next = Heartbeat { count: last.count + 1, gc_seen: last.gc_seen.max(gc_seen) };
        let name = format!("{}.beat", self.id);
        let bytes = objects::seal(&self.suite, sealed_object::BEAT, &name, &next)?;
        self.storage.replace(ObjectKind::Sessions, &name, &bytes)?;
        self.silence.record_heartbeat();
        *last = next;
        Ok(())
    }

    /// Writes an end marker, on storage where this user may not remove objects.
    /// Another user's gc run then removes the session.
    pub(super) fn write_end_marker(&self) -> Result<()> {
        let (name, last) = (format!("{}{END_MARKER}", self.id), *self.last.lock());
        objects::create(&*self.storage, &self.suite, sealed_object::BEAT, ObjectKind::Sessions, &name, &last)
            .map(drop)
    }
}

impl HeartbeatThread {
    pub(super) fn start(heartbeat: Arc<HeartbeatState>, every: Duration) -> Result<Self> {
        // A configured interval of 0 must not cause a busy loop.
        let every = every.max(Duration::from_millis(50));
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let signal = Arc::clone(&stop);
        let thread = threads::detached("heartbeat", move || {
            let mut stopped = signal.0.lock();
            while !*stopped {
                if signal.1.wait_for(&mut stopped, every).timed_out() && !*stopped {
                    // At worst the session is fenced, and its writer looks everything up again (W3).
                    let _ = heartbeat.tick();
                }
            }
        })?;
        Ok(Self { stop, thread })
    }

    pub(super) fn stop(self) {
        *self.stop.0.lock() = true;
        self.stop.1.notify_all();
        let _ = self.thread.join();
    }
}
