//! What a restore or a listing takes in.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use globset::GlobMatcher;

use crate::error::Result;
use crate::tree::filter::pattern::Compiled;
use crate::tree::filter::pattern::Pattern;
use crate::tree::filter::pattern::Scope;
use crate::tree::filter::pattern::compile;

/// What a restore or a listing takes: everything that an include matches (all, without includes) and no
/// exclude does.
pub struct Selection {
    exclude: Vec<bool>,
    excludes: Compiled,
    includes: Compiled,
    ways: Vec<Way>,
    only: Option<BTreeSet<Vec<u8>>>,
}

/// Where an include can match.
enum Way {
    /// Anywhere.
    Any,
    /// Below these components.
    Fixed(Vec<Step>),
}

/// One component of an anchored include.
enum Step {
    /// Matches a component.
    One(GlobMatcher),
    /// `**`.
    Many,
}

impl Selection {
    /// Compiles the patterns; a leading slash means the root of the snapshot.
    ///
    /// # Errors
    /// When one is none.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self> {
        let include = parse_all(include, false)?;
        let exclude = parse_all(exclude, true)?;
        Ok(Self {
            excludes: Compiled::new(&exclude, |_| true)?,
            includes: Compiled::new(&include, |_| true)?,
            exclude: exclude.iter().map(|pattern| pattern.excludes).collect(),
            ways: include.iter().map(Way::of).collect::<Result<_>>()?,
            only: None,
        })
    }

    /// Of exactly these paths, whatever characters are in them.
    ///
    /// # Errors
    /// Never, but patterns are compiled.
    pub fn only(paths: BTreeSet<Vec<u8>>) -> Result<Self> {
        Ok(Self { only: Some(paths), ..Self::new(&[], &[])? })
    }

    /// Whether this entry is wanted.
    pub fn takes(&self, stored: &[u8], _is_dir: bool) -> bool {
        if let Some(only) = &self.only {
            return only.contains(stored);
        }
        !self.leaves_out(stored) && (self.ways.is_empty() || self.includes.last(stored).is_some())
    }

    /// Whether something below this directory might be wanted.
    pub fn may_hold(&self, stored_dir: &[u8]) -> bool {
        if let Some(only) = &self.only {
            let below = [stored_dir, b"/"].concat();
            let next = only.range(below.clone()..).next();
            return stored_dir.is_empty() || next.is_some_and(|path| path.starts_with(&below));
        }
        if self.leaves_out(stored_dir) && self.exclude.iter().all(|excludes| *excludes) {
            return false;
        }
        self.ways.is_empty()
            || self.includes.last(stored_dir).is_some()
            || self.ways.iter().any(|way| way.leads_through(stored_dir))
    }

    fn leaves_out(&self, stored: &[u8]) -> bool {
        let last = self.excludes.last(stored);
        last.and_then(|number| self.exclude.get(number).copied()).unwrap_or(false)
    }
}

/// Parses a list.
fn parse_all(texts: &[String], negatable: bool) -> Result<Vec<Pattern>> {
    texts.iter().map(|text| Pattern::parse(text, negatable, false)).collect()
}

impl Way {
    fn of(pattern: &Pattern) -> Result<Self> {
        if pattern.scope != Scope::Anchored {
            return Ok(Self::Any);
        }
        let mut steps = Vec::new();
        for part in pattern.body.split('/') {
            if part == "**" {
                steps.push(Step::Many);
                break;
            }
            // A class that a slash cuts in two: no way to tell where it leads.
            let Ok(glob) = compile(part, false) else { return Ok(Self::Any) };
            steps.push(Step::One(glob.compile_matcher()));
        }
        Ok(Self::Fixed(steps))
    }

    fn leads_through(&self, dir: &[u8]) -> bool {
        let Self::Fixed(steps) = self else { return true };
        let mut steps = steps.iter();
        for part in dir.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            match steps.next() {
                None => return false,
                Some(Step::Many) => return true,
                Some(Step::One(glob)) if glob.is_match(OsStr::from_bytes(part)) => {}
                Some(Step::One(_)) => return false,
            }
        }
        steps.next().is_some()
    }
}
