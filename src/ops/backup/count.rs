//! How much there is to do. The walk counts what it comes to; where the readers are far behind, so that it has to wait for
//! them, a second walk counts ahead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::fs::walk::{Totals, Walk};
use crate::ops::backup::Run;
use crate::progress::Event;

/// Watches the walk, and tells the observer.
pub(super) struct Counter<'a, 'run> {
    run: &'a Run<'run>,
    walked: Arc<Totals>,
    /// The second walk.
    ahead: Option<Arc<Totals>>,
    /// Ends it.
    stop: Arc<AtomicBool>,
    is_complete: bool,
}

impl<'a, 'run> Counter<'a, 'run> {
    pub(super) fn new(run: &'a Run<'run>, survey: &Walk) -> Self {
        let (walked, stop) = (Arc::clone(&survey.totals), Arc::<AtomicBool>::default());
        Self { run, walked, ahead: None, stop, is_complete: false }
    }

    /// `is_behind`: the readers have so much to do that the walk waits for them. An unchanged backup never is, so it
    /// walks once.
    pub(super) fn report(&mut self, is_behind: bool) {
        if self.is_complete {
            return;
        }
        let walked = self.walked.get();
        if is_behind && self.ahead.is_none() && !walked.2 && self.run.options.count_ahead {
            let begun = self.run.begun;
            let ahead = Walk::count(begun.plan.clone(), begun.survey_options(), &self.stop);
            // Without a thread, what the backup itself has come to is all that is known.
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
