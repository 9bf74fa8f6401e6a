//! Limits attempts to store random-looking data as deltas. Data that was recompressed or re-encrypted shares
//! nothing with its old version, and reading its bases and searching matches costs more than everything else
//! done with it.

/// After this many failed attempts in a row ...
const MAX_FRUITLESS: u32 = 4;
/// ... only one block of this many is attempted.
const ONE_OF: u32 = 16;

/// Results of attempts on random-looking blocks.
#[derive(Debug, Default)]
pub(crate) struct Noise {
    in_vain: u32,
    passed_over: u32,
}

impl Noise {
    /// Returns whether to attempt the next one.
    pub(crate) fn is_tried(&mut self) -> bool {
        if self.in_vain < MAX_FRUITLESS {
            return true;
        }
        self.passed_over = (self.passed_over + 1) % ONE_OF;
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
    fn what_was_in_vain_is_tried_seldom_until_it_is_worth_it_again() {
        let mut noise = Noise::default();
        let mut tried = 0;
        for _ in 0..MAX_FRUITLESS + 10 * ONE_OF {
            if noise.is_tried() {
                tried += 1;
                noise.came(false);
            }
        }
        assert_eq!(tried, MAX_FRUITLESS + 10);
        noise.came(true);
        assert!((0..ONE_OF).all(|_| noise.is_tried()));
    }
}
