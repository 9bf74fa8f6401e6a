//! Determines the total amount of work. The walk counts what it finds. If it has to wait because the readers
//! are far behind, a second walk counts ahead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::fs::walk::{Walk, WalkTotals};
use crate::ops::backup::Run;
use crate::progress::Event;

/// Watches the walk, and reports totals to the observer.
pub(super) struct Counter<'a, 'run> {
    run: &'a Run<'run>,
    walked: Arc<WalkTotals>,
    /// Totals of the second walk.
    ahead: Option<Arc<WalkTotals>>,
    /// Stops the second walk.
    stop: Arc<AtomicBool>,
    is_complete: bool,
}

impl<'a, 'run> Counter<'a, 'run> {
    pub(super) fn new(run: &'a Run<'run>, walk: &Walk) -> Self {
        let (walked, stop) = (Arc::clone(&walk.totals), Arc::<AtomicBool>::default());
        Self { run, walked, ahead: None, stop, is_complete: false }
    }

    /// Reports the totals so far. `is_behind`: the readers are so far behind that the walk waits for them.
    /// That never happens in an unchanged backup, which therefore walks once.
    pub(super) fn report(&mut self, is_behind: bool) {
        if self.is_complete {
            return;
        }
        let walked = self.walked.get();
        if is_behind && self.ahead.is_none() && !walked.2 && self.run.options.count_ahead {
            let backup = self.run.backup;
            let ahead = Walk::count(backup.plan.clone(), backup.walk_options(), &self.stop);
            // If no thread can be started, only the totals of the backup's own walk are known.
            self.ahead = Some(ahead.unwrap_or_default());
        }
        let ahead = self.ahead.as_ref().map_or((0, 0, false), |ahead| ahead.get());
        let (files, bytes) = (walked.0.max(ahead.0), walked.1.max(ahead.1));
        self.is_complete = walked.2 || ahead.2;
        self.run.observer.notice(Event::Found { files, bytes, complete: self.is_complete });
    }
}

impl Drop for Counter<'_, '_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
