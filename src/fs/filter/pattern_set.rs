//! Matches many patterns at once. Only patterns whose last component can match an entry's name are matched
//! against its path: names without wildcards are looked up in a map, others are found by the longest
//! literal text that they require. Memory is proportional to the length of the patterns.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use aho_corasick::AhoCorasick;

use crate::error::{Error, Result};
use crate::fs::filter::glob::folded;
use crate::fs::filter::pattern::{Part, Pattern, components};

/// Patterns in order; a later one overrides an earlier one.
pub(super) struct PatternSet {
    patterns: Vec<Pattern>,
    exact: Index,
    ignoring_case: Index,
    /// Which patterns have matched something.
    hits: Vec<AtomicBool>,
}

/// Patterns, indexed by their last component.
#[derive(Default)]
struct Index {
    names: HashMap<Vec<u8>, Vec<usize>>,
    /// Literal texts of which a name must contain one, and for each the patterns that require it.
    runs: Option<AhoCorasick>,
    owners: Vec<Vec<usize>>,
    /// Patterns whose last component requires no literal text.
    others: Vec<usize>,
}

impl PatternSet {
    pub(super) fn new(patterns: Vec<Pattern>) -> Result<Self> {
        let hits = patterns.iter().map(|_| AtomicBool::new(false)).collect();
        let exact = Index::new(patterns.iter().enumerate().filter(|(_, pattern)| !pattern.ignore_case))?;
        let ignoring_case =
            Index::new(patterns.iter().enumerate().filter(|(_, pattern)| pattern.ignore_case))?;
        Ok(Self { patterns, exact, ignoring_case, hits })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    pub(super) fn get(&self, number: usize) -> Option<&Pattern> {
        self.patterns.get(number)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Pattern> {
        self.patterns.iter()
    }

    /// Returns the patterns that have matched nothing yet, as written.
    pub(super) fn unmatched(&self) -> Vec<String> {
        let all = || self.patterns.iter().zip(&self.hits);
        let is_hit = |hit: &AtomicBool| hit.load(Ordering::Relaxed);
        // One text may stand for several patterns.
        let mut known: HashSet<&str> =
            all().filter(|(_, hit)| is_hit(hit)).map(|(pattern, _)| pattern.text.as_str()).collect();
        all().map(|(pattern, _)| &pattern.text).filter(|text| known.insert(text)).cloned().collect()
    }

    /// Returns the number of the last pattern for which `matches` holds, among those that can match an entry
    /// of this name.
    pub(super) fn last_of(&self, name: &[u8], matches: impl Fn(&Pattern) -> bool) -> Option<usize> {
        let mut last = None;
        let mut try_pattern = |number: usize| {
            if self.patterns.get(number).is_some_and(&matches) {
                last = last.max(Some(number));
                if let Some(hit) = self.hits.get(number).filter(|hit| !hit.load(Ordering::Relaxed)) {
                    hit.store(true, Ordering::Relaxed);
                }
            }
        };
        self.exact.for_each_candidate(name, &mut try_pattern);
        if !self.ignoring_case.is_empty() {
            self.ignoring_case.for_each_candidate(&folded(name), &mut try_pattern);
        }
        last
    }

    /// Returns the number of the last pattern that matches the path or a directory above it.
    pub(super) fn last_match(&self, path: &[u8]) -> Option<usize> {
        if self.is_empty() {
            return None;
        }
        let parts: Vec<&[u8]> = components(path).collect();
        let at = |len: usize| {
            let prefix = parts.get(..len)?;
            self.last_of(prefix.last()?, |pattern| pattern.matches(prefix))
        };
        (1..=parts.len()).filter_map(at).max()
    }
}

impl Index {
    fn new<'a>(patterns: impl Iterator<Item = (usize, &'a Pattern)>) -> Result<Self> {
        let mut index = Self::default();
        let mut runs: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        for (number, pattern) in patterns {
            let Some(Part::One(glob)) = pattern.parts.last() else {
                index.others.push(number);
                continue;
            };
            match (glob.literal(), glob.longest_run()) {
                (Some(name), _) => index.names.entry(name).or_default().push(number),
                (None, run) if run.is_empty() => index.others.push(number),
                (None, run) => runs.entry(run).or_default().push(number),
            }
        }
        if !runs.is_empty() {
            let built = AhoCorasick::new(runs.keys());
            index.runs =
                Some(built.map_err(|why| Error::Usage(format!("there are too many patterns: {why}")))?);
            index.owners = runs.into_values().collect();
        }
        Ok(index)
    }

