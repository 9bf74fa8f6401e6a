//! Globs for one path component. They work on characters; a byte that is not part of a valid character
//! counts as one.

use std::fmt;

/// A character, or a byte that is not part of one. Such bytes have values above all characters.
type Unit = u32;

const FIRST_BYTE: Unit = 0x11_0000;

/// A glob without slashes.
#[derive(Debug, Clone)]
pub(super) struct Glob {
    tokens: Vec<Token>,
    ignore_case: bool,
}

#[derive(Debug, Clone)]
enum Token {
    /// A literal; case-folded if case is ignored.
    Is(Unit),
    /// `?`.
    Any,
    /// `*`.
    Many,
    Class(Class),
}

#[derive(Debug, Clone, Default)]
struct Class {
    negated: bool,
    ranges: Vec<(Unit, Unit)>,
    kinds: Vec<fn(char) -> bool>,
}

/// Why a text is not a glob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BadGlob {
    UnclosedClass,
    EmptyRange(String),
    UnknownKind(String),
    TrailingBackslash,
}

impl fmt::Display for BadGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnclosedClass => {
                f.write_str("a '[' has no ']' before the next '/' (write \\[ for the character itself)")
            }
            Self::EmptyRange(range) => {
                write!(f, "the range {range} is empty: its first character comes after its last")
            }
            Self::UnknownKind(name) => write!(f, "there is no character class {name}"),
            Self::TrailingBackslash => {
                f.write_str("a '\\' has no character after it (write \\\\ for the character itself)")
            }
        }
    }
}

impl Glob {
    pub(super) fn parse(text: &[u8], ignore_case: bool) -> Result<Self, BadGlob> {
        let mut tokens = Vec::new();
        let mut units = Units(text).peekable();
        while let Some(unit) = units.next() {
            let token = match char::from_u32(unit) {
                Some('*') if matches!(tokens.last(), Some(Token::Many)) => continue,
                Some('*') => Token::Many,
                Some('?') => Token::Any,
                Some('[') => Token::Class(Class::parse(&mut units)?),
                Some('\\') => Token::Is(units.next().ok_or(BadGlob::TrailingBackslash)?),
                _ => Token::Is(unit),
            };
            tokens.push(match token {
                Token::Is(unit) if ignore_case => Token::Is(fold(unit)),
                other => other,
            });
        }
        Ok(Self { tokens, ignore_case })
    }

    /// Creates a glob that matches exactly this name.
    pub(super) fn exactly(name: &[u8], ignore_case: bool) -> Self {
        let units = Units(name).map(|unit| Token::Is(if ignore_case { fold(unit) } else { unit }));
        Self { tokens: units.collect(), ignore_case }
    }

    /// Returns the only matching name if the glob has no wildcards.
    pub(super) fn literal(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for token in &self.tokens {
            let Token::Is(unit) = token else { return None };
            push(&mut bytes, *unit);
        }
        Some(bytes)
    }

    /// Returns the longest literal text that every matching name contains.
    pub(super) fn longest_run(&self) -> Vec<u8> {
        let (mut longest, mut run) = (Vec::new(), Vec::new());
        for token in &self.tokens {
            match token {
                Token::Is(unit) => push(&mut run, *unit),
                _ => run.clear(),
            }
            if run.len() > longest.len() {
                longest.clone_from(&run);
            }
        }
        longest
    }

    /// Returns whether the whole name matches. Backtracking goes only to the last `*`, so that time is at
    /// most proportional to the product of both lengths.
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        let (mut at, mut rest) = (0, Units(name));
        let mut retry: Option<(usize, Units<'_>)> = None;
        loop {
            if let Some(Token::Many) = self.tokens.get(at) {
                at += 1;
                retry = Some((at, rest.clone()));
                continue;
            }
            let before = rest.clone();
            match (self.tokens.get(at), rest.next()) {
                (None, None) => return true,
                (Some(token), Some(unit)) if self.matches_unit(token, unit) => at += 1,
                _ => {
                    let Some((token, from)) = retry.as_mut() else { return false };
                    // The name is exhausted: a longer `*` would leave even less for the rest.
                    if before.0.is_empty() && self.tokens.get(at).is_some() || from.next().is_none() {
                        return false;
                    }
                    (at, rest) = (*token, from.clone());
                }
            }
        }
    }

