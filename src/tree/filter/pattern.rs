//! Patterns: what a person writes, as globs over paths of bytes.

use globset::Candidate;
use globset::Glob;
use globset::GlobBuilder;
use globset::GlobSet;
use globset::GlobSetBuilder;

use crate::error::Error;
use crate::error::Result;

/// What a pattern is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Starts with a slash: the whole path.
    Anchored,
    /// Has a slash elsewhere: consecutive components anywhere.
    Floating,
    /// Any one component.
    Name,
}

/// One pattern, parsed.
pub(super) struct Pattern {
    /// What it says about what it matches: leave out, or (after `!`) take in again.
    pub(super) excludes: bool,
    pub(super) scope: Scope,
    glob: Glob,
    /// The same for everything below.
    below: Glob,
    /// Body in globset's words, without slashes around it.
    pub(super) body: String,
}

impl Pattern {
    /// `negatable`: whether a leading `!` turns the meaning around.
    pub(super) fn parse(text: &str, negatable: bool, ignore_case: bool) -> Result<Self> {
        let (excludes, rest) = match text.strip_prefix('!') {
            Some(rest) if negatable => (false, rest),
            _ => (true, text),
        };
        let trimmed = rest.trim_end_matches('/');
        let (scope, body) = if rest.starts_with('/') {
            (Scope::Anchored, trimmed.trim_start_matches('/'))
        } else if trimmed.contains('/') {
            (Scope::Floating, trimmed)
        } else {
            (Scope::Name, trimmed)
        };
        if rest.is_empty() {
            return Err(Error::Usage(format!("the pattern '{text}' is empty")));
        }
        let body = if body.is_empty() { "**".to_owned() } else { globset_words(body) };
        let full = if scope == Scope::Anchored { body.clone() } else { format!("**/{body}") };
        let bad = |cause: globset::Error| Error::Usage(format!("bad pattern '{text}': {}", cause.kind()));
        let glob = compile(&full, ignore_case).map_err(bad)?;
        let below = compile(&format!("{full}/**"), ignore_case).map_err(bad)?;
        Ok(Self { excludes, scope, glob, below, body })
    }

    /// Alone, without what lies below.
    pub(super) fn into_glob(self) -> Glob {
        self.glob
    }
}

/// Compiles one glob.
pub(super) fn compile(text: &str, ignore_case: bool) -> Result<Glob, globset::Error> {
    GlobBuilder::new(text)
        .literal_separator(true)
        .backslash_escape(true)
        .case_insensitive(ignore_case)
        .build()
}

/// Braces mean themselves here, but alternatives to globset.
fn globset_words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut class = 0_usize;
    while let Some(c) = chars.next() {
        match c {
            '\\' if class == 0 => {
                out.push(c);
                out.extend(chars.next());
                continue;
            }
            '{' | '}' if class == 0 => {
                out.extend(['[', c, ']']);
                continue;
            }
            '[' if class == 0 => {
                out.push(c);
                class = 1;
                out.extend(chars.next_if(|next| matches!(next, '!' | '^')));
                out.extend(chars.next_if_eq(&']'));
                continue;
            }
            ']' => class = 0,
            _ => {}
        }
        out.push(c);
    }
    out
}

/// Patterns in order; the last that matches decides.
pub(super) struct Patterns {
    verdicts: Vec<bool>,
    /// Anchored and floating patterns: against the absolute path.
    absolute: Compiled,
    /// Names and floating patterns: against the stored path.
    stored: Compiled,
}

/// A glob set with, for each glob, the number of its pattern.
pub(super) struct Compiled {
    set: GlobSet,
    numbers: Vec<usize>,
}

impl Compiled {
    pub(super) fn new(list: &[Pattern], wanted: impl Fn(Scope) -> bool) -> Result<Self> {
        let mut builder = GlobSetBuilder::new();
        let mut numbers = Vec::new();
        for (number, pattern) in list.iter().enumerate().filter(|(_, pattern)| wanted(pattern.scope)) {
            builder.add(pattern.glob.clone());
            builder.add(pattern.below.clone());
            numbers.extend([number, number]);
        }
        let set = builder.build().map_err(|cause| {
            let glob = cause.glob().unwrap_or_default();
            Error::Usage(format!("the patterns cannot be used together: {} {glob}", cause.kind()))
        })?;
        Ok(Self { set, numbers })
    }

    /// Number of the last pattern that matches the path or a directory above it.
    pub(super) fn last(&self, path: &[u8]) -> Option<usize> {
        if self.set.is_empty() {
            return None;
        }
        let hits = self.set.matches_candidate(&Candidate::from_bytes(path));
        hits.into_iter().filter_map(|index| self.numbers.get(index).copied()).max()
    }
}

impl Patterns {
    /// For a backup: two paths.
    pub(super) fn new(list: Vec<Pattern>) -> Result<Self> {
        Ok(Self {
            absolute: Compiled::new(&list, |scope| scope != Scope::Name)?,
            stored: Compiled::new(&list, |scope| scope != Scope::Anchored)?,
            verdicts: list.iter().map(|pattern| pattern.excludes).collect(),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.verdicts.is_empty()
    }

    pub(super) fn excludes(&self, absolute: &[u8], stored: &[u8]) -> bool {
        let last = self.absolute.last(absolute).max(self.stored.last(stored));
        last.and_then(|number| self.verdicts.get(number).copied()).unwrap_or(false)
    }
}
