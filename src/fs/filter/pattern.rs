//! Parsed patterns: names or parts of paths that are matched against a path.

use crate::error::{Error, Result};
use crate::fs::filter::glob::Glob;

/// What a pattern is matched against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Begins with a slash: matches the whole path.
    Anchored,
    /// Has a slash elsewhere: matches consecutive components anywhere.
    Floating,
    /// Has no slash: matches any single component.
    Name,
}

/// One component of a pattern.
#[derive(Debug, Clone)]
pub(super) enum Part {
    /// `**`: any number of components; at the end, at least one.
    Many,
    /// Exactly one component.
    One(Glob),
}

/// A parsed pattern.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    /// The pattern as written, for display.
    pub(super) text: String,
    /// Whether it excludes what it matches, or (after `!`) includes it again.
    pub(super) excludes: bool,
    pub(super) scope: Scope,
    pub(super) ignore_case: bool,
    /// Never empty.
    pub(super) parts: Vec<Part>,
}

impl Pattern {
    /// Parses a pattern. If `negatable`, a leading `!` inverts the meaning. `.`, `..` and repeated slashes
    /// are removed textually, as restic does.
    pub(super) fn parse(text: &[u8], negatable: bool, ignore_case: bool) -> Result<Self> {
        let shown = String::from_utf8_lossy(text).into_owned();
        let bad = |why: &str| Error::Usage(format!("bad pattern '{shown}': {why}"));
        let (excludes, rest) = match text.strip_prefix(b"!") {
            Some(rest) if negatable => (false, rest),
            _ => (true, text),
        };
        if rest.is_empty() {
            return Err(bad("it is empty"));
        }
        if rest.contains(&0) {
            return Err(bad("it contains a NUL, which no name can contain"));
        }
        let is_anchored = rest.starts_with(b"/");
        let mut parts = Vec::new();
        for name in rest.split(|byte| *byte == b'/') {
            match name {
                b"" | b"." => {}
                b".." => match parts.pop() {
                    Some(Part::One(_)) => {}
                    Some(Part::Many) => return Err(bad("'..' cannot follow '**'")),
                    None if is_anchored => {}
                    None => {
                        return Err(bad("its '..' leads above the directory that it is relative to: \
                                            write an absolute path"));
                    }
                },
                b"**" if matches!(parts.last(), Some(Part::Many)) => {}
                b"**" => parts.push(Part::Many),
                name => {
                    let glob = Glob::parse(name, ignore_case).map_err(|why| bad(&why.to_string()))?;
                    parts.push(Part::One(glob));
                }
            }
        }
        if parts.is_empty() && !is_anchored {
            return Err(bad("it has no name to match"));
        }
        if parts.is_empty() {
            // `/` matches everything.
            parts.push(Part::Many);
        }
        let scope = match parts.as_slice() {
            _ if is_anchored => Scope::Anchored,
            [Part::One(_)] => Scope::Name,
            _ => Scope::Floating,
        };
        Ok(Self { text: shown, excludes, scope, ignore_case, parts })
    }

    /// Returns the pattern for another directory: the prefix `from` is replaced by `to`.
    pub(super) fn moved(&self, from: &[&[u8]], to: &[&[u8]]) -> Option<Self> {
        let is_same = |(part, name): (&Part, &&[u8])| matches!(part, Part::One(glob) if glob.matches(name));
        let begins = self.parts.len() > from.len() && self.parts.iter().zip(from).all(is_same);
        if self.scope != Scope::Anchored || !begins {
            return None;
        }
        let mut parts: Vec<Part> =
            to.iter().map(|name| Part::One(Glob::exactly(name, self.ignore_case))).collect();
        parts.extend(self.parts.iter().skip(from.len()).cloned());
        Some(Self { parts, ..self.clone() })
    }

    /// Returns whether it matches the path of these components itself, not only an ancestor.
    pub(super) fn matches(&self, path: &[&[u8]]) -> bool {
        let floats = self.scope != Scope::Anchored;
        let (mut part, mut name) = (self.parts.len(), path.len());
        let mut retry = None;
        // Matches from the end, where most patterns differ. `**` at the end takes at least one component.
        if let Some(Part::Many) = self.parts.last() {
            let Some(shorter) = name.checked_sub(1) else { return false };
            name = shorter;
        }
        loop {
            let one = match part.checked_sub(1).and_then(|part| self.parts.get(part)) {
                None if floats || name == 0 => return true,
                None => None,
                Some(Part::Many) => {
                    part -= 1;
                    retry = Some((part, name));
                    continue;
                }
                Some(Part::One(glob)) => Some(glob),
            };
            let last = name.checked_sub(1).and_then(|name| path.get(name));
            if let (Some(glob), Some(last)) = (one, last)
                && glob.matches(last)
            {
                (part, name) = (part - 1, name - 1);
                continue;
            }
            let Some((again, from)) =
                retry.and_then(|(part, name)| Some((part, usize::checked_sub(name, 1)?)))
            else {
                return false;
            };
            retry = Some((again, from));
            (part, name) = (again, from);
        }
    }
}

/// Iterates over the components of a path, without empty ones and `.`.
pub(crate) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Slow, but obviously correct.
    fn matches_simply(parts: &[Part], path: &[&[u8]]) -> bool {
        match parts {
            [] => path.is_empty(),
            [Part::Many] => !path.is_empty(),
            [Part::Many, rest @ ..] => (0..=path.len()).any(|skipped| matches_simply(rest, &path[skipped..])),
            [Part::One(glob), rest @ ..] => {
                path.first().is_some_and(|name| glob.matches(name)) && matches_simply(rest, &path[1..])
            }
        }
    }

    proptest! {
        #[test]
        fn pattern_matches_at_every_position_of_a_path(
            pattern in "/?(a|b|[*]|[*][*])(/(a|b|[*]|[*][*])){0,4}",
            path in "(a|b)(/(a|b)){0,6}",
        ) {
            let pattern = Pattern::parse(pattern.as_bytes(), true, false).unwrap();
            let path: Vec<&[u8]> = components(path.as_bytes()).collect();
            let anchored = |path: &[&[u8]]| matches_simply(&pattern.parts, path);
            let expected = match pattern.scope {
                Scope::Anchored => anchored(&path),
                Scope::Floating | Scope::Name => (0..path.len()).any(|at| anchored(&path[at..])),
            };
            prop_assert_eq!(pattern.matches(&path), expected);
        }
    }
}
