//! Ordered path patterns, each of which selects a rule; the last match decides.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::error::{Error, Result};
use crate::fs::filter::pattern::Pattern;
use crate::fs::filter::pattern_set::PatternSet;
use crate::fs::filter::reachable::Reach;

/// Ordered patterns; the last match wins.
pub struct PathRules {
    patterns: PatternSet,
    reaches: Vec<Reach>,
}

impl PathRules {
    /// Compiles the patterns; a leading slash means the root of the snapshot.
    ///
    /// # Errors
    /// A pattern is invalid, or begins with `!`, which has no meaning here.
    pub fn new<P: AsRef<OsStr>>(patterns: &[P]) -> Result<Self> {
        let parse = |text: &P| {
            let bytes = text.as_ref().as_bytes();
            if bytes.starts_with(b"!") {
                let text = String::from_utf8_lossy(bytes);
                let why = "rules have no negation: write \\! for a name that begins with !";
                return Err(Error::Usage(format!("bad pattern '{text}': {why}")));
            }
            Pattern::parse(bytes, false, false)
        };
        let patterns = PatternSet::new(patterns.iter().map(parse).collect::<Result<_>>()?)?;
        let reaches = patterns.iter().map(Reach::of).collect();
        Ok(Self { patterns, reaches })
    }

    /// Returns the number of the last pattern that matches this path or a directory above it.
    pub fn last_match(&self, stored: &[u8]) -> Option<usize> {
        self.patterns.last_match(stored)
    }

    /// Returns whether a pattern might match something below this directory.
    pub fn may_match_below(&self, stored_dir: &[u8]) -> bool {
        self.reaches.iter().any(|reach| reach.may_match_below(stored_dir))
    }

    /// Returns the patterns that have matched nothing so far, as written.
    pub fn unmatched(&self) -> Vec<String> {
        self.patterns.unmatched()
    }
}

#[cfg(test)]
mod tests {
    use super::PathRules;

    #[test]
    fn last_rule_decides_and_walks_enter_only_possible_matches() {
        let rules = PathRules::new(&["/home/*/tmp/**", "/home/*/tmp/deep"]).unwrap();
        assert_eq!(rules.last_match(b"home/me/tmp"), None);
        assert_eq!(rules.last_match(b"home/me/tmp/x/y"), Some(0));
        assert_eq!(rules.last_match(b"home/me/tmp/deep/y"), Some(1));
        assert!(rules.may_match_below(b"home/me") && rules.may_match_below(b"home/me/tmp"));
        assert!(!rules.may_match_below(b"etc") && !rules.may_match_below(b"home/me/src"));
        let anywhere = PathRules::new(&["**/tmp/**"]).unwrap();
        assert!(anywhere.may_match_below(b"etc"));
        assert_eq!(anywhere.last_match(b"etc/tmp"), None);
        for wrong in ["!x", "", "[a", "../x"] {
            assert!(PathRules::new(&[wrong]).is_err(), "{wrong}");
        }
        assert_eq!(PathRules::new(&["\\!x"]).unwrap().last_match(b"a/!x"), Some(0));
    }
}
