//! When and how long failed requests to remote storage are repeated.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// Timeouts and repetition of requests to a server.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// A request fails if the server has neither sent nor accepted a byte for this long.
    pub timeout: Duration,
    /// A request is repeated for at most this long.
    pub max_elapsed: Duration,
    /// Wait before the first repetition; doubled each time, up to half a minute.
    pub initial_backoff: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        let (timeout, max_elapsed) = (Duration::from_secs(120), Duration::from_secs(300));
        Self { timeout, max_elapsed, initial_backoff: Duration::from_millis(500) }
    }
}

const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// Maximum attempts at a server that has never answered. A mistyped or stopped server is reported soon, but a
/// single broken connection does not end the run.
const MAX_FIRST_ATTEMPTS: u32 = 3;

/// Why one attempt failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Temporary: repeat the request.
    Transient(String),
    /// Permanent.
    Permanent(Error),
}

impl From<Error> for Failure {
    fn from(err: Error) -> Self {
        Self::Permanent(err)
    }
}

/// Repeats requests to one server.
#[derive(Debug)]
pub(crate) struct Retrier {
    /// The server and path, for messages.
    pub(crate) location: String,
    retry_policy: RetryPolicy,
    /// Whether the server has answered before: then failures are repeated for the full time.
    reached_once: AtomicBool,
}

impl Retrier {
    pub(crate) fn new(location: String, retry_policy: RetryPolicy) -> Self {
        Self { location, retry_policy, reached_once: AtomicBool::new(false) }
    }

    /// Records that the server answered, with whatever status.
    pub(crate) fn record_answer(&self) {
        self.reached_once.store(true, Ordering::Relaxed);
    }

    /// Calls `work` until it succeeds, fails permanently, or the time is up. Its argument is `true` for
    /// repetitions: then the request may have been carried out before.
    pub(crate) fn retry<T>(
        &self,
        doing: &'static str,
        what: &str,
        mut work: impl FnMut(bool) -> Result<T, Failure>,
    ) -> Result<T> {
        let (begun, mut wait, mut again) = (Instant::now(), self.retry_policy.initial_backoff, false);
        let mut tries = 0_u32;
        loop {
            tries = tries.saturating_add(1);
            let why = match work(again) {
                Ok(done) => return Ok(done),
                Err(Failure::Permanent(err)) => return Err(err),
                Err(Failure::Transient(why)) => why,
            };
            let gone = |why| io::Error::new(io::ErrorKind::ConnectionAborted, why);
            if !self.reached_once.load(Ordering::Relaxed) && tries >= MAX_FIRST_ATTEMPTS {
                return Err(Error::io("reach", &self.location)(gone(why)));
            }
            if begun.elapsed() + wait > self.retry_policy.max_elapsed {
                let tried = format!("{why} (tried for {} s)", begun.elapsed().as_secs());
                return Err(Error::io(doing, self.full_path(what))(gone(tried)));
            }
            std::thread::sleep(wait);
            (wait, again) = ((wait * 2).min(MAX_BACKOFF), true);
        }
    }

    /// Returns an object's path including the server, for messages.
    pub(crate) fn full_path(&self, what: &str) -> String {
        format!("{}/{what}", self.location)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn retrier() -> Retrier {
        let short = Duration::from_millis(1);
        Retrier::new(
            "x://there".into(),
            RetryPolicy { timeout: short, max_elapsed: short * 100, initial_backoff: short },
        )
    }

    #[test]
    fn unreachable_server_is_reported_soon() {
        let mut tries = 0;
        let tried = retrier().retry("read", "a", |_| {
            tries += 1;
            Err::<(), _>(Failure::Transient("refused".into()))
        });
        assert_eq!(tried.unwrap_err().chain(), "cannot reach x://there: refused");
        assert_eq!(tries, MAX_FIRST_ATTEMPTS);
    }

    #[test]
    fn server_that_answered_is_retried_until_the_limit() {
        let (retrier, mut tries) = (retrier(), 0);
        retrier.record_answer();
        let done = retrier.retry("read", "a", |again| {
            assert_eq!(again, tries > 0);
            tries += 1;
            if tries < 4 { Err(Failure::Transient("busy".into())) } else { Ok(tries) }
        });
        assert_eq!(done.unwrap(), 4);
        let lost = retrier.retry("read", "a", |_| Err::<(), _>(Failure::Transient("busy".into())));
        assert!(lost.unwrap_err().chain().starts_with("cannot read x://there/a: busy (tried for "));
    }
}
