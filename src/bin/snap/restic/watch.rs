//! Progress as restic's callers know it: paths begin with a slash, what changed is `modified`, and notes of
//! snap's own are not passed on.

use snap_backup::progress::{Action, Event, Observer};

use crate::args::global::Global;
use crate::terminal::progress::Progress;

/// Watches one verb.
pub(super) struct Watch {
    inner: Progress,
}

impl Watch {
    /// `status` says whether the verb tells its progress in JSON.
    pub(super) fn start(global: &Global, verb: &'static str, status: bool) -> Self {
        // In JSON it is said during what an error happened.
        let verb = if global.json && verb == "backup" { "archival" } else { verb };
        Self { inner: Progress::start(global, verb, status) }
    }
}

fn with_slash(path: &[u8]) -> Vec<u8> {
    [b"/", path].concat()
}

impl Observer for Watch {
    fn notice(&self, event: Event<'_>) {
        match event {
            Event::Note(_) => {}
            Event::Working { path } => self.inner.notice(Event::Working { path: &with_slash(path) }),
            Event::Problem { path, why } => {
                self.inner.notice(Event::Problem { path: &with_slash(path), why });
            }
            Event::Item { action, path, size } => {
                let word = if action == Action::Changed { "modified" } else { action.as_str() };
                self.inner.item((action, word), &with_slash(path), size);
            }
            other => self.inner.notice(other),
        }
    }
}
