//! Reduces attempts to store data as deltas after repeated failures. Files that were rewritten, compressed
//! again or encrypted again share no data with their old version, and reading their bases takes about as long
//! as all other processing.

/// Decides which blocks of files are attempted, by the results of earlier attempts.
#[derive(Debug)]
pub(crate) struct Attempts {
    /// Number of consecutive failures after which blocks are skipped.
    max_failures: u32,
    /// From then on, one block of this many is attempted.
    interval: u32,
    /// Consecutive failures so far.
    failures: u32,
    /// Blocks skipped since the last attempt.
    skipped: u32,
}

impl Attempts {
    /// For random-looking data, in which all blocks are alike.
    pub(crate) const fn for_noise() -> Self {
        Self { max_failures: 4, interval: 16, failures: 0, skipped: 0 }
    }

    /// For other data, in which some blocks may be similar to old ones.
    pub(crate) const fn for_other_data() -> Self {
        Self { max_failures: 8, interval: 4, failures: 0, skipped: 0 }
    }

    /// Returns whether to attempt the next block.
    pub(crate) fn should_try(&mut self) -> bool {
        if self.failures < self.max_failures {
            return true;
        }
        self.skipped = (self.skipped + 1) % self.interval;
        self.skipped == 0
    }

    /// Records the result of an attempt.
    pub(crate) fn record(&mut self, was_worthwhile: bool) {
        self.failures = if was_worthwhile { 0 } else { self.failures.saturating_add(1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_deltas_are_tried_rarely_until_one_pays() {
        for mut attempts in [Attempts::for_noise(), Attempts::for_other_data()] {
            let (max_failures, interval) = (attempts.max_failures, attempts.interval);
            let mut tried = 0;
            for _ in 0..max_failures + 10 * interval {
                if attempts.should_try() {
                    tried += 1;
                    attempts.record(false);
                }
            }
            assert_eq!(tried, max_failures + 10);
            attempts.record(true);
            assert!((0..interval).all(|_| attempts.should_try()));
        }
    }
}
