//! When and how long failed requests to remote storage are repeated.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// Timeouts and repetition of requests to a server.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// A request fails if the server has neither sent nor accepted a byte for this long.
    pub silence: Duration,
    /// A request is repeated for at most this long.
    pub total: Duration,
    /// Wait before the first repetition; doubled each time, up to half a minute.
    pub first_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        let (silence, total) = (Duration::from_secs(120), Duration::from_secs(300));
        Self { silence, total, first_wait: Duration::from_millis(500) }
    }
}

const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Attempts at a server that has never answered. A mistyped or stopped server is reported soon, but a single
/// broken connection does not end the run.
const FIRST_TRIES: u32 = 3;

/// Why one attempt failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Temporary: repeat the request.
    Passing(String),
    /// Permanent.
    Final(Error),
}

impl From<Error> for Failure {
    fn from(err: Error) -> Self {
        Self::Final(err)
    }
}

/// Repeats requests to one server.
#[derive(Debug)]
pub(crate) struct Retrier {
    /// The server and path, for messages.
    pub(crate) place: String,
    retry_policy: RetryPolicy,
    /// Whether the server has answered before: then failures are repeated for the full time.
    been: AtomicBool,
}

impl Retrier {
    pub(crate) fn new(place: String, retry_policy: RetryPolicy) -> Self {
        Self { place, retry_policy, been: AtomicBool::new(false) }
    }

    /// Records that the server answered, with whatever status.
    pub(crate) fn is_there(&self) {
        self.been.store(true, Ordering::Relaxed);
    }

    /// Calls `work` until it succeeds, fails permanently, or the time is up. Its argument is `true` for
    /// repetitions: then the request may have been carried out before.
    pub(crate) fn with<T>(
        &self,
        doing: &'static str,
        what: &str,
        mut work: impl FnMut(bool) -> Result<T, Failure>,
    ) -> Result<T> {
        let (begun, mut wait, mut again) = (Instant::now(), self.retry_policy.first_wait, false);
        let mut tries = 0_u32;
        loop {
            tries = tries.saturating_add(1);
            let why = match work(again) {
                Ok(done) => return Ok(done),
                Err(Failure::Final(err)) => return Err(err),
                Err(Failure::Passing(why)) => why,
            };
            let gone = |why| io::Error::new(io::ErrorKind::ConnectionAborted, why);
            if !self.been.load(Ordering::Relaxed) && tries >= FIRST_TRIES {
                return Err(Error::io("reach", &self.place)(gone(why)));
            }
            if begun.elapsed() + wait > self.retry_policy.total {
                let tried = format!("{why} (tried for {} s)", begun.elapsed().as_secs());
                return Err(Error::io(doing, self.full(what))(gone(tried)));
            }
            std::thread::sleep(wait);
            (wait, again) = ((wait * 2).min(LONGEST_WAIT), true);
        }
    }

    /// Returns an object's path including the server, for messages.
    pub(crate) fn full(&self, what: &str) -> String {
        format!("{}/{what}", self.place)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn line() -> Retrier {
        let short = Duration::from_millis(1);
        Retrier::new(
            "x://there".into(),
            RetryPolicy { silence: short, total: short * 100, first_wait: short },
        )
    }

    #[test]
    fn unreachable_server_is_reported_soon() {
        let mut tries = 0;
        let tried = line().with("read", "a", |_| {
            tries += 1;
            Err::<(), _>(Failure::Passing("refused".into()))
        });
        assert_eq!(tried.unwrap_err().chain(), "cannot reach x://there: refused");
        assert_eq!(tries, FIRST_TRIES);
    }

    #[test]
    fn server_that_answered_is_retried_until_the_limit() {
        let (line, mut tries) = (line(), 0);
        line.is_there();
        let done = line.with("read", "a", |again| {
            assert_eq!(again, tries > 0);
            tries += 1;
            if tries < 4 { Err(Failure::Passing("busy".into())) } else { Ok(tries) }
        });
        assert_eq!(done.unwrap(), 4);
        let lost = line.with("read", "a", |_| Err::<(), _>(Failure::Passing("busy".into())));
        assert!(lost.unwrap_err().chain().starts_with("cannot read x://there/a: busy (tried for "));
    }
}
