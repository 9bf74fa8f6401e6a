//! How often a delta of bytes that look random is tried: what is compressed or encrypted anew has nothing in common with what
//! it was, and reading its bases and looking for matches in them takes more than all else that is done with it.

/// After so many tries in vain ...
const PATIENCE: u32 = 4;
/// ... only one block of so many is tried.
const ONE_OF: u32 = 16;

/// What came of the blocks that looked random.
#[derive(Debug, Default)]
pub(crate) struct Noise {
    in_vain: u32,
    passed_over: u32,
}

impl Noise {
    /// Whether the next one is tried.
    pub(crate) fn is_tried(&mut self) -> bool {
        if self.in_vain < PATIENCE {
            return true;
        }
        self.passed_over = (self.passed_over + 1) % ONE_OF;
        self.passed_over == 0
    }

    /// One was tried.
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
        for _ in 0..PATIENCE + 10 * ONE_OF {
            if noise.is_tried() {
                tried += 1;
                noise.came(false);
            }
        }
        assert_eq!(tried, PATIENCE + 10);
        noise.came(true);
        assert!((0..ONE_OF).all(|_| noise.is_tried()));
    }
}
