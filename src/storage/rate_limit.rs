//! Rate limits: one token bucket per direction, shared by all threads of a storage.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Maximum bytes between two waits, if there is a limit.
pub(crate) const PIECE: usize = 16 << 10;
/// Unused allowance expires after this time, so that an idle connection does not catch up.
const BURST: Duration = Duration::from_millis(100);

/// The limits of one storage.
#[derive(Debug, Default)]
pub struct RateLimits {
    up: Option<TokenBucket>,
    down: Option<TokenBucket>,
}

#[derive(Debug)]
struct TokenBucket {
    /// Bytes per second.
    rate: u64,
    /// When all bytes taken so far may have been transferred.
    next_free: Mutex<Instant>,
}

impl RateLimits {
    /// Creates limits in bytes per second for each direction; `None` and 0 are unlimited.
    pub fn new(up: Option<u64>, down: Option<u64>) -> Self {
        let limit = |rate: Option<u64>| {
            let rate = rate.filter(|rate| *rate > 0)?;
            Some(TokenBucket { rate, next_free: Mutex::new(Instant::now()) })
        };
        Self { up: limit(up), down: limit(down) }
    }

    /// Waits until so many bytes may be sent.
    pub(crate) fn send(&self, bytes: usize) {
        wait_for(self.up.as_ref(), bytes);
    }

    /// Waits until so many bytes may have been received.
    pub(crate) fn receive(&self, bytes: usize) {
        wait_for(self.down.as_ref(), bytes);
    }

    /// Returns whether data must be sent in pieces.
    pub(crate) fn shapes_sending(&self) -> bool {
        self.up.is_some()
    }

    /// Returns whether data must be requested in pieces.
    pub(crate) fn shapes_receiving(&self) -> bool {
        self.down.is_some()
    }
}

/// A rate limit for reading something other than a storage, for which the caller waits itself.
#[derive(Debug)]
pub struct RateLimit(TokenBucket);

impl RateLimit {
    /// Creates a limit in bytes per second; `None` for 0, which is unlimited.
    pub fn new(rate: u64) -> Option<Self> {
        (rate > 0).then(|| Self(TokenBucket { rate, next_free: Mutex::new(Instant::now()) }))
    }

    /// Returns how long a caller must wait before it takes this many bytes.
    pub fn take(&self, bytes: usize) -> Duration {
        self.0.take(Instant::now(), bytes)
    }
}

fn wait_for(limit: Option<&TokenBucket>, bytes: usize) {
    if let Some(limit) = limit {
        std::thread::sleep(limit.take(Instant::now(), bytes));
    }
}

impl TokenBucket {
    /// Returns how long a caller must wait before it takes this many bytes at `now`.
    fn take(&self, now: Instant, bytes: usize) -> Duration {
        let mut next_free = self.next_free.lock();
        let idle = now.checked_sub(BURST).unwrap_or(now);
        let takes = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        *next_free = (*next_free).max(idle) + takes;
        next_free.saturating_duration_since(now)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn rate_limit_delays_bytes_and_saves_no_unused_rate() {
        let start = Instant::now();
        let limit = TokenBucket { rate: 1000, next_free: Mutex::new(start) };
        let at = |millis: u64| start + Duration::from_millis(millis);
        let millis = |now: u64, bytes: usize| limit.take(at(now), bytes).as_millis();
        assert_eq!(millis(0, 500), 500);
        assert_eq!(millis(0, 500), 1000, "another thread waits behind the first");
        assert_eq!(millis(400, 100), 700);
        assert_eq!(millis(60_000, 1100), 1000, "a minute of rest gives no more than a tenth of a second");
    }

    #[test]
    fn zero_is_no_limit() {
        let limits = RateLimits::new(Some(0), None);
        assert!(!limits.shapes_sending() && !limits.shapes_receiving());
        limits.send(usize::MAX);
    }
}
