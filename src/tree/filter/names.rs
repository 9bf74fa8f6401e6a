//! Patterns that look for paths, as opposed to leaving them out.

use globset::GlobSet;
use globset::GlobSetBuilder;
use regex::bytes::RegexSet;
use regex::bytes::RegexSetBuilder;

use crate::error::Error;
use crate::error::Result;
use crate::tree::filter::pattern::Pattern;

/// What paths are looked for.
pub struct Names(Kind);

enum Kind {
    Globs(GlobSet),
    Regexes(RegexSet),
    All,
}

impl Names {
    /// Globs: without a slash, held against the name; with one, against as many last components of the path; with a
    /// leading one, against all of it. Any that matches is enough; none at all matches everything.
    ///
    /// # Errors
    /// When one is no glob.
    pub fn globs(patterns: &[String], ignore_case: bool) -> Result<Self> {
        if patterns.is_empty() {
            return Ok(Self(Kind::All));
        }
        let mut set = GlobSetBuilder::new();
        for text in patterns {
            set.add(Pattern::parse(text, false, ignore_case)?.into_glob());
        }
        let bad = |cause: globset::Error| {
            Error::Usage(format!("the patterns cannot be used together: {}", cause.kind()))
        };
        Ok(Self(Kind::Globs(set.build().map_err(bad)?)))
    }

    /// Regular expressions, searched for in the whole path, which begins without a slash.
    ///
    /// # Errors
    /// When one is none.
    pub fn regexes(patterns: &[String], ignore_case: bool) -> Result<Self> {
        if patterns.is_empty() {
            return Ok(Self(Kind::All));
        }
        let set = RegexSetBuilder::new(patterns).case_insensitive(ignore_case).build();
        let bad = |cause: regex::Error| Error::Usage(format!("bad regular expression: {cause}"));
        Ok(Self(Kind::Regexes(set.map_err(bad)?)))
    }

    /// Whether a stored path is one of those looked for.
    pub fn match_path(&self, path: &[u8]) -> bool {
        match &self.0 {
            Kind::All => true,
            Kind::Globs(set) => set.is_match_candidate(&globset::Candidate::from_bytes(path)),
            Kind::Regexes(set) => set.is_match(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Names;

    fn found(names: &Names, paths: &[&'static str]) -> Vec<&'static str> {
        paths.iter().copied().filter(|path| names.match_path(path.as_bytes())).collect()
    }

    fn list(patterns: &[&str]) -> Vec<String> {
        patterns.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_glob_is_held_against_the_end_of_a_path() {
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
            let names = Names::globs(&list(&[pattern]), false).unwrap();
            assert_eq!(found(&names, &paths), expected, "{pattern}");
        }
        let names = Names::globs(&list(&["LIB.rs", "x"]), true).unwrap();
        assert_eq!(found(&names, &paths), ["src/lib.rs", "src/a/lib.rs", "src/Lib.rs", "lib.rs/x"]);
        assert!(Names::globs(&list(&["[a"]), false).is_err());
        assert_eq!(found(&Names::globs(&[], false).unwrap(), &paths).len(), paths.len());
    }

    #[test]
    fn a_regular_expression_is_searched_for_in_all_of_a_path() {
        let paths = ["src/lib.rs", "src/a/LIB.rs"];
        let names = Names::regexes(&list(&["^src/[^/]+[.]rs$"]), false).unwrap();
        assert_eq!(found(&names, &paths), ["src/lib.rs"]);
        let names = Names::regexes(&list(&["/lib"]), true).unwrap();
        assert_eq!(found(&names, &paths), paths);
        assert!(Names::regexes(&list(&["("]), false).is_err());
        assert!(!Names::regexes(&list(&["a.c"]), false).unwrap().match_path(b"a\xffc"));
        assert!(Names::regexes(&list(&["(?-u)a.c"]), false).unwrap().match_path(b"a\xffc"));
    }
}