    fn matches_unit(&self, token: &Token, unit: Unit) -> bool {
        match token {
            Token::Is(wanted) if self.ignore_case => *wanted == fold(unit),
            Token::Is(wanted) => *wanted == unit,
            Token::Any | Token::Many => true,
            Token::Class(class) => class.contains(unit, self.ignore_case),
        }
    }
}

impl Class {
    /// Parses what follows a `[`. A `]` in first place is one of the characters.
    fn parse(units: &mut std::iter::Peekable<Units<'_>>) -> Result<Self, BadGlob> {
        let mut class = Self::default();
        let is = |c: char| move |unit: &Unit| *unit == u32::from(c);
        class.negated = units.next_if(|unit| is('!')(unit) || is('^')(unit)).is_some();
        let mut is_first = true;
        loop {
            let unit = units.next().ok_or(BadGlob::UnclosedClass)?;
            let low = match char::from_u32(unit) {
                Some(']') if !is_first => return Ok(class),
                Some('[') if units.next_if(is(':')).is_some() => {
                    class.kinds.push(parse_kind(units)?);
                    is_first = false;
                    continue;
                }
                Some('\\') => units.next().ok_or(BadGlob::UnclosedClass)?,
                _ => unit,
            };
            is_first = false;
            class.ranges.push((low, Self::end_of_range(low, units)?));
        }
    }

    /// Returns the upper end of a range; `low` itself if no `-` follows, or the `-` is the last character.
    fn end_of_range(low: Unit, units: &mut std::iter::Peekable<Units<'_>>) -> Result<Unit, BadGlob> {
        let mut ahead = units.clone();
        let is_range = ahead.next() == Some(Unit::from('-'))
            && ahead.peek().is_some_and(|next| *next != Unit::from(']'));
        if !is_range {
            return Ok(low);
        }
        units.next();
        let mut high = units.next().ok_or(BadGlob::UnclosedClass)?;
        if high == Unit::from('\\') {
            high = units.next().ok_or(BadGlob::UnclosedClass)?;
        }
        if low <= high {
            return Ok(high);
        }
        let mut range = Vec::new();
        push(&mut range, low);
        range.push(b'-');
        push(&mut range, high);
        Err(BadGlob::EmptyRange(String::from_utf8_lossy(&range).into_owned()))
    }

    fn contains(&self, unit: Unit, ignore_case: bool) -> bool {
        let has = |unit: Unit| {
            self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&unit))
                || char::from_u32(unit).is_some_and(|c| self.kinds.iter().any(|is_kind| is_kind(c)))
        };
        let found = has(unit)
            || ignore_case
                && char::from_u32(unit).is_some_and(|c| {
                    has(only(c.to_lowercase(), c).into()) || has(only(c.to_uppercase(), c).into())
                });
        found != self.negated
    }
}

/// Parses the name of a POSIX character class after its `[:`.
fn parse_kind(units: &mut std::iter::Peekable<Units<'_>>) -> Result<fn(char) -> bool, BadGlob> {
    let mut name = Vec::new();
    while let Some(unit) = units.next_if(|unit| *unit != Unit::from(':')) {
        push(&mut name, unit);
    }
    let closed = units.next().is_some() && units.next() == Some(Unit::from(']'));
    let kind: fn(char) -> bool = match name.as_slice() {
        _ if !closed => return Err(BadGlob::UnclosedClass),
        b"alpha" => char::is_alphabetic,
        b"digit" => |c| c.is_ascii_digit(),
        b"alnum" => char::is_alphanumeric,
        b"upper" => char::is_uppercase,
        b"lower" => char::is_lowercase,
        b"space" => char::is_whitespace,
        b"blank" => |c| matches!(c, ' ' | '\t'),
        b"punct" => |c| c.is_ascii_punctuation(),
        b"cntrl" => char::is_control,
        b"xdigit" => |c| c.is_ascii_hexdigit(),
        b"graph" => |c| !c.is_whitespace() && !c.is_control(),
        b"print" => |c| !c.is_control(),
        other => return Err(BadGlob::UnknownKind(format!("[:{}:]", String::from_utf8_lossy(other)))),
    };
    Ok(kind)
}

