//! What a restore or a listing selects.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::error::Result;
use crate::fs::filter::pattern::Pattern;
use crate::fs::filter::pattern_set::PatternSet;
use crate::fs::filter::reachable::Reach;

/// Selects what matches an include (everything if there are none) and is not excluded.
pub struct RestoreFilter {
    excludes: PatternSet,
    includes: PatternSet,
    reaches: Vec<Reach>,
    only: Option<BTreeSet<Vec<u8>>>,
}

impl RestoreFilter {
    /// Compiles the patterns; a leading slash means the root of the snapshot.
    ///
    /// # Errors
    /// A pattern is invalid.
    pub fn new<P: AsRef<OsStr>>(include: &[P], exclude: &[P]) -> Result<Self> {
        let includes = PatternSet::new(parse_all(include, false)?)?;
        let reaches = includes.iter().map(Reach::of).collect();
        Ok(Self { excludes: PatternSet::new(parse_all(exclude, true)?)?, includes, reaches, only: None })
    }

    /// Creates a filter for exactly these paths, without interpreting any characters.
    ///
    /// # Errors
    /// Never in practice; empty pattern sets are compiled.
    pub fn only(paths: BTreeSet<Vec<u8>>) -> Result<Self> {
        Ok(Self { only: Some(paths), ..Self::new::<&OsStr>(&[], &[])? })
    }

    /// Returns whether this entry is selected.
    pub fn takes(&self, stored: &[u8], _is_dir: bool) -> bool {
        if let Some(only) = &self.only {
            return only.contains(stored);
        }
        !self.is_excluded(stored) && (self.reaches.is_empty() || self.includes.last_match(stored).is_some())
    }

    /// Returns whether something below this directory might be selected.
    pub fn may_hold(&self, stored_dir: &[u8]) -> bool {
        if let Some(only) = &self.only {
            let below = [stored_dir, b"/"].concat();
            let next = only.range(below.clone()..).next();
            return stored_dir.is_empty() || next.is_some_and(|path| path.starts_with(&below));
        }
        if self.is_excluded(stored_dir) && self.excludes.iter().all(|pattern| pattern.excludes) {
            return false;
        }
        self.reaches.is_empty()
            || self.includes.last_match(stored_dir).is_some()
            || self.reaches.iter().any(|reach| reach.may_match_below(stored_dir))
    }

    /// Returns the excludes that have matched nothing so far, as written.
    pub fn unmatched_excludes(&self) -> Vec<String> {
        self.excludes.unmatched()
    }

    fn is_excluded(&self, stored: &[u8]) -> bool {
        let last = self.excludes.last_match(stored);
        last.and_then(|number| self.excludes.get(number)).is_some_and(|pattern| pattern.excludes)
    }
}

fn parse_all<P: AsRef<OsStr>>(texts: &[P], negatable: bool) -> Result<Vec<Pattern>> {
    texts.iter().map(|text| Pattern::parse(text.as_ref().as_bytes(), negatable, false)).collect()
}
