//! A limit of time for an operation.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// Ends a run when its time is up.
#[derive(Clone)]
pub struct TimeLimit(Arc<dyn Fn() -> bool + Send + Sync>);

impl TimeLimit {
    /// Ends the run when the function returns true. It is called often, by many threads.
    pub fn when(is_up: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_up))
    }

    /// Ends the run at this instant.
    pub fn at(end: Instant) -> Self {
        Self::when(move || Instant::now() >= end)
    }

    /// Returns whether time is up.
    pub fn is_up(&self) -> bool {
        (self.0)()
    }

    /// Returns the limit that is reached when either is.
    #[must_use]
    pub fn or(self, other: Option<Self>) -> Self {
        match other {
            None => self,
            Some(other) => Self::when(move || self.is_up() || other.is_up()),
        }
    }
}

impl fmt::Debug for TimeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TimeLimit")
    }
}
