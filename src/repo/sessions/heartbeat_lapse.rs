//! Detects whether a session was silent for so long that it may have been fenced, even if the fence has been
//! removed since (W3).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::sys::host;

/// Tracks when a session last wrote a heartbeat.
#[derive(Debug)]
pub(crate) struct Silence {
    limit: Duration,
    last: Mutex<Moment>,
    /// Never reset: a later heartbeat does not undo a silence that was too long.
    exceeded: AtomicBool,
}

/// A time by two clocks: one that runs while the machine is suspended, and the wall clock, which also
/// advances while a virtual machine is saved to disk.
#[derive(Debug, Clone, Copy)]
struct Moment {
    since_boot: i64,
    wall: i64,
}

impl Moment {
    fn now() -> Self {
        Self { since_boot: host::seconds_with_sleep(), wall: host::seconds_by_wall_clock() }
    }

    fn seconds_since(self, earlier: Self) -> u64 {
        let passed = (self.since_boot - earlier.since_boot).max(self.wall - earlier.wall);
        u64::try_from(passed).unwrap_or(0)
    }
}

impl Silence {
    /// Starts measuring now. A silence of `limit` or more is too long.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, last: Mutex::new(Moment::now()), exceeded: AtomicBool::new(false) }
    }

    /// Records that a heartbeat was written.
    pub(crate) fn record_heartbeat(&self) {
        let mut last = self.last.lock();
        let now = Moment::now();
        self.evaluate(now, *last);
        *last = now;
    }

    /// Returns whether any silence was too long, including the current one.
    pub(crate) fn was_too_long(&self) -> bool {
        let last = *self.last.lock();
        self.evaluate(Moment::now(), last);
        self.exceeded.load(Ordering::Relaxed)
    }

    fn evaluate(&self, now: Moment, last: Moment) {
        if now.seconds_since(last) >= self.limit.as_secs() {
            self.exceeded.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_measured_by_the_clock_that_kept_running() {
        let at = |since_boot, wall| Moment { since_boot, wall };
        assert_eq!(at(100, 5000).seconds_since(at(90, 1000)), 4000, "a machine that was stored away");
        assert_eq!(at(5000, 100).seconds_since(at(1000, 90)), 4000, "a clock that was set back");
        assert_eq!(at(1, 1).seconds_since(at(2, 2)), 0);
    }

    #[test]
    fn late_heartbeat_revives_no_session() {
        let silence = Silence::new(Duration::from_secs(3600));
        assert!(!silence.was_too_long());
        silence.last.lock().since_boot -= 3600;
        silence.record_heartbeat();
        assert!(silence.was_too_long());
    }
}
