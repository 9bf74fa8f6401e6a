//! Limits attempts to store data as deltas after repeated failures. Files that were rewritten, recompressed
//! or encrypted again share nothing with their old version, and reading their bases takes about as long as
//! all other processing.

/// Results of attempts on blocks of files.
#[derive(Debug)]
pub(crate) struct Attempts {
    /// After so many failed attempts in a row ...
    most: u32,
    /// ... only one block of this many is attempted.
    one_of: u32,
    in_vain: u32,
    passed_over: u32,
}

impl Attempts {
    /// For random-looking data, in which all blocks are alike.
    pub(crate) const fn on_noise() -> Self {
        Self { most: 4, one_of: 16, in_vain: 0, passed_over: 0 }
    }

    /// For other data, in which some blocks may be similar to old ones.
    pub(crate) const fn on_others() -> Self {
        Self { most: 8, one_of: 4, in_vain: 0, passed_over: 0 }
    }

    /// Returns whether to attempt the next one.
    pub(crate) fn is_tried(&mut self) -> bool {
        if self.in_vain < self.most {
            return true;
        }
        self.passed_over = (self.passed_over + 1) % self.one_of;
        self.passed_over == 0
    }

    /// Records the result of an attempt.
    pub(crate) fn came(&mut self, was_worth_it: bool) {
        self.in_vain = if was_worth_it { 0 } else { self.in_vain.saturating_add(1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_deltas_are_tried_rarely_until_one_pays() {
        for mut attempts in [Attempts::on_noise(), Attempts::on_others()] {
            let (most, one_of) = (attempts.most, attempts.one_of);
            let mut tried = 0;
            for _ in 0..most + 10 * one_of {
                if attempts.is_tried() {
                    tried += 1;
                    attempts.came(false);
                }
            }
            assert_eq!(tried, most + 10);
            attempts.came(true);
            assert!((0..one_of).all(|_| attempts.is_tried()));
        }
    }
}
