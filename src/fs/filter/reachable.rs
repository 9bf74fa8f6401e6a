//! Directories below which a pattern can match, so that a walk need not enter others.

use crate::fs::filter::pattern::{Part, Pattern, Scope, components};

/// Directories below which a pattern can match.
pub(super) enum Reach {
    /// Any directory.
    Any,
    /// Directories that match a prefix of these components.
    Anchored(Vec<Part>),
}

impl Reach {
    /// Returns where a pattern can match.
    pub(super) fn of(pattern: &Pattern) -> Self {
        match pattern.scope {
            Scope::Anchored => Self::Anchored(pattern.parts.clone()),
            Scope::Floating | Scope::Name => Self::Any,
        }
    }

    /// Returns whether the pattern can match something below this directory.
    pub(super) fn may_match_below(&self, dir: &[u8]) -> bool {
        let Self::Anchored(parts) = self else { return true };
        let mut parts = parts.iter();
        for name in components(dir) {
            match parts.next() {
                Some(Part::Many) => return true,
                Some(Part::One(glob)) if glob.matches(name) => {}
                Some(Part::One(_)) | None => return false,
            }
        }
        parts.next().is_some()
    }
}
