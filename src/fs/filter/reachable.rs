//! Where a pattern can match, so that a walk need not enter directories below which it cannot.

use crate::fs::filter::glob::Glob;
use crate::fs::filter::pattern::{Part, Pattern, Scope};

/// Directories below which a pattern can match.
pub(super) enum Way {
    /// Any directory.
    Any,
    /// Directories that match a prefix of these components.
    Fixed(Vec<Step>),
}

/// One component of an anchored pattern.
pub(super) enum Step {
    /// Matches a component.
    One(Glob),
    /// `**`.
    Many,
}

impl Way {
    /// Returns where a pattern can match.
    pub(super) fn of(pattern: &Pattern) -> Self {
        if pattern.scope != Scope::Anchored {
            return Self::Any;
        }
        let step = |part: &Part| match part {
            Part::Many => Step::Many,
            Part::One(glob) => Step::One(glob.clone()),
        };
        Self::Fixed(pattern.parts.iter().map(step).collect())
    }

    /// Returns whether the pattern can match something below this directory.
    pub(super) fn leads_through(&self, dir: &[u8]) -> bool {
        let Self::Fixed(steps) = self else { return true };
        let mut steps = steps.iter();
        for part in dir.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            match steps.next() {
                None => return false,
                Some(Step::Many) => return true,
                Some(Step::One(glob)) if glob.matches(part) => {}
                Some(Step::One(_)) => return false,
            }
        }
        steps.next().is_some()
    }
}
