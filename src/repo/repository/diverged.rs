//! How a repository differs from what this machine knows of it, as noticed so far.

use std::sync::Arc;

use parking_lot::Mutex;

/// Messages about differences, without duplicates.
#[derive(Debug, Clone, Default)]
pub(crate) struct Diverged(Arc<Mutex<Vec<String>>>);

impl Diverged {
    pub(crate) fn add(&self, what: String) -> bool {
        let mut all = self.0.lock();
        let is_new = !all.contains(&what);
        if is_new {
            all.push(what);
        }
        is_new
    }

    pub(crate) fn reports(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}
