//! Reports progress as restic does: paths begin with a slash, changed files are `modified`, and snap's
//! additional messages are left out.

use snap_backup::Problem;
use snap_backup::progress::{Action, Event, Observer};

use crate::args::global::Global;
use crate::terminal::progress::Progress;

/// Observes a verb.
pub(super) struct Watch {
    inner: Progress,
}

impl Watch {
    /// Starts to observe. `status` means that the verb prints status objects in JSON.
    pub(super) fn start(global: &Global, verb: &'static str, status: bool) -> Self {
        // In restic's JSON, an error contains the activity during which it happened.
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
            Event::Problem(Problem { path, kind, message, .. }) => {
                let problem = Problem::new(with_slash(path), *kind, &**message);
                self.inner.notice(Event::Problem(&problem));
            }
            Event::Item { action, path, size } => {
                let word = if action == Action::Changed { "modified" } else { action.as_str() };
                self.inner.item((action, word), &with_slash(path), size);
            }
            other => self.inner.notice(other),
        }
    }
}
