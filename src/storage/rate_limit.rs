//! How fast bytes may go out and come in: a bucket for each direction, shared by all threads of a store.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// No more than so many bytes pass at once, where there is a limit: what comes between two waits.
pub(crate) const PIECE: usize = 16 << 10;
/// What was not used for so long is lost: a line that stood still does not make up for it.
const BURST: Duration = Duration::from_millis(100);

/// The limits of one store.
#[derive(Debug, Default)]
pub struct RateLimits {
    up: Option<TokenBucket>,
    down: Option<TokenBucket>,
}

#[derive(Debug)]
struct TokenBucket {
    /// Bytes a second.
    rate: u64,
    /// When all that was taken will have passed.
    passed: Mutex<Instant>,
}

impl RateLimits {
    /// Bytes a second in each direction; `None` and 0 are no limit.
    pub fn new(up: Option<u64>, down: Option<u64>) -> Self {
        let limit = |rate: Option<u64>| {
            let rate = rate.filter(|rate| *rate > 0)?;
            Some(TokenBucket { rate, passed: Mutex::new(Instant::now()) })
        };
        Self { up: limit(up), down: limit(down) }
    }

    /// Waits until so many bytes may be sent.
    pub(crate) fn send(&self, bytes: usize) {
        pass(self.up.as_ref(), bytes);
    }

    /// Waits until so many bytes may have been received.
    pub(crate) fn receive(&self, bytes: usize) {
        pass(self.down.as_ref(), bytes);
    }

    /// Whether what is sent must go in pieces.
    pub(crate) fn shapes_sending(&self) -> bool {
        self.up.is_some()
    }

    /// Whether what is received must be asked for in pieces.
    pub(crate) fn shapes_receiving(&self) -> bool {
        self.down.is_some()
    }
}

fn pass(limit: Option<&TokenBucket>, bytes: usize) {
    if let Some(limit) = limit {
        std::thread::sleep(limit.take(Instant::now(), bytes));
    }
}

impl TokenBucket {
    /// How long whoever takes so many bytes at `now` has to wait.
    fn take(&self, now: Instant, bytes: usize) -> Duration {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = now.checked_sub(BURST).unwrap_or(now);
        let takes = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        *passed = (*passed).max(idle) + takes;
        passed.saturating_duration_since(now)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_their_time_and_what_was_not_used_is_lost() {
        let start = Instant::now();
        let limit = TokenBucket { rate: 1000, passed: Mutex::new(start) };
        let at = |millis: u64| start + Duration::from_millis(millis);
        let millis = |now: u64, bytes: usize| limit.take(at(now), bytes).as_millis();
        assert_eq!(millis(0, 500), 500);
        assert_eq!(millis(0, 500), 1000, "another thread waits behind the first");
        assert_eq!(millis(400, 100), 700);
        assert_eq!(millis(60_000, 1100), 1000, "a minute of rest gives no more than a tenth of a second");
    }

    #[test]
    fn nothing_is_no_limit() {
        let limits = RateLimits::new(Some(0), None);
        assert!(!limits.shapes_sending() && !limits.shapes_receiving());
        limits.send(usize::MAX);
    }
}