/// Folds the case of a name where that keeps the number of characters.
pub(super) fn folded(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    Units(name).for_each(|unit| push(&mut out, fold(unit)));
    out
}

/// Folds the case of a character by way of upper case, because several lower-case characters share one (σ
/// and ς).
fn fold(unit: Unit) -> Unit {
    let Some(c) = char::from_u32(unit) else { return unit };
    if c.is_ascii() {
        return c.to_ascii_lowercase().into();
    }
    let upper = only(c.to_uppercase(), c);
    only(upper.to_lowercase(), upper).into()
}

/// Returns the only character of a conversion, or `c` if there are several.
fn only(mut converted: impl ExactSizeIterator<Item = char>, c: char) -> char {
    if converted.len() == 1 { converted.next().unwrap_or(c) } else { c }
}

fn push(bytes: &mut Vec<u8>, unit: Unit) {
    match char::from_u32(unit) {
        Some(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        None => bytes.extend(u8::try_from(unit.wrapping_sub(FIRST_BYTE))),
    }
}

/// Iterator over the units of a text.
#[derive(Debug, Clone)]
struct Units<'a>(&'a [u8]);

impl Iterator for Units<'_> {
    type Item = Unit;

    fn next(&mut self) -> Option<Unit> {
        let first = *self.0.first()?;
        let len = match first {
            0..0x80 => 1,
            0xC2..0xE0 => 2,
            0xE0..0xF0 => 3,
            0xF0..0xF5 => 4,
            _ => 0,
        };
        let c = self.0.get(..len).and_then(|head| std::str::from_utf8(head).ok()?.chars().next());
        let (unit, used) = c.map_or((FIRST_BYTE + Unit::from(first), 1), |c| (c.into(), len));
        self.0 = self.0.get(used..).unwrap_or(&[]);
        Some(unit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matching<'a>(glob: &str, names: &[&'a str]) -> Vec<&'a str> {
        let glob = Glob::parse(glob.as_bytes(), false).unwrap();
        names.iter().copied().filter(|name| glob.matches(name.as_bytes())).collect()
    }

    fn ignoring_case<'a>(glob: &str, names: &[&'a str]) -> Vec<&'a str> {
        let glob = Glob::parse(glob.as_bytes(), true).unwrap();
        names.iter().copied().filter(|name| glob.matches(name.as_bytes())).collect()
    }

    #[test]
    fn a_question_mark_is_one_character() {
        let names = ["a", "ä", "日", "ab", "🦀", ""];
        assert_eq!(matching("?", &names), ["a", "ä", "日", "🦀"]);
        assert_eq!(matching("??", &names), ["ab"]);
        assert_eq!(matching("*", &names), names);
    }

    #[test]
    fn invalid_utf8_byte_counts_as_one_character() {
        let is = |glob: &[u8], name: &[u8]| Glob::parse(glob, false).unwrap().matches(name);
        assert!(is(b"?", b"\xff") && is(b"??", b"\xc3\xff") && is(b"a*z", b"a\xfe\xffz"));
        assert!(is(b"bad\xff", b"bad\xff") && !is(b"bad\xff", b"bad\xfe"));
        // Half a character, an encoded surrogate, and an overlong encoding.
        assert!(is(b"?", b"\xc3") && is(b"???", b"\xed\xa0\x80") && is(b"??", b"\xc0\xaf"));
        assert!(is(b"[\xfe-\xff]", b"\xff") && !is(b"[a-z]", b"\xff"));
    }

    #[test]
    fn classes_contain_characters() {
        let names = ["ä", "ö", "é", "É", "Ö", "z", "日", "]", "-", "^", "!"];
        assert_eq!(matching("[äö]", &names), ["ä", "ö"]);
        assert_eq!(matching("[a-ö]", &names), ["ä", "ö", "é", "É", "Ö", "z"]);
        assert_eq!(matching("[]-]", &names), ["]", "-"]);
        assert_eq!(matching("[!]é-]", &["]", "é", "-", "x"]), ["x"]);
        assert_eq!(matching("[^z]", &["z", "y"]), ["y"]);
        assert_eq!(matching("[\\]z]", &names), ["z", "]"]);
        assert_eq!(matching("[[:upper:]日]", &names), ["É", "Ö", "日"]);
        assert_eq!(matching("[^[:alpha:]]", &names), ["]", "-", "^", "!"]);
    }

    #[test]
    fn case_is_that_of_all_alphabets() {
        assert_eq!(ignoring_case("ÄPFEL*", &["äpfel.txt", "Äpfel", "apfel"]), ["äpfel.txt", "Äpfel"]);
        assert_eq!(ignoring_case("öL", &["Öl", "ol"]), ["Öl"]);
        assert_eq!(ignoring_case("ΣΊΣΥΦΟΣ", &["σίσυφος"]), ["σίσυφος"]);
        assert_eq!(ignoring_case("[ä-ö]x", &["Äx", "öX", "zx"]), ["Äx", "öX"]);
        assert_eq!(ignoring_case("stra?e", &["STRAẞE", "straße", "strasse"]), ["STRAẞE", "straße"]);
        assert_eq!(matching("Ä", &["ä"]), [""; 0]);
    }

    #[test]
    fn patterns_that_cannot_match_are_refused() {
        let why = |text: &str| Glob::parse(text.as_bytes(), false).unwrap_err();
        assert_eq!(why("a[b"), BadGlob::UnclosedClass);
        assert_eq!(why("[]"), BadGlob::UnclosedClass);
        assert_eq!(why("[!]"), BadGlob::UnclosedClass);
        assert_eq!(why("[a\\"), BadGlob::UnclosedClass);
        assert_eq!(why("[[:alpha"), BadGlob::UnclosedClass);
        assert_eq!(why("[z-a]"), BadGlob::EmptyRange("z-a".into()));
        assert_eq!(why("[ö-a]"), BadGlob::EmptyRange("ö-a".into()));
        assert_eq!(why("[[:letters:]]"), BadGlob::UnknownKind("[:letters:]".into()));
        assert_eq!(why("a\\"), BadGlob::TrailingBackslash);
    }

    #[test]
    fn braces_and_escaped_wildcards_are_themselves() {
        assert_eq!(matching("{a,b}", &["a", "{a,b}"]), ["{a,b}"]);
        assert_eq!(matching("\\*\\?\\[", &["*?[", "xx["]), ["*?["]);
    }

    /// Slow, but obviously correct.
    fn naive(tokens: &[Token], name: &[Unit]) -> bool {
        match (tokens.split_first(), name.split_first()) {
            (None, rest) => rest.is_none(),
            (Some((Token::Many, rest)), None) => naive(rest, name),
            (Some((Token::Many, rest)), Some((_, shorter))) => naive(rest, name) || naive(tokens, shorter),
            (Some((Token::Is(wanted), rest)), Some((unit, others))) => wanted == unit && naive(rest, others),
            (Some((_, rest)), Some((_, others))) => naive(rest, others),
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_a_simple_matcher(glob in "[abä*?]{0,8}", name in "[abä]{0,10}") {
            let parsed = Glob::parse(glob.as_bytes(), false).unwrap();
            let units: Vec<Unit> = Units(name.as_bytes()).collect();
            prop_assert_eq!(parsed.matches(name.as_bytes()), naive(&parsed.tokens, &units));
            if parsed.matches(name.as_bytes()) {
                prop_assert!(name.contains(std::str::from_utf8(&parsed.longest_run()).unwrap()));
            }
        }

        #[test]
        fn literals_and_runs_of_any_glob_agree_with_its_matches(glob in prop::collection::vec(any::<u8>(), 0..12), name in prop::collection::vec(any::<u8>(), 0..12)) {
            for ignore_case in [false, true] {
                if let Ok(glob) = Glob::parse(&glob, ignore_case) {
                    let _ = glob.matches(&name);
                    let folded_name = if ignore_case { folded(&name) } else { name.clone() };
                    if let Some(literal) = glob.literal() {
                        prop_assert_eq!(glob.matches(&name), literal == folded_name);
                    }
                    if glob.matches(&name) {
                        let run = glob.longest_run();
                        prop_assert!(run.is_empty() || folded_name.windows(run.len()).any(|part| part == run));
                    }
                }
            }
        }
    }
}