    fn is_empty(&self) -> bool {
        self.names.is_empty() && self.owners.is_empty() && self.others.is_empty()
    }

    /// Calls `visit` at most once for each pattern that can match the name.
    fn for_each_candidate(&self, name: &[u8], visit: &mut impl FnMut(usize)) {
        self.others.iter().for_each(|number| visit(*number));
        if let Some(numbers) = self.names.get(name) {
            numbers.iter().for_each(|number| visit(*number));
        }
        let Some(runs) = &self.runs else { return };
        let mut found: Vec<usize> =
            runs.find_overlapping_iter(name).map(|found| found.pattern().as_usize()).collect();
        found.sort_unstable();
        found.dedup();
        for owners in found.iter().filter_map(|run| self.owners.get(*run)) {
            owners.iter().for_each(|number| visit(*number));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn set(patterns: &[(&str, bool)]) -> PatternSet {
        let parse = |(text, ignore_case): &(&str, bool)| Pattern::parse(text.as_bytes(), true, *ignore_case);
        PatternSet::new(patterns.iter().map(parse).collect::<Result<_>>().unwrap()).unwrap()
    }

    #[test]
    fn the_last_of_all_kinds_of_patterns_counts() {
        let set = set(&[("*", false), ("a*c", false), ("abc", false), ("ABC", true), ("x/abc", false)]);
        assert_eq!(set.last_match(b"abc"), Some(3));
        assert_eq!(set.last_match(b"x/abc"), Some(4));
        assert_eq!(set.last_match(b"x/abc/below"), Some(4));
        assert_eq!(set.last_match(b"aXc"), Some(1));
        assert_eq!(set.last_match(b"none"), Some(0));
        assert_eq!(set.last_match(b""), None);
    }

    #[test]
    fn unmatched_patterns_are_known() {
        let set = set(&[("a", false), ("b*", false), ("/c/d", false)]);
        set.last_match(b"x/a");
        set.last_match(b"c/e");
        assert_eq!(set.unmatched(), ["b*", "/c/d"]);
    }

    #[test]
    fn fifty_thousand_patterns_need_memory_like_their_text() {
        let names: Vec<String> = (0..50_000).map(|n| format!("file{n}*.tmp")).collect();
        let patterns = names.iter().map(|text| Pattern::parse(text.as_bytes(), true, false).unwrap());
        let set = PatternSet::new(patterns.collect()).unwrap();
        let runs = set.exact.runs.as_ref().unwrap();
        assert!(runs.memory_usage() < 32 << 20, "{} bytes", runs.memory_usage());
        assert_eq!(set.last_match(b"a/file4999x.tmp"), Some(4999));
        assert_eq!(set.last_match(b"a/filex.tmp"), None);
        // Only a few of all these are matched against a name.
        let mut held = 0;
        set.exact.for_each_candidate(b"file4999x.tmp", &mut |_| held += 1);
        assert!(held <= 5, "{held}");
    }

    proptest! {
        #[test]
        fn pattern_index_misses_nothing(
            patterns in prop::collection::vec(("[abAä*?/!]{1,6}", any::<bool>()), 1..8),
            path in "[abAä]{1,3}(/[abAä]{1,3}){0,3}",
        ) {
            let parsed: Vec<Pattern> = patterns
                .iter()
                .filter_map(|(text, ignore_case)| Pattern::parse(text.as_bytes(), true, *ignore_case).ok())
                .collect();
            let parts: Vec<&[u8]> = components(path.as_bytes()).collect();
            let expected: BTreeSet<usize> = (1..=parts.len())
                .flat_map(|len| {
                    let prefix = &parts[..len];
                    (0..parsed.len()).filter(|number| parsed[*number].matches(prefix)).collect::<Vec<_>>()
                })
                .collect();
            let set = PatternSet::new(parsed.clone()).unwrap();
            prop_assert_eq!(set.last_match(path.as_bytes()), expected.last().copied());
            let hit: BTreeSet<&str> = expected.iter().map(|number| parsed[*number].text.as_str()).collect();
            let all: BTreeSet<&str> = parsed.iter().map(|pattern| pattern.text.as_str()).collect();
            prop_assert_eq!(set.unmatched().len(), all.difference(&hit).count());
        }
    }
}
