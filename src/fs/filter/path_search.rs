//! Patterns that search for paths, as opposed to excluding them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};

use regex::bytes::{RegexSet, RegexSetBuilder};

use crate::error::{Error, Result};
use crate::fs::filter::pattern::{Pattern, components};
use crate::fs::filter::pattern_set::PatternSet;

/// The patterns of a search.
pub struct PathSearch(Kind);

enum Kind {
    Globs(Box<PatternSet>),
    Regexes { set: RegexSet, hits: Vec<AtomicBool> },
    All,
}

impl PathSearch {
    /// Compiles globs. Without a slash, a glob is matched against the name; with a slash, against as many
    /// last components of the path; with a leading slash, against the whole path. One match is enough. No
    /// patterns at all match everything.
    ///
    /// # Errors
    /// A glob is invalid.
    pub fn globs<P: AsRef<OsStr>>(patterns: &[P], ignore_case: bool) -> Result<Self> {
        if patterns.is_empty() {
            return Ok(Self(Kind::All));
        }
        let parse = |text: &P| Pattern::parse(text.as_ref().as_bytes(), false, ignore_case);
        let set = PatternSet::new(patterns.iter().map(parse).collect::<Result<_>>()?)?;
        Ok(Self(Kind::Globs(Box::new(set))))
    }

    /// Compiles regular expressions. They are searched for in the whole path, which has no leading slash.
    ///
    /// # Errors
    /// An expression is invalid.
    pub fn regexes<P: AsRef<OsStr>>(patterns: &[P], ignore_case: bool) -> Result<Self> {
        if patterns.is_empty() {
            return Ok(Self(Kind::All));
        }
        let text = |text: &P| {
            text.as_ref().to_str().map(str::to_owned).ok_or_else(|| {
                let text = text.as_ref().display();
                Error::Usage(format!(
                    "the regular expression '{text}' is not UTF-8: write such a byte as (?-u:\\xFF)"
                ))
            })
        };
        let texts = patterns.iter().map(text).collect::<Result<Vec<String>>>()?;
        let set = RegexSetBuilder::new(texts).case_insensitive(ignore_case).build();
        // The library's message spans several lines; the last one contains the reason.
        let bad = |cause: regex::Error| {
            let cause = cause.to_string();
            let why = cause.lines().last().unwrap_or(&cause).trim_start_matches("error: ");
            Error::Usage(format!("bad regular expression: {why}"))
        };
        let set = set.map_err(bad)?;
        let hits = set.patterns().iter().map(|_| AtomicBool::new(false)).collect();
        Ok(Self(Kind::Regexes { set, hits }))
    }

    /// Returns whether a stored path matches.
    pub fn match_path(&self, path: &[u8]) -> bool {
        match &self.0 {
            Kind::All => true,
            Kind::Globs(set) => {
                let parts: Vec<&[u8]> = components(path).collect();
                parts
                    .last()
                    .is_some_and(|name| set.last_of(name, |pattern| pattern.matches(&parts)).is_some())
            }
            Kind::Regexes { set, hits } => {
                let found = set.matches(path);
                for hit in found.iter().filter_map(|number| hits.get(number)) {
                    hit.store(true, Ordering::Relaxed);
                }
                found.matched_any()
            }
        }
    }

    /// Returns the patterns that have matched nothing so far, as written.
    pub fn unmatched(&self) -> Vec<String> {
        match &self.0 {
            Kind::All => Vec::new(),
            Kind::Globs(set) => set.unmatched(),
            Kind::Regexes { set, hits } => {
                let all = set.patterns().iter().zip(hits);
                all.filter(|(_, hit)| !hit.load(Ordering::Relaxed)).map(|(text, _)| text.clone()).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PathSearch;

    fn found(names: &PathSearch, paths: &[&'static str]) -> Vec<&'static str> {
        paths.iter().copied().filter(|path| names.match_path(path.as_bytes())).collect()
    }

    fn list(patterns: &[&str]) -> Vec<String> {
        patterns.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn glob_is_matched_against_the_end_of_a_path() {
        let paths = ["src", "src/lib.rs", "src/a/lib.rs", "src/Lib.rs", "lib.rs/x", "{a}"];
        for (pattern, expected) in [
            ("lib.rs", vec!["src/lib.rs", "src/a/lib.rs"]),
            ("*.rs", vec!["src/lib.rs", "src/a/lib.rs", "src/Lib.rs"]),
            ("a/*.rs", vec!["src/a/lib.rs"]),
            ("/src/*.rs", vec!["src/lib.rs", "src/Lib.rs"]),
            ("/src/**", vec!["src/lib.rs", "src/a/lib.rs", "src/Lib.rs"]),
            ("src/", vec!["src"]),
            ("{a}", vec!["{a}"]),
        ] {
            let names = PathSearch::globs(&list(&[pattern]), false).unwrap();
            assert_eq!(found(&names, &paths), expected, "{pattern}");
        }
        let names = PathSearch::globs(&list(&["LIB.rs", "x"]), true).unwrap();
        assert_eq!(found(&names, &paths), ["src/lib.rs", "src/a/lib.rs", "src/Lib.rs", "lib.rs/x"]);
        assert!(PathSearch::globs(&list(&["[a"]), false).is_err());
        assert_eq!(found(&PathSearch::globs::<String>(&[], false).unwrap(), &paths).len(), paths.len());
    }

    #[test]
    fn a_regular_expression_is_searched_for_in_all_of_a_path() {
        let paths = ["src/lib.rs", "src/a/LIB.rs"];
        let names = PathSearch::regexes(&list(&["^src/[^/]+[.]rs$"]), false).unwrap();
        assert_eq!(found(&names, &paths), ["src/lib.rs"]);
        let names = PathSearch::regexes(&list(&["/lib"]), true).unwrap();
        assert_eq!(found(&names, &paths), paths);
        assert!(PathSearch::regexes(&list(&["("]), false).is_err());
        assert!(!PathSearch::regexes(&list(&["a.c"]), false).unwrap().match_path(b"a\xffc"));
        assert!(PathSearch::regexes(&list(&["(?-u)a.c"]), false).unwrap().match_path(b"a\xffc"));
    }
}
